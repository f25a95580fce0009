"""Writes detected faces while they arrive: CSV, JSON and annotated pictures.

    OUTPUT/predictions.csv     one row a face: name,frame,timestamp,face,x0,y0,x1,y1 and scores
    OUTPUT/predictions.json    {"about": {...}, "pictures": [{"name", "frame", "faces": [...]}]}
    OUTPUT/pictures/           one annotated picture a frame, NAME.jpg or VIDEO/000017.jpg
    OUTPUT/crops/NAME/007.png  face 7 of a picture: as it is, and super-resolved

Coordinates are pixels of the ORIGINAL picture, upright, edge to edge, (0, 0) the centre of the top
left pixel. The column `score` is what faces are sorted by; others say how it came about, and are
empty where a face has none. predictions.csv is one that --boxes reads.

Nothing is lost when a run is interrupted: a frame is on disk when `write` returns, and
predictions.csv and predictions.jsonl (one picture a line) are whole at any time. `close` turns the
.jsonl file into predictions.json. A second run into the same folder starts both anew.
"""

import csv
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxgen.data.media import Frame
from jaxgen.tasks.detection_drawing import draw_boxes

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


class DetectionWriter:
    """Streams detections into a folder. Use it as a context manager.

    Args:
        directory: made if it does not exist.
        about: facts for predictions.json: data set, step, config hash ...
        least_drawn: faces with a lower score are written but not drawn.

    Raises:
        OSError: the folder cannot be written; the message names it.
    """

    def __init__(self, directory: str | Path, *, about: Mapping[str, Any], least_drawn: float):
        self._directory, self._least_drawn = Path(directory), least_drawn
        self._about = {
            "coordinates": "pixels of the upright original; (0, 0) is the centre of the first",
            **about,
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
        """Writes all faces of one frame; a frame without a face is written too."""
        time = None if frame.timestamp is None else round(frame.timestamp, 6)
        entries = [_entry(number, face) for number, face in enumerate(faces)]
        picture = {"name": frame.name, "frame": frame.index, "timestamp": time, "faces": entries}
        self._json_lines.write(json.dumps(picture) + "\n")
        for entry in entries:
            cells = (entry["face"], *entry["box"], *(entry[name] for name in SCORES))
            row = (frame.name, frame.index, time, *cells)
            self._rows.writerow("" if cell is None else cell for cell in row)
        for file in (self._json_lines, self._table):
            file.flush()
        self.faces += len(faces)
        self._write_picture(frame, faces)
        self._write_crops(frame, faces)

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
            target.write('{"about": ' + json.dumps(self._about) + ',\n"pictures": [')
            for number, line in enumerate(source):
                target.write((",\n" if number else "\n") + line.rstrip("\n"))
            target.write("\n]}\n")
        os.replace(temporary, final)
        lines.unlink()

    def __enter__(self) -> "DetectionWriter":
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is None:
            self.close()
        else:  # interrupted: leave the lines, which are whole
            self._table.close()
            self._json_lines.close()

    def _write_picture(self, frame: Frame, faces: Sequence[FacePrediction]) -> None:
        from PIL import Image

        path = self._directory / "pictures" / picture_name(frame)
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn = [face for face in faces if self._is_sure(face)]
        boxes = np.array([face.box for face in drawn]).reshape(-1, 4)
        scores = [1.0 if face.score is None else face.score for face in drawn]
        Image.fromarray(draw_boxes(frame.image, boxes, scores)).save(path, quality=90)

    def _write_crops(self, frame: Frame, faces: Sequence[FacePrediction]) -> None:
        from PIL import Image

        folder = self._directory / "crops" / picture_name(frame)
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


def picture_name(frame: Frame) -> str:
    """Where the annotated picture of a frame lies below OUTPUT/pictures."""
    name = frame.name if frame.timestamp is None else f"{frame.name}/{frame.index:06d}"
    # a.png becomes a.png.jpg, which cannot fall on a.jpg
    return name if name.lower().endswith((".jpg", ".jpeg")) else f"{name}.jpg"


def _entry(number: int, face: FacePrediction) -> dict[str, Any]:
    return {
        "face": number,
        "box": [round(float(value), 3) for value in face.box],
        **{
            name: None if (value := getattr(face, name)) is None else round(float(value), 5)
            for name in SCORES
        },
    }
