"""Cheap random patterns: one small periodic tile per person or picture, looked up by nearest texel."""

import jax.numpy as jnp
from jax import random

SIZE = 128  # texels; the tile repeats


def smooth_rows(cells, size):
    """Matrix [size, cells] that interpolates a periodic row of `cells` values smoothly."""
    place = jnp.arange(size) * cells / size
    low = jnp.floor(place).astype(jnp.int32)
    part = place - low
    part = part * part * (3 - 2 * part)
    column = jnp.arange(cells)
    return (column == low[:, None]) * (1 - part)[:, None] + (
        column == (low[:, None] + 1) % cells
    ) * part[:, None]


def noise_tile(key, cells, *, size=SIZE):
    """Periodic noise at several scales.

    Args:
        key: PRNG key.
        cells: sequence of (rows, columns): lattice of each channel, at most `size`.
        size: texels of a side.

    Returns:
        [size, size, len(cells)] float32 in [-1, 1].
    """
    values = random.uniform(key, (sum(r * c for r, c in cells),), minval=-1.0, maxval=1.0)
    layers, start = [], 0
    for rows, columns in cells:
        lattice = values[start : start + rows * columns].reshape(rows, columns)
        layers.append(smooth_rows(rows, size) @ lattice @ smooth_rows(columns, size).T)
        start += rows * columns
    return jnp.stack(layers, -1)


def look_up(tile, places):
    """Nearest texels of a periodic tile. tile: [S, S, C]; places: [..., 2] in tiles -> [..., C]."""
    size = tile.shape[0]
    texel = jnp.floor(places * size).astype(jnp.int32) % size
    return tile.reshape(size * size, -1)[texel[..., 1] * size + texel[..., 0]]
