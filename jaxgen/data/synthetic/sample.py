"""Random people, expressions and scenes.

`wild` in [0, 1] is the look of a picture: 0 is a studio (even light, plain backgrounds, a clean
camera), 1 is the street (hard light of any colour, clutter, blur, noise). The gap between the
two is the domain gap of `synthetic_faces`.
"""

import jax.numpy as jnp
from jax import random

from jaxgen.data.synthetic import lighting
from jaxgen.data.synthetic.expressions import sample_expression
from jaxgen.data.synthetic.scene import Person, Scene

IDENTITY_SPREAD = 0.75  # of a standard deviation: nobody is a caricature


def sample_person(key):
    """Draws a person from a PRNG key."""
    k = iter(random.split(key, 24))
    shape = jnp.clip(random.normal(next(k), (60,)), -2, 2) * IDENTITY_SPREAD
    tone = random.uniform(next(k)) ** 1.3
    dark = random.uniform(next(k)) < 0.55 + 0.5 * (tone > 0.5)
    shade = random.uniform(next(k))
    dark_hair = jnp.array([0.05, 0.04, 0.035]) + shade * jnp.array([0.22, 0.14, 0.08])
    light_hair = jnp.array([0.35, 0.22, 0.12]) + shade * jnp.array([0.45, 0.42, 0.33])
    grey = (random.uniform(next(k)) < 0.12) * random.uniform(next(k))
    hair = jnp.where(dark, dark_hair, light_hair)
    hair = hair + grey * (jnp.array([0.62, 0.61, 0.6]) - hair)
    brown = jnp.array([0.2, 0.1, 0.05]) + 0.15 * shade
    pale = jnp.array([0.3, 0.42, 0.5]) + 0.25 * (random.uniform(next(k), (3,)) - 0.5)
    iris = jnp.where(dark | (random.uniform(next(k)) < 0.4), brown, pale)
    bearded = random.uniform(next(k)) < 0.3
    beard = bearded * random.uniform(next(k), (3,)) ** 1.5
    brow = jnp.clip(random.normal(next(k), (3,)) * 0.5, -1, 1)
    style = random.uniform(next(k), (6,))
    return Person(
        shape=shape,
        tone=tone,
        warmth=random.normal(next(k)) * 0.5,
        flush=random.uniform(next(k)),
        freckles=jnp.maximum(random.uniform(next(k)) * 2 - 1, 0),
        wear=random.uniform(next(k)),
        lips=random.uniform(next(k)) ** 2,
        brow=brow,
        beard=beard,
        hair=hair,
        iris=jnp.clip(iris, 0.04, 0.8),
        style=style,
        texture=random.bits(next(k), (2,), jnp.uint32),
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

    k = iter(random.split(key, 40))
    uniform = lambda shape=(), low=0.0, high=1.0: random.uniform(  # noqa: E731
        next(k), shape, minval=low, maxval=high
    )
    expression, gaze = sample_expression(next(k))
    light, lamps, lamp_colors = sample_light(next(k), wild=wild)
    return Scene(
        person=person,
        expression=expression,
        gaze=gaze,
        angles=sample_angles(next(k)),
        follow=uniform(low=0.2, high=0.7),
        distance=uniform(low=6.0, high=25.0),
        fill=uniform(low=0.52, high=0.62),
        shift=uniform((2,), -0.03, 0.03),
        light=light,
        lamps=lamps,
        lamp_colors=lamp_colors,
        exposure=jnp.exp(0.2 * random.normal(next(k))),
        background=uniform((6,)) * between(jnp.array([0.5, 1, 1, 0.3, 1, 0.1]), 1.0),
        palette=uniform((4, 3)) ** 1.3,
        glasses=jnp.concatenate([(uniform((1,)) < 0.15) * 1.0, uniform((3,))]),
        frame_color=uniform((3,)) ** 2,
        occluder=jnp.concatenate([(uniform((1,)) < 0.1) * 1.0, uniform((5,))]),
        balance=jnp.exp(between(0.04, 0.12) * random.normal(next(k), (3,))),
        blur=0.35 + between(0.3, 1.2) * uniform() ** 2,
        grain=between(0.015, 0.06) * uniform() ** 2,
        jpeg=between(0.1, 0.6) * uniform(),
        key=random.bits(next(k), (2,), jnp.uint32),
    )


def sample_angles(key):
    """Head pose: mostly frontal, a tail up to profile. -> [3] degrees (yaw, pitch, roll)."""
    k = random.split(key, 5)
    yaw = jnp.where(
        random.uniform(k[0]) < 0.75,
        random.normal(k[1]) * 20,
        random.uniform(k[2], minval=-75, maxval=75),
    )
    pitch = random.normal(k[3]) * 9
    roll = random.normal(k[4]) * 9
    return jnp.clip(
        jnp.stack([yaw, pitch, roll]), jnp.array([-90, -35, -35]), jnp.array([90, 35, 35])
    )


def sample_light(key, *, wild):
    """Surroundings and two lamps. -> [9, 3] harmonics, [2, 3] directions, [2, 3] colours."""
    k = random.split(key, 8)
    spread = 0.6 + 0.4 * wild
    # Mostly from above and in front.
    direction = random.normal(k[0], (2, 3)) * spread + jnp.array([0.0, 0.6, 1.0])
    direction = direction.at[:, 2].set(jnp.maximum(direction[:, 2], -0.2))
    direction = direction / jnp.linalg.norm(direction, axis=1, keepdims=True)
    warm = random.normal(k[1], (3, 1)) * jnp.array([0.2, 0.0, -0.25]) * (0.4 + 0.6 * wild)
    tint = jnp.exp(warm)
    power = random.uniform(k[2], (3,))
    base = 0.45 - 0.2 * wild + 0.3 * power[0]
    strength = jnp.stack([0.5 + 0.6 * power[1], 0.5 * power[2]])
    colors = strength[:, None] * tint[1:]
    light = lighting.ambient(base * tint[0])
    for i in range(2):
        light = light + lighting.lamp(direction[i], colors[i], spread=0.8 - 0.4 * wild)
    return light, direction, colors
