"""`synthetic_parts`: rendered faces with the part of every pixel, for segmentation.

Masks are exact: a pixel belongs to what most of its samples show. Splits: `train`,
`validation` and `test` show different people, from studio to street. The classes are
`PARTS`; `tfds` lists them under `info.features["mask"].names`.
"""

import dataclasses

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from jaxgen.data.builders import synthetic_examples
from jaxgen.data.builders.synthetic_faces import scene_of
from jaxgen.data.synthetic.stored import PARTS, VERSION


@dataclasses.dataclass(eq=False, kw_only=True)
class SyntheticPartsConfig(tfds.core.BuilderConfig):
    """Sizes and seed of a set.

    Attributes:
        size: side of the images in pixels, a multiple of 8.
        seed: another seed gives other people.
        people: split -> number of people.
        pictures: pictures of each person.
        wildness: (least, most) in percent, from studio to street.
    """

    size: int = 128
    seed: int = 1
    people: dict = dataclasses.field(
        default_factory=lambda: dict(train=600, validation=60, test=120)
    )
    pictures: int = 1
    wildness: tuple = (0, 100)


class SyntheticParts(tfds.core.GeneratorBasedBuilder):
    """Rendered faces with part masks."""

    VERSION = tfds.core.Version(VERSION)
    BUILDER_CONFIGS = [  # noqa: RUF012
        SyntheticPartsConfig(name="default", description="780 faces of 128 pixels"),
        SyntheticPartsConfig(
            name="large",
            description="8,000 training faces of as many people",
            people=dict(train=8_000, validation=400, test=800),
        ),
        SyntheticPartsConfig(
            name="tiny",
            description="a handful, for tests",
            size=64,
            people=dict(train=4, validation=2, test=2),
        ),
    ]

    def _info(self):
        size = self.builder_config.size
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            features=synthetic_examples.face_features(
                size, mask=tfds.features.LabeledImage(labels=list(PARTS), shape=(size, size, 1))
            ),
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # nothing to download
        return {split: self._generate_examples(split) for split in self.builder_config.people}

    def _generate_examples(self, split):
        config = self.builder_config
        return synthetic_examples.faces_of(
            scene_of, split, config, wildness=config.wildness, more=_mask
        )


def _mask(picture):
    return {"mask": Image.fromarray(picture.parts.astype(np.uint8))}
