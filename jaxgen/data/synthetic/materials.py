"""Colour of the surface: skin, lips, brows, beard, eyes, hair.

Functions take rest positions, the place of a surface point on the mean head (decimetres, see
`camera`), so paint moves with the skin. Colours are linear light unless a name says sRGB.
"""

import jax.numpy as jnp

# Skin from light to dark, sRGB.
SKIN = (
    (0.93, 0.76, 0.67), (0.85, 0.65, 0.53), (0.70, 0.48, 0.36), (0.50, 0.32, 0.23),
    (0.30, 0.19, 0.14),
)  # fmt: skip
# Angles on the eyeball (radians) as chords of the unit sphere: pupil, iris, its dark rim.
PUPIL, RIM, IRIS = 0.16, 0.38, 0.45


def to_linear(srgb):
    """sRGB in [0, 1] -> linear light."""
    return jnp.maximum(srgb, 0) ** 2.2


def to_srgb(linear):
    """Linear light -> sRGB, clipped to [0, 1]."""
    return jnp.clip(linear, 1e-6, 1) ** (1 / 2.2)


def develop(linear):
    """Film-like response: linear in the shadows, rolling off towards white."""
    return linear * (1 + linear / 2.25) / (1 + linear)


def smoothstep(low, high, x):
    """0 below `low`, 1 above `high`, smooth between (either order of the limits)."""
    t = jnp.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def mix(a, b, weight):
    """(1 - weight) a + weight b, with weight [...] and colours [..., 3]."""
    return a + (b - a) * weight[..., None]


def skin_tone(person):
    """Base colour of a person's skin: [3]."""
    stops = to_linear(jnp.array(SKIN))
    place = person.tone * (len(SKIN) - 1)
    weight = jnp.maximum(1 - jnp.abs(jnp.arange(len(SKIN)) - place), 0)
    return weight @ stops * (1 + person.warmth * jnp.array([-0.05, 0.03, -0.08]))


def skin(person, rest, ear, marks):
    """Smooth part of the skin's albedo: tone, flushed cheeks, nose and ears.

    Args:
        person: scene.Person.
        rest: [V, 3] rest positions; ear: [V] in [0, 1].
        marks: [68, 3] landmarks of the mean head.

    Returns:
        [V, 3].
    """
    cheek = jnp.stack([0.62 * marks[15, 0], marks[46, 1] - 0.28, marks[46, 2]])
    red = 0.6 * _ball(rest, cheek, 0.16) + 0.5 * _ball(rest, marks[30], 0.09) + 0.4 * ear
    red = red * (0.3 + person.flush)
    return skin_tone(person) * (1 + red[:, None] * jnp.array([0.1, -0.14, -0.12]))


def _ball(point, place, radius):
    """Soft ball around a place [3] and its mirror image in x: [V, 3] -> [V]."""
    x = jnp.abs(point[:, 0]) - jnp.abs(place[0])
    distance = x**2 + (point[:, 1] - place[1]) ** 2 + (point[:, 2] - place[2]) ** 2
    return jnp.exp(-0.5 * distance / radius**2)


def beard(person, rest, marks):
    """How much beard grows at each vertex. rest: [V, 3] -> [V] in [0, 1]."""
    mouth = marks[48:60].mean(0)
    x, y, z = jnp.abs(rest[:, 0]), rest[:, 1], rest[:, 2]
    nose = marks[33, 1]
    moustache = smoothstep(nose - 0.02, nose - 0.06, y) * smoothstep(0.34, 0.22, x)
    moustache = moustache * smoothstep(mouth[1] - 0.05, mouth[1] + 0.03, y)
    chin = smoothstep(0.33, 0.18, x) * smoothstep(mouth[1] - 0.1, mouth[1] - 0.18, y)
    edge = mouth[1] + 0.05 + 0.55 * smoothstep(0.55, 0.1, z)  # rises towards the ears
    jaw = smoothstep(edge + 0.06, edge - 0.06, y)
    throat = smoothstep(marks[8, 1] - 0.35, marks[8, 1] - 0.1, y + 0.2 * jnp.minimum(z - 0.5, 0))
    sides = throat * jnp.maximum(person.beard[1] * chin, person.beard[2] * jaw)
    return jnp.maximum(person.beard[0] * moustache, sides) * (z > -0.1)


