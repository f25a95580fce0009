"""What the builders of classified images share: one form of stored example.

    image uint8 [H, W, 1 or 3]   PNG, so that pixels are exact; or the user's own file as it is
    label int                    position in the list of classes, -1 where there is no label
    name str                     unique id, which decides what is held out for validation

The ten digits are the classes of every digit set, in their order.
"""

import abc
import io
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from jaxgen.data.builders import manual

DIGITS = tuple("0123456789")


class ClassBuilder(manual.ManualBuilder, skip_registration=True):
    """Base of the builders of classified images over the user's files.

    Class attributes:
        CHANNELS: 1 for grey images, 3 for colour.
    """

    VERSION = tfds.core.Version("1.0.0")
    CHANNELS = 1
    NOUN = "images"

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the labels."""
        return DIGITS

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self, features=class_features(self.classes, channels=self.CHANNELS)
        )


class DigitBuilder(ClassBuilder, skip_registration=True):
    """Base of the official sets of digits: two splits of known size, each in files of its own.

    A set of which only one split is there can be used as far as it goes.

    Class attributes:
        COUNTS: split -> published number of images.
    """

    VERSION = tfds.core.Version("1.0.0")
    COUNTS = {}  # noqa: RUF012 (read only)
    OPTIONS = {"allow_partial": False}  # noqa: RUF012

    @classmethod
    @abc.abstractmethod
    def split_files(cls, manual_dir: Path, split: str) -> list[Path]:
        """The files of a split; [] where one of them is missing."""

    @classmethod
    @abc.abstractmethod
    def read(cls, manual_dir: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Images uint8 [N, H, W] or [N, H, W, 3] and labels [N] of a split that is there.

        Raises:
            ValueError: a file is damaged; the message names it.
        """

    @classmethod
    def files(cls, manual_dir, options):
        """The files of the splits that are there."""
        del options
        return [path for split in cls.COUNTS for path in cls.split_files(manual_dir, split)]

    def split_parts(self, split):
        """Checks that the files of a split are there."""
        root = self.builder_config.manual_dir
        if split in self.COUNTS and not self.split_files(root, split):
            raise ValueError(f"{root} lacks files of {split!r}. Expected:\n{self.LAYOUT}")
        return (split,)

    def splits(self):
        """The splits that are there."""
        root = self.builder_config.manual_dir
        return {
            split: self._digits(split) for split in self.COUNTS if self.split_files(root, split)
        }

    def read_checked(self, split) -> tuple[np.ndarray, np.ndarray]:
        """`read`, and the number of images is as published or `allow_partial` is set."""
        digits, labels = self.read(self.builder_config.manual_dir, split)
        self.require(split, len(digits), self.COUNTS[split])
        return digits, labels

    def _digits(self, split):
        return stored_digits(*self.read_checked(split), prefix=split)


def class_features(classes, *, channels) -> tfds.features.FeaturesDict:
    """Features of a stored example; `channels` is 1 or 3."""
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, channels)),
            "label": tfds.features.ClassLabel(names=list(classes)),
            "name": tfds.features.Text(),
        }
    )


def png(pixels: np.ndarray) -> bytes:
    """Pixels as a PNG file. uint8 [H, W] or [H, W, 3] -> bytes."""
    stream = io.BytesIO()
    # Small pictures gain nothing from a longer search.
    Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def stored_digits(images: np.ndarray, labels: np.ndarray, *, prefix: str):
    """Yields the stored examples of an array of digits.

    Args:
        images: [N, H, W] or [N, H, W, 3] uint8.
        labels: [N] whole numbers 0 to 9.
        prefix: start of every name, usually the split.
    """
    for number, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        yield {"image": png(pixels), "label": int(label), "name": f"{prefix}/{number:06d}"}
