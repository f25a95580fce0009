"""Box kernels against NumPy and plain loops."""

import chex
import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgen.kernels import boxes as kernels

COUNT = 24
coordinates = st.floats(-50, 50, width=32, allow_subnormal=False)
corner_pairs = hnp.arrays(np.float32, (COUNT, 4), elements=coordinates)

pairwise = jax.jit(kernels.pairwise_iou, static_argnames="plus_one")
round_trip = jax.jit(lambda boxes, anchors: kernels.decode(kernels.encode(boxes, anchors), anchors))


@jax.jit
def suppress(boxes, scores):
    best = kernels.top_k(boxes, scores, k=COUNT, floor=0.1)
    return kernels.nms(best, iou_threshold=0.4, k=COUNT)


def random_boxes(rng, count, *, spread=40.0):
    low = rng.uniform(0, spread, (count, 2))
    return np.concatenate([low, low + rng.uniform(2, 20, (count, 2))], 1).astype(np.float32)


def numpy_iou(a, b, extra=0.0):
    w = min(a[2], b[2]) - max(a[0], b[0]) + extra
    h = min(a[3], b[3]) - max(a[1], b[1]) + extra
    shared = max(w, 0) * max(h, 0)
    areas = [(c[2] - c[0] + extra) * (c[3] - c[1] + extra) for c in (a, b)]
    return shared / (sum(areas) - shared)


@pytest.mark.parametrize("plus_one", [False, True])
def test_iou_agrees_with_numpy(plus_one):
    rng = np.random.default_rng(0)
    first, second = random_boxes(rng, COUNT), random_boxes(rng, COUNT)
    expected = [[numpy_iou(a, b, float(plus_one)) for b in second] for a in first]
    found = pairwise(first, second, plus_one=plus_one)
    chex.assert_trees_all_close(found, np.array(expected, np.float32), atol=1e-5)
    assert (np.asarray(found) > 0).sum() > 20


@settings(max_examples=40, deadline=None)
@given(corner_pairs)
def test_iou_is_symmetric_and_a_share(boxes):
    found = np.asarray(pairwise(boxes, boxes, plus_one=False))
    np.testing.assert_allclose(found, found.T, atol=1e-5)
    assert (found >= 0).all() and (found <= 1 + 1e-5).all()
    real = np.asarray(kernels.area(boxes)) > 0
    np.testing.assert_allclose(np.diag(found)[real], 1, atol=1e-5)
    assert not found[~real].any()  # boxes without area, or inside out, overlap nothing


def test_iou_of_many_rows():
    # jaxlib 0.10.2 as installed gets vmapped reductions wrong from 33,000 rows on.
    rng = np.random.default_rng(1)
    many, one = random_boxes(rng, 40_000), random_boxes(rng, 1)
    found = np.asarray(jax.jit(kernels.pairwise_iou)(many, one))[:, 0]
    expected = np.array([numpy_iou(box, one[0]) for box in many])
    np.testing.assert_allclose(found, expected, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(np.float32, (COUNT, 2), elements=st.floats(-200, 200, width=32)),
    hnp.arrays(np.float32, (COUNT, 2), elements=st.floats(1, 300, width=32)),
)
def test_decode_undoes_encode(low, sides):
    boxes = np.concatenate([low, low + sides], 1)
    anchors = np.tile(np.float32([3, 4, 19, 24]), (COUNT, 1))
    np.testing.assert_allclose(round_trip(boxes, anchors), boxes, atol=2e-2)


def test_offsets_mean_what_the_paper_says():
    anchor, box = np.float32([0, 0, 10, 20]), np.float32([5, 10, 25, 30])  # twice as wide
    offsets = kernels.encode(box, anchor)
    np.testing.assert_allclose(offsets, [1.0, 0.5, np.log(2), 0], atol=1e-6)


def test_decoding_wild_offsets_stays_finite():
    anchors = np.tile(np.float32([0, 0, 8, 8]), (4, 1))
    boxes = kernels.decode(jnp.full((4, 4), 1e3), anchors)
    assert np.isfinite(np.asarray(boxes)).all()


