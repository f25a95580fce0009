"""Random people as weights of MakeHuman's shape targets, for the identity basis.

A person is a mix of macro targets (ethnicity x sex x age, body weight) and moderate weights
of the detail targets. Weights are kept small enough that no mix looks like a caricature.
"""

import itertools
import re

import numpy as np

ETHNICITIES = ("african", "asian", "caucasian")
OPPOSITES = (
    ("decr", "incr"),
    ("down", "up"),
    ("in", "out"),
    ("backward", "forward"),
    ("concave", "convex"),
    ("compress", "uncompress"),
)
# Spread of a detail weight by the folder of the target; its limit is 0.8.
SPREADS = {
    "cheek": 0.3, "chin": 0.35, "ears": 0.25, "eyebrows": 0.3, "eyes": 0.25, "forehead": 0.35,
    "head": 0.28, "mouth": 0.3, "neck": 0.25, "nose": 0.32, "asym": 0.12,
}  # fmt: skip
# Targets that move the head as a whole, or that make no ordinary face.
LEFT_OUT = re.compile(
    r"breast|trunk|head-trans|ear-shape-(pointed|triangle|square)|back-scale|neck-(trans|double)"
    r"|measure|head-(square|triangular|invertedtriangular|diamond)|dimples|cleft|lip-ext|eyefold-c"
)


# Sliders that do not rest in the middle: proportions of ordinary faces as annotated pictures
# show them, where the base mesh has small eyes, a narrow mouth and a heavy jaw.
CENTRES = {
    "eye-scale-decr-incr": 0.35, "eye-trans-in-out": 0.3, "eye-trans-down-up": -0.25,
    "mouth-scale-horiz-decr-incr": 0.3, "mouth-upperlip-height-decr-incr": -0.65,
    "head-oval": 0.4, "chin-triangle": 0.25, "chin-height-decr-incr": -0.15,
}  # fmt: skip


def detail_sliders(targets: dict[str, dict[str, np.ndarray]]) -> dict[str, tuple[str, str, str]]:
    """Pairs targets that undo each other into sliders: name -> (folder, minus, plus).

    `minus` is "" where a target has no opposite: then the weight is never negative.
    """
    sliders = {}
    for folder in SPREADS:
        names = {name for name in targets[folder] if not LEFT_OUT.search(name)}
        for low, high in OPPOSITES:
            for plus in sorted(n for n in names if n.endswith(f"-{high}")):
                minus = plus.removesuffix(high) + low
                if minus in names:
                    sliders[f"{minus}-{high}"] = (folder, minus, plus)
                    names -= {minus, plus}
        sliders |= {name: (folder, "", name) for name in sorted(names)}
    return sliders


def sample_person(rng: np.random.Generator, targets, sliders) -> np.ndarray:
    """Draws one person: [V, 3] displacements from the base mesh."""
    return macro_shape(rng, targets["macrodetails"]) + detail_shape(rng, targets, sliders)


def macro_shape(rng, macros):
    """Ethnicity, sex, age and weight: products of slider positions, as in MakeHuman."""
    ethnicity = rng.dirichlet([0.6] * 3)
    male = rng.choice([rng.beta(0.5, 0.5), rng.beta(3, 3)], p=[0.8, 0.2])
    ages = np.zeros(3)  # child, young, old
    draw = rng.uniform()
    if draw < 0.08:
        child = rng.uniform(0.2, 0.6)
        ages[:] = child, 1 - child, 0
    else:
        old = rng.beta(1.0, 1.6)
        ages[:] = 0, 1 - old, old
    heavy = np.clip(rng.normal(0, 0.4), -0.8, 0.9)
    shape = 0
    for (e, s), (a, age) in itertools.product(
        itertools.product(
            zip(ethnicity, ETHNICITIES, strict=True), ((male, "male"), (1 - male, "female"))
        ),
        zip(ages, ("child", "young", "old"), strict=True),
    ):
        weight = e[0] * s[0] * a
        if weight > 1e-3:
            shape = shape + weight * macros[f"{e[1]}-{s[1]}-{age}"]
    side = "maxweight" if heavy > 0 else "minweight"
    for (m, sex), (a, age) in itertools.product(
        ((male, "male"), (1 - male, "female")),
        zip(ages, ("child", "young", "old"), strict=True),
    ):
        if m * a > 1e-3:
            name = f"universal-{sex}-{age}-averagemuscle-{side}"
            shape = shape + abs(heavy) * m * a * macros[name]
    return shape


def detail_shape(rng, targets, sliders):
    """Detail sliders: mostly the same on both sides of the face, a little different."""
    shape, common = 0, {}
    for name, (folder, minus, plus) in sliders.items():
        spread = SPREADS[folder]
        weight = rng.normal(0, spread)
        pair = re.sub(r"^[lr]-", "", name)
        if pair != name:
            weight = common.setdefault(pair, weight) + rng.normal(0, 0.12 * spread)
        weight = np.clip(weight + CENTRES.get(pair, 0), -0.8, 0.8)
        if not minus:
            weight = max(weight, 0)
        shape = shape + abs(weight) * targets[folder][plus if weight >= 0 else minus]
    return shape
