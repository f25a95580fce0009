"""Writes detected faces while they arrive: CSV, JSON and annotated pictures.

    OUTPUT/predictions.csv     one row a face: name,frame,timestamp,face,x0,y0,x1,y1 and scores
    OUTPUT/predictions.json    {"about": {...}, "pictures": [{"name", "frame", "faces": [...]}]}
    OUTPUT/pictures/           one annotated picture a frame, NAME.jpg or VIDEO/000017.jpg
    OUTPUT/crops/NAME/007.png  face 7 of a picture: as it is, and super-resolved

Coordinates are pixels of the ORIGINAL picture, upright, edge to edge, (0, 0) the centre of the top
left pixel. The column `score` is what faces are sorted by; others say how it came about, and are
empty where a face has none. predictions.csv is one that --boxes reads.

A frame is on disk when `write` returns; prediction_files.py says what an interrupted run leaves.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxgen.data.media import Frame
from jaxgen.tasks.detection_drawing import draw_boxes
from jaxgen.tasks.prediction_files import PredictionFiles, picture_name, seconds

SCORES = ("score", "detector_score", "gan_score")
COLUMNS = ("name", "frame", "timestamp", "face", "x0", "y0", "x1", "y1", *SCORES)


class FacePrediction(NamedTuple):
    """One face."""

    box: np.ndarray  # [4] pixels of the picture
    score: float | None  # the one to sort by, in [0, 1]; None where nothing has scored the face
    detector_score: float | None  # of the detector; None where boxes came without
    gan_score: float | None = None  # of the discriminator on the super-resolved face
    low: np.ndarray | None = None  # uint8 [l, l, 3], the face as it is
    enlarged: np.ndarray | None = None  # uint8 [4 l, 4 l, 3], super-resolved


class DetectionWriter(PredictionFiles):
    """Streams detections into a folder. Use it as a context manager.

    Args:
        directory: made if it does not exist.
        about: facts for predictions.json: data set, step, config hash ...
        least_drawn: faces with a lower score are written but not drawn.
        inputs: files that are read meanwhile.

    Raises:
        OSError: the folder cannot be written; the message names it.
        ValueError: an input is a picture of an earlier run, which would be removed.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        about: Mapping[str, Any],
        least_drawn: float,
        inputs: Iterable[Path] = (),
    ):
        super().__init__(directory, about=about, columns=COLUMNS, entries="pictures", inputs=inputs)
        self._least_drawn = least_drawn
        self.faces = 0  # faces written

    def write(self, frame: Frame, faces: Sequence[FacePrediction]) -> None:
        """Writes all faces of one frame; a frame without a face is written too."""
        time = seconds(frame)
        entries = [_entry(number, face) for number, face in enumerate(faces)]
        picture = {"name": frame.name, "frame": frame.index, "timestamp": time, "faces": entries}
        rows = [
            (frame.name, frame.index, time, each["face"], *each["box"], *(each[n] for n in SCORES))
            for each in entries
        ]
        self.add([picture], rows)
        self.faces += len(faces)
        drawn = [face for face in faces if self._is_sure(face)]
        boxes = np.array([face.box for face in drawn]).reshape(-1, 4)
        scores = [1.0 if face.score is None else face.score for face in drawn]
        self.save_picture(frame, draw_boxes(frame.image, boxes, scores))
        self._write_crops(frame, faces)

    def _write_crops(self, frame: Frame, faces: Sequence[FacePrediction]) -> None:
        from PIL import Image

        folder = self.directory / "crops" / picture_name(frame)
        for number, face in enumerate(faces):
            if face.enlarged is None or not self._is_sure(face):
                continue
            folder.mkdir(parents=True, exist_ok=True)
            size = face.enlarged.shape[1::-1]
            before = Image.fromarray(face.low).resize(size, Image.Resampling.NEAREST)
            pair = np.concatenate([np.asarray(before), face.enlarged], 1)
            Image.fromarray(pair).save(folder / f"{number:03d}.png")

    def _is_sure(self, face: FacePrediction) -> bool:
        return face.score is None or face.score >= self._least_drawn


def _entry(number: int, face: FacePrediction) -> dict[str, Any]:
    return {
        "face": number,
        "box": [round(float(value), 3) for value in face.box],
        **{
            name: None if (value := getattr(face, name)) is None else round(float(value), 5)
            for name in SCORES
        },
    }
