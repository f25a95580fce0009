"""A reader of files with a small valid file, and checks of what it read."""

import dataclasses
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Reader:
    """One reader of one kind of file.

    Attributes:
        name: in the table.
        file: name that the file must have.
        sample: a valid file.
        read: path -> anything.
        check: result of `read` -> what is impossible about it, or None.
        raises: the documented errors.
        text: the sample is UTF-8 text, so that other encodings are tried.
        knows_its_end: the format says how long it is, so that a cut file must be an error or read
            as the same. A list with one entry a line cannot say so.
        slow: reading takes a tenth of a second, so that a tenth of the inputs must do.
    """

    name: str
    file: str
    sample: bytes
    read: Callable[[Path], Any]
    check: Callable[[Any], str | None] = lambda result: None
    raises: tuple[type[Exception], ...] = (ValueError, OSError)
    text: bool = False
    knows_its_end: bool = False
    slow: bool = False

    def same(self, path: Path, result) -> bool:
        """Whether a result is what the whole sample gives."""
        path.write_bytes(self.sample)
        return _plain(self.read(path)) == _plain(result)


def _plain(result):
    """A result in a form that == compares by value."""
    if isinstance(result, np.ndarray) or hasattr(result, "__array__"):
        array = np.asarray(result)
        return (array.shape, str(array.dtype), array.tobytes())
    if isinstance(result, dict):
        return {key: _plain(value) for key, value in result.items()}
    if isinstance(result, list | tuple):
        return [_plain(value) for value in result]
    if dataclasses.is_dataclass(result):
        return _plain(vars(result))
    return result


def finite(shape=None, most=1e9):
    """A check: an array of finite numbers of plausible size."""

    def check(array):
        array = np.asarray(array)
        if shape is not None and array.shape != shape:
            return f"shape {array.shape}"
        if array.size and not (np.abs(array) <= most).all():
            return "not finite, or beyond any picture"
        return None

    return check


def inside(folder, paths):
    """A check in words alone: no link is followed, a name may hold what no path may."""
    root = os.path.normpath(folder) + os.sep
    outside = [path for path in paths if not os.path.normpath(path).startswith(root)]
    return f"leaves the folder: {outside[0]}" if outside else None


FOLDER = tempfile.TemporaryDirectory(prefix="jaxgen-fuzz-")  # for files beside a sample
