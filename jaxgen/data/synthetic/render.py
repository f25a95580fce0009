"""From a scene to an image with exact labels: the renderer, pure and for one face.

Work is done at `SUPERSAMPLE` times the resolution and averaged, so edges are smooth. Pixels are
(x, y), centres at integers.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax import random

from jaxgen.data.synthetic import body, camera, degrade, lighting, materials, noise, raster
from jaxgen.data.synthetic.background import background
from jaxgen.data.synthetic.landmarks import landmarks

SUPERSAMPLE = 2
PARTS = ("background", "skin", "brow", "eye", "nose", "upper_lip", "lower_lip", "mouth", "ear",
         "neck", "hair", "cloth")  # fmt: skip


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


def frame(points, fill, shift, size):
    """A camera that shows given camera-space points [N, 3] at a given size and place.

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
    person = scene.person
    rest = body.shape(head, person.shape, scene.expression)
    posed = body.pose(head, rest, scene.angles, scene.follow)
    normal = body.normals(head, posed)
    view = camera.to_camera(posed, scene.distance)
    marks = landmarks(head, view, scene.angles[2])
    lens = frame(marks, scene.fill, scene.shift, size)

    fine = SUPERSAMPLE * size
    pixels = (camera.project(view, lens) + 0.5) * SUPERSAMPLE - 0.5
    fragments = raster.rasterise(
        pixels, 1 / view[:, 2], head.triangles, jnp.zeros(len(head.triangles), bool),
        shape=(fine, fine), near=2.0, far=60.0, capacity=9000 + fine * fine // 3,
    )  # fmt: skip
    surface = jnp.concatenate([head.mean, head.fields, normal, head.transfer], 1)
    surface = raster.interpolate(fragments, head.triangles, surface)
    color, parts = shade(head, scene, surface)
    covered = fragments.triangle >= 0

    def average(x):
        return x.reshape(size, 2, size, 2, -1).mean((1, 3))

    front = average(color * covered[..., None])
    alpha = average(covered.astype(jnp.float32))
    keys = random.split(random.wrap_key_data(scene.key), 3)
    behind = background(scene.background, scene.palette, keys[0], size)
    image = materials.to_srgb((front + (1 - alpha) * behind) * scene.exposure * scene.balance)
    image = degrade.blur(image, scene.blur)
    image = degrade.grain(keys[1], image, scene.grain)
    image = degrade.compress(image, scene.jpeg)
    points = camera.project(marks, lens)
    depth = jnp.where(covered, 1 / jnp.maximum(fragments.inverse_depth, 1e-6), 0)
    return Rendering(
        image=jnp.clip(image, 0, 1),
        points=points,
        visible=visible(points, marks, fragments.inverse_depth, size),
        box=jnp.concatenate([points.min(0), points.max(0)]),
        parts=jnp.where(covered, parts, 0)[::SUPERSAMPLE, ::SUPERSAMPLE],
        depth=depth[::SUPERSAMPLE, ::SUPERSAMPLE],
        overflow=fragments.overflow,
    )


