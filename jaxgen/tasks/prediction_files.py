"""What every `predict` writes while it runs: a table, JSON and annotated pictures.

Nothing is lost when a run is interrupted: predictions.csv and predictions.jsonl (one JSON object a
line) are whole at any time. `close` turns the .jsonl file into predictions.json. A second run into
the same folder starts anew: pictures of the first one show other people.
"""

import csv
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from jaxgen.data.media import Frame


class PredictionFiles:
    """A folder with predictions.csv and predictions.json. Use it as a context manager.

    Args:
        directory: made if it does not exist.
        about: facts for predictions.json: data set, step, config hash ...
        columns: of predictions.csv.
        entries: name of the list in predictions.json.
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
        columns: Sequence[str],
        entries: str,
        inputs: Iterable[Path] = (),
    ):
        self.directory, self._entries = Path(directory), entries
        self._about = {
            "coordinates": "pixels of the upright original; (0, 0) is the centre of the first",
            **about,
        }
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            remove_earlier([self.directory / name for name in ("pictures", "crops")], inputs)
            self._lines = (self.directory / "predictions.jsonl").open("w", encoding="utf-8")
            self._table = (self.directory / "predictions.csv").open(
                "w", encoding="utf-8", newline=""
            )
        except OSError as error:
            raise OSError(
                f"cannot write predictions to {directory}: {error.strerror}. Choose another folder."
            ) from error
        self._rows = csv.writer(self._table)
        self._rows.writerow(columns)

    def add(self, entries: Iterable[Mapping], rows: Iterable[Sequence]) -> None:
        """Appends entries of predictions.json and rows of predictions.csv; None is an empty cell.

        Both are on disk when it returns.
        """
        self._lines.writelines(json.dumps(entry) + "\n" for entry in entries)
        self._rows.writerows(rows)
        for file in (self._lines, self._table):
            file.flush()

    def save_picture(self, frame: Frame, picture: np.ndarray) -> None:
        """Saves an annotated picture, uint8 [H, W, 3], below pictures/."""
        from PIL import Image

        path = self.directory / "pictures" / picture_name(frame)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path, quality=92)

    def close(self) -> None:
        """Closes the files and turns predictions.jsonl into predictions.json."""
        self._close_files()
        lines, final = (self.directory / f"predictions.{end}" for end in ("jsonl", "json"))
        temporary = final.with_suffix(".json.tmp")
        # Line by line: the predictions of a film need not fit in memory.
        with (
            lines.open(encoding="utf-8") as source,
            temporary.open("w", encoding="utf-8") as target,
        ):
            target.write(f'{{"about": {json.dumps(self._about)},\n"{self._entries}": [')
            for number, line in enumerate(source):
                target.write((",\n" if number else "\n") + line.rstrip("\n"))
            target.write("\n]}\n")
        os.replace(temporary, final)
        lines.unlink()

    def _close_files(self) -> None:
        self._table.close()
        self._lines.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind, *_) -> None:
        # Interrupted: leave the lines, which are whole.
        (self.close if kind is None else self._close_files)()


def remove_earlier(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Removes what an earlier run has written.

    Args:
        outputs: files and folders; they need not exist.
        inputs: files that are read meanwhile.

    Raises:
        ValueError: an input is among the outputs. Nothing has been removed then.
    """
    outputs, inputs = list(outputs), [path.resolve() for path in inputs]
    for output in outputs:
        for path in inputs:
            if output.resolve() in (path, *path.parents):
                raise ValueError(
                    f"{path} is to be read, but it was written by an earlier run and would be "
                    "removed: copy it to another folder"
                )
    for output in outputs:
        if output.is_dir():
            shutil.rmtree(output)
        else:
            output.unlink(missing_ok=True)


def picture_name(frame: Frame) -> str:
    """Where the annotated picture of a frame lies below pictures/."""
    name = frame.name if frame.timestamp is None else f"{frame.name}/{frame.index:06d}"
    # a.png becomes a.png.jpg, which cannot fall on a.jpg
    return name if name.lower().endswith((".jpg", ".jpeg")) else f"{name}.jpg"


def seconds(frame: Frame) -> float | None:
    """Time of a frame in its video, to the microsecond; None for a picture."""
    return None if frame.timestamp is None else round(frame.timestamp, 6)
