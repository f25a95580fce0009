"""Which anchors learn which face."""

from functools import partial

import jax
import numpy as np
import pytest

from jaxgen.kernels import anchors as kernels
from jaxgen.kernels import boxes as box_kernels

GRID = np.concatenate(
    [
        kernels.level_anchors((8, 8), stride=4, sizes=(8, 16)),
        kernels.level_anchors((4, 4), stride=8, sizes=(32,)),
    ]
)
match = jax.jit(partial(kernels.match, GRID))


def faces_of(*boxes, ignored=()):
    """Padded to four faces."""
    padded = np.full((4, 4), 7.0, np.float32)  # padding without area
    padded[: len(boxes)] = np.reshape(boxes, (-1, 4))
    is_face, is_ignored = np.arange(4) < len(boxes), np.zeros(4, bool)
    is_ignored[list(ignored)] = True
    return padded, is_face & ~is_ignored, is_ignored


def test_anchors_lie_on_their_cells():
    found = kernels.level_anchors((2, 3), stride=8, sizes=(4, 16), aspect=4.0)
    assert found.shape == (12, 4)
    centres = (found[:, :2] + found[:, 2:]) / 2
    # Cell (row 1, column 2) covers pixels 8 to 15 and 16 to 23: its centre is (19.5, 11.5).
    np.testing.assert_allclose(centres[10:], [[19.5, 11.5]] * 2)
    sides = found[:, 2:] - found[:, :2]
    np.testing.assert_allclose(sides[10:], [[2, 8], [8, 32]], atol=1e-5)


def test_a_face_on_an_anchor_is_learned_by_it():
    place = 2 * (3 * 8 + 4)  # row 3, column 4, size 8
    found = match(*faces_of(GRID[place]))
    assert found.positive[place] and found.face[place] == 0
    assert not (found.positive & found.negative).any()
    assert found.negative.sum() > 100


def test_an_image_without_faces_is_background():
    found = match(*faces_of())
    assert found.negative.all() and not found.positive.any()


@pytest.mark.parametrize("box", [[5, 5, 5, 12], [9, 9, 4, 4]], ids=["without width", "inside out"])
def test_boxes_without_area_are_learned_by_nobody(box):
    found = match(*faces_of(box))
    assert found.negative.all() and not found.positive.any()


def test_tiny_faces_get_as_many_anchors_as_asked_for():
    tiny = [13.2, 13.2, 17.2, 17.2]  # 4 pixels: IoU with an anchor of 8 is at most 0.25
    compensated = match(*faces_of(tiny))
    assert compensated.positive.sum() == 3
    alone = jax.jit(partial(kernels.match, GRID, least_anchors=1))(*faces_of(tiny))
    assert alone.positive.sum() == 1


def test_the_best_anchor_of_a_face_is_its_own():
    # Both fit one anchor best; the second still gets one.
    place = 2 * (3 * 8 + 4)
    x0, y0, x1, y1 = GRID[place]
    found = match(*faces_of([x0, y0, x1, y1], [x0 + 1.5, y0 + 1.5, x1 - 1.5, y1 - 1.5]))
    assert found.face[place] == 0
    learned = set(np.asarray(found.face)[np.asarray(found.positive)].tolist())
    assert learned == {0, 1}


def test_anchors_between_both_limits_learn_nothing():
    box = np.float32([10, 10, 22, 22])  # 12 pixels, between two sizes
    found = match(*faces_of(box))
    overlap = np.asarray(box_kernels.iou(box, GRID))
    between = (overlap >= 0.3) & (overlap < 0.5) & ~np.asarray(found.positive)
    assert between.any() and not np.asarray(found.negative)[between].any()


@pytest.mark.parametrize("least", [1, 2, 3, 4])
def test_anchors_of_its_own_are_part_of_those_asked_for(least):
    # One fits, the others overlap by 0.3, 0.25 and 0.2.
    sides = np.float32([20, 20 * 0.3, 20 * 0.25, 20 * 0.2])
    anchors = np.stack([0 * sides, 0 * sides, sides, 0 * sides + 20], 1)
    found = kernels.match(anchors, *faces_of(anchors[0]), least_anchors=least)
    np.testing.assert_array_equal(found.positive, np.arange(4) < least)


