"""Smooth random fields: value noise on a lattice that repeats."""

import chex
import jax
import jax.numpy as jnp

LATTICE = 16  # the field repeats after so many cells


def lattice(key, dimensions, channels=1):
    """Uniform values in [-1, 1] on a LATTICE^dimensions grid, [..., channels]."""
    return jax.random.uniform(key, (LATTICE,) * dimensions + (channels,), minval=-1, maxval=1)


def value_noise(values, points):
    """Interpolated lattice values.

    Args:
        values: [L, ..., L, C] lattice of D dimensions.
        points: [..., D] float, in cells.

    Returns:
        [..., C] float32, smooth (C1), in the range of `values`.
    """
    dimensions = values.ndim - 1
    chex.assert_axis_dimension(points, -1, dimensions)
    size = values.shape[0]
    table = values.reshape(-1, values.shape[-1])
    cell = jnp.floor(points)
    part = points - cell
    part = part * part * (3 - 2 * part)
    cell = cell.astype(jnp.int32) % size
    after = (cell + 1) % size
    result = 0.0
    for corner in range(2**dimensions):
        index, weight = 0, 1.0
        for axis in range(dimensions):
            far = (corner >> axis) & 1
            index = index * size + (after if far else cell)[..., axis]
            weight = weight * (part[..., axis] if far else 1 - part[..., axis])
        result = result + weight[..., None] * table[index]
    return result


def fractal_noise(values, points, *, octaves, gain=0.5):
    """Sum of `octaves` noises, each twice as fine and `gain` times as strong."""
    total, strength = 0.0, 1.0
    for octave in range(octaves):
        # An offset per octave keeps the lattice points from lining up.
        total = total + strength * value_noise(values, points * 2.0**octave + 3.7 * octave)
        strength *= gain
    return total
