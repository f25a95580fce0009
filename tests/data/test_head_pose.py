"""Head pose from landmarks: exact on the model, close on rendered people, clear errors."""

import numpy as np
import pytest

from jaxgen.data import head_pose
from jaxgen.data.synthetic import asset, camera


def posed(angles, *, scale=40.0, distance=None):
    """The mean head's 68 points in a picture."""
    marks = np.asarray(asset.load_head().marks) @ np.asarray(camera.rotation_matrix(angles)).T
    depth = 1.0 if distance is None else (distance - marks[:, 2:]) / distance
    return marks[:, :2] / depth * (scale, -scale) + (70, 80)


@pytest.mark.parametrize("angles", [(0, 0, 0), (60, 0, 0), (-45, 10, 5), (85, -5, 0), (20, 25, 40)])
def test_the_mean_head_is_exact(angles):
    points = posed(np.array(angles, np.float32))
    np.testing.assert_allclose(head_pose.head_pose(points), angles, atol=0.2)
    points[:17] = np.nan  # the jaw is not looked at
    np.testing.assert_allclose(head_pose.head_pose(points), angles, atol=0.2)


def test_size_and_place_in_the_picture_do_not_matter():
    points = posed(np.array([30.0, 5.0, -10.0], np.float32))
    noisy = points + np.random.default_rng(0).normal(size=points.shape)
    np.testing.assert_allclose(
        head_pose.head_pose(noisy), head_pose.head_pose(0.2 * noisy - 300), atol=1e-6
    )
    np.testing.assert_allclose(head_pose.head_pose(noisy), [30, 5, -10], atol=6)


def test_mirror_images_and_turned_pictures():
    points = posed(np.array([30.0, 5.0, 0.0], np.float32))
    upside = points @ np.array([[0, 1], [-1, 0]])  # x' = -y, y' = x: clockwise by 90
    yaw, pitch, roll = head_pose.head_pose(upside)
    assert (yaw, pitch, roll) == pytest.approx((30, 5, 90), abs=0.3)
    from jaxgen.data import flip_pairs

    mirrored = (points * (-1, 1))[flip_pairs.for_points(68)]
    assert head_pose.head_pose(mirrored) == pytest.approx((-30, 5, 0), abs=0.3)


def test_poses_of_rendered_people(multipie):
    """Other people, expressions and perspective than the mean: within a few degrees."""
    faces = [face for split in ("train", "probe") for face in multipie.as_data_source(split)]
    error = np.array([head_pose.head_pose(face["points"]) - face["angles"] for face in faces])
    assert len({int(face["yaw"]) for face in faces}) == 3
    assert (np.abs(error).mean(0) < (4, 5, 3)).all() and np.abs(error[:, 0]).max() < 15


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros((68, 2)), "coincide"),
        (np.arange(68)[:, None] * np.ones(2), "one line"),
        (np.full((68, 2), np.nan), "missing"),
        (np.zeros((5, 2)), r"\[68, 2\]"),
    ],
)
def test_degenerate_points(points, message):
    with pytest.raises(ValueError, match=message):
        head_pose.head_pose(points)
