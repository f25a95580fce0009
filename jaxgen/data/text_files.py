"""Text and numbers out of files that people and other programs wrote.

Python reads more than is meant: float("1_0") is 10, float("nan") is a number, and a byte order mark
is a letter. Readers of lists take their text, numbers and paths through here.
"""

import json
import math
from pathlib import Path
from typing import Any

FARTHEST = 1e6  # no coordinate of a picture lies further out


def read_text(path: str | Path) -> str:
    """A text file in UTF-8, with or without a byte order mark.

    Raises:
        ValueError: it is in another encoding; the message names it.
        OSError: it cannot be opened.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file in UTF-8 ({error})") from error
    if "\0" in text:
        raise ValueError(f"{path}: not a text file: it has zero bytes")
    return text


def read_json(path: str | Path) -> Any:
    """What a JSON file holds.

    Raises:
        ValueError: it is not JSON, or nested too deep; the message names it.
        OSError: it cannot be opened.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}: not JSON ({error.msg})") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON that can be read ({error})") from None


def number(text: str, most: float = FARTHEST) -> float:
    """A finite number, written as 12, -3.5 or 1e-2.

    Raises:
        ValueError: it is something else, or its size is above `most`.
    """
    if "_" in text or not text.isascii():
        raise ValueError(f"{quoted(text)} is no number")
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{quoted(text)} is no number") from None
    if not (math.isfinite(value) and abs(value) <= most):
        raise ValueError(f"{quoted(text)} is not finite, or beyond {most:g}")
    return value


def quoted(text: str, length: int = 60) -> str:
    """A piece of a file for an error: in quotes, on one line, no longer than somebody reads."""
    return repr(text if len(text) <= length else text[:length] + "...")


def path_below(folder: Path, name: str) -> Path:
    """The path of a file that a list names.

    Raises:
        ValueError: the name is absolute, climbs out of the folder, or is no name of a file.
    """
    parts = Path(name).parts
    if not parts or Path(name).is_absolute() or ".." in parts or "\\" in name:
        raise ValueError(f"{quoted(name)} is no path below {folder}")
    if "\0" in name or max(map(len, parts)) > 255 or len(name) > 2000:
        raise ValueError(f"{quoted(name)} is no name of a file")
    return folder / name
