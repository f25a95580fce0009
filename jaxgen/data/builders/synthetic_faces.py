"""`synthetic_faces`: rendered faces with exact 68-point labels, and a second style without them.

Splits: `train`, `validation` and `test` show different people in the studio style;
`unlabelled` shows yet other people in the street style (hard coloured light, clutter, blur,
noise, compression): the domain gap that semi-supervised training has to bridge. Its points
are stored for measuring that gap; training must not read them.

Images are face windows: the tight box of the 68 points takes 0.52 to 0.62 of the image's
side, so a crop of 1.3 boxes may still turn, move and grow by a fifth, and an 80-pixel crop
hardly changes the resolution.

    from jaxgen.data.builders.synthetic_faces import SyntheticFaces
    builder = SyntheticFaces(file_format="array_record")
    builder.download_and_prepare()
    faces = builder.as_data_source("train")
"""

import dataclasses

import tensorflow_datasets as tfds

from jaxgen.data.builders import synthetic_examples
from jaxgen.data.synthetic.stored import VERSION


@dataclasses.dataclass(eq=False, kw_only=True)
class SyntheticFacesConfig(tfds.core.BuilderConfig):
    """Sizes, seed and styles of a set.

    Attributes:
        size: side of the images in pixels, a multiple of 8.
        seed: another seed gives other people.
        people: split -> number of people.
        pictures: pictures of each person.
        wildness: split -> (least, most): how far pictures are from the studio towards the
            street, in percent.
    """

    size: int = 112
    seed: int = 0
    people: dict = dataclasses.field(
        default_factory=lambda: dict(train=400, validation=50, test=80, unlabelled=130)
    )
    pictures: int = 3
    wildness: dict = dataclasses.field(
        default_factory=lambda: dict(
            train=(0, 20), validation=(0, 20), test=(0, 20), unlabelled=(100, 100)
        )
    )


class SyntheticFaces(tfds.core.GeneratorBasedBuilder):
    """Rendered faces with 68 landmarks."""

    VERSION = tfds.core.Version(VERSION)
    BUILDER_CONFIGS = [  # noqa: RUF012
        SyntheticFacesConfig(name="default", description="about 2,000 faces of 112 pixels"),
        SyntheticFacesConfig(
            name="varied",
            description="10,000 training faces of as many people, from studio to street",
            people=dict(train=10_000, validation=500, test=1_000, unlabelled=2_000),
            pictures=1,
            wildness=dict(
                train=(0, 100), validation=(0, 100), test=(0, 100), unlabelled=(100, 100)
            ),
        ),
        SyntheticFacesConfig(
            name="tiny",
            description="a handful, for tests",
            people=dict(train=4, validation=2, test=2, unlabelled=4),
            pictures=2,
            size=64,
        ),
    ]

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            features=synthetic_examples.face_features(self.builder_config.size),
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # nothing to download
        return {split: self._generate_examples(split) for split in self.builder_config.people}

    def _generate_examples(self, split):
        config = self.builder_config
        return synthetic_examples.faces_of(scene_of, split, config, wildness=config.wildness[split])


def scene_of(numbers):
    """Scene of (seed, split, person, picture, least, most wildness): [6] int32 -> Scene."""
    import jax

    from jaxgen.data.synthetic import sample

    person_key, picture_key = synthetic_examples.keys_of(numbers)
    person = sample.sample_person(person_key)
    share = jax.random.uniform(jax.random.fold_in(picture_key, 1))
    wild = (numbers[4] + share * (numbers[5] - numbers[4])) / 100
    return sample.sample_scene(picture_key, person, wild=wild)
