"""`synthetic_faces`: rendered faces with exact 68-point labels, and a second style without use
of labels.

Splits: `train`, `validation` and `test` show different people in the "studio" style;
`unlabelled` shows yet other people in the "street" style (hard coloured light, clutter, blur,
noise, compression): the domain gap that semi-supervised training has to bridge. Its points
are stored for measuring that gap; training must not read them.

Images are face windows: the tight box of the 68 points takes 0.52 to 0.62 of the image's
side, so a crop of 1.3 boxes may still turn, move and grow by a fifth.
"""

import dataclasses

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from jaxgen.data.builders import images

NUM_POINTS = 68


@dataclasses.dataclass(eq=False, kw_only=True)
class SyntheticFacesConfig(tfds.core.BuilderConfig):
    """Sizes, seed and styles of a set.

    Attributes:
        size: side of the images in pixels, a multiple of 8.
        seed: another seed gives other people.
        people: split -> number of people.
        pictures: pictures of each person.
        wildness: split -> how far its look is from the studio towards the street, in percent.
    """

    size: int = 112
    seed: int = 0
    people: dict = dataclasses.field(
        default_factory=lambda: dict(train=400, validation=50, test=80, unlabelled=130)
    )
    pictures: int = 3
    wildness: dict = dataclasses.field(
        default_factory=lambda: dict(train=0, validation=0, test=0, unlabelled=100)
    )


class SyntheticFaces(tfds.core.GeneratorBasedBuilder):
    """Rendered faces with 68 landmarks."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [  # noqa: RUF012
        SyntheticFacesConfig(name="default", description="about 2,000 faces, 112 px"),
        SyntheticFacesConfig(
            name="tiny",
            description="a handful, for tests",
            people=dict(train=4, validation=2, test=2, unlabelled=4),
            pictures=2,
            size=64,
        ),
    ]

    def _info(self):
        size = self.builder_config.size
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(size, size, 3), encoding_format="jpeg"),
                    "points": tfds.features.Tensor(shape=(NUM_POINTS, 2), dtype=np.float32),
                    "visible": tfds.features.Tensor(shape=(NUM_POINTS,), dtype=np.bool_),
                    "box": tfds.features.Tensor(shape=(4,), dtype=np.float32),
                    "angles": tfds.features.Tensor(shape=(3,), dtype=np.float32),
                    "identity": tfds.features.Tensor(shape=(60,), dtype=np.float32),
                    "expression": tfds.features.Tensor(shape=(52,), dtype=np.float32),
                    "name": tfds.features.Text(),
                    "group": tfds.features.Text(),
                    "subset": tfds.features.Text(),
                }
            ),
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # nothing to download
        return {split: self._generate_examples(split) for split in self.builder_config.people}

    def _generate_examples(self, split):
        # Rendering starts JAX: only here, because reading a prepared set does not need it.
        from jaxgen.data.synthetic import asset, generate

        config = self.builder_config
        number = sorted(config.people).index(split)
        scenes = [
            (config.seed, number, person, picture, config.wildness[split])
            for person in range(config.people[split])
            for picture in range(config.pictures)
        ]
        rendered = generate.stream(asset.load_head(), scene_of, scenes, size=config.size)
        for (_, _, person, picture, _), (scene, face) in zip(scenes, rendered, strict=True):
            group = f"{split}/{person:05d}"
            name = f"{group}_{picture:02d}"
            yield (
                name,
                {
                    "image": images.encode(Image.fromarray(face.image)),
                    "points": face.points,
                    "visible": face.visible,
                    "box": face.box,
                    "angles": scene.angles,
                    "identity": scene.person.shape,
                    "expression": scene.expression,
                    "name": name,
                    "group": group,
                    "subset": _pose_range(scene.angles[0]),
                },
            )


def scene_of(numbers):
    """The scene of (seed, split, person, picture, percent of wildness): [5] int32 -> Scene."""
    import jax

    from jaxgen.data.synthetic import sample

    seed, split, person, picture, wild = numbers
    person_key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), split), person)
    return sample.sample_scene(
        jax.random.fold_in(person_key, picture),
        sample.sample_person(person_key),
        wild=wild / 100,
    )


def _pose_range(yaw):
    """Named part of a test set: frontal (|yaw| < 30), turned (< 60) or profile."""
    return ("frontal", "turned", "profile")[int(np.digitize(abs(yaw), [30, 60]))]
