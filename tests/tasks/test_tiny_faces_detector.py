"""The detector's losses in closed form, its step, and what comes out of a trained network."""

from functools import partial
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.configs.tiny_faces import default
from jaxgen.kernels.anchors import Matches
from jaxgen.kernels.boxes import encode
from jaxgen.models.face_detection import RawDetections
from jaxgen.tasks import tiny_faces_detector as detector
from jaxgen.training import mesh
from jaxgen.training.state import run_key

BATCH, SIZE = 8, 64  # as in the variant "smoke", so that the command line's tests compile nothing


def make_batch(seed=0):
    """Dark pictures with one bright square each; the last has none."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 60, (BATCH, SIZE, SIZE, 3)).astype(np.uint8)
    boxes = np.zeros((BATCH, 64, 4), np.float32)
    is_face = np.zeros((BATCH, 64), bool)
    for row in range(BATCH - 1):
        x, y = rng.integers(4, 44, 2)
        images[row, y : y + 16, x : x + 12] += 180
        boxes[row, 0], is_face[row, 0] = [x - 0.5, y - 0.5, x + 11.5, y + 15.5], True
    ignored = np.zeros_like(is_face)
    return {"faces": {"image": images, "boxes": boxes, "is_face": is_face, "is_ignored": ignored}}


@pytest.fixture(scope="module")
def config():
    return default.get_config("smoke")


@pytest.fixture(scope="module")
def trained(config):
    """State after some steps on one batch, and the metrics of every step."""
    devices = mesh.data_mesh()
    state = mesh.compile_init(devices, partial(detector.init_state, config))(run_key(0))
    step = mesh.compile_step(devices, partial(detector.train_step, config))
    state, history = jax.tree.map(jnp.copy, state), []
    batch = mesh.put_batch(devices, make_batch())
    for _ in range(12):
        state, metrics = step(state, batch)
        history.append({name: float(value) for name, value in metrics.items()})
    return state, history


def test_a_step_learns(trained):
    state, history = trained
    assert int(state.step) == len(history)
    losses = [metrics["class_loss"] + metrics["box_loss"] for metrics in history]
    assert np.isfinite(losses).all() and min(losses[-3:]) < losses[0]
    assert history[0]["positive_anchors"] >= 7 * 3 / 8  # three a face, more where more overlap it
    chex.assert_trees_all_equal_shapes(state.network.ema["params"], state.network.params)


def test_eight_devices_match_one(config, trained):
    """Batch statistics, and the normaliser of the losses, are those of the whole batch."""
    one = mesh.data_mesh(jax.devices()[:1])
    state = mesh.compile_init(one, partial(detector.init_state, config))(run_key(0))
    step, batch = partial(detector.train_step, config), mesh.put_batch(one, make_batch())
    # Without the compiler's slowest passes: it runs a few times only.
    quick = {"xla_backend_optimization_level": 0}
    step = mesh.compile_step(one, step).lower(state, batch).compile(quick)
    for expected in trained[1][:3]:
        state, metrics = step(state, batch)
        chex.assert_trees_all_close(jax.device_get(metrics), expected, rtol=2e-3)


def test_detections_have_static_shapes_and_are_in_order(config, trained):
    variables = jax.device_get(trained[0].network.ema)
    images = np.random.default_rng(1).integers(0, 256, (1, 128, 128, 3)).astype(np.uint8)
    settings = config.detector.inference
    low = config.copy_and_resolve_references()
    low.detector.inference.score_floor = 0.001
    found = jax.jit(partial(detector.predict, low))(variables, images)
    chex.assert_shape(found.boxes, (1, settings.max_boxes, 4))
    chex.assert_shape([found.scores, found.valid], (1, settings.max_boxes))
    valid = np.asarray(found.valid[0])
    scores = np.asarray(found.scores[0])[valid]
    assert 0 < valid.sum() <= settings.candidates and not valid[valid.sum() :].any()
    assert (np.diff(scores) <= 0).all() and (scores >= 0.001).all() and (scores <= 1).all()
    assert not np.asarray(found.boxes[0])[~valid].any()


def test_pretrained_variables_take_every_place(config, trained):
    abstract = jax.eval_shape(partial(detector.init_state, config), run_key(0))
    state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), abstract.network)
    state = detector.State(jnp.zeros((), jnp.int32), run_key(0), state)
    given = trained[0].network.ema
    found = detector.with_pretrained(state, given).network
    chex.assert_trees_all_equal(found.params, given["params"])
    chex.assert_trees_all_equal(found.ema, given)
    # Equal values, own buffers: the step gives both away.
    leaves = zip(jax.tree.leaves(found.ema["params"]), jax.tree.leaves(found.params), strict=True)
    assert all(a is not b for a, b in leaves)


# --------------------------------------------------------------------------------- losses


def test_focal_loss_without_focus_is_weighted_cross_entropy():
    logits, is_face = jnp.array([-2.0, 0.0, 3.0]), jnp.array([True, False, True])
    found = detector.focal_loss(logits, is_face, alpha=0.25, gamma=0.0)
    p = 1 / (1 + np.exp(-np.asarray(logits)))
    expected = [-0.25 * np.log(p[0]), -0.75 * np.log(1 - p[1]), -0.25 * np.log(p[2])]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    focused = detector.focal_loss(logits, is_face, alpha=0.25, gamma=2.0)
    np.testing.assert_allclose(
        focused, np.array(expected) * [(1 - p[0]) ** 2, p[1] ** 2, (1 - p[2]) ** 2], rtol=1e-5
    )


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_gradients_are_finite_where_nothing_is_left_to_learn(gamma):
    logits, is_face = jnp.array([200.0, -200.0, -90.0]), jnp.array([True, False, False])
    loss = partial(detector.focal_loss, is_face=is_face, alpha=0.25, gamma=gamma)
    np.testing.assert_allclose(jax.grad(lambda x: loss(x).sum())(logits), 0, atol=1e-9)


def test_hard_negatives_are_the_worst_ones():
    loss = jnp.array([9.0, 1.0, 5.0, 4.0, 3.0, 8.0])
    positive = jnp.array([True, False, False, False, False, False])
    negative = jnp.array([False, True, True, True, True, False])  # the last is not asked
    found = detector.hard_negatives(loss, positive, negative, ratio=2.0)
    assert found.tolist() == [False, False, True, True, False, False]
    none = detector.hard_negatives(loss, jnp.zeros(6, bool), negative, ratio=3.0)
    assert none.sum() == 3  # an image without faces still teaches what background is


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([0, 0, 10, 10], 0.0),
        ([0, 0, 10, 5], 0.5),
        # Apart: IoU 0, hull 30 x 10 of which 200 are covered.
        ([20, 0, 30, 10], 1 + 100 / 300),
    ],
)
def test_generalised_iou(found, expected):
    true = jnp.array([0.0, 0, 10, 10])
    assert float(detector.giou_loss(jnp.array(found, jnp.float32), true)) == pytest.approx(expected)


ANCHORS = jnp.array([[0.0, 0, 8, 8], [4, 4, 12, 12], [20, 20, 28, 28]])


def measure(config, logits, offsets, **changes):
    settings = config.copy_and_resolve_references()
    settings.detector.loss.update(changes)
    matches = Matches(
        jnp.zeros((2, 3), jnp.int32),
        jnp.array([[True, False, False], [False, False, False]]),
        jnp.array([[False, False, True], [True, True, True]]),
    )
    boxes = jnp.zeros((2, 4, 4)).at[0, 0].set(jnp.array([0.0, 0, 8, 16]))
    raw = RawDetections(logits, offsets)
    return detector.losses_of(settings, raw, ANCHORS, matches, boxes)


@pytest.mark.parametrize("classification", ["focal", "ohem"])
@pytest.mark.parametrize("box", ["smooth_l1", "giou"])
def test_losses_have_finite_gradients_and_skip_what_is_not_asked(config, classification, box):
    logits, offsets = jnp.zeros((2, 3)), jnp.full((2, 3, 4), 0.3)

    def total(logits, offsets):
        class_loss, box_loss = measure(
            config, logits, offsets, classification=classification, box=box
        )
        return (class_loss + box_loss).sum()

    to_logits, to_offsets = jax.jit(jax.grad(total, argnums=(0, 1)))(logits, offsets)
    assert np.isfinite(np.asarray(to_logits)).all() and np.isfinite(np.asarray(to_offsets)).all()
    assert to_logits[0, 1] == 0  # neither face nor background
    assert to_logits[0, 0] < 0 < to_logits[0, 2]
    assert np.asarray(to_offsets[0, 0]).any() and not np.asarray(to_offsets[0, 1:]).any()
    assert not np.asarray(to_offsets[1]).any()  # an image without faces has no box loss


def test_right_offsets_cost_nothing(config):
    # A face twice as high as its anchor and 4 pixels lower: ty = 4 / 8, th = log 2.
    right = jnp.array([0, 0.5 / 0.1, 0, np.log(2) / 0.2])
    offsets = jnp.zeros((2, 3, 4)).at[0, 0].set(right)
    for box in ("smooth_l1", "giou"):
        _, box_loss = measure(config, jnp.zeros((2, 3)), offsets, box=box)
        np.testing.assert_allclose(box_loss, 0, atol=1e-5)


def test_losses_are_sums_over_anchors_by_the_mean_number_of_faces_anchors(config):
    positive = jnp.array([[True, True, True], [True, False, False]])  # two an image, in the mean
    matches = Matches(jnp.zeros((2, 3), jnp.int32), positive, ~positive)
    right = jnp.array([0, 0.5 / 0.1, 0, np.log(2) / 0.2])
    offsets = jnp.zeros((2, 3, 4)) + jnp.where(positive[..., None], right, 0)
    offsets = offsets.at[1, 0, 0].add(3.0)  # smooth L1: 3 - 1 / 2
    settings = config.copy_and_resolve_references()
    settings.detector.loss.update(
        classification="focal", focal_alpha=0.5, focal_gamma=0.0, box="smooth_l1"
    )
    same = jnp.tile(ANCHORS[:1], (3, 1))
    boxes = jnp.zeros((2, 4, 4)).at[:, 0].set(jnp.array([0.0, 0, 8, 16]))
    raw = RawDetections(jnp.zeros((2, 3)), offsets)
    class_loss, box_loss = detector.losses_of(settings, raw, same, matches, boxes)
    np.testing.assert_allclose(class_loss, 3 * 0.5 * np.log(2) / 2, rtol=1e-5)
    np.testing.assert_allclose(box_loss, [0, 2.5 / 2], atol=1e-5)


def test_boxes_are_where_the_offsets_lead(config, monkeypatch):
    anchors = detector.anchors_of(config, (SIZE, SIZE))
    box, row = jnp.array([20.0, 24, 30, 38]), 100
    offsets = (
        jnp.zeros((1, len(anchors), 4))
        .at[0, row]
        .set(encode(box, jnp.asarray(anchors)[row]) / jnp.array([0.1, 0.1, 0.2, 0.2]))
    )
    logits = jnp.full((1, len(anchors)), -9.0).at[0, row].set(9.0)
    network = SimpleNamespace(apply=lambda *_, **__: RawDetections(logits, offsets))
    monkeypatch.setattr(detector, "network", lambda config: network)
    found = detector.predict(config, {}, np.zeros((1, SIZE, SIZE, 3), np.uint8))
    np.testing.assert_allclose(found.boxes[0, 0], box, atol=1e-4)
    np.testing.assert_allclose(found.scores[0, 0], 1 / (1 + np.exp(-9)), rtol=1e-5)
