"""Points on a triangle mesh, for building the asset: what rays meet, as vertices and weights."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxgen.data.synthetic import raster


class Hits(NamedTuple):
    """Surface points: corners [..., 3] vertex numbers, weights [..., 3], hit [...] bool."""

    corners: np.ndarray
    weights: np.ndarray
    hit: np.ndarray

    def at(self, *index):
        """(corners, weights) of one hit."""
        return self.corners[index], self.weights[index]


def cast_outwards(origin, directions, vertices, triangles):
    """Where rays from inside the head leave it: the last surface that each one meets.

    Args:
        origin: [3]; directions: [N, 3].
        vertices: [V, 3]; triangles: [T, 3].

    Returns:
        Hits of [N], and the distances [N] (NaN where a ray meets nothing).
    """
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    corners, weights, distances = [], [], []
    for direction in directions:
        normal = np.cross(direction, c - a)
        across = np.cross(origin - a, b - a)
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = 1 / np.einsum("td,td->t", b - a, normal)
            u = np.einsum("td,td->t", origin - a, normal) * scale
            v = across @ direction * scale
            t = np.einsum("td,td->t", c - a, across) * scale
        hit = (u >= -1e-6) & (v >= -1e-6) & (u + v <= 1 + 1e-6) & (t > 1e-6)
        last = np.where(hit, t, -np.inf).argmax()
        corners.append(triangles[last])
        weights.append([1 - u[last] - v[last], u[last], v[last]])
        distances.append(t[last] if hit.any() else np.nan)
    distances = np.array(distances)
    return Hits(np.array(corners), np.array(weights), np.isfinite(distances)), distances


def survey(vertices, triangles, *, centre, width, step):
    """Looks at the head from the front, without perspective, on a fine grid.

    Args:
        vertices: [V, 3]; triangles: [T, 3].
        centre: (x, y) of the middle of the view; width: its sides, decimetres.
        step: decimetres between neighbouring rays.

    Returns:
        Hits of [N, N] in image order (y falls with the row), and the grid's x [N] and y [N].
    """
    size = int(round(width / step))
    offset = (np.arange(size) - (size - 1) / 2) * step
    pixels = (vertices[:, :2] - centre) * [1, -1] / step + (size - 1) / 2
    nearness = 10 + vertices[:, 2]
    fragments = raster.rasterise(
        jnp.asarray(pixels, jnp.float32), jnp.asarray(nearness, jnp.float32),
        jnp.asarray(triangles), jnp.ones(len(triangles), jnp.int32), shape=(size, size),
        near=1 / 20.0, far=1.0,
    )  # fmt: skip
    triangle = np.asarray(fragments.triangle)
    hits = Hits(triangles[np.maximum(triangle, 0)], np.asarray(fragments.weights), triangle >= 0)
    return hits, centre[0] + offset, centre[1] - offset
