"""Worse pictures: exact strengths, determinism, bad input."""

import numpy as np
import pytest

from jaxgen.data import degradations

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 40, 40, 3), np.uint8)


@pytest.mark.parametrize("kind", degradations.KINDS)
@pytest.mark.parametrize("channels", [1, 3])
def test_more_strength_changes_more(kind, channels):
    images = IMAGES[..., :channels]
    before = images.copy()
    changes = []
    for strength in (0, 0.2, 0.6, 1):
        found = degradations.degrade(images, kind, strength, seed=1)
        assert found.shape == images.shape and found.dtype == np.uint8
        changes.append(np.abs(found.astype(int) - images).mean())
    assert changes[0] == 0 and (np.diff(changes) > 0).all()
    np.testing.assert_array_equal(images, before)


def test_the_occluded_share_is_exact():
    for strength in (0.1, 0.5, 1.0):
        found = degradations.degrade(
            np.zeros((20, 60, 60, 1), np.uint8), "occlusion", strength, seed=0
        )
        shares = [(image > 0).mean() for image in found if image.any()]
        np.testing.assert_allclose(shares, 0.8 * strength, atol=0.03)


def test_noise_has_its_deviation():
    grey = np.full((1, 100, 100, 1), 128, np.uint8)
    found = degradations.degrade(grey, "noise", 0.2, seed=0)
    assert found.std() == pytest.approx(20, rel=0.03)


def test_blur_keeps_the_mean_and_widens_a_point():
    point = np.zeros((1, 101, 101, 1), np.uint8)
    point[0, 45:56, 45:56] = 255
    found = degradations.degrade(point, "blur", 0.5, seed=0)[0, ..., 0].astype(float)
    assert found.sum() == pytest.approx(255 * 121, rel=0.05)
    rows = found.sum(1) / found.sum()
    variance = rows @ np.square(np.arange(101) - 50)
    assert variance == pytest.approx(0.04**2 * 101**2 + (11**2 - 1) / 12, rel=0.1)


def test_a_picture_depends_on_seed_and_place_alone():
    first = degradations.degrade(IMAGES, "occlusion", 0.5, seed=3)
    strengths = [0, 0.5, 0, 0.5]
    again = degradations.degrade(IMAGES, "occlusion", strengths, seed=3)
    np.testing.assert_array_equal(again[[1, 3]], first[[1, 3]])
    np.testing.assert_array_equal(again[[0, 2]], IMAGES[[0, 2]])
    assert (degradations.degrade(IMAGES, "occlusion", 0.5, seed=4) != first).any()


@pytest.mark.parametrize(
    ("kind", "strength", "message"),
    [("fog", 0.5, "'fog'"), ("blur", 1.5, "strength"), ("blur", np.nan, "strength")],
)
def test_bad_input(kind, strength, message):
    with pytest.raises(ValueError, match=message):
        degradations.degrade(IMAGES, kind, strength, seed=0)


@pytest.mark.parametrize("images", [IMAGES / np.float32(255), IMAGES[0]])
def test_other_arrays_than_pictures_are_refused(images):
    with pytest.raises(ValueError, match=r"uint8 \[N, S, S, C\]"):
        degradations.degrade(images, "blur", 0.5, seed=0)