def shade(head, scene, surface):
    """Colour and part of each pixel.

    Args:
        head: asset.Head.
        scene: scene.Scene.
        surface: [H, W, C] interpolated mean positions, fields, normals, transfer.

    Returns:
        [H, W, 3] linear light, [H, W] int32 parts.
    """
    person = scene.person
    split = (3, 3 + head.fields.shape[1], 6 + head.fields.shape[1])
    rest, fields, normal, transfer = jnp.split(surface, split, -1)
    normal = normal / jnp.maximum(jnp.linalg.norm(normal, axis=-1, keepdims=True), 1e-6)
    lip, lower, ear, lid, mouth, eye, teeth, tongue = jnp.moveaxis(fields, -1, 0)
    marks = rest_marks(head)
    key = random.wrap_key_data(person.texture)
    patterns = materials.skin_patterns(noise.lattice(key, 3, 3), rest)

    albedo = materials.skin(person, rest, marks, lip, patterns)
    brow = materials.brow_strength(person, rest, marks, patterns[..., 2])
    beard = materials.beard_strength(person, rest, marks, patterns[..., 2]) * (lip < 0.3)
    hair = materials.to_linear(person.hair)
    albedo = materials.mix(albedo, hair, jnp.maximum(brow, beard))
    centres, radius = eye_spheres(head)
    is_eye = eye > 0.5
    albedo = jnp.where(
        is_eye[..., None],
        materials.eyeball(person, rest, centres, radius, scene.gaze, patterns[..., 2]), albedo,
    )  # fmt: skip
    albedo = jnp.where((mouth > 0.5)[..., None], jnp.array([0.25, 0.06, 0.06]), albedo)
    albedo = jnp.where((teeth > 0.5)[..., None], jnp.array([0.75, 0.7, 0.6]), albedo)
    albedo = jnp.where((tongue > 0.5)[..., None], jnp.array([0.45, 0.16, 0.15]), albedo)
    scalp = rest[..., 1] - 1.15 + 0.6 * materials.smoothstep(0.9, 0.2, rest[..., 2])
    is_hair = (scalp > 0) & (ear < 0.5)
    albedo = jnp.where(is_hair[..., None], hair * (1 + 0.4 * patterns[..., 1:2]), albedo)
    is_cloth = rest[..., 1] < -1.6 + 0.3 * jnp.abs(rest[..., 0])
    cloth = materials.to_linear(scene.palette[3])
    albedo = jnp.where(is_cloth[..., None], cloth, albedo)

    rotation = camera.rotation_matrix(scene.angles)
    light = lighting.rotate_to_head(scene.light, rotation)
    shadowed = jnp.maximum(transfer @ light, 0)
    mean_normal = normal @ rotation  # the same surface in the head's axes
    open_light = jnp.maximum(lighting.irradiance(light, mean_normal), 0)
    # What the mean head shadows stays dark; where it does not, the true normal decides.
    lit = 0.5 * shadowed + 0.5 * jnp.sqrt(shadowed * open_light)
    shine = sum(
        lighting.highlight(normal, jnp.array([0.0, 0, 1]), scene.lamps[i], sharpness=18.0)[
            ..., None
        ]
        * scene.lamp_colors[i]
        * 0.05
        + lighting.highlight(normal, jnp.array([0.0, 0, 1]), scene.lamps[i], sharpness=300.0)[
            ..., None
        ]
        * scene.lamp_colors[i]
        * is_eye[..., None]
        for i in range(len(scene.lamps))
    )
    openness = jnp.clip(transfer[..., :1] / 0.28, 0, 1)
    color = albedo * lit + shine * openness * ~(is_cloth | is_hair)[..., None]

    parts = jnp.full(lip.shape, PARTS.index("skin"))
    for name, where in (
        ("neck", rest[..., 1] < marks[8, 1] - 0.02), ("ear", ear > 0.5),
        ("upper_lip", (lip > 0.5) & (lower < 0.5)), ("lower_lip", (lip > 0.5) & (lower >= 0.5)),
        ("brow", brow > 0.4), ("eye", is_eye), ("hair", is_hair), ("cloth", is_cloth),
        ("mouth", mouth + teeth + tongue > 0.5),
    ):  # fmt: skip
        parts = jnp.where(where, PARTS.index(name), parts)
    return color, parts


def rest_marks(head):
    """[68, 3] landmarks of the mean head, model space."""
    flat = head.mean * jnp.array([1.0, -1, 1])  # straight ahead, seen from far away
    far = jnp.concatenate([flat[:, :2], jnp.ones((len(flat), 1))], 1)
    place = landmarks(head, jnp.concatenate([far, head.mean], 1), jnp.float32(0))
    return place[:, 3:]


def eye_spheres(head):
    """Centres [2, 3] and radius [] of the eyeballs of the mean head."""
    ball = head.fields[:, 5] > 0.5
    right = (ball & (head.mean[:, 0] < 0))[:, None]
    left = (ball & (head.mean[:, 0] > 0))[:, None]
    centres = jnp.stack([(head.mean * m).sum(0) / m.sum() for m in (right, left)])
    radius = jnp.linalg.norm((head.mean - centres[0]) * right, axis=1).sum() / right.sum()
    return centres, radius


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
