"""Your own faces: a folder of images and one CSV file of points, any number of them.

    image,split,group,box_x0,box_y0,box_x1,box_y1,nose_x,nose_y,left_eye_x,left_eye_y
    a/001.jpg,train,anna,10,12,90,99,52.5,60,38,41.25
    b/007.png,test,ben,,,,,120,88,131.5,70
    b/008.png,test,ben,40,30,160,170,120,88,,

`image` is the path below the folder; a picture with several faces has several lines. `split`
(default "train"), `group` (whose faces stay together; default: the image) and the four box columns
may be left out; an empty box means the tight box around the points, at least two of which then
need a label. Every further pair of columns NAME_x, NAME_y is a landmark, in the order of the file.
An empty pair is a point without a label.

Coordinates are pixels of the picture as a viewer shows it (upright), pixel centres at integers,
0-based; a point may lie outside the picture.
"""

import csv
import functools
import io
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from jaxgen.data import text_files
from jaxgen.data.builders import face_sets, images

_BOX = ("box_x0", "box_y0", "box_x1", "box_y1")
_KNOWN = ("image", "split", "group", *_BOX)


class PointsCsv(face_sets.FaceBuilder):
    """Faces of a user's own CSV file."""

    VERSION = tfds.core.Version("1.0.0")
    LAYOUT = (
        "  points.csv (option points_csv) with the header image,...,NAME_x,NAME_y,...\n  images"
    )
    UPRIGHT = True
    OPTIONS = {**face_sets.FaceBuilder.OPTIONS, "points_csv": "points.csv"}  # noqa: RUF012

    @classmethod
    def files(cls, manual_dir, options):
        """The table and every image that it names."""
        table = manual_dir / options["points_csv"]
        if not table.exists():
            return []
        return [table, *{face.image for face in read_table(table, manual_dir)[1]}]

    @property
    def num_points(self):
        """Pairs of columns in the header."""
        return len(self._table[0])

    def split_parts(self, split):
        """Checks that the table has faces of a plainly named split."""
        known = self.faces()
        if split.isidentifier() and split not in known:
            raise ValueError(f"{self._path}: no line has the split {split!r}; it has {[*known]}")
        return (split,)

    def faces(self):
        """One split per value of the column `split`."""
        splits = {}
        for face in self._table[1]:
            splits.setdefault(face.subset, []).append(face)
        return splits

    @property
    def _path(self):
        return self.builder_config.manual_dir / self.builder_config.options["points_csv"]

    @functools.cached_property
    def _table(self):
        return read_table(self._path, self.builder_config.manual_dir)

    def _stored(self, face):
        return {**super()._stored(face), "subset": ""}


def read_table(path: Path, folder: Path) -> tuple[list[str], list[face_sets.Face]]:
    """Names of the points, and the faces; `Face.subset` holds the split here.

    Args:
        path: the table.
        folder: where the images lie.

    Raises:
        ValueError: anything else than the format above; the message holds file and line.
    """
    # A cell may hold line ends of its own, so the csv module gets the text whole.
    rows = csv.reader(io.StringIO(text_files.read_text(path), newline=""), skipinitialspace=True)
    try:
        header = [cell.strip() for cell in next(rows, [])]
        names = _point_names(path, header)
        faces, seen = [], {}
        for cells in rows:
            if not any(cell.strip() for cell in cells):
                continue
            where = f"{path}:{rows.line_num}"
            if len(cells) != len(header):
                raise ValueError(f"{where}: {len(cells)} cells, but the header has {len(header)}")
            row = dict(zip(header, (cell.strip() for cell in cells), strict=True))
            number = seen[row["image"]] = seen.get(row["image"], -1) + 1
            faces.append(_face(folder, where, row, names, number))
    except csv.Error as error:
        raise ValueError(f"{path}:{rows.line_num}: not a table ({error})") from error
    if not faces:
        raise ValueError(f"{path}: there is no line below the header")
    return names, faces


def _point_names(path, header) -> list[str]:
    """Landmarks that the header names, in order."""
    columns = [column for column in header if column not in _KNOWN]
    names = [column.removesuffix("_x") for column in columns[::2]]
    expected = [f"{name}_{axis}" for name in names for axis in "xy"]
    box = [column for column in _BOX if column in header]
    if "image" not in header or not names or columns != expected:
        raise ValueError(
            f"{path}:1: the header must have image and pairs NAME_x,NAME_y, and may have "
            f"{', '.join(_KNOWN[1:])}; got {text_files.quoted(','.join(header), 200)}"
        )
    if len(set(header)) < len(header) or len(box) not in (0, 4):
        raise ValueError(f"{path}:1: a column appears twice, or the box has not all of {_BOX}")
    return names


def _face(folder, where, row, names, number) -> face_sets.Face:
    if not row["image"]:
        raise ValueError(f"{where}: the image is empty")
    split = row.get("split") or "train"
    if not split.isidentifier():
        shown = text_files.quoted(split)
        raise ValueError(f"{where}: a split is a plain word such as train, not {shown}")
    try:
        image = text_files.path_below(folder, row["image"])
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    if not image.is_file():
        raise ValueError(f"{where}: there is no image {image}")
    points = np.array([[_number(where, row, f"{name}_{axis}") for axis in "xy"] for name in names])
    if (np.isnan(points[:, 0]) != np.isnan(points[:, 1])).any():
        raise ValueError(f"{where}: a point has only one of its two coordinates")
    box = np.array([_number(where, row, column) for column in _BOX if column in row])
    if not box.size or np.isnan(box).all():
        if np.isfinite(points[:, 0]).sum() < 2:
            raise ValueError(f"{where}: a face without a box needs at least two labelled points")
        box = images.tight_box(points)
    if not (box[2] >= box[0] and box[3] >= box[1] and (box[2:] - box[:2]).max() > 0):
        raise ValueError(f"{where}: the box needs x0 < x1 and y0 < y1, got {box.tolist()}")
    return face_sets.Face(
        image=image,
        name=row["image"] + (f"#{number}" if number else ""),
        group=row.get("group") or row["image"],
        box=box,
        points=points,
        subset=split,
    )


def _number(where, row, column) -> float:
    """A cell as a number; NaN where it is empty."""
    text = row.get(column, "")
    try:
        return text_files.number(text) if text else np.nan
    except ValueError:
        shown = text_files.quoted(text)
        raise ValueError(f"{where}: {column} is {shown}, not a finite number") from None