def test_top_k_sorts_fills_up_and_drops_what_is_below_the_floor():
    boxes = random_boxes(np.random.default_rng(2), 3)
    kept = kernels.top_k(boxes, jnp.array([0.2, 0.9, 0.01]), k=5, floor=0.05)
    np.testing.assert_allclose(kept.scores, [0.9, 0.2, 0, 0, 0], atol=1e-6)
    assert kept.valid.tolist() == [True, True, False, False, False]
    np.testing.assert_allclose(kept.boxes[:2], boxes[[1, 0]])
    assert not np.asarray(kept.boxes[2:]).any()


def naive_nms(boxes, scores, threshold, floor):
    order = [i for i in np.argsort(-scores, kind="stable") if scores[i] >= floor]
    kept = []
    for i in order:
        if all(numpy_iou(boxes[i], boxes[j]) <= threshold for j in kept):
            kept.append(i)
    return kept


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(5, 60))
def test_nms_is_the_greedy_loop(seed, spread):
    rng = np.random.default_rng(seed)
    boxes, scores = random_boxes(rng, COUNT, spread=spread), rng.uniform(size=COUNT)
    found = suppress(boxes, scores.astype(np.float32))
    kept = naive_nms(boxes, scores, 0.4, 0.1)
    assert found.valid.sum() == len(kept)
    np.testing.assert_allclose(np.asarray(found.boxes)[: len(kept)], boxes[kept])
    overlaps = np.array(pairwise(found.boxes, found.boxes, plus_one=False))
    np.fill_diagonal(overlaps, 0)
    assert (overlaps <= 0.4).all()


def test_a_suppressed_box_suppresses_nobody():
    # Each overlaps the next: the second goes, so the third stays.
    boxes = np.zeros((COUNT, 4), np.float32)
    boxes[:3] = [[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]]
    scores = np.zeros(COUNT, np.float32)
    scores[:3] = 0.9, 0.8, 0.7
    found = suppress(boxes, scores)
    np.testing.assert_allclose(np.asarray(found.scores)[:3], [0.9, 0.7, 0], atol=1e-6)


def test_limits_are_kept():
    boxes = jnp.array([[0.0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 10, 4]])  # IoU 0.5, 0.4, 0.8
    best = kernels.top_k(boxes, jnp.array([0.75, 0.5, 0.25]), k=3, floor=0.25)
    assert best.valid.all()  # a score at the floor counts
    kept = kernels.nms(best, iou_threshold=0.5, k=3)
    np.testing.assert_allclose(kept.scores, [0.75, 0.5, 0])  # an overlap of the limit is none


def test_a_square_is_as_large_as_the_longer_side():
    np.testing.assert_allclose(kernels.square(jnp.array([0.0, 0, 10, 4])), [0, -3, 10, 7])


def test_images_are_judged_apart():
    rng = np.random.default_rng(3)
    boxes = np.stack([random_boxes(rng, COUNT, spread=20) for _ in range(3)])
    scores = rng.uniform(size=(3, COUNT)).astype(np.float32)
    together = jax.jit(jax.vmap(suppress))(boxes, scores)
    for row in range(3):
        alone = suppress(boxes[row], scores[row])
        chex.assert_trees_all_close(jax.tree.map(lambda x, r=row: x[r], together), alone)


def test_share_inside():
    container = jnp.array([0.0, 0, 10, 10])
    boxes = jnp.array([[2.0, 2, 4, 4], [5, 0, 15, 10], [20, 20, 30, 30], [3, 3, 3, 3]])
    np.testing.assert_allclose(kernels.share_inside(boxes, container), [1, 0.5, 0, 0], atol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_boxes_of_low_precision_are_measured_in_float32(dtype):
    """The area of a face of 400 pixels is beyond float16."""
    boxes = jnp.array([[0, 0, 400, 400], [200, 0, 600, 400]], dtype)
    found = kernels.pairwise_iou(boxes, boxes)
    np.testing.assert_allclose(found, [[1, 1 / 3], [1 / 3, 1]], rtol=1e-6)
    offsets = kernels.encode(boxes[:1], boxes[1:])
    assert offsets.dtype == kernels.decode(offsets.astype(dtype), boxes[1:]).dtype == jnp.float32
    np.testing.assert_allclose(offsets, [[-0.5, 0, 0, 0]])
