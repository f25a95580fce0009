"""WFLW: 98 points, 7,500 training and 2,500 test faces with six attributes.

Layout (both official archives unpacked side by side):

    WFLW_images/EVENT/NAME.jpg
    WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_{train,test}.txt

A line of a list holds 196 coordinates, 4 of the face rectangle, 6 attributes and the image. The
rectangle is the face box. Coordinates are taken as they are, pixel centres at integers. The
attributes of a test face are its subsets: "pose+blur" belongs to two of them.
"""

import numpy as np
import tensorflow_datasets as tfds

from jaxgen.data import text_files
from jaxgen.data.builders import face_sets

_LIST = "WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_{}.txt"
COUNTS = {"train": 7500, "test": 2500}
# In the order of the columns; their published sizes in the test set are 326, 314, 698, 206, 736
# and 773 faces.
ATTRIBUTES = ("pose", "expression", "illumination", "makeup", "occlusion", "blur")


class Wflw(face_sets.FaceBuilder):
    """98-point faces of WFLW."""

    VERSION = tfds.core.Version("1.0.0")
    FOLDER = "WFLW"
    LAYOUT = "\n".join(
        ["  WFLW_images/EVENT/NAME.jpg", *(f"  {_LIST.format(split)}" for split in COUNTS)]
    )
    NUM_POINTS = 98
    OPTIONS = {**face_sets.FaceBuilder.OPTIONS, "allow_partial": False}  # noqa: RUF012

    @classmethod
    def files(cls, manual_dir, options):
        """The lists that are there, and the images that they name."""
        del options
        lists = [path for split in COUNTS if (path := manual_dir / _LIST.format(split)).exists()]
        names = {line.split()[-1] for path in lists for line in _lines(path)}
        images = [manual_dir / "WFLW_images" / name for name in names]
        return lists + [path for path in images if path.exists()]

    def split_parts(self, split):
        """Checks the length of an official list."""
        path = self.builder_config.manual_dir / _LIST.format(split)
        if split in COUNTS:
            self.require(split, len(_lines(path)) if path.exists() else 0, COUNTS[split])
        return (split,)

    def faces(self):
        """The splits whose list is there."""
        paths = {split: self.builder_config.manual_dir / _LIST.format(split) for split in COUNTS}
        return {split: self._faces(path) for split, path in paths.items() if path.exists()}

    def _faces(self, path):
        for number, line in enumerate(_lines(path), start=1):
            fields = line.split()
            try:
                values = np.array([text_files.number(field) for field in fields[:206]])
            except ValueError:
                values = np.zeros(0)
            if len(fields) != 207 or values.shape != (206,):
                raise ValueError(
                    f"{path}:{number}: expected 196 coordinates, 4 of a rectangle, 6 attributes "
                    f"and an image, got {len(fields)} fields"
                )
            try:
                image = text_files.path_below(
                    self.builder_config.manual_dir / "WFLW_images", fields[206]
                )
            except ValueError as error:
                raise ValueError(f"{path}:{number}: {error}") from None
            subsets = [name for name, flag in zip(ATTRIBUTES, values[200:], strict=True) if flag]
            yield face_sets.Face(
                image=image,
                # Several faces of one photograph are several lines.
                name=f"{fields[206]}#{path.stem.rpartition('_')[2]}{number:05d}",
                group=fields[206],
                box=values[196:200],
                points=values[:196].reshape(98, 2),
                subset="+".join(subsets),
            )


def _lines(path) -> list[str]:
    return [line for line in text_files.read_text(path).splitlines() if line.strip()]
