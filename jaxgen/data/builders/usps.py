"""USPS: 7,291 training and 2,007 test digits of 16 x 16 pixels, from scanned envelopes.

Layout, as it is published with "The Elements of Statistical Learning":

    zip.train.gz  zip.test.gz

A line holds the digit, then 256 grey values in [-1, 1], row by row from the top left, bright on
black. A value x is stored as round(255 (x + 1) / 2).
"""

import gzip
import zlib
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from jaxgen.data import text_files
from jaxgen.data.builders import class_sets

_COLUMNS = 1 + 16 * 16


class Usps(class_sets.DigitBuilder):
    """Digits of USPS."""

    VERSION = tfds.core.Version("1.0.0")
    FOLDER = "usps"
    LAYOUT = "  zip.train.gz\n  zip.test.gz (or unpacked, without .gz)"
    COUNTS = {"train": 7291, "test": 2007}  # noqa: RUF012

    @classmethod
    def split_files(cls, manual_dir, split):
        """The one file of a split."""
        found = (manual_dir / f"zip.{split}{end}" for end in (".gz", ""))
        return [path for path in found if path.is_file()][:1]

    @classmethod
    def read(cls, manual_dir, split):
        """Images [N, 16, 16] and labels [N]."""
        return read_zip_text(*cls.split_files(manual_dir, split))


def read_zip_text(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, 16, 16] and labels int [N] of one file.

    Raises:
        ValueError: the file is truncated, or a line has other values; the message names both.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="ascii") as file:
            lines = file.read().splitlines()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a whole text file ({error}); download it again") from error
    rows = [_row(f"{path}:{n}", line) for n, line in enumerate(lines, start=1) if line.strip()]
    if not rows:
        raise ValueError(f"{path}: there is no line with a digit")
    table = np.stack(rows)
    pixels = np.round(255 * (table[:, 1:] + 1) / 2).astype(np.uint8)
    return pixels.reshape(-1, 16, 16), table[:, 0].astype(int)


def _row(where, line) -> np.ndarray:
    """[257] float64: a digit and its pixels."""
    fields = line.split()
    if len(fields) != _COLUMNS:
        raise ValueError(f"{where}: expected a digit and 256 grey values, got {len(fields)} fields")
    try:
        values = np.array([text_files.number(field) for field in fields])
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    if values[0] not in range(10):
        raise ValueError(f"{where}: the first field is a digit from 0 to 9, got {values[0]:g}")
    if not (np.abs(values[1:]) <= 1).all():
        raise ValueError(f"{where}: a grey value lies outside of [-1, 1]")
    return values
