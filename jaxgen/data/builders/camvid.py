"""CamVid in the split of SegNet: 701 road frames of 480 x 360 pixels, 11 classes and void.

Four drives, three by day and one (`0001TP`) at dusk, so that the set holds a real change of domain.
Layout, as SegNet's tutorial publishes it:

    {train,val,test}/NAME.png   {train,val,test}annot/NAME.png

with NAME = SEQUENCE_FRAME; pictures may be `.jpg`. The void class (11) is ignored. Splits:

    day_train       305  labelled source: drives 0006R0 and 0016E5 of train
    dusk_train       62  target: the part of 0001TP in train
    day_validation  101  0016E5 in val. Its frames lie between those of train: it is no new place
    dusk_test        62  the part of 0001TP in test, the later minutes of the same drive
    day_test        171  Seq05VD, another drive by day
    train = day_train + dusk_train (367), val = day_validation, test = dusk_test + day_test (233)

Options `sequences` and `frames` keep some drives, and an interval of frame numbers, of every part.
"""

import re

import tensorflow_datasets as tfds

from jaxgen.data.builders import images, label_ids, scenes

# part -> (folder, drives, published number of frames)
PARTS = {
    "day_train": ("train", ("0006R0", "0016E5"), 305),
    "dusk_train": ("train", ("0001TP",), 62),
    "day_validation": ("val", ("0016E5",), 101),
    "dusk_test": ("test", ("0001TP",), 62),
    "day_test": ("test", ("Seq05VD",), 171),
}
VOID = 11
GROUP_FRAMES = 300  # ten seconds of a drive stay together


class Camvid(scenes.SceneBuilder):
    """Road scenes by day and at dusk."""

    VERSION = tfds.core.Version("1.0.0")
    FOLDER = "camvid"
    LAYOUT = "  {train,val,test}/NAME.png (or .jpg) + {train,val,test}annot/NAME.png"
    CLASSES = (
        "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car",
        "pedestrian", "bicyclist",
    )  # fmt: skip
    PALETTE = (
        (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222),
        (128, 128, 0), (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
    )  # fmt: skip
    PUBLISHED = {name: count for name, (_, _, count) in PARTS.items()}  # noqa: RUF012
    PROTOCOL = {  # noqa: RUF012
        "train": ("day_train", "dusk_train"),
        "val": ("day_validation",),
        "test": ("dusk_test", "day_test"),
    }
    OPTIONS = {**scenes.SceneBuilder.OPTIONS, "sequences": (), "frames": None}  # noqa: RUF012

    @classmethod
    def files(cls, manual_dir, options):
        """Every picture and label of the three folders."""
        del options
        folders = ("train", "val", "test", "trainannot", "valannot", "testannot")
        return [path for folder in folders for path in images.list_images(manual_dir / folder)]

    @property
    def checks_counts(self):
        """A chosen interval has no published count."""
        options = self.builder_config.options
        return super().checks_counts and not (options["sequences"] or options["frames"])

    def parts(self):
        """The five parts, as far as they are there."""
        found = {name: list(self._scenes(*PARTS[name][:2])) for name in PARTS}
        return {name: part for name, part in found.items() if part}

    def read_label(self, path):
        """Classes 0 to 10; void is ignored."""
        table = {**{k: k for k in range(len(self.CLASSES))}, VOID: label_ids.IGNORE}
        return label_ids.map_ids(label_ids.read_ids(path), table, path)

    def _scenes(self, folder, drives):
        root, options = self.builder_config.manual_dir, self.builder_config.options
        first, last = options["frames"] or (0, float("inf"))
        drives = [drive for drive in drives if drive in (options["sequences"] or drives)]
        for image in images.list_images(root / folder):
            drive, frame = frame_of(image)
            if drive in drives and first <= frame <= last:
                label = root / f"{folder}annot" / f"{image.stem}.png"
                group = f"{drive}/{frame // GROUP_FRAMES}"
                yield scenes.Scene(image, label, image.stem, group)


def frame_of(image) -> tuple[str, int]:
    """Drive and frame number of a file name, such as 0001TP_006690 or Seq05VD_f00030."""
    match = re.fullmatch(r"(\w+?)_f?(\d+)", image.stem)
    if match is None:
        raise ValueError(f"{image}: a name in CamVid is SEQUENCE_FRAME, such as 0001TP_006690")
    return match[1], int(match[2])
