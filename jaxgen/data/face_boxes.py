"""Face boxes from a file of the user's: which faces to look at, and where.

CSV with a header, or a JSON list of objects with the same names, one entry a face:

    name,x0,y0,x1,y1,score,frame
    holiday/a.jpg,102.5,80,190,188.25,0.98,
    clip.mp4,40,32,96,100,,17

`name` is the path below the input folder, or the file name of a single input. Coordinates are
pixels of the upright picture, (x0, y0) the upper left corner. `score` and `frame` may be absent or
empty; a box without a frame holds for every frame of its file.
"""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxgen.data import text_files

_REQUIRED = ("name", "x0", "y0", "x1", "y1")


class FaceBox(NamedTuple):
    """One face."""

    box: np.ndarray  # [4] float64 (x0, y0, x1, y1), pixels
    score: float | None  # confidence of the detector that found it, if known


class FaceBoxes:
    """Boxes by file and frame."""

    def __init__(self, entries: Mapping[tuple[str, int | None], list[FaceBox]]):
        self._entries = dict(entries)

    @property
    def names(self) -> set[str]:
        """Files that have a box."""
        return {name for name, _ in self._entries}

    def of(self, name: str, frame: int = 0) -> list[FaceBox]:
        """Faces of a frame, in the order of the file; none is an empty list."""
        return self._entries.get((name, None), []) + self._entries.get((name, frame), [])


def read_face_boxes(path: str | Path, *, probabilities: bool = False) -> FaceBoxes:
    """Reads and checks a file of boxes, CSV or JSON by its ending.

    Args:
        path: of the file.
        probabilities: whether scores must lie in [0, 1].

    Raises:
        ValueError: another format, a missing column or value, a value that is no number, a box
            without area, or a score that is no probability; the message names the file and the
            line or entry.
    """
    path = Path(path)
    try:
        rows = {".csv": _csv_rows, ".json": _json_rows}[path.suffix.lower()](path)
    except KeyError:
        raise ValueError(f"{path}: boxes are read from .csv and .json files") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot read the boxes ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a text file in UTF-8 ({error})") from error
    entries: dict[tuple[str, int | None], list[FaceBox]] = {}
    for where, row in rows:
        try:
            key, face = _parse(row)
            if probabilities and face.score is not None and not 0 <= face.score <= 1:
                raise ValueError(
                    f"score is {face.score:g}, which is no probability: map the scores of that "
                    "detector to [0, 1] (1 / (1 + exp(-score)) for logits), or leave them empty"
                )
        except ValueError as error:
            raise ValueError(f"{path}, {where}: {error}") from None
        entries.setdefault(key, []).append(face)
    if not entries:
        raise ValueError(f"{path}: no box in it")
    return FaceBoxes(entries)


def _csv_rows(path: Path) -> list[tuple[str, Mapping[str, Any]]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, skipinitialspace=True)
        missing = [column for column in _REQUIRED if column not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(
                f"{path}, line 1: the header lacks {', '.join(missing)}; "
                f"it must name {','.join(_REQUIRED)} and may name score,frame"
            )
        return [(f"line {reader.line_num}", row) for row in reader]


def _json_rows(path: Path) -> list[tuple[str, Mapping[str, Any]]]:
    rows = text_files.read_json(path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        example = '[{"name": "a.jpg", "x0": 10, "y0": 12, "x1": 90, "y1": 99}]'
        raise ValueError(f"{path}: expected a list of objects such as {example}")
    return [(f"entry {number}", row) for number, row in enumerate(rows)]


def _parse(row: Mapping[str, Any]) -> tuple[tuple[str, int | None], FaceBox]:
    if None in row:
        raise ValueError("more values than the header has names; quote a name that has a comma")
    if not (row.get("name") and isinstance(row["name"], str)):
        raise ValueError("the name is empty, or no text")
    x0, y0, x1, y1 = (_number(row, column) for column in _REQUIRED[1:])
    if not (x0 < x1 and y0 < y1):
        raise ValueError(f"a box needs x0 < x1 and y0 < y1, got {x0:g},{y0:g},{x1:g},{y1:g}")
    score = _number(row, "score") if row.get("score") not in (None, "") else None
    frame = _number(row, "frame") if row.get("frame") not in (None, "") else None
    if frame is not None and (frame < 0 or frame != int(frame)):
        raise ValueError(f"frame is {frame:g}: frames are counted 0, 1, 2 ...")
    key = row["name"], None if frame is None else int(frame)
    return key, FaceBox(np.array([x0, y0, x1, y1]), score)


def _number(row: Mapping[str, Any], column: str) -> float:
    value = row.get(column)
    try:
        return text_files.number("" if isinstance(value, bool) else str(value))
    except ValueError:
        shown = text_files.quoted(value) if isinstance(value, str) else str(value)[:60]
        raise ValueError(f"{column} is {shown}, not a number") from None
