"""Writes predicted landmarks while they arrive: CSV, JSON and annotated pictures.

    OUTPUT/predictions.csv     one row a landmark: name,frame,timestamp,face,point,x,y,b_x,b_y
    OUTPUT/predictions.json    {"about": {...}, "faces": [one object a face]}
    OUTPUT/pictures/           one JPEG a frame, NAME.jpg or VIDEO/000017.jpg

Coordinates are pixels of the ORIGINAL picture, upright, pixel centres at integers, (0, 0) the
centre of the top left pixel. b_x and b_y are Laplace scales in the same pixels: the mean distance
from the point at which the network would expect the landmark. They rank landmarks by how unsure it
is; they are not calibrated errors.

Nothing is lost when a run is interrupted: a frame is on disk when `write` returns, and
predictions.csv and predictions.jsonl (one JSON object a line) are whole at any time. `close`
turns the .jsonl file into predictions.json. A second run into the same folder starts both anew.
"""

import csv
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxgen.data.media import Frame
from jaxgen.tasks.landmark_drawing import draw_landmarks

COLUMNS = ("name", "frame", "timestamp", "face", "point", "x", "y", "b_x", "b_y")
DECIMALS = 3  # thousandths of a pixel


class FacePrediction(NamedTuple):
    """Landmarks of one face in original pixels."""

    points: np.ndarray  # [K, 2] (x, y)
    scales: np.ndarray  # [K, 2] (b_x, b_y)
    box: np.ndarray  # [4] (x0, y0, x1, y1) that was looked at
    score: float | None = None  # of the detector that gave the box


class PredictionWriter:
    """Streams predictions into a folder. Use it as a context manager.

    Args:
        directory: made if it does not exist.
        about: facts for predictions.json: data set, step, config hash ...
        pictures: also write annotated pictures.

    Raises:
        OSError: the folder cannot be written; the message names it.
    """

    def __init__(
        self, directory: str | Path, *, about: Mapping[str, Any] | None = None, pictures: bool
    ):
        self._directory, self._pictures = Path(directory), pictures
        self._about = {
            "coordinates": "pixels of the upright original; (0, 0) is the centre of the first",
            **(about or {}),
        }
        self.faces = 0  # faces written
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._json_lines = (self._directory / "predictions.jsonl").open("w", encoding="utf-8")
            self._table = (self._directory / "predictions.csv").open(
                "w", encoding="utf-8", newline=""
            )
        except OSError as error:
            raise OSError(
                f"cannot write predictions to {directory}: {error.strerror}. Choose another folder."
            ) from error
        self._rows = csv.writer(self._table)
        self._rows.writerow(COLUMNS)

    def write(self, frame: Frame, faces: Sequence[FacePrediction]) -> None:
        """Writes all faces of one frame; a frame without a face gets a picture only.

        Raises:
            ValueError: a point or scale is not finite.
        """
        for number, face in enumerate(faces):
            values = np.concatenate([face.points, face.scales], 1)
            if not np.isfinite(values).all():
                raise ValueError(f"{frame.name}, frame {frame.index}: a prediction is not finite")
            self._json_lines.write(json.dumps(_entry(frame, number, face)) + "\n")
            time = "" if frame.timestamp is None else round(frame.timestamp, 6)
            self._rows.writerows(
                (frame.name, frame.index, time, number, point, *_rounded(row))
                for point, row in enumerate(values)
            )
        for file in (self._json_lines, self._table):
            file.flush()
        self.faces += len(faces)
        if self._pictures:
            self._write_picture(frame, faces)

    def close(self) -> None:
        """Closes the files and turns predictions.jsonl into predictions.json."""
        self._table.close()
        self._json_lines.close()
        lines, final = (self._directory / f"predictions.{end}" for end in ("jsonl", "json"))
        temporary = final.with_suffix(".json.tmp")
        # Line by line: the predictions of a film need not fit in memory.
        with (
            lines.open(encoding="utf-8") as source,
            temporary.open("w", encoding="utf-8") as target,
        ):
            target.write('{"about": ' + json.dumps(self._about) + ',\n"faces": [')
            for number, line in enumerate(source):
                target.write((",\n" if number else "\n") + line.rstrip("\n"))
            target.write("\n]}\n")
        os.replace(temporary, final)
        lines.unlink()

    def __enter__(self) -> "PredictionWriter":
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is None:
            self.close()
        else:  # interrupted: leave the lines, which are whole
            self._table.close()
            self._json_lines.close()

    def _write_picture(self, frame: Frame, faces: Sequence[FacePrediction]) -> None:
        from PIL import Image

        name = frame.name if frame.timestamp is None else f"{frame.name}/{frame.index:06d}"
        if not name.lower().endswith((".jpg", ".jpeg")):
            name += ".jpg"  # a.png becomes a.png.jpg, which cannot fall on a.jpg
        path = self._directory / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = draw_landmarks(
            frame.image, [face.points for face in faces], [face.scales for face in faces]
        )
        Image.fromarray(picture).save(path, quality=92)


def _entry(frame: Frame, number: int, face: FacePrediction) -> dict[str, Any]:
    return {
        "name": frame.name,
        "frame": frame.index,
        "timestamp": None if frame.timestamp is None else round(frame.timestamp, 6),
        "face": number,
        "box": _rounded(face.box),
        "score": face.score,
        "points": [_rounded(row) for row in face.points],
        "scales": [_rounded(row) for row in face.scales],
    }


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(float(value), DECIMALS) for value in values]
