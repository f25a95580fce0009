"""`synthetic_crowds`: scenes with 1 to 60 faces of 6 to 200 pixels, exact boxes, and distractors.

Boxes go from forehead to chin and from cheek to cheek, (x0, y0, x1, y1) in pixels, pixel centres
at integers. Between the faces stand things that are none: heads seen from behind, balls and
blobs in the colours of skin. Each split draws a pool of people once and pastes them at many sizes.
Train and test show different people, and so do the training scenes that are held out for
validation at the default fraction (`splits`): they draw from a tenth of the pool that no other
scene shows. A smaller or larger fraction mixes both.

    image uint8 [H, W, 3]; boxes float32 [N, 4]; seen float32 [N], the share of the face that
    nothing covers (at least 0.3); yaw float32 [N] degrees; person int32 [N], number in the pool
    of the split; name, group
"""

import dataclasses

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from jaxgen.data import hashing
from jaxgen.data.builders import images, synthetic_examples
from jaxgen.data.synthetic.stored import VERSION


@dataclasses.dataclass(eq=False, kw_only=True)
class SyntheticCrowdsConfig(tfds.core.BuilderConfig):
    """Sizes and seed of a set.

    Attributes:
        size: side of the scenes in pixels, a multiple of 8.
        seed: another seed gives other people and scenes.
        scenes: split -> number of scenes.
        people: split -> number of people in its pool.
        heights: (least, most) height of a face in pixels.
        sprite_size: side in pixels at which people are drawn.
    """

    size: int = 384
    seed: int = 0
    scenes: dict = dataclasses.field(default_factory=lambda: dict(train=300, test=80))
    people: dict = dataclasses.field(default_factory=lambda: dict(train=220, test=70))
    heights: tuple = (6, 200)
    sprite_size: int = 224


class SyntheticCrowds(tfds.core.GeneratorBasedBuilder):
    """Rendered crowds for face detection."""

    # 2: validation scenes have people of their own. The rest is the renderer's.
    VERSION = tfds.core.Version(f"2{VERSION[1:]}")
    BUILDER_CONFIGS = [  # noqa: RUF012
        SyntheticCrowdsConfig(name="default", description="380 scenes of 384 pixels"),
        SyntheticCrowdsConfig(
            name="large",
            description="5,500 scenes of 512 pixels",
            size=512,
            scenes=dict(train=5_000, test=500),
            people=dict(train=2_000, test=300),
        ),
        SyntheticCrowdsConfig(
            name="tiny",
            description="a handful, for tests",
            size=128,
            scenes=dict(train=4, test=2),
            people=dict(train=6, test=4),
            heights=(6, 60),
            sprite_size=64,
        ),
    ]

    def _info(self):
        size = self.builder_config.size
        tensor = tfds.features.Tensor
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(size, size, 3), encoding_format="jpeg"),
                    "boxes": tensor(shape=(None, 4), dtype=np.float32),
                    "seen": tensor(shape=(None,), dtype=np.float32),
                    "yaw": tensor(shape=(None,), dtype=np.float32),
                    "person": tensor(shape=(None,), dtype=np.int32),
                    "name": tfds.features.Text(),
                    "group": tfds.features.Text(),
                }
            ),
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # nothing to download
        return {split: self._generate_examples(split) for split in self.builder_config.scenes}

    def _generate_examples(self, split):
        from jaxgen.data.synthetic import crowd, surroundings

        config = self.builder_config
        number = sorted(config.scenes).index(split)
        people, distractors = _sprites(config, number, config.people[split])
        pools = _in_two(people, distractors) if split == "train" else [(people, distractors)]
        for index in range(config.scenes[split]):
            rng = np.random.default_rng((config.seed, number, index))
            name = f"{split}/{index:06d}"
            held_out = hashing.is_held_out(name, hashing.DEFAULT_VALIDATION_FRACTION)
            pool = pools[held_out and split == "train"]
            key = surroundings.scene_key(config.seed, number, index)
            behind, setting = surroundings.surroundings(key, size=config.size)
            light, faces = crowd.compose(rng, behind, *pool, config.heights)
            picture = surroundings.photograph(key, light, setting)
            yield (
                name,
                {
                    "image": images.encode(Image.fromarray(picture)),
                    "boxes": np.array([face.box for face in faces], np.float32).reshape(-1, 4),
                    "seen": np.array([face.seen for face in faces], np.float32),
                    "yaw": np.array([face.yaw for face in faces], np.float32),
                    "person": np.array([face.person for face in faces], np.int32),
                    "name": name,
                    "group": name,
                },
            )


def _sprites(config, split, count):
    """The people of a split, and what is no face: the backs of their heads, and blobs."""
    from jaxgen.data.synthetic import asset, crowd, generate, render

    numbers = [(config.seed, split, person, 0, 0) for person in range(count)]
    backs = [(config.seed, split, person, 1, 1) for person in range(0, count, 5)]
    drawn = generate.stream(
        asset.load_head(), person_of, numbers + backs, size=config.sprite_size,
        renderer=render.draw,
    )  # fmt: skip
    sprites = [
        crowd.Sprite(
            np.concatenate([out.light, out.alpha[..., None]], -1),
            out.face_box,
            float(scene.angles[0]),
            person=number[2],
        )
        for number, (scene, out) in zip(numbers + backs, drawn, strict=True)
    ]
    rng = np.random.default_rng((config.seed, split, count))
    blobs = [crowd.blob(rng) for _ in range(count // 4 + 1)]
    behind = [dataclasses.replace(sprite, face_box=None) for sprite in sprites[count:]]
    return sprites[:count], behind + blobs


def _in_two(people, distractors):
    """A pool as (people, distractors) of nine tenths, and of the last tenth of each.

    The back of a head goes where its person goes.
    """
    first = len(people) - max(1, len(people) // 10)
    blobs = [each for each in distractors if each.person < 0]
    backs = [each for each in distractors if each.person >= 0]
    split = len(blobs) - max(1, len(blobs) // 10)
    return (
        (people[:first], [back for back in backs if back.person < first] + blobs[:split]),
        (people[first:], [back for back in backs if back.person >= first] + blobs[split:]),
    )


def person_of(numbers):
    """Scene of one person to cut out: (seed, split, person, picture, from behind) -> Scene."""
    import jax.numpy as jnp

    from jaxgen.data.synthetic import sample

    person_key, picture_key = synthetic_examples.keys_of(numbers)
    person = sample.sample_person(person_key)
    scene = sample.sample_scene(picture_key, person, wild=0.5)
    turned = scene.angles + jnp.array([180.0, 0, 0]) * (numbers[4] > 0)
    return scene._replace(
        fill=jnp.float32(0.42),
        shift=jnp.array([0.0, 0.04]),
        angles=turned,
        follow=jnp.where(numbers[4] > 0, 1.0, scene.follow),
    )
