"""How two scores become one is chosen on held-out scenes, without harm to large faces."""

import json

import numpy as np
import pytest

from experiments.configs.tiny_faces import default
from jaxgen.tasks import tiny_faces_fusion as fusion
from jaxgen.tasks import tiny_faces_rescoring as rescoring
from jaxgen.tasks.tiny_faces_evaluation import GroundTruth, ceiling_numbers
from jaxgen.training.errors import ConfigError

TINY, LARGE = [10, 10, 20, 22], [50, 50, 90, 100]
WRONG = [[30 + 12 * n, 10, 40 + 12 * n, 21] for n in range(3)]
TRUTH = GroundTruth(["a"], [np.array([TINY, LARGE], np.float32)], [np.ones(2, bool)])


def seen(detector, gan):
    """One picture: a tiny face, three mistakes of its size, a large face."""
    return rescoring.Look(
        np.array([TINY, *WRONG, LARGE], np.float32),
        np.array(detector, np.float32),
        np.array(gan, np.float32),
        None,
        (120, 120),
        {},
        {},
    )


def test_a_good_second_look_is_used():
    look = seen([0.3, 0.5, 0.4, 0.6, 0.9], [0.9, 0.1, 0.1, 0.1, np.nan])
    choice = fusion.choose([look], TRUTH, most=600, nms_iou=0.35)
    assert choice.alone.small == pytest.approx(25) and choice.figures.small == pytest.approx(100)
    assert choice.figures.large == choice.alone.large == pytest.approx(100)
    joined = rescoring.join(look, choice.fusion, most=600, nms_iou=0.35)
    assert joined.scores[:4].argmax() == 0


def test_a_misleading_second_look_is_not():
    look = seen([0.6, 0.5, 0.4, 0.3, 0.9], [0.1, 0.9, 0.9, 0.9, np.nan])
    choice = fusion.choose([look], TRUTH, most=600, nms_iou=0.35)
    assert choice.fusion == fusion.candidates()[0] and choice.fusion.weight == 0
    assert choice.figures.small == choice.alone.small == pytest.approx(100)


def test_large_faces_come_first():
    # A low, wide face and a high one, which a smaller box finds: the second look raises the one
    # and loses the other to a mistake.
    low, high, inside = [10, 10, 38, 24], [50, 50, 70, 84], [50, 50, 70, 80]
    truth = GroundTruth(["a"], [np.array([low, high], np.float32)], [np.ones(2, bool)])
    look = rescoring.Look(
        np.array([low, [10, 60, 38, 74], inside, [80, 70, 110, 110]], np.float32),
        np.array([0.3, 0.4, 0.61, 0.6], np.float32),
        np.array([0.9, 0.1, 0.01, np.nan], np.float32),
        None,
        (120, 120),
        {},
        {},
    )
    choice = fusion.choose([look], truth, most=600, nms_iou=0.35)
    assert choice.fusion.weight == 0 and choice.figures.small == pytest.approx(50)
    kind = look._replace(face_probability=np.array([0.9, 0.1, 0.99, np.nan], np.float32))
    choice = fusion.choose([kind], truth, most=600, nms_iou=0.35)
    assert choice.fusion.longest_side == 32 and choice.figures.small == pytest.approx(100)


def looked(boxes, detector, gan):
    arrays = (np.array(x, np.float32) for x in (boxes, detector, gan))
    return rescoring.Look(*arrays, None, (200, 200), {}, {})


def test_faces_between_the_sizes_are_not_paid_with():
    # The second look finds the tiny face, and is wrong about those of 20 pixels.
    middle, wrong = [50, 10, 66, 30], [80, 10, 96, 30]
    truth = GroundTruth(["a"], [np.array([TINY, middle], np.float32)], [np.ones(2, bool)])
    look = looked(
        [TINY, *WRONG, middle, wrong], [0.3, 0.5, 0.4, 0.6, 0.9, 0.2], [0.9, *4 * [0.1], 0.9]
    )
    choice = fusion.choose([look], truth, most=600, nms_iou=0.35)
    assert choice.figures.middle == choice.alone.middle == pytest.approx(100)
    assert choice.fusion.longest_side < 20 and choice.figures.small > choice.alone.small


def test_the_best_rule_is_taken_not_the_last_good_one():
    # Products leave one mistake before the tiny face; a mean of logits leaves none.
    look = seen([0.3, 0.5, 0.4, 0.6, 0.9], [0.95, 0.7, 0.1, 0.1, np.nan])
    product = rescoring.join(look, rescoring.Fusion("product", 1.0, 32.0), most=600, nms_iou=0.35)
    assert product.scores[:4].argsort()[::-1].tolist().index(0) == 1
    choice = fusion.choose([look], TRUTH, most=600, nms_iou=0.35)
    assert choice.fusion.rule == "mean_logit" and choice.figures.small == pytest.approx(100)


