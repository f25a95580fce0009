"""Cheap random patterns: one small periodic tile per person or picture, looked up by texel."""

import jax
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
    place = jnp.arange(size)
    distance = jnp.abs(place[:, None] - place)
    distance = jnp.minimum(distance, size - distance)  # the tile repeats

    def channel(number, sigma):
        filters = jnp.exp(-0.5 * (distance / jnp.maximum(sigma, 1e-3)[:, None, None]) ** 2)
        # Channels share the white noise, shifted, which is as good as independent.
        shifted = jnp.roll(white, (37 * number, 53 * number), (0, 1))
        layer = filters[0] @ shifted @ filters[1]
        return layer / jnp.std(layer)

    layers = jax.vmap(channel)(jnp.arange(len(sigmas)), jnp.asarray(sigmas))
    return jnp.clip(jnp.moveaxis(layers, 0, -1), -2.5, 2.5)


def look_up(tile, places):
    """Nearest texels of a periodic tile. tile: [S, S, C]; places: [..., 2] in tiles -> [..., C]."""
    size = tile.shape[0]
    texel = jnp.floor(places * size).astype(jnp.int32) % size
    return tile.reshape(size * size, -1)[texel[..., 1] * size + texel[..., 0]]
