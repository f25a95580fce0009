"""The 52 face units and how ordinary expressions mix them."""

import jax.numpy as jnp
import numpy as np

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
    (0.09, {"jawOpen": 0.45, "mouthLowerDown": 0.3, "mouthFunnel": 0.4, "mouthUpperUp": 0.2}),
    (0.06, {"jawOpen": 0.8, "browInnerUp": 0.8, "browOuterUp": 0.8, "eyeWide": 0.8}),  # surprise
    (0.04, {"mouthSmile": 0.8, "jawOpen": 0.75, "cheekSquint": 0.8, "eyeSquint": 0.7,
            "mouthUpperUp": 0.5, "mouthLowerDown": 0.4}),  # laugh
    (0.05, {"browDown": 0.9, "noseSneer": 0.5, "mouthPress": 0.6, "eyeSquint": 0.4}),  # anger
    (0.04, {"mouthFrown": 0.8, "browInnerUp": 0.7, "mouthShrugLower": 0.5}),  # sadness
    (0.04, {"mouthPucker": 0.9, "mouthFunnel": 0.3}),  # kiss
)  # fmt: skip

# Strongest traces of units on a face at rest.
RESTING = {
    "jawOpen": 0.06, "mouthSmile": 0.15, "mouthFrown": 0.15, "browDown": 0.25, "browInnerUp": 0.25,
    "browOuterUp": 0.2, "mouthPress": 0.2, "eyeSquint": 0.25, "eyeWide": 0.2, "mouthLeft": 0.1,
    "mouthRight": 0.1, "mouthPucker": 0.15,
}  # fmt: skip


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


def sample_expression(dice):
    """Draws an expression and a gaze.

    Args:
        dice: dice.Dice.

    Returns:
        expression [52] float32 in [0, 1], gaze [2] degrees (to the image's right, up) relative
        to the head.
    """
    kind = dice.pick([p for p, _ in PRESETS])
    # Each unit on its own, and a little asymmetry of left and right.
    each = 1 + 0.25 * dice.normal((len(UNITS),), limit=2.0)
    expression = jnp.asarray(_preset_table())[kind] * dice.uniform(low=0.35) * each
    # Nobody's resting face is exactly neutral.
    expression += mix_units(**RESTING) * dice.uniform((len(UNITS),)) ** 2
    gaze = jnp.clip(
        dice.normal((2,)) * jnp.array([10.0, 6.0]),
        jnp.array([-28.0, -18.0]),
        jnp.array([28.0, 14.0]),
    )
    expression += follow_gaze(gaze)
    # Blinks: mostly none, some half closed, some shut; rarely one eye only.
    draw, half = dice.uniform((2,))
    blink = jnp.where(draw < 0.05, 1.0, jnp.where(draw < 0.2, 0.6 * half, 0.0))
    lids = jnp.where(dice.uniform((2,)) < 0.01, 1.0, blink)
    expression = expression * (1 - blink * mix_units(eyeSquint=1, eyeWide=1, cheekSquint=0.5))
    return jnp.clip(expression.at[unit_index("eyeBlink")].set(lids), 0, 1), gaze


def follow_gaze(gaze):
    """How lids follow the eyes. gaze: [2] degrees -> [52] expression."""
    right, up = gaze / 30
    # The subject's left is the image's right: looking there, the left eye looks outwards.
    return (
        mix_units(eyeLookOutLeft=1.0, eyeLookInRight=1.0) * jnp.maximum(right, 0)
        + mix_units(eyeLookInLeft=1.0, eyeLookOutRight=1.0) * jnp.maximum(-right, 0)
        + mix_units(eyeLookUp=1.0) * jnp.maximum(up, 0)
        + mix_units(eyeLookDown=1.0) * jnp.maximum(-up, 0)
    )
