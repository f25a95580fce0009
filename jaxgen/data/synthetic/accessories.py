"""Glasses and things held before the face, drawn over the head with smooth edges.

Shapes are distance functions evaluated at each pixel: on the plane of the lenses for glasses, in
the image for occluders. Pixels are (x, y), centres at integers; colours are linear light.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgen.data.synthetic import materials
from jaxgen.data.synthetic.materials import mix, smoothstep


class Layer(NamedTuple):
    """Something drawn over the picture: color [S, S, 3], alpha [S, S] in [0, 1]."""

    color: jnp.ndarray
    alpha: jnp.ndarray


def stack(layers):
    """Layers in order, the last one on top, as one Layer of [N, ...]."""
    return jax.tree.map(lambda *each: jnp.stack(each), *layers)


def over(layers, light, alpha):
    """Composites layers onto a premultiplied picture.

    Args:
        layers: Layer of [N, ...], see `stack`.
        light: [S, S, 3]; alpha: [S, S].

    Returns:
        light and alpha.
    """

    # A loop, because XLA would otherwise repeat the shapes for every use of them.
    def add(picture, layer):
        light, alpha = picture
        return (mix(light, layer.color, layer.alpha), layer.alpha + (1 - layer.alpha) * alpha), None

    return jax.lax.scan(add, (light, alpha), layers)[0]


def glasses(scene, marks, forward, lens, inverse_depth):
    """Frame and lenses in a plane before the eyes, and the temples back to the ears.

    Args:
        scene: scene.Scene; `glasses` holds presence, size, roundness, tint.
        marks: [68, 3] landmarks in camera space.
        forward: [3] unit, where the face points, camera space.
        lens: camera.Camera.
        inverse_depth: [S, S] 1 / z of the head, 0 where there is background.

    Returns:
        Layer of the lenses, Layer of the frame.
    """
    presence, width, roundness, tint = scene.glasses
    size = len(inverse_depth)
    eyes = jnp.stack([marks[36:42].mean(0), marks[42:48].mean(0)])
    apart = jnp.linalg.norm(eyes[1] - eyes[0]) / 2
    right = eyes[1] - eyes[0]
    right = right - forward * (right @ forward)
    right = right / jnp.linalg.norm(right)
    down = jnp.cross(forward, right) * jnp.sign(jnp.cross(forward, right)[1])
    origin = (eyes[0] + eyes[1]) / 2 + forward * 0.2 + down * 0.02

    # Where the ray of each pixel meets the plane of the lenses.
    x, y = jnp.meshgrid(jnp.arange(size), jnp.arange(size))
    ray = jnp.stack([(x - lens.center[0]) / lens.focal, (y - lens.center[1]) / lens.focal], -1)
    ray = jnp.concatenate([ray, jnp.ones_like(ray[..., :1])], -1)
    slope = ray @ forward
    reach = (origin @ forward) / jnp.where(jnp.abs(slope) < 1e-3, -1e-3, slope)
    place = ray * reach[..., None] - origin
    u, v = place @ right, place @ down
    before = (reach > 0) & (1 / jnp.maximum(reach, 1e-3) > inverse_depth - 0.02 / origin[2] ** 2)

    half_width = apart * (0.62 + 0.24 * width)
    half_height = half_width * (0.62 + 0.38 * roundness)
    power = 4.5 - 2.5 * roundness
    p, q = jnp.abs(jnp.abs(u) - apart) / half_width, jnp.abs(v - 0.03) / half_height
    edge = ((p + 1e-6) ** power + (q + 1e-6) ** power) ** (1 / power)
    edge = (edge - 1) * half_height  # about the distance from the rim
    pixel = origin[2] / lens.focal * 0.7
    rim = 0.012 + 0.03 * (width * 7 % 1)
    line = smoothstep(rim + pixel, rim - pixel, jnp.abs(edge))
    bridge = smoothstep(rim + pixel, rim - pixel, jnp.abs(v + 0.03)) * (
        jnp.abs(u) < apart - half_width
    )
    frame = jnp.maximum(line, bridge) * before

    for side in (-1.0, 1.0):
        hinge = origin + side * right * (apart + half_width) - down * 0.03
        temple = _bar(hinge, hinge - forward * 1.0 + side * right * 0.05, rim, lens, x, y)
        hidden = temple[1] < inverse_depth - 0.02 / origin[2] ** 2
        frame = jnp.maximum(frame, temple[0] * ~hidden)

    dark = jnp.where(tint > 0.75, 0.9, 0.08 * tint)
    glass = smoothstep(pixel, -pixel, edge) * before * dark
    sheen = 0.02 + 0.25 * smoothstep(0.0, -half_height, v + 0.4 * u)  # sky in the upper part
    tone = materials.to_linear(scene.frame_color)
    shape = (size, size, 3)
    return (
        Layer(jnp.broadcast_to((sheen * (dark > 0.5) + 0.5 * (dark < 0.5))[..., None], shape),
              glass * presence),
        Layer(jnp.broadcast_to(tone * 0.6, shape), frame * presence),
    )  # fmt: skip


def _bar(start, end, radius, lens, x, y):
    """A thick straight line in space: [S, S] coverage and its 1 / z."""
    flat = [p[:2] / p[2] * lens.focal + lens.center for p in (start, end)]
    along = flat[1] - flat[0]
    t = ((x - flat[0][0]) * along[0] + (y - flat[0][1]) * along[1]) / jnp.maximum(
        along @ along, 1e-3
    )
    t = jnp.clip(t, 0, 1)
    distance = jnp.hypot(x - flat[0][0] - t * along[0], y - flat[0][1] - t * along[1])
    radius = radius * lens.focal / start[2]
    return smoothstep(radius + 0.7, radius - 0.7, distance), (1 - t) / start[2] + t / end[2]


def occluder(scene, box, size):
    """A round bar that reaches into the face: a hand, a microphone, a pole.

    Args:
        scene: scene.Scene; `occluder` holds presence, (x, y), angle, spread, width, all in [0, 1].
        box: [4] of the landmarks in pixels.
        size: side of the image.

    Returns:
        Layer.
    """
    presence, px, py, angle, spread, width = scene.occluder
    side = jnp.maximum(box[2] - box[0], box[3] - box[1])
    tip = jnp.stack(
        [box[0] + px * (box[2] - box[0]), box[1] + (0.35 + 0.65 * py) * (box[3] - box[1])]
    )
    turn = jnp.pi * (0.15 + 0.7 * angle)  # comes from below
    way = jnp.stack([jnp.cos(turn), jnp.sin(turn)])
    radius = side * (0.04 + 0.06 * spread + 0.12 * width)
    x, y = jnp.meshgrid(jnp.arange(size), jnp.arange(size))
    t = jnp.maximum((x - tip[0]) * way[0] + (y - tip[1]) * way[1], 0)
    distance = jnp.hypot(x - tip[0] - t * way[0], y - tip[1] - t * way[1]) / radius
    alpha = smoothstep(1 + 0.7 / radius, 1 - 0.7 / radius, distance) * presence
    across = ((x - tip[0]) * way[1] - (y - tip[1]) * way[0]) / radius
    round_light = 0.35 + 0.65 * jnp.sqrt(jnp.maximum(1 - distance**2, 0)) * (1 - 0.3 * across)
    color = jnp.where(
        width > 0.45, materials.skin_tone(scene.person), materials.to_linear(scene.palette[1])
    )
    return Layer(color * (round_light * scene.light[0].mean())[..., None], alpha)


def hides(layers, points, limit=0.6):
    """Which points [N, 2] (pixels) lie under an opaque part of any layer: [N] bool."""
    x, y = jnp.clip(jnp.round(points), 0, layers.alpha.shape[1] - 1).astype(jnp.int32).T
    return (layers.alpha[:, y, x] > limit).any(0)
