"""Empty places to put people into, and the camera that photographs them."""

from functools import partial

import jax
import numpy as np

from jaxgen.data.synthetic import background, render, sample

WILDNESS = 0.7  # of the places: between studio and street


def scene_key(seed, split, index):
    """PRNG key of one place."""
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), 1000 + split), index)
    return jax.random.key_data(key)


def surroundings(key, *, size):
    """One empty place.

    Args:
        key: from `scene_key`.
        size: side in pixels.

    Returns:
        [size, size, 3] float32 NumPy, linear light; scene.Scene with the camera's settings.
    """
    light, scene = _surroundings(key, size=size)
    return np.asarray(light), scene


def photograph(key, light, scene):
    """The picture of [S, S, 3] linear light: uint8, with the blur and grain of the scene."""
    image = _photograph(jax.random.fold_in(jax.random.wrap_key_data(key), 1), light, scene)
    return np.round(np.asarray(image) * 255).astype(np.uint8)


@partial(jax.jit, static_argnames="size")
@jax.default_matmul_precision("highest")
def _surroundings(key, *, size):
    keys = jax.random.split(jax.random.wrap_key_data(key))
    scene = sample.sample_scene(keys[0], sample.sample_person(keys[1]), wild=WILDNESS)
    data = jax.random.wrap_key_data(scene.key)
    return background.background(scene.background, scene.palette, data, size), scene


_photograph = jax.jit(render.photograph)
