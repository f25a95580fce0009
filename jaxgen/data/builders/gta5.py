"""GTA5: 24,966 rendered road scenes of about 1914 x 1052 pixels, labelled like Cityscapes.

Layout: `images/NNNNN.png` and `labels/NNNNN.png`, as the official parts unpack. Label files are
indexed PNGs whose indices are the label numbers of Cityscapes (34 is the number plate, ignored);
copies that were converted to plain colours are read by the official colours. Both become the 19
classes of `cityscapes`.

The one split is `train`; a part of it is held out for validation by blocks of 100 frames, because
neighbours are a few metres apart. Later releases lack some label files: leave those scenes out with
the option `exclude`, or set `allow_partial`, which leaves out every picture without a label.

Source: Richter et al., "Playing for data" (ECCV 2016).
"""

import numpy as np
import tensorflow_datasets as tfds

from jaxgen.data.builders import cityscapes, images, label_ids, scenes

NUMBER_PLATE = 34
_TABLE = {**cityscapes.TRAIN_IDS, NUMBER_PLATE: label_ids.IGNORE}
# Colours of what is not measured. The number plate has the colour of its car.
_IGNORED_COLOURS = (
    (0, 0, 0), (20, 20, 20), (111, 74, 0), (81, 0, 81), (250, 170, 160), (230, 150, 140),
    (180, 165, 180), (150, 100, 100), (150, 120, 90), (0, 0, 90), (0, 0, 110),
)  # fmt: skip
_COLOURS = {
    **dict.fromkeys(_IGNORED_COLOURS, label_ids.IGNORE),
    **{colour: train_id for train_id, colour in enumerate(cityscapes.COLOURS)},
}


class Gta5(scenes.SceneBuilder):
    """Rendered road scenes."""

    VERSION = tfds.core.Version("1.0.0")
    FOLDER = "gta5"
    LAYOUT = "  images/NNNNN.png + labels/NNNNN.png"
    CLASSES = cityscapes.NAMES
    PALETTE = cityscapes.COLOURS
    PUBLISHED = {"train": 24_966}  # noqa: RUF012

    @classmethod
    def files(cls, manual_dir, options):
        """Every picture and label."""
        del options
        return images.list_images(manual_dir / "images") + images.list_images(manual_dir / "labels")

    def parts(self):
        """One part, "train"."""
        root, partial = self.builder_config.manual_dir, self.builder_config.options["allow_partial"]
        labels = {path.stem: path for path in images.list_images(root / "labels")}
        found = []
        for image in images.list_images(root / "images"):
            name = image.stem
            if name in labels or not partial:
                label = labels.get(name, root / "labels" / f"{name}.png")
                found.append(scenes.Scene(image, label, name, group=name[:-2] or name))
        return {"train": found} if found else {}

    def read_label(self, path):
        """Train ids 0 to 18, from numbers or colours."""
        image = label_ids.open_label(path)
        if image.mode in ("RGB", "RGBA"):
            return label_ids.map_colours(np.asarray(image.convert("RGB")), _COLOURS, path)
        return label_ids.map_ids(label_ids.read_ids(path), _TABLE, path)
