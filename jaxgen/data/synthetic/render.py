"""From a scene to an image with exact labels: the renderer, pure and for one face.

Work is done at `SUPERSAMPLE` times the resolution and averaged, so edges are smooth. Pixels are
(x, y), centres at integers; light is linear until `photograph`.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax import random

from jaxgen.data.synthetic import (
    accessories,
    body,
    camera,
    degrade,
    hair,
    materials,
    raster,
    shading,
    texture,
)
from jaxgen.data.synthetic.asset import HAIR
from jaxgen.data.synthetic.background import background
from jaxgen.data.synthetic.landmarks import landmarks
from jaxgen.data.synthetic.stored import PARTS
from jaxgen.kernels.blur import blur

SUPERSAMPLE = 2
TOLERANCE = 0.08  # decimetres that may lie before a landmark that counts as visible


class Drawing(NamedTuple):
    """A person cut out, before any background.

    Attributes:
        light: [S, S, 3] float32 linear light times alpha.
        alpha: [S, S] float32 coverage.
        points: [68, 2] float32 iBUG landmarks (x, y) in pixels.
        visible: [68] bool.
        box: [4] float32 tight box of the points (x0, y0, x1, y1).
        face_box: [4] float32 box from forehead to chin, as face detection marks it.
        parts: [S, S] int32 index into PARTS: what covers most of the pixel.
        depth: [S, S] float32 decimetres from the camera, 0 where there is background.
    """

    light: jnp.ndarray
    alpha: jnp.ndarray
    points: jnp.ndarray
    visible: jnp.ndarray
    box: jnp.ndarray
    face_box: jnp.ndarray
    parts: jnp.ndarray
    depth: jnp.ndarray


class Rendering(NamedTuple):
    """A finished picture: image [S, S, 3] float32 sRGB in [0, 1]; the rest as in Drawing."""

    image: jnp.ndarray
    points: jnp.ndarray
    visible: jnp.ndarray
    box: jnp.ndarray
    face_box: jnp.ndarray
    parts: jnp.ndarray
    depth: jnp.ndarray


def render(head, scene, *, size):
    """Draws one scene.

    Args:
        head: asset.Head.
        scene: scene.Scene.
        size: side of the square image, a multiple of 8.

    Returns:
        Rendering.
    """
    person = draw(head, scene, size=size)
    keys = random.split(random.wrap_key_data(scene.key), 2)
    behind = background(scene.background, scene.palette, keys[0], size)
    light = person.light + (1 - person.alpha)[..., None] * behind
    image = photograph(keys[1], light, scene)
    return Rendering(image, *person[2:])


def photograph(key, light, scene):
    """What the camera makes of linear light [S, S, 3]: an sRGB image in [0, 1]; see `degrade`."""
    image = materials.to_srgb(materials.develop(light * scene.exposure) * scene.balance)
    image = degrade.grain(key, blur(image, scene.blur), scene.grain)
    return jnp.clip(degrade.compress(image, scene.jpeg), 0, 1)


def draw(head, scene, *, size):
    """Draws the person of a scene without background.

    Args:
        head: asset.Head.
        scene: scene.Scene.
        size: side of the square image.

    Returns:
        Drawing.
    """
    chex.assert_shape(scene.angles, (3,))
    vertices, marks, normal, sides = pose_head(head, scene)
    lens = frame(marks, scene.fill, scene.shift, size)
    fine = SUPERSAMPLE * size
    pixels = camera.project(vertices, lens)
    fragments = raster.rasterise(
        (pixels + 0.5) * SUPERSAMPLE - 0.5, 1 / vertices[:, 2], head.triangles, sides,
        shape=(fine, fine), near=2.0, far=60.0,
    )  # fmt: skip
    surface = shading.pack(shading.at_vertices(head, scene, normal))
    light, alpha, parts = shade(head, scene, surface, fragments, size)

    points = camera.project(marks, lens)
    box = jnp.concatenate([points.min(0), points.max(0)])
    inverse_depth = fragments.inverse_depth[::SUPERSAMPLE, ::SUPERSAMPLE]
    forward = camera.to_camera(camera.rotation_matrix(scene.angles)[:, 2], 0.0)
    panes, rims = accessories.glasses(scene, marks, forward, lens, inverse_depth)
    thing = accessories.occluder(scene, box, size)
    layers = accessories.stack([panes, rims, thing])
    light, alpha = accessories.over(layers, light, alpha)
    pane, rim, cover = layers.alpha
    parts = jnp.where((rim > 0.5) | (pane > 0.6), PARTS.index("glasses"), parts)
    parts = jnp.where(cover > 0.5, PARTS.index("background"), parts)
    face = pixels[: len(head.mean)]
    on_face = head.face[:, None]
    return Drawing(
        light=light,
        alpha=alpha,
        points=points,
        visible=visible(points, marks, inverse_depth) & ~accessories.hides(layers, points),
        box=box,
        face_box=jnp.concatenate(
            [jnp.where(on_face, face, jnp.inf).min(0), jnp.where(on_face, face, -jnp.inf).max(0)]
        ),
        parts=parts,
        depth=jnp.where(inverse_depth > 0, 1 / jnp.maximum(inverse_depth, 1e-6), 0),
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
    sides = jnp.where(grown, jnp.where(head.material == HAIR, 2, 1), 0)
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


def shade(head, scene, surface, fragments, size):
    """Shades each sample of the pixels and averages them.

    Args:
        head: asset.Head.
        scene: scene.Scene.
        surface: [V + H, C] packed shading.Surface.
        fragments: raster.Fragments of the supersampled image.
        size: side of the image.

    Returns:
        [size, size, 3] linear light times coverage, [size, size] coverage, [size, size] int32
        the part that most of the samples show.
    """

    def samples(x):  # [F, F, ...] -> [SUPERSAMPLE ** 2, size, size, ...]
        x = x.reshape(size, SUPERSAMPLE, size, SUPERSAMPLE, *x.shape[2:])
        return jnp.moveaxis(x, (1, 3), (0, 1)).reshape(-1, size, size, *x.shape[4:])

    # A loop over the samples: fused into one computation, XLA would repeat the interpolation
    # for everything that uses it.
    def add(total, fragment):
        here = shading.unpack(raster.interpolate(fragment, head.triangles, surface))
        color, parts = shading.at_pixels(head, scene, here, fragment.triangle)
        covered = fragment.triangle >= 0
        color = jnp.concatenate([color, jnp.ones((size, size, 1))], -1) * covered[..., None]
        votes = jax.nn.one_hot(jnp.where(covered, parts, 0), len(PARTS), dtype=jnp.int8)
        return (total[0] + color / SUPERSAMPLE**2, total[1] + votes), None

    start = jnp.zeros((size, size, 4)), jnp.zeros((size, size, len(PARTS)), jnp.int8)
    (color, votes), _ = jax.lax.scan(add, start, jax.tree.map(samples, fragments))
    return color[..., :3], color[..., 3], votes.argmax(-1).astype(jnp.int32)


def visible(points, marks, inverse_depth):
    """Which landmarks nothing hides.

    Args:
        points: [68, 2] pixels; marks: [68, 3] camera space.
        inverse_depth: [S, S] 1 / z at the pixels, 0 where there is background.

    Returns:
        [68] bool; False outside the image as well.
    """
    size = len(inverse_depth)
    place = jnp.round(points).astype(jnp.int32)[:, None, None]
    offset = jnp.arange(-1, 2)
    x = jnp.clip(place[..., 0] + offset[None, None, :], 0, size - 1)
    y = jnp.clip(place[..., 1] + offset[None, :, None], 0, size - 1)
    around = inverse_depth[y, x]
    # The jaw lies on an outline: there the farthest surface around counts.
    behind = jnp.where(jnp.arange(len(points)) < 17, around.min((1, 2)), around[:, 1, 1])
    free = 1 / marks[:, 2] + TOLERANCE / marks[:, 2] ** 2 >= behind
    inside = ((points > -0.5) & (points < size - 0.5)).all(1)
    return free & inside
