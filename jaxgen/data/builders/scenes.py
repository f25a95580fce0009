"""What the builders of segmentation sets share: one form of stored example, one check of counts.

A builder lists `Scene` records, file by file, under the names of its parts; this file turns each
into a stored example:

    image uint8 [H, W, 3]   the user's file as it is (JPEG or PNG), or a PNG if it was changed
    label uint8 [H, W, 1]   PNG of class numbers, 255 = ignore, see `label_ids`
    name, group str         unique id; scenes of one group are never split for validation

Scenes without a label file are stored with a label map of 255 alone. Names and colours of the
classes, and which parts have no labels, are kept in the metadata of the prepared set.
"""

import abc
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from jaxgen.data.builders import class_sets, images, label_ids, manual


@dataclasses.dataclass(frozen=True)
class Scene:
    """One image and the file that says what its pixels are.

    Attributes:
        image: path of the picture.
        label: path of the label file, which may turn out to be missing; None in unlabelled parts.
        name: unique id.
        group: scenes of one group are never split between training and validation.
    """

    image: Path
    label: Path | None
    name: str
    group: str


class SceneBuilder(manual.ManualBuilder, skip_registration=True):
    """Base of the builders of segmentation sets over the user's files.

    Class attributes:
        CLASSES: names of the classes, in the order of their numbers.
        PALETTE: a colour (red, green, blue) for each class.
        PUBLISHED: part -> published number of scenes; parts without an entry are not checked.
        PROTOCOL: split that is a sum of parts -> those parts.
        OPTIONS: `size` (height, width) stores reduced scenes; `exclude` names scenes to leave out;
            `allow_partial` accepts parts that are not complete.
        UPRIGHT: whether pictures are turned by their EXIF tag.
    """

    VERSION = tfds.core.Version("1.0.0")
    CLASSES: tuple[str, ...] = ()
    PALETTE: tuple[tuple[int, int, int], ...] = ()
    PUBLISHED: Mapping[str, int] = {}
    PROTOCOL: Mapping[str, tuple[str, ...]] = {}
    OPTIONS = {"size": None, "exclude": (), "allow_partial": False}  # noqa: RUF012
    UPRIGHT = False
    NOUN = "scenes"

    @classmethod
    def complete_options(cls, options):
        """The given options over the defaults, checked."""
        options = super().complete_options(options)
        size = options["size"]
        if size is not None and not (isinstance(size, tuple | list) and len(size) == 2):
            raise ValueError(
                f"the option size of {cls.name} is (height, width) in pixels or None, got {size!r}"
            )
        if isinstance(options["exclude"], str):
            raise ValueError(
                f"the option exclude of {cls.name} is a tuple of names, got {options['exclude']!r}"
            )
        return options

    @abc.abstractmethod
    def parts(self) -> dict[str, Sequence[Scene]]:
        """The parts that the files allow, listed without opening a file; none is empty."""

    @abc.abstractmethod
    def read_label(self, path: Path) -> np.ndarray:
        """Class of every pixel of a label file: [H, W] uint8."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.CLASSES

    @property
    def palette(self) -> tuple[tuple[int, int, int], ...]:
        """Colours of the classes."""
        return self.PALETTE

    @property
    def checks_counts(self) -> bool:
        """Whether parts should be complete."""
        return not self.builder_config.options["allow_partial"]

    def split_parts(self, split):
        """The parts of a split; raises with a count per part where a published one lacks."""
        found = {name: len(scenes) for name, scenes in self.parts().items()}
        wanted = self.PROTOCOL.get(split, (split,))
        known = [name for name in wanted if name in self.PUBLISHED]
        if self.checks_counts and any(found.get(n, 0) != self.PUBLISHED[n] for n in known):
            report = "\n".join(
                f"  {name}: found {found.get(name, 0)} of {self.PUBLISHED[name]}" for name in known
            )
            complete = [name for name in found if found[name] == self.PUBLISHED.get(name)]
            raise ValueError(
                f"the split {split!r} of {self.name} is not complete in "
                f"{self.builder_config.manual_dir}:\n{report}\nComplete it, name one of the parts "
                f"that are ({complete}), or set its option allow_partial=True and do not compare "
                "with published results"
            )
        parts = tuple(name for name in wanted if name in found)
        if not parts:
            raise ValueError(
                f"{self.builder_config.manual_dir} holds nothing of the split {split!r} of "
                f"{self.name}; there is {sorted(found)}. Expected:\n{self.LAYOUT}"
            )
        return parts

    def splits(self):
        """The parts as they are stored."""
        return {name: self._examples(scenes) for name, scenes in self.parts().items()}

    def load(self, scene: Scene) -> tuple[Image.Image, np.ndarray | None]:
        """Picture (RGB) and label map [H, W] of a scene at full size."""
        image = images.open_image(scene.image, upright=self.UPRIGHT)
        return image, None if scene.label is None else self.read_label(scene.label)

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
            "name": tfds.features.Text(),
            "group": tfds.features.Text(),
        }
        unlabelled = [
            name for name, scenes in self.parts().items() if all(s.label is None for s in scenes)
        ]
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict(
                classes=list(self.classes),
                palette=[list(colour) for colour in self.palette],
                unlabelled=unlabelled,
            ),
        )

    def _examples(self, scenes: Sequence[Scene]) -> Iterator[dict]:
        excluded = set(self.builder_config.options["exclude"])
        for scene in scenes:
            if scene.name not in excluded:
                yield self._stored(scene)

    def _stored(self, scene: Scene) -> dict:
        """One scene in the form of the module docstring."""
        image, label = self.load(scene)
        if label is None:
            label = np.full((image.height, image.width), label_ids.IGNORE, np.uint8)
        if label.shape != (image.height, image.width):
            raise ValueError(
                f"{scene.label}: the label map has {label.shape[1]} x {label.shape[0]} pixels, but "
                f"its image {scene.image} has {image.width} x {image.height}. Mend it, or leave it "
                f"out with the option exclude=({scene.name!r},)"
            )
        size, changed = self.builder_config.options["size"], not _plain_file(scene.image, image)
        if size and tuple(size) != label.shape:
            shape, changed = tuple(size)[::-1], True
            image = image.resize(shape, Image.Resampling.LANCZOS)
            # A mean of class numbers is another class.
            label = np.asarray(Image.fromarray(label).resize(shape, Image.Resampling.NEAREST))
        return {
            "image": class_sets.png(np.asarray(image)) if changed else scene.image.read_bytes(),
            "label": class_sets.png(label),
            "name": scene.name,
            "group": scene.group,
        }


def _plain_file(path: Path, picture: Image.Image) -> bool:
    """Whether a file decodes to this picture by itself, without conversion, turning or cutting."""
    with Image.open(path) as image:
        return (
            image.format in ("JPEG", "PNG")
            and image.mode == "RGB"
            and image.size == picture.size
            and image.getexif().get(274, 1) == 1
        )
