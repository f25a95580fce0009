"""Light from all sides as spherical harmonics, and the highlights of a few lamps.

Order-2 harmonics (nine numbers per colour) describe all that a matt surface sees of its
surroundings (Ramamoorthi and Hanrahan 2001). Directions are unit vectors in model axes:
x to the image's right, y up, z towards the camera.
"""

import chex
import jax.numpy as jnp


def harmonics(direction):
    """Real spherical harmonics up to order 2. direction: [..., 3] unit -> [..., 9]."""
    x, y, z = direction[..., 0], direction[..., 1], direction[..., 2]
    return jnp.stack(
        [
            jnp.full_like(x, 0.282095),
            0.488603 * y, 0.488603 * z, 0.488603 * x,
            1.092548 * x * y, 1.092548 * y * z, 0.315392 * (3 * z**2 - 1),
            1.092548 * x * z, 0.546274 * (x**2 - y**2),
        ],
        -1,
    )  # fmt: skip


def irradiance(light, normal):
    """Light on a matt surface that nothing shadows.

    Args:
        light: [9, 3] harmonic coefficients of incoming radiance, per colour.
        normal: [..., 3] unit.

    Returns:
        [..., 3] irradiance / pi: 1 under uniform light of radiance 1.
    """
    chex.assert_shape(light, (9, 3))
    cosine = jnp.array([1.0, *[2 / 3] * 3, *[1 / 4] * 5])
    return harmonics(normal) * cosine @ light


def lamp(direction, color, *, spread):
    """Harmonics of a soft lamp, scaled so that a surface facing it receives `color`.

    Args:
        direction: [3] unit, towards the lamp.
        color: [3] float.
        spread: [] in [0, 1]: 0 is a point, 1 lights from half the sky.

    Returns:
        [9, 3] float32.
    """
    chex.assert_shape([direction, color], (3,))
    # Widening a lamp damps the higher orders.
    damp = jnp.concatenate(
        [jnp.ones(1), jnp.full(3, 1 - 0.3 * spread), jnp.full(5, 1 - 0.7 * spread)]
    )
    basis = harmonics(direction) * damp
    facing = irradiance(basis[:, None] * jnp.ones(3), direction)[0]
    return basis[:, None] * color / facing


def ambient(color):
    """Harmonics of uniform light of radiance `color` [3] -> [9, 3]."""
    return jnp.zeros((9, 3)).at[0].set(color / 0.282095)


def rotate_to_head(light, rotation):
    """Light as seen in the axes of the turned head.

    Args:
        light: [9, 3] in camera axes.
        rotation: [3, 3] of the head.

    Returns:
        [9, 3]: for every direction d, harmonics(d) @ result = harmonics(rotation @ d) @ light.
    """
    # Nine directions fix nine coefficients; these make a well-conditioned system.
    s, t = 0.5**0.5, 3**-0.5
    probes = jnp.array(
        [[1, 0, 0], [0, 1, 0], [0, 0, 1], [-t, -t, -t], [s, s, 0], [s, 0, s], [0, s, s],
         [s, -s, 0], [0, s, -s]]
    )  # fmt: skip
    return jnp.linalg.solve(harmonics(probes), harmonics(probes @ rotation.T) @ light)


def highlight(normal, half, *, sharpness):
    """Blinn-Phong lobe with Schlick's rational form in place of the power.

    Args:
        normal: [..., 3] unit; half: [3] unit, between view and lamp.
        sharpness: exponent of the lobe.

    Returns:
        [...] in [0, 1].
    """
    cosine = jnp.maximum(normal @ half, 0)
    return cosine / (sharpness - (sharpness - 1) * cosine)
