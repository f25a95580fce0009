"""MNIST from its official IDX files: 60,000 training and 10,000 test digits of 28 x 28 pixels.

Layout, each file as it is published (`.gz`) or unpacked:

    train-images-idx3-ubyte.gz  train-labels-idx1-ubyte.gz
    t10k-images-idx3-ubyte.gz   t10k-labels-idx1-ubyte.gz

An IDX file begins with two zero bytes, the type of its values (8: uint8), the number of its axes
and the length of each as a big-endian 32-bit number. Digits are bright on black.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from jaxgen.data.builders import class_sets

_STEMS = {"train": "train", "test": "t10k"}
_KINDS = ("images-idx3-ubyte", "labels-idx1-ubyte")


class MnistIdx(class_sets.DigitBuilder):
    """Digits of MNIST."""

    VERSION = tfds.core.Version("1.0.0")
    FOLDER = "mnist"
    LAYOUT = "\n".join(
        f"  {stem}-{kind}.gz (or unpacked, without .gz)"
        for stem in _STEMS.values()
        for kind in _KINDS
    )
    COUNTS = {"train": 60_000, "test": 10_000}  # noqa: RUF012

    @classmethod
    def split_files(cls, manual_dir, split):
        """Images and labels."""
        paths = [_find(manual_dir, _STEMS[split], kind) for kind in _KINDS]
        return [] if None in paths else paths

    @classmethod
    def read(cls, manual_dir, split):
        """Images [N, 28, 28] and labels [N]."""
        image_path, label_path = cls.split_files(manual_dir, split)
        images, labels = read_idx(image_path, axes=3), read_idx(label_path, axes=1)
        if len(images) != len(labels):
            raise ValueError(
                f"{image_path} has {len(images)} images, {label_path} {len(labels)} labels"
            )
        if labels.max(initial=0) > 9:
            raise ValueError(f"{label_path}: the label {labels.max()} is no digit")
        return images, labels


def read_idx(path: Path, *, axes: int) -> np.ndarray:
    """Reads an IDX file of bytes, packed with gzip or not.

    Args:
        path: the file.
        axes: how many axes its array must have.

    Returns:
        uint8 array.

    Raises:
        ValueError: the file is truncated or of another kind; the message names it.
    """
    data = path.read_bytes()
    if path.suffix == ".gz":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(
                f"{path}: not a whole gzip file ({error}); download it again"
            ) from error
    magic, header = bytes([0, 0, 8, axes]), 4 + 4 * axes
    if data[:4] != magic or len(data) < header:
        raise ValueError(
            f"{path}: an IDX file of bytes with {axes} axes begins with {magic.hex()}, this one "
            f"with {data[:4].hex() or 'nothing'}"
        )
    shape = struct.unpack(f">{axes}I", data[4:header])
    if len(data) != header + math.prod(shape):
        raise ValueError(
            f"{path}: the header announces {math.prod(shape)} values of shape {shape}, but "
            f"{len(data) - header} follow; download it again"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def _find(folder, stem, kind) -> Path | None:
    # Some archives unpack with a dot in the place of the second hyphen.
    names = [f"{stem}-{k}{end}" for k in (kind, kind.replace("-", ".")) for end in (".gz", "")]
    return next((path for name in names if (path := folder / name).is_file()), None)
