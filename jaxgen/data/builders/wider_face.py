"""WIDER FACE in its official layout: photographs of 61 kinds of events with every face boxed.

    WIDER_train/images/EVENT/NAME.jpg   wider_face_split/wider_face_train_bbx_gt.txt
    WIDER_val/images/EVENT/NAME.jpg     wider_face_split/wider_face_val_bbx_gt.txt

The text names an image, then the number of its faces, then one line a face:

    x y w h blur expression illumination invalid occlusion pose

An image without faces has the number 0 and one line of zeros. Boxes become edge to edge,
(x - 0.5, y - 0.5, x + w - 0.5, y + h - 0.5), and are cut at the border of the image. Boxes without
width or height, and boxes that lie outside the image, are left out; how many is logged.

    image uint8 [H, W, 3]; boxes float32 [N, 4]; flags int32 [N, 6], see FLAGS; name, group
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from jaxgen.data import text_files
from jaxgen.data.builders import images, manual

# 0 is the usual: clear, typical expression, normal light, valid, not covered, typical pose.
FLAGS = ("blur", "expression", "illumination", "invalid", "occlusion", "pose")
PUBLISHED = {"train": 12_880, "val": 3_226}
_log = logging.getLogger(__name__)


class Annotation(NamedTuple):
    """One image of the text."""

    file: str  # EVENT/NAME.jpg
    boxes: np.ndarray  # [N, 4] float32 x, y, w, h as written
    flags: np.ndarray  # [N, 6] int32


# Not registered: TFDS has a set of this name, and both may be used in one process.
class WiderFace(manual.ManualBuilder, skip_registration=True):
    """Faces in photographs; the splits "train" and "val"."""

    VERSION = tfds.core.Version("1.0.0")
    FOLDER = "wider_face"
    LAYOUT = (
        "  WIDER_train/images/EVENT/NAME.jpg\n"
        "  WIDER_val/images/EVENT/NAME.jpg\n"
        "  wider_face_split/wider_face_{train,val}_bbx_gt.txt"
    )
    OPTIONS = {"allow_partial": False}  # noqa: RUF012 (read only)
    NOUN = "images"

    @classmethod
    def files(cls, manual_dir, options):
        """The texts, and every image below the official folders."""
        del options
        texts = [path for split in PUBLISHED if (path := _text(manual_dir, split)).exists()]
        pictures = [
            path
            for text in texts
            for path in images.list_images(_images(manual_dir, text.stem.split("_")[2]))
        ]
        return texts + pictures

    def splits(self):
        """One split for each text that is there."""
        root = self.builder_config.manual_dir
        found = {}
        for split, published in PUBLISHED.items():
            if not _text(root, split).exists():
                continue
            annotations = read_annotations(_text(root, split))
            self.require(split, len(annotations), published)
            found[split] = _examples(_images(root, split), annotations)
        return found

    def _info(self):
        tensor = tfds.features.Tensor
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "boxes": tensor(shape=(None, 4), dtype=np.float32),
            "flags": tensor(shape=(None, len(FLAGS)), dtype=np.int32),
            "name": tfds.features.Text(),
            "group": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))


def read_annotations(path: Path) -> list[Annotation]:
    """Reads one official text.

    Raises:
        ValueError: it ends too early or a line is not what it must be; names file and line.
    """
    try:
        lines = text_files.read_text(path).splitlines()
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such text of face boxes") from None
    while lines and not lines[-1].strip():
        lines.pop()
    found, place = [], 0
    while place < len(lines):
        file = lines[place].strip()
        if not file.lower().endswith(images.IMAGE_SUFFIXES):
            raise ValueError(
                f"{path}, line {place + 1}: expected the name of an image, found "
                f"{text_files.quoted(file)}"
            )
        try:
            text_files.path_below(Path(), file)
        except ValueError as error:
            raise ValueError(f"{path}, line {place + 1}: {error}") from None
        if place + 1 >= len(lines):
            raise ValueError(
                f"{path}, line {place + 1}: the text ends after the name {text_files.quoted(file)}"
            )
        count = lines[place + 1].strip()
        if not (count.isdecimal() and len(count) < 10):
            raise ValueError(
                f"{path}, line {place + 2}: expected the number of faces, found "
                f"{text_files.quoted(count)}"
            )
        # An image without faces has one line of zeros all the same.
        first, rows = place + 2, max(int(count), 1)
        if first + rows > len(lines):
            raise ValueError(
                f"{path}, line {len(lines)}: the text ends after {len(lines) - first} of the "
                f"{rows} face lines of {file}"
            )
        values = np.array([_numbers(path, lines, row) for row in range(first, first + rows)])
        values = values[: int(count)].reshape(-1, 10)
        boxes, flags = values[:, :4].astype(np.float32), values[:, 4:].astype(np.int32)
        found.append(Annotation(file, boxes, flags))
        place = first + rows
    if not found:
        raise ValueError(f"{path}: no image in it")
    return found


def clean_boxes(boxes: np.ndarray, width: int, height: int):
    """Written boxes as boxes of the image.

    Args:
        boxes: [N, 4] x, y, w, h.
        width: of the image.
        height: of the image.

    Returns:
        [N, 4] float32 (x0, y0, x1, y1), edge to edge, cut at the border, and which of them to
        keep: [N] bool, False where a box has no area inside the image.
    """
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1) - 0.5
    whole = images.whole_box(width, height)
    cut = np.clip(corners, np.tile(whole[:2], 2), np.tile(whole[2:], 2)).astype(np.float32)
    return cut, (boxes[:, 2:] > 0).all(1) & (cut[:, 2:] > cut[:, :2]).all(1)


def _numbers(path, lines, row):
    parts = lines[row].split()
    try:
        values = [text_files.number(part) for part in parts]
    except ValueError:
        values = []
    if len(values) != 10 or not all(value in range(100) for value in values[4:]):
        raise ValueError(
            f"{path}, line {row + 1}: expected ten numbers (x y w h and {' '.join(FLAGS)}), "
            f"found {text_files.quoted(lines[row])}"
        )
    return values


def _text(root: Path, split: str) -> Path:
    return root / "wider_face_split" / f"wider_face_{split}_bbx_gt.txt"


def _images(root: Path, split: str) -> Path:
    return root / f"WIDER_{split}" / "images"


def _examples(folder: Path, annotations: list[Annotation]) -> Iterator[dict]:
    dropped = 0
    for file, boxes, flags in annotations:
        path = folder / file
        picture = images.open_image(path)
        boxes, keep = clean_boxes(boxes, *picture.size)
        dropped += int((~keep).sum())
        plain = images.is_plain(path, ("JPEG",))
        name = file.rpartition(".")[0]
        yield {
            "image": path.read_bytes() if plain else images.encode(picture),
            "boxes": boxes[keep],
            "flags": flags[keep],
            "name": name,
            "group": name,
        }
    if dropped:
        _log.warning(
            "%s: left out %d boxes without width or height, or outside of their image",
            *(folder, dropped),
        )
