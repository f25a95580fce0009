"""Cityscapes: road scenes of 2048 x 1024 pixels from 50 cities, 19 classes.

Layout (the official archives, unpacked side by side):

    leftImg8bit/{train,val,train_extra}/CITY/NAME_leftImg8bit.png
    gtFine/{train,val}/CITY/NAME_gtFine_labelIds.png

The 34 label numbers of the files become the 19 "train ids" that the field measures; all others are
ignored. Splits: `train` (2,975), `val` (500), `test` = val, on which the field reports, because the
labels of the official test part are not public; `train_extra` (19,998) without labels, the larger
target set of the paper. A city is a group.
"""

import tensorflow_datasets as tfds

from jaxgen.data.builders import images, label_ids, scenes

# name, label number in the files, colour; the position is the train id
STREET_CLASSES = (
    ("road", 7, (128, 64, 128)),
    ("sidewalk", 8, (244, 35, 232)),
    ("building", 11, (70, 70, 70)),
    ("wall", 12, (102, 102, 156)),
    ("fence", 13, (190, 153, 153)),
    ("pole", 17, (153, 153, 153)),
    ("traffic light", 19, (250, 170, 30)),
    ("traffic sign", 20, (220, 220, 0)),
    ("vegetation", 21, (107, 142, 35)),
    ("terrain", 22, (152, 251, 152)),
    ("sky", 23, (70, 130, 180)),
    ("person", 24, (220, 20, 60)),
    ("rider", 25, (255, 0, 0)),
    ("car", 26, (0, 0, 142)),
    ("truck", 27, (0, 0, 70)),
    ("bus", 28, (0, 60, 100)),
    ("train", 31, (0, 80, 100)),
    ("motorcycle", 32, (0, 0, 230)),
    ("bicycle", 33, (119, 11, 32)),
)
NAMES = tuple(name for name, _, _ in STREET_CLASSES)
COLOURS = tuple(colour for _, _, colour in STREET_CLASSES)
NUM_LABELS = 34
TRAIN_IDS = {
    **dict.fromkeys(range(NUM_LABELS), label_ids.IGNORE),
    **{number: train_id for train_id, (_, number, _) in enumerate(STREET_CLASSES)},
}
_SUFFIX = "_leftImg8bit"


# Not registered: TFDS has a set of this name, and both may be used in one process.
class Cityscapes(scenes.SceneBuilder, skip_registration=True):
    """Road scenes with fine labels."""

    VERSION = tfds.core.Version("1.0.0")
    FOLDER = "cityscapes"
    LAYOUT = (
        "  leftImg8bit/{train,val,train_extra}/CITY/NAME_leftImg8bit.png\n"
        "  gtFine/{train,val}/CITY/NAME_gtFine_labelIds.png"
    )
    CLASSES = NAMES
    PALETTE = COLOURS
    PUBLISHED = {"train": 2975, "val": 500, "train_extra": 19_998}  # noqa: RUF012
    PROTOCOL = {"test": ("val",)}  # noqa: RUF012

    @classmethod
    def files(cls, manual_dir, options):
        """Every picture and label number file."""
        del options
        labels = sorted(manual_dir.glob("gtFine/*/*/*_labelIds.png"))
        return labels + [p for part in cls.PUBLISHED for p in _pictures(manual_dir, part)]

    def parts(self):
        """The three parts, as far as they are there."""
        root = self.builder_config.manual_dir
        found = {}
        for part in self.PUBLISHED:
            pictures = _pictures(root, part)
            if pictures:
                found[part] = [_scene(root, part, path) for path in pictures]
        return found

    def read_label(self, path):
        """Train ids 0 to 18."""
        return label_ids.map_ids(label_ids.read_ids(path), TRAIN_IDS, path)


def _pictures(root, part):
    return [p for p in images.list_images(root / "leftImg8bit" / part) if p.stem.endswith(_SUFFIX)]


def _scene(root, part, picture):
    city, name = picture.parent.name, picture.stem.removesuffix(_SUFFIX)
    label = root / "gtFine" / part / city / f"{name}_gtFine_labelIds.png"
    return scenes.Scene(picture, None if part == "train_extra" else label, name, city)
