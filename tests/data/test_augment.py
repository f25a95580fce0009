"""Augmentation: bounds, determinism, one resampling, and off means off."""

import math

import ml_collections
import numpy as np
import pytest

from jaxgen.data import augment, crop

FULL = augment.Settings(
    rotation=30, scale=0.2, shift=0.1, flip=0.5, colour=0.4, grey=0.2, blur=0.5, occlusion=0.5,
    noise=8,
)  # fmt: skip


@pytest.fixture
def image():
    y, x = np.mgrid[:64, :64]
    return np.stack([x * 4, y * 4, 255 - x * 2], -1).astype(np.uint8)


def test_off_changes_nothing(image):
    rng = np.random.default_rng(0)
    matrix = crop.crop_matrix(
        (0, 0, 9, 9), size=8, margin=1, **augment.draw_geometry(rng, augment.OFF)
    )
    np.testing.assert_allclose(matrix, crop.crop_matrix((0, 0, 9, 9), size=8, margin=1))
    np.testing.assert_array_equal(augment.change_appearance(rng, augment.OFF, image), image)
    # Of floats in [0, 1] nothing would be left.
    with pytest.raises(ValueError, match=r"uint8 \[S, S, 3\], got float32"):
        augment.change_appearance(rng, augment.OFF, image / np.float32(255))


@pytest.mark.parametrize("config", [None, "off", {}, ml_collections.ConfigDict()])
def test_ways_to_say_off(config):
    assert augment.settings_from(config) == augment.OFF


def test_settings_come_from_a_config():
    config = ml_collections.ConfigDict({"rotation": 20, "flip": 0.5})
    assert augment.settings_from(config) == augment.Settings(rotation=20.0, flip=0.5)


@pytest.mark.parametrize(
    ("config", "message"),
    [({"rotate": 3}, "rotate"), ({"flip": 1.5}, "augment.flip"), ({"noise": -1}, "augment.noise"),
     ({"scale": math.nan}, "augment.scale")],
)  # fmt: skip
def test_bad_settings_name_the_key(config, message):
    with pytest.raises(ValueError, match=message):
        augment.settings_from(config)


def test_geometry_fills_its_range_and_stays_inside():
    rng = np.random.default_rng(1)
    draws = [augment.draw_geometry(rng, FULL) for _ in range(2000)]
    turns = np.array([d["rotation"] for d in draws])
    assert 29 < np.abs(turns).max() <= 30 and abs(turns.mean()) < 2
    logs = np.log([d["scale"] for d in draws])
    assert 0.19 < np.abs(logs).max() <= 0.2 + 1e-12
    shifts = np.array([d["shift"] for d in draws])
    assert (shifts.min(0) < -0.09).all() and (shifts.max(0) > 0.09).all()
    assert np.abs(shifts).max() <= 0.1
    assert 0.45 < np.mean([d["flip"] for d in draws]) < 0.55


def test_the_same_generator_gives_the_same_picture(image):
    first, again, other = (
        augment.change_appearance(np.random.default_rng(seed), FULL, image) for seed in (7, 7, 8)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("name", ["colour", "grey", "blur", "occlusion", "noise"])
def test_each_change_of_appearance_acts_and_keeps_the_form(image, name):
    settings = augment.Settings(**{name: 1.0 if name != "noise" else 20.0})
    before = image.copy()
    changed = augment.change_appearance(np.random.default_rng(3), settings, image)
    assert changed.dtype == np.uint8 and changed.shape == image.shape
    assert (changed != image).any()
    np.testing.assert_array_equal(image, before)  # cached images must survive
    if name == "grey":
        assert (changed == changed[..., :1]).all()
    if name == "occlusion":  # one colour, over at most 40 % x 40 %
        covered = (changed != image).any(-1)
        assert 0 < covered.mean() <= 0.45**2
        assert len(np.unique(changed[covered], axis=0)) == 1
    if name == "blur":  # smooths, does not move or darken
        assert abs(float(changed.mean()) - float(image.mean())) < 1.5
