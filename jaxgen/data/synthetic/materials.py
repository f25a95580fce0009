"""Colour of the surface: skin, lips, brows, eyes, teeth, hair and clothes.

Every function takes rest positions, the place of a surface point on the mean head (decimetres,
see `camera`), so paint moves with the skin. All colours are linear light.
"""

import jax.numpy as jnp

from jaxgen.data.synthetic import noise


def to_linear(srgb):
    """sRGB in [0, 1] -> linear light."""
    return jnp.maximum(srgb, 0) ** 2.2


def to_srgb(linear):
    """Linear light -> sRGB, clipped to [0, 1]."""
    return jnp.clip(linear, 1e-6, 1) ** (1 / 2.2)


def smoothstep(low, high, x):
    """0 below `low`, 1 above `high`, smooth between (either order of the limits)."""
    t = jnp.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def mix(a, b, weight):
    """(1 - weight) a + weight b, with weight [...] and colours [..., 3]."""
    return a + (b - a) * weight[..., None]


def near(point, place, radius):
    """Soft ball: 1 at `place` [3], 0 beyond a few radii; mirrored in x. -> [...]"""
    x = jnp.abs(point[..., 0]) - abs(place[0])
    distance = x**2 + (point[..., 1] - place[1]) ** 2 + (point[..., 2] - place[2]) ** 2
    return jnp.exp(-0.5 * distance / radius**2)


def skin(person, rest, marks, lip, patterns):
    """Albedo of skin and lips.

    Args:
        person: scene.Person.
        rest: [..., 3] rest positions.
        marks: [68, 3] landmarks of the mean head at rest.
        lip: [...] in [0, 1].
        patterns: [..., 3] noise in about [-1, 1]: coarse, middle, fine.

    Returns:
        [..., 3] linear light.
    """
    stops = to_linear(
        jnp.array([[0.93, 0.76, 0.67], [0.85, 0.65, 0.53], [0.70, 0.48, 0.36],
                   [0.50, 0.32, 0.23], [0.30, 0.19, 0.14]])
    )  # fmt: skip
    place = person.tone * (len(stops) - 1)
    tone = jnp.stack([jnp.interp(place, jnp.arange(len(stops)), stops[:, c]) for c in range(3)])
    tone = tone * (1 + person.warmth * jnp.array([-0.05, 0.03, -0.08]))
    red = 0.6 * near(
        rest,
        marks[1] * jnp.array([0.62, 0, 0.0])
        + marks[41] * jnp.array([0.0, 1, 1])
        + jnp.array([0, -0.3, 0.0]),
        0.16,
    ) + 0.5 * near(rest, marks[30], 0.09)  # cheeks and the tip of the nose
    coarse, middle, fine = patterns[..., 0], patterns[..., 1], patterns[..., 2]
    red = red * (0.3 + person.flush) + 0.15 * coarse
    color = tone * (1 + red[..., None] * jnp.array([0.12, -0.14, -0.12]))
    rough = 0.06 * coarse + (0.03 + 0.10 * person.wear) * middle + 0.05 * person.wear * fine
    color = color * (1 + rough)[..., None]
    spots = smoothstep(0.45, 0.7, fine) * person.freckles * (rest[..., 2] > 0.5)
    color = color * (1 - spots[..., None] * jnp.array([0.25, 0.38, 0.45]))
    painted = tone * jnp.array([0.95, 0.55, 0.62]) + person.lips * jnp.array([0.05, -0.02, 0.0])
    painted = jnp.maximum(painted, 0.01) * (1 + 0.12 * middle)[..., None]
    return mix(color, painted, smoothstep(0.35, 0.75, lip))


