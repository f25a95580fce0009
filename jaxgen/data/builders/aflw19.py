"""AFLW with 19 points: 20,000 training and 4,386 test faces in the order of the CCL release.

Layout:

    AFLWinfo_release.mat
    flickr/{0,2,3}/imageNNNNN.jpg

The `.mat` file holds per face: `data` (19 x, then 19 y), `mask_new` (1: visible), `bbox`
(x0, x1, y0, y1: AFLW's own square face box, by whose side errors are divided:
`config.evaluate.normalizer=face_box`), `nameList`, and `ra`, the 1-based order whose first 20,000
entries are the training set. Coordinates are taken as they are. Hidden points are labelled too and
belong to the usual protocol. The subset "frontal" of the test set has all 19 points visible and
inside the box.
"""

import functools

import numpy as np
import tensorflow_datasets as tfds

from jaxgen.data import mat_files, text_files
from jaxgen.data.builders import face_sets

_MAT = "AFLWinfo_release.mat"
COUNTS = {"train": 20000, "test": 4386}


class Aflw19(face_sets.FaceBuilder):
    """19-point faces of AFLW."""

    VERSION = tfds.core.Version("1.0.0")
    FOLDER = "aflw"
    LAYOUT = f"  {_MAT}\n  flickr/{{0,2,3}}/imageNNNNN.jpg"
    NUM_POINTS = 19
    OPTIONS = {**face_sets.FaceBuilder.OPTIONS, "allow_partial": False}  # noqa: RUF012

    @classmethod
    def files(cls, manual_dir, options):
        """The `.mat` file and the images."""
        del options
        table = manual_dir / _MAT
        return [table, *(manual_dir / "flickr").glob("*/*.jpg")] if table.exists() else []

    def split_parts(self, split):
        """Checks the number of faces in the `.mat` file."""
        if split in COUNTS:
            self.require(split, len(self._order(split)), COUNTS[split])
        return (split,)

    def faces(self):
        """Both splits."""
        orders = {split: self._order(split) for split in COUNTS}
        return {split: self._faces(split, rows) for split, rows in orders.items() if len(rows)}

    @functools.cached_property
    def _content(self):
        return _read(self.builder_config.manual_dir / _MAT)

    def _order(self, split):
        """Rows of the faces of a split."""
        order = self._content["ra"].ravel().astype(int) - 1  # MATLAB counts from 1
        cut = COUNTS["train"]
        return order[:cut] if split == "train" else order[cut:]

    def _faces(self, split, order):
        content = self._content
        folder = self.builder_config.manual_dir / "flickr"
        for row in order:
            stem, _, _ = str(content["nameList"][row, 0][0]).strip().rpartition(".")
            try:
                image = text_files.path_below(folder, f"{stem}.jpg")
            except ValueError as error:
                raise ValueError(f"{_MAT}: face {row + 1}: {error}") from None
            points = content["data"][row].reshape(2, 19).T.astype(float)
            visible = content["mask_new"][row] != 0
            x0, x1, y0, y1 = content["bbox"][row].astype(float)
            finite = (np.abs([*points.ravel(), x0, x1, y0, y1]) <= text_files.FARTHEST).all()
            if not (finite and x0 < x1 and y0 < y1):
                raise ValueError(f"{_MAT}: face {row + 1} ({stem}) has no finite points or box")
            inside = (points > (x0, y0)).all() and (points < (x1, y1)).all()
            yield face_sets.Face(
                image=image,
                name=f"{stem}#{row + 1:05d}",
                group=stem,
                box=np.array([x0, y0, x1, y1]),
                points=points,
                visible=visible,
                subset="frontal" if split == "test" and visible.all() and inside else "",
            )


def _read(path) -> dict[str, np.ndarray]:
    """The variables of the file, of the sizes that the module docstring says."""
    content = mat_files.load_mat(path, ("data", "mask_new", "bbox", "nameList", "ra"))
    count = len(content["data"])
    wanted = {"data": (count, 38), "mask_new": (count, 19), "bbox": (count, 4)}
    for name, shape in wanted.items():
        if content[name].shape != shape or content[name].dtype.kind not in "uif":
            raise ValueError(f"{path}: {name} is no array of numbers of shape {shape}")
    names = content["nameList"]
    if names.dtype != object or names.shape != (count, 1) or not all(map(_is_name, names[:, 0])):
        raise ValueError(f"{path}: nameList is no list of {count} names")
    if sorted(content["ra"].ravel().tolist()) != list(range(1, count + 1)):
        raise ValueError(f"{path}: ra is no order of the {count} faces")
    return content


def _is_name(cell) -> bool:
    return cell.shape == (1,) and cell.dtype.kind == "U"
