"""Writes predicted landmarks while they arrive: CSV, JSON and annotated pictures.

    OUTPUT/predictions.csv     one row a landmark: name,frame,timestamp,face,point,x,y,b_x,b_y
    OUTPUT/predictions.json    {"about": {...}, "faces": [one object a face]}
    OUTPUT/pictures/           one JPEG a frame, NAME.jpg or VIDEO/000017.jpg

Coordinates are pixels of the ORIGINAL picture, upright, pixel centres at integers, (0, 0) the
centre of the top left pixel. b_x and b_y are Laplace scales in the same pixels: the mean distance
from the point at which the network would expect the landmark. They rank landmarks by how unsure it
is; they are not calibrated errors.

A frame is on disk when `write` returns; prediction_files.py says what an interrupted run leaves.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxgen.data.media import Frame
from jaxgen.tasks.landmark_drawing import draw_landmarks
from jaxgen.tasks.prediction_files import PredictionFiles, seconds

COLUMNS = ("name", "frame", "timestamp", "face", "point", "x", "y", "b_x", "b_y")
DECIMALS = 3  # thousandths of a pixel


class FacePrediction(NamedTuple):
    """Landmarks of one face in original pixels."""

    points: np.ndarray  # [K, 2] (x, y)
    scales: np.ndarray  # [K, 2] (b_x, b_y)
    box: np.ndarray  # [4] (x0, y0, x1, y1) that was looked at
    score: float | None = None  # of the detector that gave the box


class PredictionWriter(PredictionFiles):
    """Streams predictions into a folder. Use it as a context manager.

    Args:
        directory: made if it does not exist.
        about: facts for predictions.json: data set, step, config hash ...
        pictures: also write annotated pictures.
        inputs: files that are read meanwhile.

    Raises:
        OSError: the folder cannot be written; the message names it.
        ValueError: an input is a picture of an earlier run, which would be removed.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        about: Mapping[str, Any] | None = None,
        pictures: bool,
        inputs: Iterable[Path] = (),
    ):
        super().__init__(
            directory, about=about or {}, columns=COLUMNS, entries="faces", inputs=inputs
        )
        self._pictures = pictures
        self.faces = 0  # faces written

    def write(self, frame: Frame, faces: Sequence[FacePrediction]) -> None:
        """Writes all faces of one frame; a frame without a face gets a picture only.

        Raises:
            ValueError: a point or scale is not finite.
        """
        values = [np.concatenate([face.points, face.scales], 1) for face in faces]
        if not all(np.isfinite(each).all() for each in values):
            raise ValueError(f"{frame.name}, frame {frame.index}: a prediction is not finite")
        rows = (
            (frame.name, frame.index, seconds(frame), number, point, *_rounded(row))
            for number, points in enumerate(values)
            for point, row in enumerate(points)
        )
        self.add((_entry(frame, number, face) for number, face in enumerate(faces)), rows)
        self.faces += len(faces)
        if self._pictures:
            points, scales = [face.points for face in faces], [face.scales for face in faces]
            self.save_picture(frame, draw_landmarks(frame.image, points, scales))


def _entry(frame: Frame, number: int, face: FacePrediction) -> dict[str, Any]:
    return {
        "name": frame.name,
        "frame": frame.index,
        "timestamp": seconds(frame),
        "face": number,
        "box": _rounded(face.box),
        "score": face.score,
        "points": [_rounded(row) for row in face.points],
        "scales": [_rounded(row) for row in face.scales],
    }


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(float(value), DECIMALS) for value in values]
