"""The crop moves points and pixels together, edge to edge, with an exact inverse."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgen.data import crop

reasonable = st.floats(-50, 50)
boxes = st.tuples(reasonable, reasonable, st.floats(5, 200), st.floats(5, 200)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
turns = st.fixed_dictionaries(
    {
        "size": st.integers(16, 128),
        "margin": st.floats(0.8, 2.0),
        "rotation": st.floats(-180, 180),
        "scale": st.floats(0.5, 2.0),
        "shift": st.tuples(st.floats(-0.3, 0.3), st.floats(-0.3, 0.3)),
        "flip": st.booleans(),
    }
)


def blob(point, sigma, height=200, width=240):
    """A smooth bright spot on black."""
    y, x = np.mgrid[:height, :width]
    spot = np.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / (2 * sigma**2))
    return np.repeat((spot * 255).round().astype(np.uint8)[..., None], 3, axis=2)


def centroid(image):
    mass = image[..., 0].astype(float)
    y, x = np.mgrid[: mass.shape[0], : mass.shape[1]]
    return np.array([(x * mass).sum(), (y * mass).sum()]) / mass.sum()


def test_a_square_box_with_margin_one_fills_the_crop_edge_to_edge():
    matrix = crop.crop_matrix((9.5, 19.5, 49.5, 59.5), size=80, margin=1.0)
    corners = crop.transform_points(matrix, [(9.5, 19.5), (49.5, 59.5), (10, 20)])
    np.testing.assert_allclose(corners, [(-0.5, -0.5), (79.5, 79.5), (0.5, 0.5)], atol=1e-12)


def test_the_whole_image_box_is_the_identity():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    matrix = crop.crop_matrix((-0.5, -0.5, 63.5, 63.5), size=64, margin=1.0)
    np.testing.assert_allclose(matrix, [[1, 0, 0], [0, 1, 0]], atol=1e-12)
    np.testing.assert_array_equal(crop.crop_image(image, matrix, 64), image)


def test_flip_mirrors_pixels_exactly():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    matrix = crop.crop_matrix((-0.5, -0.5, 63.5, 63.5), size=64, margin=1.0, flip=True)
    np.testing.assert_array_equal(crop.crop_image(image, matrix, 64), image[:, ::-1])
    np.testing.assert_allclose(crop.transform_points(matrix, [(3, 7)]), [(60, 7)], atol=1e-12)


def test_a_half_size_crop_averages_blocks():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    matrix = crop.crop_matrix((-0.5, -0.5, 63.5, 63.5), size=32, margin=1.0)
    blocks = image.reshape(32, 2, 32, 2, 3).mean((1, 3))
    assert np.abs(crop.crop_image(image, matrix, 32) - blocks).max() <= 1  # rounding


def test_a_smaller_crop_averages_what_it_leaves_out():
    image = np.random.default_rng(0).integers(0, 256, (90, 90, 3)).astype(np.uint8)
    matrix = crop.crop_matrix((-0.5, -0.5, 89.5, 89.5), size=30, margin=1)
    means = image.reshape(30, 3, 30, 3, 3).mean((1, 3))
    assert np.abs(crop.crop_image(image, matrix, 30) - means).max() <= 2


def test_directions_of_rotation_shift_and_scale():
    options = dict(size=100, margin=1.0)
    point = [(60.0, 50.0)]  # ten pixels to the right of the centre of the box below
    box = (0, 0, 100, 100)
    move = lambda **change: crop.transform_points(  # noqa: E731
        crop.crop_matrix(box, **options, **change), point
    )[0]
    np.testing.assert_allclose(move(rotation=90), (49.5, 59.5), atol=1e-9)  # clockwise: downwards
    np.testing.assert_allclose(move(scale=2), (69.5, 49.5), atol=1e-9)
    np.testing.assert_allclose(move(shift=(0.1, -0.2)), (69.5, 29.5), atol=1e-9)


def test_a_tall_box_becomes_a_square_around_its_centre():
    matrix = crop.crop_matrix((40, 0, 60, 100), size=50, margin=2.0)
    np.testing.assert_allclose(crop.transform_points(matrix, [(50, 50)]), [(24.5, 24.5)])
    np.testing.assert_allclose(matrix[:, :2], np.eye(2) * 50 / 200)


@given(box=boxes, options=turns, point=st.tuples(reasonable, reasonable))
def test_the_inverse_returns_every_point(box, options, point):
    matrix = crop.crop_matrix(box, **options)
    back = crop.transform_points(crop.invert(matrix), crop.transform_points(matrix, [point]))
    np.testing.assert_allclose(back, [point], atol=1e-6)
    np.testing.assert_allclose(
        crop.compose(crop.invert(matrix), matrix), [[1, 0, 0], [0, 1, 0]], atol=1e-6
    )


@settings(max_examples=40, deadline=None)
@given(
    centre=st.tuples(st.floats(95, 145), st.floats(80, 120)),
    rotation=st.floats(-60, 60),
    longer=st.floats(60, 150),
    size=st.sampled_from([40, 80, 128]),
    flip=st.booleans(),
)
def test_points_and_pixels_move_together(centre, rotation, longer, size, flip):
    """From doubling to shrinking eight times, the spot is where the point says."""
    half = longer / 2
    box = (120 - half, 100 - half, 120 + half, 100 + half)
    sigma = max(5.0, 3.0 * longer / size)  # at least 1.5 crop pixels wide
    matrix = crop.crop_matrix(box, size=size, margin=2.0, rotation=rotation, flip=flip)
    found = centroid(crop.crop_image(blob(centre, sigma), matrix, size))
    expected = crop.transform_points(matrix, [centre])[0]
    np.testing.assert_allclose(found, expected, atol=0.05)


def test_a_crop_far_outside_is_black_and_a_small_image_is_enlarged():
    image = np.full((10, 12, 3), 200, np.uint8)
    away = crop.crop_matrix((500, 500, 600, 600), size=32, margin=1.0)
    assert not crop.crop_image(image, away, 32).any()
    inside = crop.crop_matrix((1.5, 0.5, 9.5, 8.5), size=64, margin=1.0)
    assert (crop.crop_image(image, inside, 64) == 200).all()
    # Half of this one lies to the left of the image.
    partly = crop.crop_image(image, crop.crop_matrix((-4.5, 0.5, 3.5, 8.5), size=64, margin=1), 64)
    assert not partly[:, :32].any() and (partly[:, 32:] == 200).all()


@pytest.mark.parametrize("box", [(0, 0, 0, 0), (5, 5, 1, 9), (0, 0, np.nan, 4)])
def test_a_box_without_area_is_refused(box):
    with pytest.raises(ValueError, match="face box"):
        crop.crop_matrix(box, size=8, margin=1.0)


def test_a_grey_array_is_refused():
    with pytest.raises(ValueError, match="uint8"):
        crop.crop_image(np.zeros((8, 8), np.uint8), np.eye(3)[:2], 8)
