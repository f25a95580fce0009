"""`synthetic_multipie`: people at fixed yaws, lights and expressions, in Multi-PIE's protocol.

Splits: `train` holds people at every yaw; `gallery` holds one frontal, neutral, evenly lit
picture of each of the held-out people; `probe` holds the held-out people at every yaw in
other light and with other expressions. Identification gives each probe the person of the
nearest gallery picture and reports the share of right ones by |yaw|.

Yaws are exact, in degrees (positive: the nose points to the image's right). Light and
expression of a picture are numbers into `ILLUMINATIONS` and `EMOTIONS`. Hair, glasses and
skin belong to the person; clothes, background and exposure change from picture to picture, so
that they tell nothing.
"""

import dataclasses

import numpy as np
import tensorflow_datasets as tfds

from jaxgen.data.builders import synthetic_examples
from jaxgen.data.synthetic.stored import VERSION

# Flash of each light: (azimuth, height) in degrees; the first is the room alone.
ILLUMINATIONS = (
    None,
    (0, 15),
    (-45, 15),
    (45, 15),
    (-80, 10),
    (80, 10),
    (0, 60),
    (-60, 50),
    (60, 50),
)
# Face units of each expression; the first is neutral.
EMOTIONS = {
    "neutral": {},
    "smile": {"mouthSmile": 0.8, "cheekSquint": 0.5, "jawOpen": 0.1, "mouthUpperUp": 0.3},
    "surprise": {"jawOpen": 0.6, "browInnerUp": 0.7, "browOuterUp": 0.7, "eyeWide": 0.7},
    "squint": {"eyeSquint": 0.9, "cheekSquint": 0.7, "browDown": 0.4, "eyeBlink": 0.35},
    "disgust": {"noseSneer": 0.8, "browDown": 0.7, "mouthUpperUp": 0.4, "mouthFrown": 0.4},
}


@dataclasses.dataclass(eq=False, kw_only=True)
class SyntheticMultipieConfig(tfds.core.BuilderConfig):
    """Sizes and seed of a set.

    Attributes:
        size: side of the images in pixels, a multiple of 8.
        seed: another seed gives other people.
        people: number of training people; held_out: of people in gallery and probe.
        yaws: degrees.
        train_pictures, probe_pictures: pictures of each person at each yaw.
    """

    size: int = 104
    seed: int = 0
    people: int = 120
    held_out: int = 25
    yaws: tuple = (-60, -45, -30, -15, 0, 15, 30, 45, 60)
    train_pictures: int = 1
    probe_pictures: int = 2


class SyntheticMultipie(tfds.core.GeneratorBasedBuilder):
    """Rendered people by pose, light and expression."""

    VERSION = tfds.core.Version(VERSION)
    BUILDER_CONFIGS = [  # noqa: RUF012
        SyntheticMultipieConfig(name="default", description="145 people, 9 yaws, 1,555 pictures"),
        SyntheticMultipieConfig(
            name="large",
            description="337 people as in Multi-PIE, 13 yaws, 17,700 pictures",
            people=200,
            held_out=137,
            yaws=tuple(range(-90, 91, 15)),
            train_pictures=4,
            probe_pictures=4,
        ),
        SyntheticMultipieConfig(
            name="tiny",
            description="a handful, for tests",
            size=64,
            people=6,
            held_out=2,
            yaws=(-45, 0, 45),
            probe_pictures=1,
        ),
    ]

    def _info(self):
        number = tfds.features.Scalar(np.int32)
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            features=synthetic_examples.face_features(
                self.builder_config.size,
                person=number,
                yaw=number,
                illumination=number,
                emotion=number,
            ),
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # nothing to download
        config = self.builder_config
        train, held_out = (
            range(config.people),
            range(config.people, config.people + config.held_out),
        )
        return {
            "train": self._generate_examples("train", train, config.yaws, config.train_pictures),
            "gallery": self._generate_examples("gallery", held_out, (0,), 1),
            "probe": self._generate_examples("probe", held_out, config.yaws, config.probe_pictures),
        }

    def _generate_examples(self, split, people, yaws, pictures):
        config = self.builder_config
        numbers = []
        for person in people:
            for order, yaw in enumerate(np.repeat(yaws, pictures)):
                # Gallery and probe pictures of a person differ in number, so in everything random.
                picture = 0 if split == "gallery" else 1 + order
                rng = np.random.default_rng((config.seed, person, picture))
                light, emotion = rng.integers((len(ILLUMINATIONS), len(EMOTIONS)))
                if split == "gallery":
                    light = emotion = 0
                numbers.append((config.seed, 0, person, picture, yaw, light, emotion))
        for row, scene, face in synthetic_examples.rendered(scene_of, numbers, size=config.size):
            _, _, person, picture, yaw, light, emotion = (int(value) for value in row)
            group = f"{person:05d}"
            name = f"{group}_{yaw:+03d}_{light}_{emotion}_{picture:03d}"
            yield (
                name,
                synthetic_examples.face_example(
                    scene,
                    face,
                    group=group,
                    name=name,
                    subset=f"yaw_{abs(yaw)}",
                    person=person,
                    yaw=yaw,
                    illumination=light,
                    emotion=emotion,
                ),
            )


def scene_of(numbers):
    """Scene of (seed, 0, person, picture, yaw, illumination, emotion): [7] int32 -> Scene."""
    import jax
    import jax.numpy as jnp

    from jaxgen.data.synthetic import lighting, sample
    from jaxgen.data.synthetic.expressions import mix_units
    from jaxgen.data.synthetic.materials import to_linear

    yaw, illumination, emotion = numbers[4:]
    person_key, picture_key = synthetic_examples.keys_of(numbers)
    person = sample.sample_person(person_key)
    scene = sample.sample_scene(picture_key, person, wild=0.0)
    # What a person always wears is drawn with the person's key.
    own = sample.sample_scene(jax.random.fold_in(person_key, 2**20), person, wild=0.0)

    flashes = jnp.array([(0, 0) if f is None else f for f in ILLUMINATIONS], jnp.float32)
    azimuth, height = jnp.deg2rad(flashes[illumination])
    towards = jnp.stack(
        [jnp.sin(azimuth) * jnp.cos(height), jnp.sin(height), jnp.cos(azimuth) * jnp.cos(height)]
    )
    flash = to_linear(jnp.ones(3)) * (illumination > 0) * 0.9
    room = jnp.where(illumination > 0, 0.3, 0.75) * jnp.ones(3)
    light = lighting.ambient(room) + lighting.lamp(towards, flash, spread=0.2)
    emotions = jnp.stack([mix_units(**units) for units in EMOTIONS.values()])
    strength = 0.7 + 0.3 * jax.random.uniform(picture_key)
    return scene._replace(
        expression=emotions[emotion] * strength,
        gaze=jnp.zeros(2),
        angles=jnp.stack([yaw * 1.0, 0.25 * scene.angles[1], 0.25 * scene.angles[2]]),
        follow=jnp.float32(0.8),
        distance=jnp.float32(15.0),
        fill=jnp.float32(0.58),
        light=light,
        lamps=jnp.stack([towards, jnp.array([0.0, 1, 0])]),
        lamp_colors=jnp.stack([flash, jnp.zeros(3)]),
        hat=jnp.float32(0),
        glasses=own.glasses.at[3].set(jnp.minimum(own.glasses[3], 0.5)),
        frame_color=own.frame_color,
        occluder=scene.occluder.at[0].set(0.0),
    )
