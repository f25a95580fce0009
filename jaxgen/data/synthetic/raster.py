"""A z-buffer in pure JAX: triangles -> nearest triangle and barycentrics of each pixel.

Instead of looping over triangles, every visible triangle's bounding box is cut into blocks
of 4 x 4 pixels and all blocks of all triangles are listed, up to a fixed capacity. Each block
evaluates its triangle at its 16 pixels and writes depth and triangle number, packed in one
uint32, with a single scatter-min: the smallest value wins, so the result does not depend on
the order. Shapes are static; the work follows the area that is really covered.

Pixels: (x, y), centres at integers. Depth grows away from the camera.
"""

from typing import NamedTuple

import chex
import jax.numpy as jnp

BLOCK = 4
ID_BITS = 14  # up to 16,383 triangles; the other 18 bits hold depth


class Fragments(NamedTuple):
    """What covers each pixel.

    Attributes:
        triangle: [H, W] int32, -1 where nothing is.
        weights: [H, W, 3] float32 perspective-correct barycentrics (0 where nothing is).
        inverse_depth: [H, W] float32, 1 / z, 0 where nothing is.
        overflow: [] int32, blocks that did not fit the capacity: above 0 there are holes.
    """

    triangle: jnp.ndarray
    weights: jnp.ndarray
    inverse_depth: jnp.ndarray
    overflow: jnp.ndarray


def rasterise(points, inverse_depth, triangles, sides, *, shape, near, far, capacity):
    """Finds the nearest triangle at each pixel centre.

    Args:
        points: [V, 2] float32 projected vertices in pixels.
        inverse_depth: [V] float32, 1 / z of each vertex, z > 0.
        triangles: [T, 3] int32 vertex numbers, T < 2**14; front faces run counter-
            clockwise as seen.
        sides: [T] int32: 0 is not drawn, 1 only where it faces the camera, 2 always.
        shape: (H, W).
        near, far: range of z that depth is resolved over (18 bits of 1 / z).
        capacity: how many blocks of 4 x 4 pixels there is room for.

    Returns:
        Fragments.
    """
    chex.assert_shape([points, triangles], [(None, 2), (None, 3)])
    height, width = shape
    corners = points[triangles]  # [T, 3, 2]
    # Each triangle has its own origin, so that small triangles keep their digits.
    origin = jnp.floor(corners[:, 0])
    edges = _edge_functions(corners - origin[:, None])  # [T, 3, 3]
    area = edges[:, :, 2].sum(1)  # twice the signed area: constant terms add up to it
    drawn = ((area > 1e-6) & (sides > 0)) | ((area < -1e-6) & (sides > 1))

    # Bounding boxes, cut at the image's border, in blocks from their upper left pixel.
    low = jnp.clip(jnp.ceil(corners.min(1)), 0, jnp.array([width, height])).astype(jnp.int32)
    high = jnp.clip(jnp.floor(corners.max(1)), -1, jnp.array([width - 1, height - 1]))
    count = (high.astype(jnp.int32) - low + BLOCK) // BLOCK
    count = jnp.where(drawn[:, None], jnp.maximum(count, 0), 0)
    total = jnp.cumsum(count[:, 0] * count[:, 1])

    # Work list: item -> (triangle, block of its box).
    item = jnp.arange(capacity)
    owner = jnp.searchsorted(total, item, side="right").astype(jnp.int32)
    used = owner < len(triangles)
    owner = jnp.minimum(owner, len(triangles) - 1)
    local = item - jnp.where(owner > 0, total[owner - 1], 0)
    columns = jnp.maximum(count[owner, 0], 1)
    place = low[owner] + BLOCK * jnp.stack([local % columns, local // columns], -1)

    # Edge functions and depth at the 16 pixels of each block.
    scaled = edges / jnp.where(jnp.abs(area) < 1e-6, 1.0, area)[:, None, None]
    depth_plane = jnp.einsum("te,tec->tc", inverse_depth[triangles], scaled)
    planes = jnp.concatenate([scaled, depth_plane[:, None]], 1).reshape(-1, 12)[owner]
    planes = planes.reshape(-1, 4, 3)
    step = jnp.arange(BLOCK)
    x = (place[:, :1] + step)[:, None, :]  # [M, 1, 4]
    y = (place[:, 1:] + step)[:, :, None]  # [M, 4, 1]
    u, v = x - origin[owner, 0, None, None], y - origin[owner, 1, None, None]
    plane = [
        planes[:, k, 0, None, None] * u + planes[:, k, 1, None, None] * v
        + planes[:, k, 2, None, None]
        for k in range(4)
    ]  # fmt: skip
    # The tolerance closes the seams that rounding would open between neighbours.
    inside = (plane[0] >= -1e-5) & (plane[1] >= -1e-5) & (plane[2] >= -1e-5)
    inside &= used[:, None, None] & (x < width) & (y < height)

    levels = 2 ** (32 - ID_BITS) - 1
    depth = (1 / near - plane[3]) / (1 / near - 1 / far) * levels
    depth = jnp.clip(depth, 0, levels - 1).astype(jnp.uint32)
    packed = (depth << ID_BITS) | owner[:, None, None].astype(jnp.uint32)
    empty = jnp.uint32(2**32 - 1)
    target = jnp.where(inside, y * width + x, height * width)  # one pixel too many: a bin
    buffer = jnp.full(height * width + 1, empty).at[target.reshape(-1)].min(
        jnp.where(inside, packed, empty).reshape(-1), mode="promise_in_bounds"
    )  # fmt: skip
    nearest = buffer[:-1].reshape(shape)
    covered = nearest != empty
    triangle = jnp.where(covered, (nearest & (2**ID_BITS - 1)).astype(jnp.int32), -1)

    # Back to the pixels: the winning triangle's planes give the barycentrics.
    winner = jnp.maximum(triangle, 0)
    plane = scaled.reshape(-1, 9)[winner].reshape(height, width, 3, 3)
    x, y = jnp.meshgrid(jnp.arange(width), jnp.arange(height))
    u, v = (x - origin[winner, 0])[..., None], (y - origin[winner, 1])[..., None]
    screen = plane[..., 0] * u + plane[..., 1] * v + plane[..., 2]
    weights = screen * inverse_depth[triangles[winner]]
    inverse = jnp.where(covered, weights.sum(-1), 0.0)
    weights = weights / jnp.where(covered, inverse, 1.0)[..., None] * covered[..., None]
    overflow = jnp.maximum(total[-1] - capacity, 0)
    return Fragments(triangle, weights, inverse, overflow)


def _edge_functions(corners):
    """[T, 3, 2] -> [T, 3, 3]: (a, b, c) of a x + b y + c, which is twice the area of the
    triangle between (x, y) and the edge that faces corner k; positive inside a triangle
    that runs counter-clockwise as seen (y points down, so the usual sign is turned)."""
    before, after = jnp.roll(corners, -1, 1), jnp.roll(corners, -2, 1)
    a = after[..., 1] - before[..., 1]
    b = before[..., 0] - after[..., 0]
    c = after[..., 0] * before[..., 1] - after[..., 1] * before[..., 0]
    return jnp.stack([a, b, c], -1)


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
    values = sum(attributes[corner[..., k]] * fragments.weights[..., k, None] for k in range(3))
    return values
