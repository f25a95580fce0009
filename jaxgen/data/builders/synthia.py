"""SYNTHIA video sequences: rendered drives of 1280 x 760 pixels in many seasons, 13 classes.

Layout: one folder a sequence, as the official archives unpack, with any folders of views below:

    SYNTHIA-SEQS-01-FALL/RGB/Stereo_Left/Omni_F/000000.png
    SYNTHIA-SEQS-01-FALL/GT/LABELS/Stereo_Left/Omni_F/000000.png

A label file has 16 bits a channel: the first holds the class, the second the instance. Class 0 is
void and 13 and 14 are reserved: ignored. The season is the last word of a folder's name; option
`seasons`, such as ("FALL",) or ("WINTER",), makes a domain of it. The paper adapts from fall
(10,852 images) to winter (7,654), all views; these counts are checked.

Splits: `train` and `test`. Blocks of 100 frames, all views together, fall into `test` by a hash of
their name, for the share `test_fraction`; the set has no official test part. With 0 all is `train`.

Source: Ros et al., "The SYNTHIA dataset" (CVPR 2016).
"""

from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from jaxgen.data import hashing
from jaxgen.data.builders import images, label_ids, scenes

PUBLISHED_SEASONS = {"FALL": 10_852, "WINTER": 7_654}
BLOCK = 100  # frames
_VOID_OR_RESERVED = (0, 13, 14)
# number in the files -> class
_NUMBERS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 15)
_TABLE = {
    **dict.fromkeys(_VOID_OR_RESERVED, label_ids.IGNORE),
    **{number: k for k, number in enumerate(_NUMBERS)},
}
# How Pillow is to read the bytes of a pixel to get at the lower ones. Two channels of 16 bits are
# read as four of 8, of which the second is the lower byte of the first.
_RAW_LOWER = {"RGB;16B": "RGB;16L", "LA;16B": "RGBA"}


class Synthia(scenes.SceneBuilder):
    """Rendered drives in one or several seasons."""

    VERSION = tfds.core.Version("1.0.0")
    FOLDER = "synthia"
    LAYOUT = "  SYNTHIA-SEQS-NN-SEASON/RGB/.../NNNNNN.png + .../GT/LABELS/.../NNNNNN.png"
    CLASSES = (
        "sky", "building", "road", "sidewalk", "fence", "vegetation", "pole", "car", "sign",
        "pedestrian", "bicycle", "lane marking", "traffic light",
    )  # fmt: skip
    PALETTE = (
        (128, 128, 128), (128, 0, 0), (128, 64, 128), (0, 0, 192), (64, 64, 128), (128, 128, 0),
        (192, 192, 128), (64, 0, 128), (192, 128, 128), (64, 64, 0), (0, 128, 192), (0, 172, 0),
        (0, 128, 128),
    )  # fmt: skip
    OPTIONS = {**scenes.SceneBuilder.OPTIONS, "seasons": (), "test_fraction": 0.2}  # noqa: RUF012

    @classmethod
    def files(cls, manual_dir, options):
        """Every picture and label of the chosen seasons."""
        folders = _sequences(manual_dir, options["seasons"])
        return [p for f in folders for kind in ("RGB", "GT/LABELS") for p in _pngs(f / kind)]

    def parts(self):
        """`train` and `test`."""
        options = self.builder_config.options
        found = {"train": [], "test": []}
        for folder in _sequences(self.builder_config.manual_dir, options["seasons"]):
            for image in _pngs(folder / "RGB"):
                inside = image.relative_to(folder / "RGB")
                block = int(image.stem) // BLOCK if image.stem.isdigit() else image.stem
                group = f"{folder.name}/{block}"
                in_test = hashing.uniform(f"test/{group}") < options["test_fraction"]
                label = folder / "GT/LABELS" / inside
                name = f"{folder.name}/{inside.with_suffix('').as_posix()}"
                found["test" if in_test else "train"].append(
                    scenes.Scene(image, label, name, group)
                )
        return {name: part for name, part in found.items() if part}

    def split_parts(self, split):
        """As elsewhere, after a check of the whole season: its parts are no official ones."""
        options = self.builder_config.options
        if self.checks_counts and len(options["seasons"]) == 1:
            (season,) = options["seasons"]
            found = sum(len(part) for part in self.parts().values())
            self.require(season, found, PUBLISHED_SEASONS.get(season, found))
        return super().split_parts(split)

    def read_label(self, path):
        """Classes 0 to 12, from the first channel."""
        return label_ids.map_ids(read_first_channel(path), _TABLE, path)


def read_first_channel(path: Path) -> np.ndarray:
    """The first channel of a PNG file with 16 bits a channel. -> [H, W] int32.

    Pillow keeps the upper 8 bits of such files, which are all zero here. Told that the bytes come
    in the other order, it keeps the lower 8.

    Raises:
        ValueError: not such a file.
    """
    halves = [_decode(path, lower) for lower in (False, True)]
    return halves[0].astype(np.int32) * 256 + halves[1]


def _decode(path, lower) -> np.ndarray:
    """Upper or lower byte of every first value: [H, W] uint8."""

    def choose_bytes(image):
        *place, raw = image.tile[0] if image.tile else (None,)
        if image.format != "PNG" or raw not in _RAW_LOWER:
            raise ValueError(f"expected a PNG with 2 or 3 channels of 16 bits, got {image.mode}")
        image.tile = [(*place, _RAW_LOWER[raw] if lower or raw == "LA;16B" else raw)]

    values = np.asarray(label_ids.open_label(path, before_decoding=choose_bytes))
    return values[..., int(lower) if values.shape[2] == 4 else 0]


def _sequences(root: Path, seasons) -> list[Path]:
    folders = [root, *sorted(path for path in root.iterdir() if path.is_dir())]
    found = [folder for folder in folders if (folder / "RGB").is_dir()]
    return [f for f in found if not seasons or f.name.rpartition("-")[2] in seasons]


def _pngs(folder: Path) -> list[Path]:
    return [path for path in images.list_images(folder) if path.suffix.lower() == ".png"]
