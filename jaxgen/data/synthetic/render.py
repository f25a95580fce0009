"""From a scene to an image with exact labels: the renderer, pure and for one face.

Work is done at `SUPERSAMPLE` times the resolution and averaged, so edges are smooth. Pixels are
(x, y), centres at integers.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax import random

from jaxgen.data.synthetic import (
    asset,
    body,
    camera,
    degrade,
    hair,
    materials,
    raster,
    shading,
    texture,
)
from jaxgen.data.synthetic.background import background
from jaxgen.data.synthetic.landmarks import landmarks
from jaxgen.data.synthetic.shading import PARTS

__all__ = ["PARTS", "Rendering", "render"]
SUPERSAMPLE = 2


class Rendering(NamedTuple):
    """One picture and everything known about it.

    Attributes:
        image: [S, S, 3] float32 sRGB in [0, 1].
        points: [68, 2] float32 iBUG landmarks (x, y) in pixels.
        visible: [68] bool.
        box: [4] float32 tight box of the points (x0, y0, x1, y1).
        parts: [S, S] int32 index into PARTS.
        depth: [S, S] float32 decimetres from the camera, 0 where there is background.
        overflow: [] int32, 0 unless the rasteriser ran out of room (then there are holes).
    """

    image: jnp.ndarray
    points: jnp.ndarray
    visible: jnp.ndarray
    box: jnp.ndarray
    parts: jnp.ndarray
    depth: jnp.ndarray
    overflow: jnp.ndarray


def render(head, scene, *, size):
    """Draws one scene.

    Args:
        head: asset.Head.
        scene: scene.Scene.
        size: side of the square image, a multiple of 8.

    Returns:
        Rendering.
    """
    chex.assert_shape(scene.angles, (3,))
    vertices, marks, normal, sides = pose_head(head, scene)
    lens = frame(marks, scene.fill, scene.shift, size)
    fine = SUPERSAMPLE * size
    fragments = raster.rasterise(
        (camera.project(vertices, lens) + 0.5) * SUPERSAMPLE - 0.5,
        1 / vertices[:, 2], head.triangles, sides,
        shape=(fine, fine), near=2.0, far=60.0, capacity=9_000 + fine * fine * 11 // 20,
    )  # fmt: skip
    covered = fragments.triangle >= 0
    surface = shading.at_vertices(head, scene, normal)
    surface = raster.interpolate(fragments, head.triangles, shading.pack(surface))
    color, parts = shading.at_pixels(head, scene, shading.unpack(surface), fragments.triangle)

    front = jnp.concatenate([color, jnp.ones_like(color[..., :1])], -1) * covered[..., None]
    # Without the barrier XLA repeats the work above for each of the averaged pixels.
    front = jax.lax.optimization_barrier(front)
    front = front.reshape(size, SUPERSAMPLE, size, SUPERSAMPLE, 4).mean((1, 3))
    keys = random.split(random.wrap_key_data(scene.key), 2)
    behind = background(scene.background, scene.palette, keys[0], size)
    light = front[..., :3] + (1 - front[..., 3:]) * behind
    image = materials.to_srgb(materials.develop(light * scene.exposure) * scene.balance)
    points = camera.project(marks, lens)
    depth = jnp.where(covered, 1 / jnp.maximum(fragments.inverse_depth, 1e-6), 0)
    return Rendering(
        image=photograph(keys[1], image, scene),
        points=points,
        visible=visible(points, marks, fragments.inverse_depth, size),
        box=jnp.concatenate([points.min(0), points.max(0)]),
        parts=jnp.where(covered, parts, 0)[::SUPERSAMPLE, ::SUPERSAMPLE],
        depth=depth[::SUPERSAMPLE, ::SUPERSAMPLE],
        overflow=fragments.overflow,
    )


def pose_head(head, scene):
    """Head and hair in front of the camera.

    Returns:
        vertices [V + H, 3] in camera space, landmarks [68, 3] in camera space, normals
        [V + H, 3] in posed model axes, and [T] for `raster.rasterise`, which triangles to draw.
    """
    person = scene.person
    rest = body.shape(head, person.shape, scene.expression)
    tile = texture.noise_tile(random.wrap_key_data(person.texture), shading.PATTERNS)
    strands, grown = hair.hair_vertices(head, rest, person.style, scene.hat, tile[..., :1])
    hanging = head.hair_base - head.hair_drop[:, None] * jnp.array([0.0, 1.5, 0])
    reference = jnp.concatenate([head.mean, hanging])
    posed = body.pose(reference, jnp.concatenate([rest, strands]), scene.angles, scene.follow)
    normal = body.normals(posed, head.triangles, head.neighbours)
    vertices = camera.to_camera(posed, scene.distance)
    # Hair below the skin is not drawn; hanging hair is seen from both sides.
    grown = jnp.concatenate([jnp.ones(len(rest), bool), grown])[head.triangles].any(1)
    sides = jnp.where(grown, jnp.where(head.material == asset.HAIR, 2, 1), 0)
    return vertices, landmarks(head, vertices, scene.angles[2]), normal, sides


def frame(points, fill, shift, size):
    """A camera that shows given points at a given size and place.

    Args:
        points: [N, 3] camera space.
        fill: [] longer side of their box relative to the image.
        shift: [2] of the box's centre from the image's centre, relative to the image.
        size: side of the image in pixels.

    Returns:
        camera.Camera.
    """
    flat = points[:, :2] / points[:, 2:]
    low, high = flat.min(0), flat.max(0)
    focal = fill * size / (high - low).max()
    center = (size - 1) / 2 + shift * size - focal * (low + high) / 2
    return camera.Camera(focal, center)


def photograph(key, image, scene):
    """What the camera does to an sRGB image [S, S, 3]; see `degrade`."""
    image = degrade.grain(key, degrade.blur(image, scene.blur), scene.grain)
    return jnp.clip(degrade.compress(image, scene.jpeg), 0, 1)


def visible(points, marks, inverse_depth, size):
    """Which landmarks nothing hides.

    Args:
        points: [68, 2] pixels; marks: [68, 3] camera space.
        inverse_depth: [F, F] z-buffer of the supersampled image.
        size: side of the image.

    Returns:
        [68] bool; False outside the image as well.
    """
    fine = SUPERSAMPLE * size
    place = jnp.round((points + 0.5) * SUPERSAMPLE - 0.5).astype(jnp.int32)
    offsets = jnp.stack(jnp.meshgrid(jnp.arange(-2, 3), jnp.arange(-2, 3)), -1).reshape(-1, 2)
    around = jnp.clip(place[:, None] + offsets, 0, fine - 1)
    nearest = inverse_depth[around[..., 1], around[..., 0]].min(1)
    free = 1 / marks[:, 2] + 0.08 / marks[:, 2] ** 2 >= nearest
    inside = ((points > -0.5) & (points < size - 0.5)).all(1)
    return free & inside