def brow(person, x, y, z, curve, hairs):
    """How much brow hair covers a pixel. -> [...] in [0, 1].

    Args:
        person: scene.Person.
        x, y, z: [...] rest positions.
        curve: [5] the line that the brow hangs from: y = c0 + c1 x + c2 x^2 with x = |x|,
            inner and outer end; see `brow_curve`.
        hairs: [...] pattern in [-1, 1].
    """
    x = jnp.abs(x)
    line = curve[0] + x * (curve[1] + x * curve[2])
    along = (x - curve[3]) / (curve[4] - curve[3])
    thickness = (0.095 + 0.035 * person.brow[0]) * (1.05 - 0.6 * jnp.clip(along, 0, 1) ** 2)
    below = (line + 0.015 - y) / thickness  # 0 at the upper edge, 1 at the lower
    across = smoothstep(-0.15, 0.25, below) * smoothstep(1.2, 0.7, below)
    ends = smoothstep(-0.16, 0.04, along) * smoothstep(1.14, 0.97, along)
    density = 0.8 + 0.2 * person.brow[1]
    return jnp.clip(across * ends * (density + 0.3 * hairs), 0, 1) * (z > 0.3)


def brow_curve(marks):
    """Line of the brows, landmarks 18-27 of the mean head; see `_parabola`."""
    return _parabola(marks[17:27])


def lid_curve(marks):
    """Edge of the upper lids, landmarks 37-40 and 43-46 of the mean head; see `_parabola`."""
    return _parabola(jnp.concatenate([marks[36:40], marks[42:46]]))


def lash_line(x, y, z, curve):
    """Lashes: how dark the skin is along the edge of the upper lid. -> [...] in [0, 1]."""
    x = jnp.abs(x)
    above = y - (curve[0] + x * (curve[1] + x * curve[2]))
    along = (x - curve[3]) / (curve[4] - curve[3])
    ends = smoothstep(-0.05, 0.25, along) * smoothstep(1.15, 0.95, along)
    return smoothstep(0.035, 0.008, jnp.abs(above + 0.004)) * ends * (z > 0.3)


def _parabola(points):
    """[5]: y = c0 + c1 |x| + c2 x^2 through points [N, 3] of both sides, least and largest |x|."""
    x, y = jnp.abs(points[:, 0]), points[:, 1]
    powers = jnp.stack([jnp.ones_like(x), x, x * x], 1)
    coefficients = jnp.linalg.solve(powers.T @ powers, powers.T @ y)
    return jnp.concatenate([coefficients, jnp.stack([x.min(), x.max()])])


def eyeball(person, direction, gaze, veins):
    """Albedo of the eye: sclera, iris, pupil.

    Args:
        person: scene.Person.
        direction: [..., 3] from the eyeball's centre, head axes, about unit length.
        gaze: [2] degrees, to the image's right and up.
        veins: [...] pattern in [-1, 1].
    """
    right, up = jnp.deg2rad(gaze)
    axis = jnp.stack([jnp.sin(right) * jnp.cos(up), jnp.sin(up), jnp.cos(right) * jnp.cos(up)])
    away = jnp.sqrt(((direction - axis) ** 2).sum(-1))  # chord from the gaze axis
    red = smoothstep(0.5, 1.2, away)[..., None] * jnp.array([0.1, 0.35, 0.35])
    sclera = to_linear(jnp.array([0.80, 0.77, 0.75])) * (1 - red)
    iris = (
        to_linear(person.iris)
        * (
            (1 + 0.35 * veins + 0.8 * smoothstep(0.22, RIM, away))
            * (1 - 0.7 * smoothstep(RIM - 0.01, IRIS, away))
        )[..., None]
    )
    color = mix(iris, sclera, smoothstep(IRIS - 0.025, IRIS + 0.03, away))
    return mix(color, jnp.full(3, 0.004), smoothstep(PUPIL + 0.02, PUPIL - 0.02, away))
