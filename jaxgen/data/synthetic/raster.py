"""A z-buffer in pure JAX: triangles -> nearest triangle and barycentrics of each pixel.

Instead of looping over triangles, the bounding box of every visible triangle is cut into
blocks of 4 x 4 pixels, and the blocks of all triangles form one list. A chunk of the list at a
time evaluates its triangles at its pixels and writes depth and triangle number, packed in one
uint32, with a single scatter-min: the smallest value wins, so the result does not depend on
the order. Shapes are static; the number of chunks follows the area that is really covered.

Pixels: (x, y), centres at integers. Depth grows away from the camera.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

BLOCK = 4  # pixels
CHUNK = 2048  # blocks
ID_BITS = 14  # up to 16,384 triangles; the other 18 bits hold depth
EMPTY = np.uint32(2**32 - 1)


class Fragments(NamedTuple):
    """What covers each pixel.

    Attributes:
        triangle: [H, W] int32, -1 where nothing is.
        weights: [H, W, 3] float32 perspective-correct barycentrics (0 where nothing is).
        inverse_depth: [H, W] float32, 1 / z, 0 where nothing is.
    """

    triangle: jnp.ndarray
    weights: jnp.ndarray
    inverse_depth: jnp.ndarray


def rasterise(points, inverse_depth, triangles, sides, *, shape, near, far):
    """Finds the nearest triangle at each pixel centre.

    Args:
        points: [V, 2] float32 projected vertices in pixels.
        inverse_depth: [V] float32, 1 / z of each vertex, z > 0.
        triangles: [T, 3] int32 vertex numbers, T <= 2**14; front faces run counter-clockwise
            as seen.
        sides: [T] int32: 0 is not drawn, 1 only where it faces the camera, 2 always.
        shape: (H, W).
        near, far: range of z that depth is resolved over (18 bits of 1 / z).

    Returns:
        Fragments.
    """
    chex.assert_shape([points, triangles], [(None, 2), (None, 3)])
    if len(triangles) > 2**ID_BITS:
        raise ValueError(f"{len(triangles)} triangles do not fit {ID_BITS} bits")
    height, width = shape
    corners = points[triangles]  # [T, 3, 2]
    # Each triangle has its own origin, so that small triangles keep their digits.
    origin = jnp.floor(corners[:, 0])
    planes, area = _planes(corners - origin[:, None])
    drawn = ((area > 1e-6) & (sides > 0)) | ((area < -1e-6) & (sides > 1))
    inverse = inverse_depth[triangles]  # [T, 3]
    depth_plane = _depth_plane(inverse, planes, near, far)

    buffer = _fill(corners, origin, planes, depth_plane, drawn, shape)
    covered = buffer != EMPTY
    triangle = jnp.where(covered, (buffer & (2**ID_BITS - 1)).astype(jnp.int32), -1)

    # Back at the pixels, the winner's planes give the barycentrics.
    winner = jnp.maximum(triangle, 0)
    plane = planes.reshape(-1, 9)[winner].reshape(height, width, 3, 3)
    x, y = jnp.meshgrid(jnp.arange(width), jnp.arange(height))
    u, v = (x - origin[winner, 0])[..., None], (y - origin[winner, 1])[..., None]
    weights = (plane[..., 0] * u + plane[..., 1] * v + plane[..., 2]) * inverse[winner]
    total = jnp.where(covered, weights.sum(-1), 0.0)
    weights = weights / jnp.where(covered, total, 1.0)[..., None] * covered[..., None]
    return Fragments(triangle, weights, total)


def _planes(corners):
    """Barycentrics of each triangle as functions of the pixel.

    Args:
        corners: [T, 3, 2] pixels.

    Returns:
        [T, 3, 3]: (a, b, c) of a x + b y + c, which is 1 at corner k and 0 on the edge that
        faces it; [T] twice the area, positive where the triangle runs counter-clockwise as
        seen (y points down, so the usual sign is turned).
    """
    before, after = jnp.roll(corners, -1, 1), jnp.roll(corners, -2, 1)
    a = after[..., 1] - before[..., 1]
    b = before[..., 0] - after[..., 0]
    c = after[..., 0] * before[..., 1] - after[..., 1] * before[..., 0]
    area = c.sum(1)
    safe = jnp.where(jnp.abs(area) < 1e-6, 1.0, area)
    return jnp.stack([a, b, c], -1) / safe[:, None, None], area


def _depth_plane(inverse, planes, near, far):
    """[T, 3] plane of the depth code: 0 at `near`, 2**18 - 1 at `far`, linear in 1 / z."""
    levels = 2 ** (32 - ID_BITS) - 1
    nearness = (inverse - 1 / far) / (1 / near - 1 / far)  # 1 near, 0 far
    return jnp.einsum("te,tec->tc", (1 - nearness) * levels, planes)


def _fill(corners, origin, planes, depth_plane, drawn, shape):
    """The z-buffer: [H, W] uint32, depth code << ID_BITS | triangle, EMPTY where nothing is."""
    height, width = shape
    # Bounding boxes, cut at the image's border, in blocks from their upper left pixel.
    low = jnp.clip(jnp.ceil(corners.min(1)), 0, jnp.array([width, height])).astype(jnp.int32)
    high = jnp.clip(jnp.floor(corners.max(1)), -1, jnp.array([width - 1, height - 1]))
    count = (high.astype(jnp.int32) - low + BLOCK) // BLOCK
    count = jnp.where(drawn[:, None], jnp.maximum(count, 0), 0)
    total = jnp.cumsum(count[:, 0] * count[:, 1])
    table = jnp.concatenate([planes.reshape(-1, 9), depth_plane, origin], 1)  # [T, 14]
    levels = 2 ** (32 - ID_BITS) - 1

    def step(state):
        start, buffer = state
        item = start + jnp.arange(CHUNK)
        owner = jnp.searchsorted(total, item, side="right").astype(jnp.int32)
        used = owner < len(total)
        owner = jnp.minimum(owner, len(total) - 1)
        local = item - jnp.where(owner > 0, total[owner - 1], 0)
        columns = jnp.maximum(count[owner, 0], 1)
        row = table[owner]
        offset = jnp.arange(BLOCK)
        x = (low[owner, 0] + BLOCK * (local % columns))[:, None, None] + offset
        y = (low[owner, 1] + BLOCK * (local // columns))[:, None, None] + offset[:, None]
        u, v = x - row[:, 12, None, None], y - row[:, 13, None, None]
        one, two, three, depth = (
            row[:, k, None, None] * u + row[:, k + 1, None, None] * v + row[:, k + 2, None, None]
            for k in (0, 3, 6, 9)
        )
        # The tolerance closes the seams that rounding would open between neighbours.
        inside = jnp.minimum(jnp.minimum(one, two), three) >= -1e-5
        inside &= used[:, None, None] & (x < width) & (y < height)
        code = jnp.clip(depth, 0, levels - 1).astype(jnp.uint32)
        packed = (code << ID_BITS) | owner[:, None, None].astype(jnp.uint32)
        target = jnp.where(inside, y * width + x, height * width)  # one pixel too many: a bin
        buffer = buffer.at[target.reshape(-1)].min(packed.reshape(-1), mode="promise_in_bounds")
        return start + CHUNK, buffer

    buffer = jnp.full(height * width + 1, EMPTY, jnp.uint32)
    _, buffer = jax.lax.while_loop(lambda state: state[0] < total[-1], step, (0, buffer))
    return buffer[:-1].reshape(shape)


def interpolate(fragments, triangles, attributes):
    """Attributes of the visible surface.

    Args:
        fragments: Fragments of [H, W] pixels.
        triangles: [T, 3] int32.
        attributes: [V, C] float.

    Returns:
        [H, W, C] float32, 0 where nothing is.
    """
    chex.assert_rank(attributes, 2)
    corner = triangles[jnp.maximum(fragments.triangle, 0)]  # [H, W, 3]
    return sum(attributes[corner[..., k]] * fragments.weights[..., k, None] for k in range(3))
