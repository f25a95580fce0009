"""SVHN, cropped digits: 73,257 training and 26,032 test images of 32 x 32 pixels, in colour.

Layout: `train_32x32.mat` and `test_32x32.mat` as they are published ("format 2"). A file holds
`X` [32, 32, 3, N] uint8 and `y` [N, 1], where the digit 0 has the label 10. Neighbouring digits of
the house number remain at the sides of a picture.
"""

from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from jaxgen.data import mat_files
from jaxgen.data.builders import class_sets


class SvhnMat(class_sets.DigitBuilder):
    """Digits of street view house numbers."""

    VERSION = tfds.core.Version("1.0.0")
    FOLDER = "svhn"
    LAYOUT = "  train_32x32.mat\n  test_32x32.mat"
    CHANNELS = 3
    COUNTS = {"train": 73_257, "test": 26_032}  # noqa: RUF012

    @classmethod
    def split_files(cls, manual_dir, split):
        """The one file of a split."""
        path = manual_dir / f"{split}_32x32.mat"
        return [path] if path.is_file() else []

    @classmethod
    def read(cls, manual_dir, split):
        """Images [N, 32, 32, 3] and labels [N]."""
        return read_mat(*cls.split_files(manual_dir, split))


def read_mat(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, H, W, 3] and labels int [N], 0 to 9, of one file.

    Raises:
        ValueError: the file is damaged or holds something else; the message names it.
    """
    content = mat_files.load_mat(path, ("X", "y"))  # of the cropped digits, format 2
    images, labels = content["X"], content["y"].ravel()
    if images.ndim != 4 or images.shape[2] != 3 or images.dtype != np.uint8:
        raise ValueError(
            f"{path}: X is {images.dtype} {list(images.shape)}, expected uint8 [32, 32, 3, N]"
        )
    if len(labels) != images.shape[3] or not np.isin(labels, range(1, 11)).all():
        raise ValueError(f"{path}: y must hold one label from 1 to 10 for each of the images")
    return np.transpose(images, (3, 0, 1, 2)), labels.astype(int) % 10