def test_what_is_left_goes_to_the_face_that_it_overlaps_most():
    # Both faces lack two of three anchors and name the same ones.
    anchors = np.float32([[0, 0, 20, 20], [0, 0, 20, 4], [0, 0, 4, 20], [50, 50, 70, 70]])
    found = kernels.match(anchors, *faces_of(anchors[0], [0, 0, 10, 10]))
    np.testing.assert_array_equal(found.positive, [True, True, True, False])
    np.testing.assert_array_equal(found.face[:3], [0, 1, 1])


def test_anchors_that_hardly_overlap_a_tiny_face_are_not_called():
    # 2 pixels: 4 / 64 of an anchor of 8 is less than `compensate_iou`.
    found = match(*faces_of([16.5, 16.5, 18.5, 18.5]))
    assert found.positive.sum() == 1


def test_a_better_fitting_face_does_not_take_the_best_anchor_of_another():
    mine, other = 2 * (3 * 8 + 3), 2 * (3 * 8 + 4)  # neighbours of size 8
    centre = (GRID[mine, :2] + GRID[mine, 2:]) / 2
    tiny = np.concatenate([centre - 2, centre + 2])
    moved = GRID[other] - np.float32([1.5, 0, 1.5, 0])
    overlap = np.asarray(box_kernels.pairwise_iou(np.stack([tiny, moved]), GRID))
    assert overlap[0].argmax() == mine and overlap[1, mine] > overlap[0, mine]
    assert overlap[1].argmax() == other
    found = match(*faces_of(tiny, moved))
    assert found.positive[mine] and found.face[mine] == 0
    assert found.positive[other] and found.face[other] == 1


def test_ignored_faces_are_neither():
    box = [8, 8, 24, 24]
    inside = (GRID[:, :2] >= 8).all(1) & (GRID[:, 2:] <= 24).all(1)
    found = match(*faces_of(box, ignored=[0]))
    assert not found.positive.any()
    assert not np.asarray(found.negative)[inside].any() and inside.sum() > 3
    assert found.negative.sum() > 50


@pytest.mark.parametrize("side", [3, 4, 5, 6])
def test_tiny_ignored_faces_hide_the_anchors_that_would_propose_them(side):
    corner = 16 - side / 2  # off the centres of the cells
    found = match(*faces_of([corner, corner, corner + side, corner + side], ignored=[0]))
    shared = np.minimum(GRID[:, 2:], corner + side) - np.maximum(GRID[:, :2], corner)
    share = np.maximum(shared, 0).prod(1) / side**2
    smallest = np.ptp(GRID[:, ::2], axis=1) == 8
    hidden = ~np.asarray(found.negative)
    np.testing.assert_array_equal(hidden, smallest & (share > 0.5))
    assert hidden.any() and not found.positive.any()


def test_an_ignored_face_hides_the_anchors_that_fit_it():
    found = match(*faces_of([10, 10, 22, 22], ignored=[0]))  # 12 pixels, between two sizes
    fits = np.asarray(box_kernels.iou(np.array([10.0, 10, 22, 22]), GRID)) >= 0.3
    assert fits.sum() > 3 and not np.asarray(found.negative)[fits].any()
    large = np.ptp(GRID[:, ::2], axis=1) == 32  # hold all of it, and are no box of it
    assert np.asarray(found.negative)[large].all()


def test_every_face_is_learned_and_padding_never():
    rng = np.random.default_rng(0)
    apart = np.array([[0, 3], [10, 14], [21, 20]])
    for _ in range(20):
        low = apart + rng.uniform(0, 2, (3, 2))
        boxes = np.concatenate([low, low + rng.uniform(3, 8, (3, 2))], 1)
        found = match(*faces_of(*boxes))
        chosen = np.asarray(found.face)[np.asarray(found.positive)]
        assert set(chosen.tolist()) == {0, 1, 2}
