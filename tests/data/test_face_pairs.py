"""Crops: geometry, what is chosen, what is paired, and bad boxes."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxgen.data import crop, face_pairs
from jaxgen.models import super_resolution

CHOICE = dict(least_height=5.0, jitter=0.1, copies=2, per_image=20)


def ramp(height, width):
    """An image whose red is the column and whose green is the row."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns, rows, np.zeros_like(rows)], -1).astype(np.uint8)


def config(**changes):
    values = dict(high=32, margin=1.5, least_real=0.5, unpaired=0.5, degradation="bicubic")
    return SimpleNamespace(**(values | changes))


def test_scale_is_that_of_the_generator():
    assert face_pairs.SCALE == super_resolution.SCALE


@settings(max_examples=30, deadline=None)
@given(
    st.floats(40, 120),
    st.floats(40, 120),
    st.floats(10, 60),
    st.floats(0.4, 2.5),
    st.floats(1, 2),
    st.sampled_from([16, 33]),
)
def test_crop_pixels_come_from_where_the_matrix_says(x, y, side, aspect, margin, size):
    box = [x - side / 2, y - side * aspect / 2, x + side / 2, y + side * aspect / 2]
    found = face_pairs.cut(ramp(160, 170), box, size=size, margin=margin).astype(float)
    matrix = crop.invert(crop.crop_matrix(box, size=size, margin=margin))
    pixels = np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1)
    expected = crop.transform_points(matrix, pixels)
    # Inside the picture a ramp is resampled exactly, up to rounding.
    inside = ((expected > 6) & (expected < [163, 153])).all(-1)
    error = np.abs(found[..., :2] - expected)[inside]
    assert inside.any() and error.max() < 0.8


def test_border_is_repeated_and_squares_are_not_squashed():
    image = np.full((20, 30, 3), 50, np.uint8)
    image[:, 15:] = 200
    found = face_pairs.cut(image, [20, 2, 40, 12], size=16, margin=1.5)
    assert (found[:, 4:] == 200).all()  # also where the square leaves the image
    wide = face_pairs.square_of([0, 0, 20, 10], 1.5)
    np.testing.assert_allclose(wide, [-5, -10, 25, 20])


@pytest.mark.parametrize(
    "box", [[0, 0, 0, 5], [5, 5, 2, 9], [0, np.nan, 4, 4], [0, 0, np.inf, 4], [0, 0, 1e6, 9]]
)
def test_boxes_that_show_nothing_are_refused(box):
    with pytest.raises(ValueError, match="box"):
        face_pairs.cut(ramp(30, 30), box, size=16, margin=1.0)


def test_image_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="uint8"):
        face_pairs.cut(np.zeros((8, 8)), [0, 0, 4, 4], size=8, margin=1.0)


def test_overlaps_by_hand():
    found = face_pairs.overlaps(
        np.array([[0, 0, 2, 2], [5, 5, 5, 6]], float),
        np.array([[0, 0, 2, 2], [1, 0, 3, 2], [7, 7, 9, 9]], float),
    )
    np.testing.assert_allclose(found, [[1, 1 / 3, 0], [0, 0, 0]], atol=1e-6)


def test_choice_follows_the_overlap():
    true = np.array([[20, 20, 60, 60], [100, 20, 140, 60], [20, 100, 23, 103]], float)
    ignored = np.array([False, True, False])
    proposed = np.array(
        [
            [22, 22, 62, 62],  # the first face
            [40, 20, 80, 60],  # a third of it: neither
            [100, 20, 140, 60],  # an ignored face: neither
            [20, 100, 23, 103],  # too small a face: neither
            [150, 100, 180, 130],  # a mistake
            [90, 100, 120, 130],  # a surer mistake
            [np.nan, 0, 5, 5],
            [8, 8, 8, 9],  # without area
        ]
    )
    scores = np.array([0.9, 0.9, 0.9, 0.9, 0.3, 0.8, 0.9, 0.9])
    rng = np.random.default_rng(0)
    found = face_pairs.choose(rng, (200, 200), true, ignored, proposed, scores, **CHOICE)
    faces, backgrounds = found.box[found.is_face], found.box[~found.is_face]
    assert len(faces) == 3  # two moved copies of the one usable face, and its proposal
    np.testing.assert_array_equal(found.face_box[found.is_face], np.tile(true[0], (3, 1)))
    np.testing.assert_allclose(backgrounds[:2], proposed[[5, 4]])  # the surest first
    assert len(backgrounds) == 3  # a random one fills up
    assert face_pairs.overlaps(backgrounds, true).max() < face_pairs.BACKGROUND_OVERLAP
    assert face_pairs.overlaps(faces, true[:1]).min() > face_pairs.FACE_OVERLAP


