"""Random people, expressions and scenes.

`wild` in [0, 1] is the look of a picture: 0 is a studio (even light, plain backgrounds, a clean
camera), 1 is the street (hard light of any colour, clutter, blur, noise). The gap between the
two is the domain gap of `synthetic_faces`.
"""

import jax.numpy as jnp

from jaxgen.data.synthetic import lighting
from jaxgen.data.synthetic.dice import Dice
from jaxgen.data.synthetic.expressions import sample_expression
from jaxgen.data.synthetic.scene import Person, Scene

IDENTITY_SPREAD = 0.85  # of a standard deviation: nobody is a caricature


def sample_person(key):
    """Draws a person from a PRNG key."""
    dice = Dice(key, 100)
    tone = dice.uniform() ** 1.2
    dark_haired = dice.chance(0.55 + 0.6 * (tone > 0.45))
    shade, greyness = dice.uniform((2,))
    dark = jnp.array([0.05, 0.04, 0.035]) + shade * jnp.array([0.24, 0.16, 0.10])
    light = jnp.array([0.36, 0.23, 0.13]) + shade * jnp.array([0.44, 0.42, 0.33])
    hair = jnp.where(dark_haired, dark, light)
    grey = dice.chance(0.12) * greyness
    hair = hair + grey * (jnp.array([0.66, 0.65, 0.63]) - hair)
    brown = jnp.array([0.2, 0.11, 0.06]) + 0.18 * shade * jnp.array([1.0, 0.8, 0.5])
    pale = jnp.array([0.3, 0.4, 0.46]) + 0.2 * dice.uniform((3,), -0.5, 0.5)
    iris = jnp.where(dark_haired | dice.chance(0.4), brown, pale)
    return Person(
        shape=dice.normal((60,), limit=2.0) * IDENTITY_SPREAD,
        tone=tone,
        warmth=0.5 * dice.normal(),
        flush=dice.uniform(),
        freckles=jnp.maximum(dice.uniform(low=-3.0), 0),
        wear=dice.uniform(),
        lips=dice.uniform() ** 2,
        brow=jnp.clip(0.5 * dice.normal((2,)), -1, 1),
        beard=dice.chance(0.3) * dice.uniform((3,)) ** 1.5,
        hair=hair,
        iris=iris,
        style=dice.uniform((6,)),
        texture=dice.bits(),
    )


def sample_scene(key, person, *, wild):
    """Draws one picture of a person.

    Args:
        key: PRNG key.
        person: scene.Person.
        wild: [] in [0, 1], from studio to street.

    Returns:
        scene.Scene.
    """

    def between(studio, street):
        return studio + (jnp.asarray(street) - studio) * wild

    dice = Dice(key, 200)
    expression, gaze = sample_expression(dice)
    light, lamps, lamp_colors = sample_light(dice, wild)
    return Scene(
        person=person,
        expression=expression,
        gaze=gaze,
        angles=sample_angles(dice),
        follow=dice.uniform(low=0.2, high=0.7),
        distance=dice.uniform(low=6.0, high=25.0),
        fill=dice.uniform(low=0.52, high=0.62),
        shift=dice.uniform((2,), -0.03, 0.03),
        light=light,
        lamps=lamps,
        lamp_colors=lamp_colors,
        exposure=jnp.exp(0.2 * dice.normal()),
        background=dice.uniform((6,)) ** jnp.array([1, 1, 1, 1, 1, 3.0])
        * between(jnp.array([0.5, 1, 1, 0.3, 1, 0.1]), jnp.ones(6)),
        palette=sample_palette(dice),
        hat=dice.chance(between(0.03, 0.1)) * 1.0,
        glasses=jnp.concatenate([dice.chance(0.15)[None] * 1.0, dice.uniform((3,))]),
        frame_color=dice.uniform((3,)) ** 2,
        occluder=jnp.concatenate([dice.chance(0.1)[None] * 1.0, dice.uniform((5,))]),
        balance=jnp.exp(between(0.04, 0.12) * dice.normal((3,))),
        blur=0.35 + between(0.3, 1.2) * dice.uniform() ** 2,
        grain=between(0.015, 0.045) * dice.uniform() ** 2,
        jpeg=between(0.1, 0.6) * dice.uniform(),
        key=dice.bits(),
    )


def sample_palette(dice):
    """Four colours, mostly muted: [4, 3] sRGB."""
    grey = dice.uniform((4, 1)) ** 1.2
    hue = dice.uniform((4, 3), -1.0, 1.0)
    vivid = dice.uniform((4, 1)) ** 2
    return jnp.clip(0.05 + 0.9 * grey + 0.45 * vivid * hue, 0.01, 0.98)


def sample_angles(dice):
    """Head pose as in 300-W: mostly frontal, a tail to 60. -> [3] degrees (yaw, pitch, roll).

    Beyond that the eye corners coincide, and errors over their distance mean nothing.
    """
    near, wide = 16 * dice.normal(), dice.uniform(low=-60.0, high=60.0)
    yaw = jnp.where(dice.chance(0.85), near, wide)
    return jnp.stack([yaw, 9 * dice.normal(), 9 * dice.normal()])


def sample_light(dice, wild):
    """Surroundings and two lamps. -> [9, 3] harmonics, [2, 3] directions, [2, 3] colours."""
    # Mostly from above and in front.
    direction = dice.normal((2, 3)) * (0.6 + 0.4 * wild) + jnp.array([0.0, 0.6, 1.0])
    direction = direction.at[:, 2].set(jnp.maximum(direction[:, 2], -0.2))
    direction = direction / jnp.linalg.norm(direction, axis=1, keepdims=True)
    warm = dice.normal((3, 1)) * jnp.array([0.2, 0.0, -0.25]) * (0.4 + 0.6 * wild)
    tint = jnp.exp(warm)
    power = dice.uniform((3,))
    colors = jnp.stack([0.6 + 0.8 * power[1], 0.6 * power[2] ** 2])[:, None] * tint[1:]
    light = lighting.ambient((0.34 - 0.16 * wild + 0.25 * power[0]) * tint[0])
    for towards, color in zip(direction, colors, strict=True):
        light = light + lighting.lamp(towards, color, spread=0.8 - 0.4 * wild)
    return light, direction, colors
