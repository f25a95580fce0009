"""Cheap random patterns: one small periodic tile per person or picture, looked up by texel."""

import jax.numpy as jnp
from jax import random

SIZE = 128  # texels; the tile repeats


def noise_tile(key, sigmas, *, size=SIZE):
    """Periodic smooth noise at several scales: white noise under Gaussian filters.

    Args:
        key: PRNG key.
        sigmas: (down, across) standard deviations of each channel's filter, in texels.
        size: texels of a side.

    Returns:
        [size, size, len(sigmas)] float32, zero mean, unit variance, cut at +-2.5.
    """
    white = random.uniform(key, (size, size), minval=-1.0, maxval=1.0)
    layers = []
    for number, (down, across) in enumerate(sigmas):
        # Channels share the white noise, shifted, which is as good as independent.
        shifted = jnp.roll(white, (37 * number, 53 * number), (0, 1))
        layer = _filter(down, size) @ shifted @ _filter(across, size).T
        layers.append(layer / jnp.std(layer))
    return jnp.clip(jnp.stack(layers, -1), -2.5, 2.5)


def _filter(sigma, size):
    """Matrix [size, size] of a periodic Gaussian filter."""
    distance = jnp.arange(size)[:, None] - jnp.arange(size)
    distance = jnp.minimum(jnp.abs(distance), size - jnp.abs(distance))
    return jnp.exp(-0.5 * (distance / jnp.maximum(sigma, 1e-3)) ** 2)


def look_up(tile, places):
    """Nearest texels of a periodic tile. tile: [S, S, C]; places: [..., 2] in tiles -> [..., C]."""
    size = tile.shape[0]
    texel = jnp.floor(places * size).astype(jnp.int32) % size
    return tile.reshape(size * size, -1)[texel[..., 1] * size + texel[..., 0]]
