"""A folder of images without labels, at any depth: the unlabelled side of semi-supervised training.

Boxes, in this order of preference:
  - `boxes_csv`: a file with the header `image,x0,y0,x1,y1` (image: path below the folder), in
    pixels whose centres are at integers; images that it does not name are left out;
  - `face_box`: (x0, y0, x1, y1) as fractions of the image's width and height, for pictures that
    were all cut with the same framing; the default is the whole image.
"""

import csv
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from jaxgen.data.builders import images, manual


class ImageFolder(manual.ManualBuilder):
    """Unlabelled images; the split is "train"."""

    VERSION = tfds.core.Version("1.0.0")
    LAYOUT = "  any images (jpg, png, webp, bmp, tif), in folders of any depth"
    UPRIGHT = True
    OPTIONS = {  # noqa: RUF012
        **manual.ManualBuilder.OPTIONS,
        "boxes_csv": "",  # path below the folder, or absolute
        "face_box": (0.0, 0.0, 1.0, 1.0),
        # "folder": faces of one folder stay together; "stem": of one name before the last "_";
        # "file": every image for itself.
        "group_by": "file",
    }

    @classmethod
    def files(cls, manual_dir, options):
        """Every image, and the table of boxes."""
        if options["group_by"] not in ("file", "stem", "folder"):
            raise ValueError(
                f"config.data.options.group_by is file, stem or folder, got {options['group_by']!r}"
            )
        table = [manual_dir / options["boxes_csv"]] if options["boxes_csv"] else []
        found = images.list_images(manual_dir)
        return found + table if found else []

    def faces(self):
        """One split, "train"."""
        return {"train": self._faces()}

    def _faces(self):
        root, options = self.builder_config.manual_dir, self.builder_config.options
        paths = images.list_images(root)
        boxes = _read_boxes(root / options["boxes_csv"]) if options["boxes_csv"] else None
        if boxes is not None:
            absent = set(boxes) - {p.relative_to(root).as_posix() for p in paths}
            if absent:
                raise ValueError(f"{options['boxes_csv']}: there is no image {min(absent)!r}")
        for path in paths:
            name = path.relative_to(root).as_posix()
            if boxes is not None and name not in boxes:
                continue
            image = images.open_image(path, upright=True)
            fractions = np.reshape(options["face_box"], (2, 2)) * image.size - 0.5
            box = fractions.ravel() if boxes is None else boxes[name]
            stem, parent = str(Path(name).with_suffix("")), str(Path(name).parent)
            groups = {"file": name, "stem": stem.rpartition("_")[0] or stem, "folder": parent}
            yield manual.Face(image=path, name=name, group=groups[options["group_by"]], box=box)


def _read_boxes(path) -> dict[str, np.ndarray]:
    """Boxes by image name, from a CSV file with the header image,x0,y0,x1,y1."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        header = [cell.strip() for cell in next(rows, [])]
        if header != ["image", "x0", "y0", "x1", "y1"]:
            raise ValueError(f"{path}:1: expected the header image,x0,y0,x1,y1, got {header}")
        boxes = {}
        for row in rows:
            try:
                name, *values = row
                box = np.array([float(value) for value in values], np.float32)
                if box.shape != (4,) or not (box[2] > box[0] and box[3] > box[1]):
                    raise ValueError
            except ValueError:
                raise ValueError(
                    f"{path}:{rows.line_num}: expected image,x0,y0,x1,y1 with some area, got {row}"
                ) from None
            boxes[name.strip()] = box
    return boxes