def test_what_lies_in_an_ignored_crowd_or_on_a_too_small_face_is_no_background():
    # A crowd marked invalid, and a face of 4 pixels.
    true = np.array([[0, 0, 120, 120], [150, 150, 154, 154]], float)
    ignored = np.array([True, False])
    proposed = np.array(
        [
            [40, 40, 60, 60],  # in the crowd: a face that nobody marked
            [148, 148, 156, 156],  # the tiny face, by a box four times as large
            [105, 105, 145, 145],  # mostly beside the crowd
            [170, 20, 190, 40],  # a mistake
        ]
    )
    assert face_pairs.overlaps(proposed, true).max() < face_pairs.BACKGROUND_OVERLAP
    for seed in range(5):
        found = face_pairs.choose(
            np.random.default_rng(seed), (200, 200), true, ignored, proposed,
            np.array([0.9, 0.9, 0.5, 0.3]), **(CHOICE | dict(per_image=6)),
        )  # fmt: skip
        assert not found.is_face.any()
        np.testing.assert_allclose(found.box, proposed[2:])


def test_random_backgrounds_stay_out_of_ignored_crowds():
    true = np.array([[0, 0, 150, 199]], float)
    found = face_pairs.random_backgrounds(
        np.random.default_rng(0), (200, 200), true, np.array([True]), [10, 20], 20
    )
    assert len(found) and (found[:, 2] - found[:, 0] < 21).all()
    inside = np.clip(150 - found[:, 0], 0, None) / (found[:, 2] - found[:, 0])
    assert inside.max() <= 0.5


def test_image_without_faces_gives_backgrounds_alone():
    nothing = np.zeros((0, 4))
    rng = np.random.default_rng(0)
    found = face_pairs.choose(
        rng, (60, 60), nothing, np.zeros(0, bool), nothing, np.zeros(0), **CHOICE
    )
    assert len(found.box) == 2 and not found.is_face.any()


def test_no_more_than_per_image():
    x, y = np.meshgrid(np.arange(10) * 20, np.arange(10) * 20)
    true = np.stack([x, y, x + 8, y + 8], -1).reshape(-1, 4).astype(float)
    rng = np.random.default_rng(0)
    found = face_pairs.choose(
        rng, (200, 200), true, np.zeros(100, bool), np.zeros((0, 4)), np.zeros(0), **CHOICE
    )
    assert found.is_face.sum() == 20 and (~found.is_face).sum() <= 20


def test_unequal_proposals_and_scores_are_refused():
    with pytest.raises(ValueError, match="2 proposed boxes have 1 scores"):
        face_pairs.choose(
            np.random.default_rng(0), (9, 9), np.zeros((0, 4)), np.zeros(0, bool),
            np.ones((2, 4)), np.ones(1), **CHOICE,
        )  # fmt: skip


def test_only_crops_with_enough_pixels_are_paired():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (120, 120, 3)).astype(np.uint8)
    # Squares of 15 and of 16.5 pixels for crops of 32: half of the pixels are asked for.
    box = np.array([[40, 40, 50, 50], [40, 40, 51, 51], [80, 80, 100, 120]], np.float32)
    choice = face_pairs.Choice(box, box, np.array([True, True, False]))
    found = face_pairs.crops_of(rng, image, choice, config())
    np.testing.assert_array_equal(found["paired"], [False, True, True])
    np.testing.assert_allclose(found["height"], [10, 11, 40])
    small = Image.fromarray(found["image"][1]).resize((8, 8), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(found["low"][1], np.asarray(small))
    direct = face_pairs.cut(image, box[0], size=8, margin=1.5)
    np.testing.assert_array_equal(found["low"][0], direct)
    alone = face_pairs.crops_of(rng, image, choice, config(unpaired=0.0))
    assert len(alone["image"]) == 2 and alone["paired"].all()


def test_the_height_of_a_crop_is_that_of_its_face():
    box, face = (np.array([each], np.float32) for each in ([10, 10, 30, 34], [11, 12, 29, 30]))
    choice = face_pairs.Choice(box, face, np.array([True]))
    image = np.zeros((50, 50, 3), np.uint8)
    found = face_pairs.crops_of(np.random.default_rng(0), image, choice, config(least_real=0.1))
    assert found["height"] == [18]


def test_realistic_degradation_differs_and_keeps_the_brightness():
    rng = np.random.default_rng(0)
    image = np.asarray(Image.fromarray(ramp(64, 64) * 3).resize((64, 64)))
    plain = face_pairs.shrink(rng, image, "bicubic").astype(float)
    rough = face_pairs.shrink(rng, image, "realistic").astype(float)
    assert plain.shape == rough.shape == (16, 16, 3)
    assert np.abs(plain - rough).mean() > 0.5
    assert np.abs(plain.mean() - rough.mean()) < 6


def test_an_unknown_degradation_is_refused():
    with pytest.raises(ValueError, match="not 'Realistic'"):
        face_pairs.shrink(np.random.default_rng(0), ramp(64, 64), "Realistic")