def test_more_of_all_faces_does_not_pay_for_those_between_the_sizes():
    # Low, wide faces need a rule for boxes of 24 pixels. It moves the face of 20 pixels, too.
    low = [[10 + 30 * n, 60, 34 + 30 * n, 72] for n in range(5)]
    mistakes = [[10 + 30 * n, 90, 34 + 30 * n, 102] for n in range(3)]
    middle, wrong = [50, 10, 66, 30], [80, 10, 96, 30]
    truth = GroundTruth(["a"], [np.array([*low, middle], np.float32)], [np.ones(6, bool)])
    look = looked(
        [*low, *mistakes, middle, wrong],
        [*5 * [0.3], 0.6, 0.55, 0.5, 0.9, 0.2],
        [*5 * [0.6], 0.4, 0.4, 0.4, 0.05, 0.95],
    )
    choice = fusion.choose([look], truth, most=600, nms_iou=0.35)
    assert choice.fusion == fusion.candidates()[0]
    assert choice.figures.middle == pytest.approx(100)
    look.face_probability[8:] = 0.95, 0.05  # right about the face of 20 pixels
    choice = fusion.choose([look], truth, most=600, nms_iou=0.35)
    assert choice.fusion.longest_side >= 24 and choice.figures.all > choice.alone.all


def test_small_faces_must_not_outrank_the_others_wrongly():
    # Of small boxes alone the second look is right, but it is surer of all of them than the
    # detector is of large faces: the mistakes among them come before these.
    large = [[20 * n, 100, 20 * n + 15, 140] for n in range(8)]
    truth = GroundTruth(["a"], [np.array([TINY, *large], np.float32)], [np.ones(9, bool)])
    look = looked(
        [TINY, *WRONG, *large],
        [0.2, 0.25, 0.15, 0.1, *8 * [0.5]],
        [0.999, 0.99, 0.99, 0.99, *8 * [np.nan]],
    )
    choice = fusion.choose([look], truth, most=600, nms_iou=0.35)
    assert choice.alone.small == pytest.approx(50)
    assert choice.alone.all > 98
    # A rule that puts the tiny face first exists; all faces together would pay for it.
    joined = rescoring.join(look, rescoring.Fusion("mean_logit", 0.2, 12.0), most=600, nms_iou=0.35)
    assert joined.scores[:4].argmax() == 0 and (joined.scores[:4] > 0.5).any()
    assert choice.fusion == fusion.candidates()[0]


def test_without_tiny_faces_the_detector_stays_alone():
    look = seen([0.3, 0.5, 0.4, 0.6, 0.9], [0.9, 0.1, 0.1, 0.1, np.nan])
    truth = GroundTruth(["a"], [TRUTH.boxes[0][1:]], [np.ones(1, bool)])
    choice = fusion.choose([look], truth, most=600, nms_iou=0.35)
    assert choice.fusion.weight == 0 and np.isnan(choice.figures.small)


def test_the_choice_is_kept_with_every_proposal(tmp_path):
    look = seen([0.3, 0.5, 0.4, 0.6, 0.9], [0.9, 0.1, 0.1, 0.1, np.nan])
    choice = fusion.choose([look], TRUTH, most=600, nms_iou=0.35)
    fusion.write(tmp_path, choice, fusion.gather({0: look}), TRUTH, {"step": 7})
    config = default.get_config("smoke")
    assert fusion.settings_of(config, tmp_path, 7) == choice.fusion
    with np.load(tmp_path / "fusion.npz") as kept:
        np.testing.assert_array_equal(kept["face"], [0, -1, -1, -1, 1])
        np.testing.assert_array_equal(kept["scene"], np.zeros(5))
        np.testing.assert_allclose(kept["gan"], look.face_probability)
    assert json.loads((tmp_path / "fusion.json").read_text())["figures"]["ap_small"] == 100
    config.gan.fusion.rule = "product"
    assert fusion.settings_of(config, tmp_path, 8) is config.gan.fusion


@pytest.mark.parametrize("content", [None, "{", '{"made_with": {"step": 6}}'])
def test_a_missing_choice_says_what_to_do(tmp_path, content):
    if content is not None:
        (tmp_path / "fusion.json").write_text(content)
    with pytest.raises(ConfigError, match=r"fusion.json is missing or of another checkpoint"):
        fusion.settings_of(default.get_config("smoke"), tmp_path, 7)


def test_looks_survive_the_way_between_processes():
    look = seen([0.3, 0.5, 0.4, 0.6, 0.9], [0.9, 0.1, 0.1, 0.1, np.nan])
    empty = rescoring.Look(
        look.boxes[:0], look.scores[:0], look.face_probability[:0], None, (5, 7), {}, {}
    )
    moved = look._replace(moved=look.boxes + 1)
    for before, after in zip(
        (moved, empty, look), fusion.gather({1: empty, 0: moved, 2: look}), strict=True
    ):
        for one, other in zip(before[:5], after[:5], strict=True):
            np.testing.assert_array_equal(one, other)


def test_the_ceiling_is_what_the_boxes_find():
    found = np.array([[*TINY, 0.1], [*WRONG[0], 0.9]])
    numbers = ceiling_numbers([found], TRUTH)
    assert numbers["ap_oracle"] == pytest.approx(50)
    assert numbers["ap_height_0_16_oracle"] == pytest.approx(100)
    assert numbers["ap_height_32_96_oracle"] == 0
