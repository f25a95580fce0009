"""HELEN photographs with face parts drawn from 68 points: the target of `synthetic_parts`.

Layout: `helen/{trainset,testset}/NAME.jpg + NAME.pts`, as in `w300`. A face is cut out like the
rendered ones: the tight box of the points takes 1 / 1.7 = 0.59 of the image's side, 128 pixels.
What the classes mean, and what a label of this kind cannot know, is said in `part_polygons`.

Splits: `train` (2,000 faces; serves as target without labels, or for the comparison with a network
trained on labels) and `test` (330). Faces of one photograph are a group.
"""

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from jaxgen.data import crop
from jaxgen.data.builders import images, part_polygons, pts, scenes

FOLDERS = {"train": "helen/trainset", "test": "helen/testset"}


class FaceParts(scenes.SceneBuilder):
    """Face crops with drawn part masks."""

    VERSION = tfds.core.Version("1.0.0")
    FOLDER = "300w"
    LAYOUT = "\n".join(f"  {folder}/NAME.jpg + NAME.pts" for folder in FOLDERS.values())
    CLASSES = part_polygons.CLASSES
    PALETTE = part_polygons.PALETTE
    PUBLISHED = {"test": 330}  # noqa: RUF012
    OPTIONS = {**scenes.SceneBuilder.OPTIONS, "size": (128, 128), "margin": 1.7}  # noqa: RUF012
    NOUN = "faces"

    @classmethod
    def complete_options(cls, options):
        """The given options over the defaults, checked: crops are squares."""
        options = super().complete_options(options)
        if options["size"] is None or len(set(options["size"])) != 1:
            raise ValueError(f"the option size of {cls.name} is a square, got {options['size']}")
        return options

    @classmethod
    def files(cls, manual_dir, options):
        """Every `.pts` file and picture of both folders."""
        del options
        folders = [manual_dir / folder for folder in FOLDERS.values()]
        labels = [path for folder in folders for path in sorted(folder.glob("*.pts"))]
        return labels + [path for folder in folders for path in images.list_images(folder)]

    def parts(self):
        """`train` and `test`, as far as they are there."""
        root = self.builder_config.manual_dir
        found = {}
        for part, folder in FOLDERS.items():
            pictures = images.list_images(root / folder)
            pictures = [path for path in pictures if not path.stem.endswith("_mirror")]
            if pictures:
                found[part] = [_scene(path, folder) for path in pictures]
        return found

    def load(self, scene):
        """The crop around a face, and its parts."""
        options = self.builder_config.options
        image, points = images.open_image(scene.image), self.read_label(scene.label)
        side, _ = options["size"]
        matrix = crop.crop_matrix(images.tight_box(points), size=side, margin=options["margin"])
        window = crop.crop_image(np.asarray(image), matrix, side)
        mask = part_polygons.part_mask(crop.transform_points(matrix, points), side)
        return Image.fromarray(window), mask

    def read_label(self, path):
        """The 68 points; they become a mask when the crop is known."""
        if not path.exists():
            raise ValueError(f"{path}: there is no such label file")
        return pts.read_pts(path, 68)


def _scene(picture, folder):
    photo = picture.stem.rpartition("_")[0] or picture.stem
    return scenes.Scene(
        picture,
        picture.with_suffix(".pts"),
        name=f"{folder}/{picture.stem}",
        group=f"{folder}/{photo}",
    )
