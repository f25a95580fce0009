"""Head pose and pinhole camera: model space -> camera space -> pixels.

Model space is the subject's: x to the subject's left (the image's right when the face looks
at us), y up, z out of the face; origin inside the head between the ears; unit decimetre.
Camera space: x right, y down, z away from the camera. Pixels: (x, y), centres at integers.

Angles are degrees. yaw > 0 turns the nose to the image's right, pitch > 0 raises it,
roll > 0 tilts the head clockwise in the image. The head turns first by yaw, then pitch,
then roll.
"""

from typing import NamedTuple

import chex
import jax.numpy as jnp


class Camera(NamedTuple):
    """A pinhole.

    Attributes:
        focal: [] pixels per unit of x / z.
        center: [2] pixel (x, y) that the optical axis meets.
    """

    focal: jnp.ndarray
    center: jnp.ndarray


def rotation_matrix(angles):
    """Head rotation.

    Args:
        angles: [3] float, (yaw, pitch, roll) in degrees.

    Returns:
        [3, 3] float32, rotates model-space column vectors; axes stay the model's.
    """
    chex.assert_shape(angles, (3,))
    yaw, pitch, roll = jnp.deg2rad(angles)
    cy, sy = jnp.cos(yaw), jnp.sin(yaw)
    cp, sp = jnp.cos(pitch), jnp.sin(pitch)
    cr, sr = jnp.cos(roll), jnp.sin(roll)
    about_y = jnp.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = jnp.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    about_z = jnp.array([[cr, sr, 0], [-sr, cr, 0], [0, 0, 1]])  # clockwise where y is up
    return about_z @ about_x @ about_y


def angles_from_rotation(rotation):
    """Inverse of `rotation_matrix` for |pitch| < 90. rotation: [3, 3] -> [3] degrees."""
    chex.assert_shape(rotation, (3, 3))
    # The image of the model's z axis, before roll: (sin yaw, sin pitch cos yaw, cos cos).
    # Rows of Rz Rx Ry: with c = about_z's angle, column 1 is (sr cp, cr cp, -sp).
    pitch = jnp.arcsin(jnp.clip(-rotation[2, 1], -1, 1))
    roll = jnp.arctan2(rotation[0, 1], rotation[1, 1])
    yaw = jnp.arctan2(-rotation[2, 0], rotation[2, 2])
    return jnp.rad2deg(jnp.stack([yaw, pitch, roll]))


def to_camera(points, distance):
    """Posed model points [N, 3] -> camera space [N, 3] (x right, y down, z > 0 ahead)."""
    return points * jnp.array([1.0, -1.0, -1.0]) + jnp.array([0.0, 0.0, 1.0]) * distance


def project(points, camera):
    """Camera-space points to pixels.

    Args:
        points: [N, 3] float, camera space.
        camera: Camera.

    Returns:
        [N, 2] float32 (x, y) in pixels.
    """
    return points[:, :2] / points[:, 2:] * camera.focal + camera.center
