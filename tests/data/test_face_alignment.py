"""Alignment: known similarities are undone, profiles, boxes, borders, bad input."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from PIL import Image

from jaxgen.data import crop, face_alignment, flip_pairs
from jaxgen.data.face_alignment import TEMPLATE

RNG = np.random.default_rng(0)


def moved(points, *, turn=20.0, scale=2.3, shift=(30, -4)):
    angle = np.radians(turn)
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return points @ np.array([[c, s], [-s, c]]) + shift


@hypothesis.given(
    st.floats(-180, 180), st.floats(0.05, 20), st.floats(-500, 500), st.floats(-500, 500)
)
def test_similarities_are_recovered(turn, scale, x, y):
    source = moved(TEMPLATE, turn=turn, scale=scale, shift=(x, y))
    matrix = face_alignment.similarity(source, TEMPLATE)
    np.testing.assert_allclose(crop.transform_points(matrix, source), TEMPLATE, atol=1e-6)
    assert np.linalg.det(matrix[:, :2]) == pytest.approx(scale**-2)


def test_the_fit_is_the_best_and_never_a_mirror_image():
    source, target = RNG.normal(size=(2, 5, 2))
    matrix = face_alignment.similarity(source, target)
    best = np.square(crop.transform_points(matrix, source) - target).sum()
    for change in 1e-3 * RNG.normal(size=(20, 4)):
        a, b, x, y = change
        other = matrix + np.array([[a, -b, x], [b, a, y]])
        assert np.square(crop.transform_points(other, source) - target).sum() > best
    mirrored = face_alignment.similarity(TEMPLATE * (-1, 1), TEMPLATE)
    assert np.linalg.det(mirrored[:, :2]) > 0


@pytest.mark.parametrize("side", [110, 55, 220])
def test_frontal_faces_and_profiles_come_to_the_same_height(side):
    points = moved(TEMPLATE)
    scaled = (TEMPLATE + 0.5) * side / 110 - 0.5
    matrix = face_alignment.alignment(points, side=side)
    np.testing.assert_allclose(crop.transform_points(matrix, points), scaled, atol=1e-9)
    # A profile: one eye above one corner of the mouth.
    profile = np.full((5, 2), np.nan)
    profile[[1, 4]] = moved(np.array([(50.0, 20.0), (50.0, 40.0)]))
    matrix = face_alignment.alignment(profile, side=side)
    found = crop.transform_points(matrix, profile[[1, 4]])
    np.testing.assert_allclose(found, [scaled[:2].mean(0), scaled[3:].mean(0)], atol=1e-9)


def test_turned_faces_move_to_where_the_nose_points():
    middle, most = 54.5, 12.0
    for ahead in (-40.0, -5.0, 0.0, 5.0, 40.0):
        profile = np.full((5, 2), np.nan)
        profile[[0, 2, 3]] = moved(np.array([(50, 20), (50 + ahead, 40), (50, 55.0)]))
        found = crop.transform_points(face_alignment.alignment(profile), profile[[0, 2, 3]])
        aside = np.clip(ahead, -most, most)
        expected = [(middle + aside, 38), (middle + aside + ahead, 58), (middle + aside, 73)]
        np.testing.assert_allclose(found, expected, atol=1e-9)


def test_the_template_is_a_face_inside_of_every_crop():
    # Seen in the middle: brow, chin, and of a profile the tip of the nose and the ear.
    around = [(54.5, 38 - 0.8 * 35), (54.5, 73 + 0.7 * 35)]
    around += [(54.5 + 12 + 0.65 * 35, 55), (54.5 + 12 - 42, 55)]
    face = np.concatenate([TEMPLATE, around])
    assert (face >= 7).all() and (face < 7 + 96).all()
    mirrored = TEMPLATE[flip_pairs.for_points(5)] * (-1, 1) + (109, 0)
    np.testing.assert_allclose(mirrored, TEMPLATE)
    assert [face_alignment.aligned_side(s) for s in (96, 48, 16)] == [110, 55, 18]


def test_five_of_68_points():
    points = RNG.normal(size=(3, 68, 2))
    five = face_alignment.five_points(points)
    np.testing.assert_allclose(five[:, 0], points[:, 36:42].mean(1))
    np.testing.assert_allclose(five[:, 2:], points[:, [30, 48, 54]])
    with pytest.raises(ValueError, match="68"):
        face_alignment.five_points(np.zeros((5, 2)))


def test_pictures_follow_their_points():
    """Dots on a dark picture come to the template's places after one resampling."""
    points = np.round(moved(TEMPLATE, turn=10, scale=1.5, shift=(40, 20)))
    image = np.zeros((260, 220, 3), np.uint8)
    for x, y in points.astype(int):
        image[y - 1 : y + 2, x - 1 : x + 2] = 255
    matrix = face_alignment.alignment(points)
    aligned = face_alignment.align(image, matrix)[..., 0].astype(float)
    for x, y in crop.transform_points(matrix, points):
        low = np.floor([x, y]).astype(int) - 3
        rows, columns = np.mgrid[low[1] : low[1] + 8, low[0] : low[0] + 8]
        light = aligned[rows, columns]
        centre = (light * columns).sum() / light.sum(), (light * rows).sum() / light.sum()
        np.testing.assert_allclose(centre, (x, y), atol=0.25)


def test_beyond_the_border_the_border_repeats():
    image = np.full((60, 60, 3), 90, np.uint8)
    matrix = face_alignment.alignment(moved(TEMPLATE, turn=30, scale=1, shift=(0, -20)))
    assert (face_alignment.align(image, matrix) == 90).all()


def test_boxes_stand_in_for_points():
    found = face_alignment.box_alignment([10, 20, 90, 120])
    eyes, mouth = crop.transform_points(found, [(50, 60), (50, 95)])
    np.testing.assert_allclose([eyes, mouth], [(54.5, 38), (54.5, 73)], atol=1e-9)
    picture = Image.fromarray(np.tile(np.arange(100, dtype=np.uint8)[:, None, None], (1, 100, 3)))
    assert face_alignment.align(np.asarray(picture), found).shape == (110, 110, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: face_alignment.alignment(np.ones((5, 2))), "coincide"),
        (lambda: face_alignment.alignment(np.full((5, 2), np.nan)), "an eye and a corner"),
        (lambda: face_alignment.alignment(np.ones((68, 2))), r"\[5, 2\]"),
        (lambda: face_alignment.box_alignment([5, 5, 5, 9]), "x0 < x1"),
        (lambda: face_alignment.similarity(np.ones((3, 2)), np.ones((4, 2))), "both"),
        (
            lambda: face_alignment.align(
                np.zeros((9, 9, 3), np.uint8), face_alignment.alignment(TEMPLATE + 1e4)
            ),
            "far outside",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
