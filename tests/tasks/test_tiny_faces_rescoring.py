"""Two scores become one: the rules, the limit in size, and who is looked at."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.configs.tiny_faces import default
from jaxgen.kernels import boxes as box_kernels
from jaxgen.tasks import tiny_faces_rescoring as rescoring
from jaxgen.tasks.tiny_faces import Rescored


def fusion(**changes):
    return SimpleNamespace(**(dict(rule="mean_logit", weight=0.5, longest_side=32.0) | changes))


DETECTOR = np.array([0.9, 0.5, 0.2, 0.6])
GAN = np.array([0.1, 0.8, np.nan, 0.99])
SIDES = np.array([10, 32, 8, 40])


def test_rules_by_hand():
    replaced = rescoring.fuse(DETECTOR, GAN, SIDES, fusion(rule="replace"))
    np.testing.assert_allclose(replaced, [0.1, 0.8, 0.2, 0.6], rtol=1e-6)
    product = rescoring.fuse(DETECTOR, GAN, SIDES, fusion(rule="product"))
    np.testing.assert_allclose(product, [0.09, 0.4, 0.2, 0.6], rtol=1e-6)
    mean = rescoring.fuse(DETECTOR, GAN, SIDES, fusion())
    # Odds 9 and 1/9 cancel; odds 1 and 4 give 2.
    np.testing.assert_allclose(mean, [0.5, 2 / 3, 0.2, 0.6], rtol=1e-6)


def test_weight_of_the_gan_goes_from_detector_to_replacement():
    alone = rescoring.fuse(DETECTOR, GAN, SIDES, fusion(weight=0.0))
    np.testing.assert_allclose(alone, DETECTOR, rtol=1e-6)
    whole = rescoring.fuse(DETECTOR, GAN, SIDES, fusion(weight=1.0))
    replaced = rescoring.fuse(DETECTOR, GAN, SIDES, fusion(rule="replace"))
    np.testing.assert_allclose(whole, replaced, rtol=1e-6)


def test_certain_scores_stay_finite():
    found = rescoring.fuse(np.array([0.0, 1.0]), np.array([1.0, 0.0]), np.ones(2), fusion())
    np.testing.assert_allclose(found, [0.5, 0.5], atol=1e-6)


def look(config, boxes, scores, seen, *, offsets=0.0, **options):
    """Looks again with a generator that answers 0.9 and keeps what it was shown."""

    def rescore(low):
        seen.append(low)
        count = len(low)
        side = 4 * low.shape[1]
        return Rescored(
            np.full(count, 0.9),
            np.zeros(count),
            np.zeros((count, side, side, 3), np.uint8),
            np.full((count, 4), offsets),
        )

    image = np.random.default_rng(0).integers(0, 256, (90, 100, 3)).astype(np.uint8)
    return rescoring.look_again(config, rescore, image, boxes, scores, **options)


@pytest.fixture
def config():
    config = default.get_config("smoke")
    config.gan.fusion.update(rule="mean_logit", longest_side=32.0)
    return config


def test_small_boxes_are_looked_at_best_first(config):
    config.gan.fusion.update(most=2, rule="replace")
    boxes = np.array([[5, 5, 15, 17], [20, 20, 80, 80], [40, 5, 50, 15], [60, 5, 66, 13]], float)
    scores, seen = np.array([0.2, 0.7, 0.5, 0.4]), []
    found = look(config, boxes, scores, seen, keep_images=True)
    (low,) = seen
    assert low.shape == (2, 4, 4, 3)
    # Rows 2 and 3 are the best small ones; the others keep the detector's score.
    np.testing.assert_allclose(found.scores, [0.2, 0.7, 0.9, 0.9], rtol=1e-6)
    np.testing.assert_array_equal(np.isnan(found.face_probability), [True, True, False, False])
    assert set(found.super_resolved) == set(found.low) == {2, 3}
    np.testing.assert_array_equal(found.boxes, boxes)


@pytest.fixture
def mover(config):
    config.gan.weights.box = 0.01
    config.gan.fusion.move_boxes = True
    return config


def test_boxes_move_as_the_kernel_says(mover):
    boxes = np.array([[10, 10, 20, 30]], np.float32)
    found = look(mover, boxes, np.array([0.5]), [], offsets=0.2)
    square = box_kernels.square(jnp.asarray(boxes))
    expected = box_kernels.decode(jnp.full((1, 4), 0.2), square)
    np.testing.assert_allclose(found.boxes, expected, rtol=1e-5)


def test_moved_boxes_stay_in_the_picture(mover):
    boxes = np.array([[80, 70, 99, 89], [20, 20, 40, 40]], np.float32)
    found = look(mover, boxes, np.array([0.5, 0.5]), [], offsets=0.4)
    np.testing.assert_array_equal(found.boxes[0, 2:], [99.5, 89.5])
    away = look(mover, boxes, np.array([0.5, 0.5]), [], offsets=[2.0, 0, 0, 0])
    np.testing.assert_array_equal(away.rows, [1])  # the first one has left the picture


def test_boxes_that_meet_are_suppressed_by_the_fused_score(mover):
    # Two looks at one face, a box beside it, and a large one that is not looked at.
    boxes = np.array([[10, 10, 20, 20], [14, 10, 24, 20], [50, 50, 60, 60], [8, 8, 70, 70]])
    seen = rescoring.Look(
        boxes.astype(np.float32),
        np.array([0.9, 0.6, 0.5, 0.3], np.float32),
        np.array([0.2, 0.9, 0.9, np.nan], np.float32),
        boxes[[1, 1, 2, 3]].astype(np.float32),
        (90, 100),
        {},
        {},
    )
    found = rescoring.join(seen, fusion(rule="replace"), most=600, nms_iou=0.35)
    np.testing.assert_array_equal(found.rows, [1, 2, 3])
    np.testing.assert_allclose(found.scores, [0.9, 0.9, 0.3], rtol=1e-6)
    # The detector alone moves and suppresses nothing.
    alone = rescoring.join(seen, fusion(weight=0.0), most=600, nms_iou=0.35)
    np.testing.assert_array_equal(alone.boxes, boxes)


def test_boxes_above_the_limit_of_the_rule_stay_where_they_are():
    boxes = np.array([[10, 10, 20, 20], [50, 50, 80, 80]], np.float32)
    both = np.array([0.9, 0.9], np.float32)
    seen = rescoring.Look(boxes, both / 2, both, boxes + 3, (90, 100), {}, {})
    found = rescoring.join(seen, fusion(longest_side=20.0), most=600, nms_iou=0.35)
    np.testing.assert_array_equal(found.boxes, [boxes[0] + 3, boxes[1]])


def test_a_rule_is_judged_by_the_looks_that_it_will_have():
    """Of two looks, boxes too large for the rule take none away from smaller ones."""
    boxes = np.array(
        [[0, 0, 30, 30], [40, 0, 70, 30], *[[9 * n, 40, 9 * n + 8, 48] for n in range(3)]],
        np.float32,
    )
    scores = np.array([0.9, 0.8, 0.7, 0.5, 0.6], np.float32)
    seen = rescoring.Look(boxes, scores, np.full(5, 0.1, np.float32), None, (90, 100), {}, {})
    small, all_ = (fusion(rule="replace", longest_side=side) for side in (12.0, 32.0))
    found = rescoring.join(seen, small, most=2, nms_iou=0.35)
    np.testing.assert_allclose(found.scores, [0.9, 0.8, 0.1, 0.5, 0.1])
    found = rescoring.join(seen, all_, most=2, nms_iou=0.35)
    np.testing.assert_allclose(found.scores, [0.1, 0.1, 0.7, 0.5, 0.6])


def test_a_rule_must_have_been_chosen(config):
    config.gan.fusion.rule = "chosen"
    with pytest.raises(ValueError, match="is no rule: give a Fusion"):
        look(config, np.array([[5, 5, 9, 9]]), np.ones(1), [])
    given = rescoring.Fusion("replace", 1.0, 20.0)
    found = look(config, np.array([[5, 5, 9, 9]]), np.ones(1), [], fusion=given)
    np.testing.assert_allclose(found.scores, [0.9], rtol=1e-6)


def test_pictures_without_small_boxes_are_left_alone(config):
    for boxes in (np.zeros((0, 4)), np.array([[0, 0, 70, 70]])):
        seen = []
        found = look(config, boxes, np.full(len(boxes), 0.3), seen)
        assert not seen and len(found.scores) == len(boxes)


def test_bad_box_is_refused(config):
    with pytest.raises(ValueError, match="box"):
        look(config, np.array([[5, 5, 5, 9]]), np.ones(1), [])