def brow_strength(person, rest, marks, pattern):
    """How much brow hair covers the skin. -> [...] in [0, 1].

    Args:
        person: scene.Person.
        rest: [..., 3] rest positions.
        marks: [68, 3] landmarks of the mean head; 18-22 are the line that the brow hangs from.
        pattern: [...] noise in about [-1, 1] for single hairs.
    """
    line = (marks[17:22] * jnp.array([-1.0, 1, 1]) + marks[22:27][::-1]) / 2  # outer to inner
    line = line[::-1]  # x ascending
    x = jnp.abs(rest[..., 0])
    height = jnp.interp(x, line[:, 0], line[:, 1]) + 0.02 * person.brow[2]
    inner, outer = line[0, 0], line[-1, 0]
    along = (x - inner) / (outer - inner)
    thickness = (0.075 + 0.03 * person.brow[0]) * (1.05 - 0.75 * jnp.clip(along, 0, 1) ** 2)
    below = (height + 0.015 - rest[..., 1]) / thickness  # 0 at the upper edge, 1 at the lower
    across = smoothstep(-0.12, 0.2, below) * smoothstep(1.15, 0.75, below)
    ends = smoothstep(-0.12, 0.06, along) * smoothstep(1.08, 0.9, along)
    density = 0.75 + 0.2 * person.brow[1]
    front = rest[..., 2] > 0.3
    return jnp.clip(across * ends * (density + 0.35 * pattern), 0, 1) * front


def beard_strength(person, rest, marks, pattern):
    """How much beard covers the skin. -> [...] in [0, 1]."""
    mouth = marks[48:60].mean(0)
    y, z = rest[..., 1], rest[..., 2]
    moustache = smoothstep(marks[33, 1] - 0.02, marks[33, 1] - 0.06, y) * smoothstep(
        0.34, 0.22, jnp.abs(rest[..., 0])
    ) * smoothstep(mouth[1] - 0.05, mouth[1] + 0.03, y)  # fmt: skip
    chin = smoothstep(0.33, 0.18, jnp.abs(rest[..., 0])) * smoothstep(
        mouth[1] - 0.1, mouth[1] - 0.18, y
    )
    edge = mouth[1] + 0.05 + 0.55 * smoothstep(0.55, 0.1, z)  # rises towards the ears
    jaw = smoothstep(edge + 0.06, edge - 0.06, y)
    throat = smoothstep(marks[8, 1] - 0.35, marks[8, 1] - 0.1, y + 0.2 * jnp.minimum(z - 0.5, 0))
    strength = jnp.maximum(
        person.beard[0] * moustache,
        throat * jnp.maximum(person.beard[1] * chin, person.beard[2] * jaw),
    )
    return jnp.clip(strength * (0.8 + 0.5 * pattern), 0, 0.95) * (z > -0.1)


def eyeball(person, rest, centres, radius, gaze, pattern):
    """Albedo of the eye: sclera, iris, pupil.

    Args:
        person: scene.Person.
        rest: [..., 3] rest positions on the eyeballs.
        centres: [2, 3] of the eyeballs (image's left, right); radius: [] decimetres.
        gaze: [2] degrees, to the image's right and up.
        pattern: [...] noise.

    Returns:
        [..., 3] linear light.
    """
    centre = jnp.where(rest[..., :1] < 0, centres[0], centres[1])
    direction = (rest - centre) / radius
    right, up = jnp.deg2rad(gaze)
    axis = jnp.stack([jnp.sin(right) * jnp.cos(up), jnp.sin(up), jnp.cos(right) * jnp.cos(up)])
    length = jnp.linalg.norm(direction, axis=-1)
    angle = jnp.arccos(jnp.clip((direction @ axis) / jnp.maximum(length, 1e-6), -1, 1))
    sclera = to_linear(jnp.array([0.88, 0.86, 0.84])) * (
        1 - smoothstep(0.5, 1.2, angle)[..., None] * jnp.array([0.1, 0.35, 0.35])
    )
    iris = (
        to_linear(person.iris)
        * (1 + 0.35 * pattern + 0.8 * smoothstep(0.2, 0.36, angle))[..., None]
    )
    iris = iris * (1 - 0.7 * smoothstep(0.34, 0.41, angle))[..., None]
    color = mix(iris, sclera, smoothstep(0.385, 0.44, angle))
    return mix(color, jnp.full(3, 0.004), smoothstep(0.17, 0.13, angle))


def skin_patterns(lattices, rest, middle=9.0):
    """Noise on the skin at three sizes. lattices: [L, L, L, 3]; rest: [..., 3] -> [..., 3]."""
    coarse = noise.value_noise(lattices[..., :1], rest * 3.0)
    medium = noise.value_noise(lattices[..., 1:2], rest * middle)
    fine = noise.value_noise(lattices[..., 2:], rest * 26.0)
    return jnp.concatenate([coarse, medium, fine], -1)
