"""WIDER FACE's official lists of the faces that count as easy, medium and hard.

They come with the published evaluation as MATLAB files, wider_easy_val.mat, wider_medium_val.mat
and wider_hard_val.mat; each holds all boxes of the validation images and, for every image, which
of them count. Read with SciPy, which runs no code from the file.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

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
    from scipy.io import loadmat

    if not path.is_file():
        raise ValueError(
            f"{path}: no such file. config.test.levels names the folder of WIDER FACE's "
            "wider_easy_val.mat, wider_medium_val.mat and wider_hard_val.mat"
        )
    try:
        stored = loadmat(path)
        events, files, boxes, counted = (stored[key] for key in _KEYS)
    except (KeyError, NotImplementedError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a level of WIDER FACE's evaluation ({error})") from error
    found = {}
    for event in range(len(events)):
        for row in range(len(files[event, 0])):
            name = f"{_text(events[event, 0])}/{_text(files[event, 0][row, 0])}"
            written = np.asarray(boxes[event, 0][row, 0], np.float64).reshape(-1, 4)
            corners = np.concatenate([written[:, :2], written[:, :2] + written[:, 2:]], 1) - 0.5
            chosen = np.asarray(counted[event, 0][row, 0], int).ravel() - 1
            if len(chosen) and not (chosen.min() >= 0 and chosen.max() < len(corners)):
                raise ValueError(f"{path}: {name} counts face {chosen.max() + 1} of {len(corners)}")
            found[name] = LevelFaces(corners, np.isin(np.arange(len(corners)), chosen))
    return found


def _text(cell) -> str:
    """A MATLAB string, however deep it lies."""
    while not isinstance(cell, str):
        cell = cell[0]
    return cell
