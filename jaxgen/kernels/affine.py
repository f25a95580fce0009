"""Affine maps of one image and of points, differentiable, in one pixel convention.

Images are [H, W, C], points (x, y) in pixels with pixel centres at integers from 0. A matrix
is [2, 3] and maps (x, y, 1). `warp` takes the matrix from OUTPUT pixel to INPUT pixel, so the
points of a warped image come from the inverse:

    warped = warp(image, matrix)
    moved = transform_points(invert(matrix), points)
"""

import chex
import jax
import jax.numpy as jnp


def warp(image: chex.Array, matrix: chex.Array) -> chex.Array:
    """Resamples an image bilinearly; pixels beyond the border repeat the border.

    Args:
        image: [H, W, C] float.
        matrix: [2, 3] float, output pixel -> input pixel.

    Returns:
        [H, W, C], the dtype of `image`. Differentiable in both arguments.
    """
    chex.assert_rank(image, 3)
    height, width, channels = image.shape
    columns, rows = jnp.meshgrid(jnp.arange(width), jnp.arange(height))
    grid = jnp.stack([columns, rows], -1).astype(jnp.float32)
    source = transform_points(matrix, grid)
    x = jnp.clip(source[..., 0], 0, width - 1)
    y = jnp.clip(source[..., 1], 0, height - 1)
    left = jnp.clip(jnp.floor(x), 0, max(width - 2, 0)).astype(jnp.int32)
    top = jnp.clip(jnp.floor(y), 0, max(height - 2, 0)).astype(jnp.int32)
    right, bottom = jnp.minimum(left + 1, width - 1), jnp.minimum(top + 1, height - 1)
    # One flat index per corner: a gather of whole pixels.
    pixels = image.reshape(-1, channels)
    along_x, along_y = (x - left)[..., None], (y - top)[..., None]

    def row(y_index):
        start = y_index * width
        return pixels[start + left] * (1 - along_x) + pixels[start + right] * along_x

    return (row(top) * (1 - along_y) + row(bottom) * along_y).astype(image.dtype)


def similarity(angle, scale, shift, *, center) -> chex.Array:
    """Matrix that turns, then scales about a centre, then shifts.

    Args:
        angle: radians; positive turns x towards y (clockwise on the screen).
        scale: > 0.
        shift: [2] pixels.
        center: [2] pixels, the point that only `shift` moves.

    Returns:
        [2, 3] float32.
    """
    cos, sin = scale * jnp.cos(angle), scale * jnp.sin(angle)
    x, y = jnp.asarray(center, jnp.float32)
    # Written out: a matrix product rounds its factors on accelerators.
    offset = jnp.stack([x - (cos * x - sin * y), y - (sin * x + cos * y)])
    offset = offset + jnp.asarray(shift, jnp.float32)
    linear = jnp.stack([jnp.stack([cos, -sin]), jnp.stack([sin, cos])])
    return jnp.concatenate([linear, offset[:, None]], 1).astype(jnp.float32)


def random_similarity(
    key: chex.PRNGKey, *, size: int, rotation: float, scale: float, shift: float
) -> chex.Array:
    """A random turn, zoom and shift of a square image about its centre.

    Args:
        key: PRNG key.
        size: side of the image, pixels.
        rotation: largest turn either way, degrees.
        scale: largest zoom in; out is the inverse (0.1: between 1 / 1.1 and 1.1).
        shift: largest shift along each axis, as a share of `size`.

    Returns:
        [2, 3] float32, input pixel -> output pixel: invert it for `warp`.
    """
    turn, zoom, *moves = jax.random.uniform(key, (4,), minval=-1.0)
    return similarity(
        jnp.radians(rotation * turn),
        (1 + scale) ** zoom,
        shift * size * jnp.stack(moves),
        center=((size - 1) / 2,) * 2,
    )


def transform_points(matrix: chex.Array, points: chex.Array) -> chex.Array:
    """Moves points by a matrix. matrix: [2, 3]; points: [..., 2] pixels -> [..., 2]."""
    chex.assert_shape([matrix, points], [(2, 3), (..., 2)])
    x, y = points[..., 0], points[..., 1]
    return jnp.stack([a * x + b * y + c for a, b, c in matrix], -1)


def invert(matrix: chex.Array) -> chex.Array:
    """The matrix that undoes `matrix`. [2, 3] -> [2, 3]; the linear part must be regular."""
    chex.assert_shape(matrix, (2, 3))
    (a, b, x), (c, d, y) = matrix
    rows = [[d, -b, b * y - d * x], [-c, a, c * x - a * y]]
    return jnp.stack([jnp.stack(row) for row in rows]) / (a * d - b * c)
