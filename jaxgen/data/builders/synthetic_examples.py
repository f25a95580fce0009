"""What the rendered sets share: names of people and pictures, features, one way to generate.

A picture is fixed by five whole numbers: seed of the set, number of the split, person, picture
of that person, and a setting that the set gives a meaning (style, pose, ...).
"""

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from jaxgen.data.builders import images

NUM_POINTS = 68


def face_features(size: int, **more) -> tfds.features.FeaturesDict:
    """Features of one rendered face of `size` x `size` pixels, and those of the set itself."""
    tensor = tfds.features.Tensor
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(size, size, 3), encoding_format="jpeg"),
            "points": tensor(shape=(NUM_POINTS, 2), dtype=np.float32),
            "visible": tensor(shape=(NUM_POINTS,), dtype=np.bool_),
            "box": tensor(shape=(4,), dtype=np.float32),
            "angles": tensor(shape=(3,), dtype=np.float32),
            "identity": tensor(shape=(60,), dtype=np.float32),
            "expression": tensor(shape=(52,), dtype=np.float32),
            "name": tfds.features.Text(),
            "group": tfds.features.Text(),
            "subset": tfds.features.Text(),
            **more,
        }
    )


def face_example(scene, picture, *, group, name, subset, **more) -> dict:
    """The example of one rendering.

    Args:
        scene: scene.Scene.
        picture: render.Rendering, as NumPy.
        group: the person; name: the picture; subset: named part of a test set.
        more: further features.
    """
    return {
        "image": images.encode(Image.fromarray(to_bytes(picture.image))),
        "points": picture.points,
        "visible": picture.visible,
        "box": picture.box,
        "angles": scene.angles,
        "identity": scene.person.shape,
        "expression": scene.expression,
        "group": group,
        "name": name,
        "subset": subset,
        **more,
    }


def pose_range(yaw: float) -> str:
    """Named part of a test set: frontal (|yaw| < 30), turned (< 60) or profile."""
    return ("frontal", "turned", "profile")[int(np.digitize(abs(yaw), [30, 60]))]


def to_bytes(image) -> np.ndarray:
    """Image in [0, 1] as uint8."""
    return np.round(image * 255).astype(np.uint8)


def rendered(scene_of, numbers, *, size):
    """Renders pictures on every core: (numbers, Scene, Rendering) in order.

    Args:
        scene_of: [K] int32 numbers of a picture -> scene.Scene; a function of a module.
        numbers: [N, K] whole numbers.
        size: side of the pictures.
    """
    # Rendering starts JAX: only here, because reading a prepared set does not need it.
    from jaxgen.data.synthetic import asset, generate

    pictures = generate.stream(asset.load_head(), scene_of, numbers, size=size)
    for row, (scene, picture) in zip(numbers, pictures, strict=True):
        yield row, scene, picture


def faces_of(scene_of, split: str, config, *, wildness, more=lambda picture: {}):
    """Examples of a split of single faces, as (name, example).

    Args:
        scene_of: as of `rendered`; reads (seed, split, person, picture, least, most wildness).
        split: name.
        config: size, seed, people {split: number of people}, pictures of each person.
        wildness: (least, most) in percent, from studio to street.
        more: further features of a Rendering.
    """
    number = sorted(config.people).index(split)
    numbers = [
        (config.seed, number, person, picture, *wildness)
        for person in range(config.people[split])
        for picture in range(config.pictures)
    ]
    for row, scene, picture in rendered(scene_of, numbers, size=config.size):
        group = f"{split}/{row[2]:05d}"
        name, subset = f"{group}_{row[3]:02d}", pose_range(scene.angles[0])
        facts = dict(group=group, name=name, subset=subset)
        yield name, face_example(scene, picture, **facts, **more(picture))


def keys_of(numbers):
    """Keys of the person and of the picture: [>= 4] (seed, split, person, picture) -> 2 keys."""
    import jax

    seed, split, person, picture = numbers[:4]
    person_key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), split), person)
    return person_key, jax.random.fold_in(person_key, picture)
