"""Tiles: the way there and back, coverage, seams, bad input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgen.data import tiles

SHAPES = st.tuples(st.integers(1, 50), st.integers(1, 50))


@given(SHAPES, st.tuples(st.integers(4, 20), st.integers(4, 20)), st.integers(0, 3))
@settings(max_examples=80, deadline=None)
def test_merging_the_tiles_of_an_image_gives_it_back(shape, size, overlap):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    pieces = tiles.tiles(image, size=size, overlap=overlap)
    assert pieces.shape[1:] == (*size, 3) and pieces.dtype == np.uint8
    back = tiles.merge(pieces, shape, size=size, overlap=overlap)
    assert back.shape == image.shape
    np.testing.assert_allclose(back, image, atol=1e-3)


@given(SHAPES, st.integers(4, 20), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_tiles_cover_the_image_and_overlap_as_asked(shape, size, overlap):
    places = tiles.corners(shape, size=size, overlap=overlap)
    for axis, length in enumerate(shape):
        starts = np.unique(places[:, axis])
        assert starts[0] == 0 and starts[-1] + size >= length
        assert starts[-1] == max(0, length - size)
        assert (np.diff(starts) <= size - overlap).all()
    # Not one tile more than needed.
    needed = [max(1, -(-(n - overlap) // (size - overlap))) for n in shape]
    assert len(places) == np.prod(needed)


def test_a_network_that_is_wrong_at_its_borders_leaves_no_seam():
    """Where tiles overlap, a pixel at the side of one tile is taken from the inside of another."""
    values = np.ones((3, 16, 16, 1), np.float32)
    values[:, :, 0] = values[:, :, -1] = 0  # the outermost columns of each tile are wrong
    merged = tiles.merge(values, (16, 32), size=16, overlap=8)
    inside = merged[:, 1:-1, 0]
    assert inside.min() > 0.85
    assert (merged[:, 0] == 0).all()  # nothing else saw the border of the image


def test_prediction_by_tiles_calls_the_network_with_one_shape():
    image = np.random.default_rng(1).integers(0, 256, (37, 50, 3), np.uint8)
    shapes = []

    def network(batch):
        shapes.append(batch.shape)
        return batch[..., :2].astype(np.float32) * 2

    found = tiles.predict_by_tiles(network, image, size=(16, 24), overlap=4, batch_size=4)
    np.testing.assert_allclose(found, 2.0 * image[..., :2], atol=1e-3)
    assert set(shapes) == {(4, 16, 24, 3)}


def test_a_small_image_is_filled_up_with_its_own_border():
    image = np.arange(6, dtype=np.uint8).reshape(2, 3, 1)
    (piece,) = tiles.tiles(image, size=4, overlap=0)
    np.testing.assert_array_equal(
        piece[..., 0], [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [3, 4, 5, 5]]
    )


def test_impossible_requests():
    with pytest.raises(ValueError, match="of 8 pixels cannot overlap by 8"):
        tiles.corners((20, 20), size=8, overlap=8)
    with pytest.raises(ValueError, match="has 4 tiles"):
        tiles.merge(np.zeros((3, 8, 8, 2)), (16, 16), size=8, overlap=0)
