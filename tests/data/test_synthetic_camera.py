import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgen.data.synthetic import camera

degrees = st.floats(-85, 85, width=32)


@settings(deadline=None, max_examples=30)
@given(degrees, degrees, degrees)
def test_angles_come_back_from_their_rotation(yaw, pitch, roll):
    angles = jnp.array([yaw, pitch, roll])
    rotation = camera.rotation_matrix(angles)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-5)
    np.testing.assert_allclose(camera.angles_from_rotation(rotation), angles, atol=0.05)


@pytest.mark.parametrize(
    ("angles", "point", "expected"),
    [
        ([30, 0, 0], [0, 0, 1], "nose to the right"),
        ([0, 20, 0], [0, 0, 1], "nose up"),
        ([0, 0, 20], [0, 1, 0], "crown to the right"),  # clockwise
    ],
)
def test_positive_angles_turn_as_documented(angles, point, expected):
    moved = camera.rotation_matrix(jnp.array(angles, jnp.float32)) @ jnp.array(point, jnp.float32)
    x, y, _ = camera.to_camera(moved[None], 10.0)[0]
    across = {"nose to the right": x, "nose up": -y, "crown to the right": x}[expected]
    assert across > 0.2


def test_projection_puts_the_axis_at_the_centre_and_scales_with_depth():
    lens = camera.Camera(jnp.float32(100.0), jnp.array([32.0, 40.0]))
    points = jnp.array([[0.0, 0, 5], [1, 0, 5], [1, 2, 10]])
    np.testing.assert_allclose(camera.project(points, lens), [[32, 40], [52, 40], [42, 60]])
