"""How light reaches the mean head: shadowed irradiance per vertex and spherical harmonic.

The head is drawn from many sides into a depth buffer; a vertex sees a direction if nothing
lies in front of it there. Summing cosine x visibility x harmonic over the directions gives
nine numbers per vertex ("precomputed radiance transfer", Sloan, Kautz and Snyder 2002), which
put soft shadows into eye sockets, nostrils, under the chin and inside the mouth for free.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.data.synthetic import raster
from jaxgen.data.synthetic.lighting import harmonics

DIRECTIONS = 600
SIZE = 512
BIAS = 0.02  # decimetres
REACH = 6.0  # decimetres, farther than any vertex from the origin
MIDDLE = np.array([0.0, -0.6, 0.0], np.float32)  # of head and chest, in the image's middle


def compute(mean, triangles):
    """[V, 9] float32; an unshadowed vertex under uniform white light sums to 1."""
    normal = vertex_normals_of(mean, triangles)
    triangles = jnp.asarray(triangles)
    spiral = np.arange(DIRECTIONS) + 0.5
    z = 1 - 2 * spiral / DIRECTIONS
    angle = spiral * np.pi * (3 - np.sqrt(5))
    radius = np.sqrt(1 - z**2)
    directions = np.stack([radius * np.cos(angle), radius * np.sin(angle), z], 1)
    seen = jax.jit(lambda direction: _visible(mean, triangles, normal, direction))
    total = np.zeros((len(mean), 9))
    for direction in directions.astype(np.float32):
        cosine = np.maximum(normal @ direction, 0) * np.asarray(seen(direction))
        total += cosine[:, None] * np.asarray(harmonics(jnp.asarray(direction)))
    return (total * 4 * np.pi / DIRECTIONS / np.pi).astype(np.float32)


def vertex_normals_of(mean, triangles):
    """Area-weighted unit normals. mean: [V, 3]; triangles: [T, 3] -> [V, 3]."""
    a, b, c = (mean[triangles[:, k]] for k in range(3))
    face = np.cross(b - a, c - a)
    normal = np.zeros_like(mean)
    for k in range(3):
        np.add.at(normal, triangles[:, k], face)
    return normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)


def _visible(mean, triangles, normal, direction):
    """Whether the ray from each vertex along `direction` leaves the head freely: [V] bool."""
    side = jnp.cross(
        jnp.where(jnp.abs(direction[1]) > 0.9, jnp.eye(3)[0], jnp.eye(3)[1]), direction
    )
    side = side / jnp.linalg.norm(side)
    up = jnp.cross(direction, side)
    scale = SIZE / 6.5  # pixels per decimetre

    def screen(points):
        """Parallel projection: pixels, and how near the light side (larger is nearer)."""
        x = jnp.stack([points @ side, -(points - MIDDLE) @ up], 1)
        return x * scale + SIZE / 2, REACH + points @ direction

    pixels, nearness = screen(mean)
    # The z-buffer only needs a quantity that is linear in the image and larger when nearer.
    fragments = raster.rasterise(
        pixels, nearness, triangles, jnp.full(len(triangles), 2), shape=(SIZE, SIZE),
        near=1 / (2 * REACH), far=1.0,
    )  # fmt: skip
    pixels, nearness = screen(mean + BIAS * normal)
    x, y = jnp.clip(jnp.round(pixels).astype(jnp.int32), 0, SIZE - 1).T
    return nearness + BIAS / 2 >= fragments.inverse_depth[y, x]
