"""The 52 face units and how ordinary expressions mix them."""

import jax.numpy as jnp
import numpy as np
from jax import random

_SIDED = (
    "browDown", "browOuterUp", "cheekSquint", "eyeBlink", "eyeLookDown", "eyeLookIn", "eyeLookOut",
    "eyeLookUp", "eyeSquint", "eyeWide", "mouthDimple", "mouthFrown", "mouthLowerDown",
    "mouthPress", "mouthSmile", "mouthStretch", "mouthUpperUp", "noseSneer",
)  # fmt: skip
_SINGLE = (
    "browInnerUp", "cheekPuff", "jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose",
    "mouthFunnel", "mouthLeft", "mouthPucker", "mouthRight", "mouthRollLower", "mouthRollUpper",
    "mouthShrugLower", "mouthShrugUpper", "tongueOut",
)  # fmt: skip
UNITS = tuple(sorted((*_SINGLE, *(n + side for n in _SIDED for side in ("Left", "Right")))))

# Probability of each expression and the strongest mix of units it may have.
PRESETS = (
    (0.30, {}),  # neutral
    (0.16, {"mouthSmile": 0.7, "cheekSquint": 0.4, "mouthDimple": 0.3}),
    (0.22, {"mouthSmile": 0.95, "cheekSquint": 0.7, "mouthUpperUp": 0.55, "mouthLowerDown": 0.5,
            "jawOpen": 0.22, "eyeSquint": 0.5}),  # smile that shows the teeth
    (0.09, {"jawOpen": 0.45, "mouthLowerDown": 0.3, "mouthFunnel": 0.4, "mouthUpperUp": 0.2}),  # talk
    (0.06, {"jawOpen": 0.8, "browInnerUp": 0.8, "browOuterUp": 0.8, "eyeWide": 0.8}),  # surprise
    (0.04, {"mouthSmile": 0.8, "jawOpen": 0.75, "cheekSquint": 0.8, "eyeSquint": 0.7,
            "mouthUpperUp": 0.5, "mouthLowerDown": 0.4}),  # laugh
    (0.05, {"browDown": 0.9, "noseSneer": 0.5, "mouthPress": 0.6, "eyeSquint": 0.4}),  # anger
    (0.04, {"mouthFrown": 0.8, "browInnerUp": 0.7, "mouthShrugLower": 0.5}),  # sadness
    (0.04, {"mouthPucker": 0.9, "mouthFunnel": 0.3}),  # kiss
)  # fmt: skip


def unit_index(name):
    """Positions of a unit, or of both sides of a paired one, in the expression vector."""
    names = (name,) if name in UNITS else (f"{name}Left", f"{name}Right")
    return np.array([UNITS.index(n) for n in names])


def _preset_table():
    table = np.zeros((len(PRESETS), len(UNITS)), np.float32)
    for row, (_, mix) in enumerate(PRESETS):
        for name, strength in mix.items():
            table[row, unit_index(name)] = strength
    return table


def mix_units(**strengths):
    """Expression vector from named units, for example `mix_units(jawOpen=0.5)`: [52] float32."""
    vector = np.zeros(len(UNITS), np.float32)
    for name, strength in strengths.items():
        vector[unit_index(name)] = strength
    return jnp.asarray(vector)


def sample_expression(key):
    """Draws an expression and a gaze.

    Returns:
        expression [52] float32 in [0, 1], gaze [2] degrees (to the image's right, up) relative
        to the head.
    """
    k = iter(random.split(key, 12))
    kind = random.choice(next(k), len(PRESETS), p=jnp.array([p for p, _ in PRESETS]))
    strength = 0.35 + 0.65 * random.uniform(next(k))
    # Each unit on its own, and a little asymmetry of left and right.
    each = 1 + 0.25 * jnp.clip(random.normal(next(k), (len(UNITS),)), -2, 2)
    expression = jnp.asarray(_preset_table())[kind] * strength * each
    # Nobody's resting face is exactly neutral.
    rest = {"jawOpen": 0.06, "mouthSmile": 0.15, "mouthFrown": 0.15, "browDown": 0.25,
            "browInnerUp": 0.25, "browOuterUp": 0.2, "mouthPress": 0.2, "eyeSquint": 0.25,
            "eyeWide": 0.2, "mouthLeft": 0.1, "mouthRight": 0.1, "mouthPucker": 0.15}  # fmt: skip
    expression += mix_units(**rest) * random.uniform(next(k), (len(UNITS),)) ** 2
    gaze = random.normal(next(k), (2,)) * jnp.array([10.0, 6.0])
    gaze = jnp.clip(gaze, jnp.array([-28.0, -18.0]), jnp.array([28.0, 14.0]))
    right, up = gaze / 30
    # The subject's left is the image's right: the left eye then looks outwards.
    expression += (
        mix_units(eyeLookOutLeft=1.0, eyeLookInRight=1.0) * jnp.maximum(right, 0)
        + mix_units(eyeLookInLeft=1.0, eyeLookOutRight=1.0) * jnp.maximum(-right, 0)
        + mix_units(eyeLookUp=1.0) * jnp.maximum(up, 0)
        + mix_units(eyeLookDown=1.0) * jnp.maximum(-up, 0)
    )
    # Blinks: mostly none, some half closed, some shut.
    draw = random.uniform(next(k), (2,))
    blink = jnp.where(draw[0] < 0.05, 1.0, jnp.where(draw[0] < 0.2, 0.6 * draw[1], 0.0))
    wink = jnp.where(random.uniform(next(k), (2,)) < 0.01, 1.0, blink)
    lids = jnp.asarray(unit_index("eyeBlink"))
    open_eyes = expression * (1 - blink * mix_units(eyeSquint=1, eyeWide=1, cheekSquint=0.5))
    expression = open_eyes.at[lids].set(wink)
    return jnp.clip(expression, 0, 1), gaze
