"""WIDER FACE's official lists of the faces that count as easy, medium and hard.

They come with the published evaluation as MATLAB files, wider_easy_val.mat, wider_medium_val.mat
and wider_hard_val.mat; each holds all boxes of the validation images and, for every image, which
of them count.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxgen.data import mat_files, text_files

LEVELS = ("easy", "medium", "hard")
_KEYS = ("event_list", "file_list", "face_bbx_list", "gt_list")


class LevelFaces(NamedTuple):
    """One image's faces in one level."""

    boxes: np.ndarray  # [M, 4] float64 (x0, y0, x1, y1) pixels, edge to edge
    counted: np.ndarray  # [M] bool


def read_levels(folder: str | Path) -> dict[str, dict[str, LevelFaces]]:
    """Level -> image, named EVENT/NAME as in wider_face.py -> its faces.

    Raises:
        ValueError: a file is missing or of another kind; the message names it.
    """
    folder = Path(folder).expanduser()
    return {level: read_level(folder / f"wider_{level}_val.mat") for level in LEVELS}


def read_level(path: Path) -> dict[str, LevelFaces]:
    """The faces of one level by image."""
    if not path.is_file():
        raise ValueError(
            f"{path}: no such file. config.test.levels names the folder of WIDER FACE's "
            "wider_easy_val.mat, wider_medium_val.mat and wider_hard_val.mat"
        )
    stored = mat_files.load_mat(path, _KEYS)
    try:
        return dict(_images(*(stored[key] for key in _KEYS)))
    except (IndexError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a level of WIDER FACE's evaluation ({error})") from error


def _images(events, files, boxes, counted) -> Iterator[tuple[str, LevelFaces]]:
    """(name, faces) of every image; any error says that the variables have another form."""
    lengths = {len(table) for table in (events, files, boxes, counted)}
    if len(lengths) > 1:
        raise ValueError(f"its lists have {sorted(lengths)} events")
    for event in range(len(events)):
        lists = [table[event, 0] for table in (files, boxes, counted)]
        lengths = {len(part) for part in lists}
        if len(lengths) > 1:
            raise ValueError(f"event {event + 1} has {sorted(lengths)} images")
        for own_file, own_boxes, own_counted in zip(*(part[:, 0] for part in lists), strict=True):
            name = f"{_text(events[event, 0])}/{_text(own_file)}"
            written = np.asarray(own_boxes, np.float64).reshape(-1, 4)
            if not (np.abs(written) <= text_files.FARTHEST).all():
                raise ValueError(f"{name} has a box that is not finite, or far away")
            corners = np.concatenate([written[:, :2], written[:, :2] + written[:, 2:]], 1) - 0.5
            number = np.asarray(own_counted, np.float64).ravel()
            if not np.isin(number, np.arange(1, len(corners) + 1)).all():
                raise ValueError(f"{name} counts face {number.max():g} of {len(corners)}")
            yield name, LevelFaces(corners, np.isin(np.arange(1, len(corners) + 1), number))


def _text(cell) -> str:
    """A MATLAB string, however deep it lies."""
    for _ in range(4):
        if isinstance(cell, str):
            return str(cell)
        cell = cell[0]
    raise TypeError("a name is no text")
