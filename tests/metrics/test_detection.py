"""The evaluation of detectors against hand-made cases and a plain triple loop."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.detection_evaluator import make_set, naive_average_precision
from jaxgen.metrics import detection

FACE, OTHER, FAR = [10, 10, 30, 30], [50, 10, 70, 30], [100, 100, 120, 120]


def predictions(*rows):
    """Boxes and their scores: [N, 5]."""
    return np.array([[*box, score] for box, score in rows], float).reshape(-1, 5)


def truth(*boxes):
    return np.array(boxes, float).reshape(-1, 4)


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_the_triple_loop(seed):
    found, true, counted = make_set(seed, images=30, faces=6, proposals=20)
    expected = naive_average_precision(found, true, counted)
    assert detection.wider_average_precision(found, true, counted) == pytest.approx(expected)
    assert 5 < expected < 95


def test_perfect_and_useless():
    true = [truth(FACE, OTHER), truth(FAR)]
    perfect = [predictions((FACE, 0.9), (OTHER, 0.8)), predictions((FAR, 0.7))]
    assert detection.wider_average_precision(perfect, true) == pytest.approx(100)
    assert detection.average_precision(perfect, true) == pytest.approx(100)
    useless = [predictions((FAR, 0.9)), predictions((FACE, 0.3))]
    assert detection.wider_average_precision(useless, true) == 0
    assert detection.wider_average_precision([predictions()] * 2, true) == 0


def test_ignored_faces_are_neither_right_nor_wrong():
    true, counted = [truth(FACE, OTHER)], [np.array([True, False])]
    alone = detection.wider_curve([predictions((FACE, 0.9))], true, counted)
    both = detection.wider_curve([predictions((FACE, 0.9), (OTHER, 1.0))], true, counted)
    assert detection.area_under(alone) == detection.area_under(both) == pytest.approx(100)


def test_a_second_box_on_a_face_is_wrong():
    twice = [predictions((FACE, 0.9), ([11, 10, 31, 30], 0.8), (OTHER, 0.5))]
    # Recall 0.5 at precision 1, then recall 1 at precision 2 / 3.
    expected = 50 + 50 * 2 / 3
    assert detection.average_precision(twice, [truth(FACE, OTHER)]) == pytest.approx(expected)
    assert detection.wider_average_precision(twice, [truth(FACE, OTHER)]) == pytest.approx(expected)


def test_face_free_images_count_only_outside_of_the_protocol():
    true = [truth(FACE), truth()]
    found = [predictions((FACE, 0.5)), predictions((FAR, 0.9))]
    assert detection.wider_average_precision(found, true) == pytest.approx(100)
    assert detection.average_precision(found, true) == pytest.approx(50)


def test_scores_are_stretched_over_the_whole_set():
    # Raw logits, best far above 1; the boxes of a face-free image belong to the range.
    found = [predictions((FACE, 30.0), (FAR, -10.0)), predictions((FAR, -50.0))]
    curve = detection.wider_curve(found, [truth(FACE), truth()])
    # -10 is half of the way from -50 to 30: the wrong box comes in at threshold 0.5.
    precision = dict(zip(np.round(curve.threshold, 3), curve.precision, strict=True))
    assert precision[0.6] == 1 and precision[0.5] == 0.5


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_the_order_of_boxes_does_not_matter(seed):
    found, true, counted = make_set(seed, images=6, faces=4, proposals=8)
    rng = np.random.default_rng(seed)
    shuffled = [each[rng.permutation(len(each))] for each in found]
    for measure in (detection.wider_average_precision, detection.average_precision):
        assert measure(shuffled, true, counted) == pytest.approx(measure(found, true, counted))


def test_a_monotone_change_of_scores_changes_little():
    found, true, counted = make_set(7, images=40, faces=6, proposals=20)
    squeezed = [np.concatenate([each[:, :4], np.sqrt(each[:, 4:])], 1) for each in found]
    before = detection.wider_average_precision(found, true, counted)
    assert detection.wider_average_precision(squeezed, true, counted) == pytest.approx(
        before, abs=0.3
    )
    exact = detection.average_precision(found, true, counted)
    assert detection.average_precision(squeezed, true, counted) == pytest.approx(exact)


def test_nothing_above_the_first_thresholds_is_no_nan():
    # One box far above the rest: at most thresholds only it is there, and it is ignored: 0 / 0.
    found = [predictions((OTHER, 1.0), (FACE, 0.01), (FAR, 0.0))]
    true, counted = [truth(FACE, OTHER)], [np.array([True, False])]
    curve = detection.wider_curve(found, true, counted)
    assert np.isnan(curve.precision[0])
    assert detection.area_under(curve) == pytest.approx(100)


def test_no_face_to_find_is_not_zero():
    assert np.isnan(detection.wider_average_precision([predictions((FACE, 1))], [truth()]))
    assert np.isnan(detection.average_precision([predictions()], [truth()]))


def test_each_height_is_judged_by_itself():
    tiny, large = [0, 0, 6, 8], [50, 50, 150, 170]
    true = [truth(tiny, large)]
    found = [predictions((tiny, 0.4), ([200, 0, 206, 8], 0.9), (large, 0.8))]
    by_height = detection.average_precision_by_height(found, true)
    assert by_height["ap_height_0_10"] == pytest.approx(50)  # the wrong tiny box comes first
    assert by_height["ap_height_96_inf"] == pytest.approx(100)
    assert np.isnan(by_height["ap_height_16_32"])
    assert detection.faces_by_height(true) == {
        "0_10": 1,
        "10_16": 0,
        "0_16": 1,
        "16_32": 0,
        "32_96": 0,
        "96_inf": 1,
    }


def test_boxes_of_equal_score_are_one_point_of_the_curve():
    tied = [predictions((FACE, 0.5), (FAR, 0.5))]
    assert detection.average_precision(tied, [truth(FACE)]) == pytest.approx(50)
    curve = detection.roc(tied, [truth(FACE)])
    assert (detection.rate_at(curve, 0), detection.rate_at(curve, 1)) == (0, 100)


def test_an_overlap_of_exactly_one_half_is_enough():
    half = [predictions(([0, 0, 10, 5], 0.9))]
    assert detection.average_precision(half, [truth([0, 0, 10, 10])]) == pytest.approx(100)


def test_a_size_is_that_of_the_face_and_holds_its_lower_end():
    # A face of 15 pixels, found by a box of 17.
    found, true = [predictions(([0, 0, 15, 17], 0.9))], [truth([0, 0, 15, 15])]
    assert detection.average_precision(found, true, heights=(10, 16)) == pytest.approx(100)
    sixteen = [0, 0, 16, 16]
    by_height = detection.average_precision_by_height(
        [predictions((sixteen, 0.9))], [truth(sixteen)]
    )
    assert by_height["ap_height_16_32"] == pytest.approx(100)
    assert np.isnan(by_height["ap_height_10_16"])


def test_tiny_faces_are_judged_together():
    # One of 8 and one of 12 pixels: the wrong tiny box comes before both.
    eight, twelve, large = [0, 0, 6, 8], [40, 40, 50, 52], [90, 90, 190, 200]
    true = [truth(eight, twelve, large)]
    found = [predictions((eight, 0.4), (twelve, 0.3), ([200, 0, 206, 8], 0.9), (large, 0.8))]
    by_height = detection.average_precision_by_height(found, true)
    assert by_height["ap_height_0_16"] == pytest.approx(100 * 2 / 3)
    assert by_height["ap_height_10_16"] == pytest.approx(100)


def test_the_ceiling_is_the_precision_of_the_same_boxes_with_perfect_scores():
    true = [truth(FACE, OTHER), truth(FAR)]
    found = [predictions((FACE, 0.1), (FACE, 0.2), (FAR, 0.9)), predictions((OTHER, 0.9))]
    perfect = [each.copy() for each in found]
    for each in perfect:
        each[:, 4] = 0
    perfect[0][1, 4] = 1  # the surest box of the one face that is found
    for protocol in ("wider", "every"):
        ceiling = detection.ceiling(found, true, protocol=protocol)
        assert ceiling == pytest.approx(100 / 3)
    assert detection.average_precision(perfect, true) == pytest.approx(100 / 3)
    assert detection.wider_average_precision(perfect, true) == pytest.approx(100 / 3)
    assert np.isnan(detection.ceiling(found, true, heights=(500, 600)))


def test_roc_counts_false_positives_of_the_whole_set():
    true = [truth(FACE), truth(OTHER, FAR)]
    found = [
        predictions((FACE, 0.9), (FAR, 0.7)),
        predictions((OTHER, 0.8), (FACE, 0.6), (FAR, 0.5)),
    ]
    curve = detection.roc(found, true)
    assert detection.rate_at(curve, 0) == pytest.approx(200 / 3)
    assert detection.rate_at(curve, 1) == pytest.approx(200 / 3)
    assert detection.rate_at(curve, 2) == detection.rate_at(curve, 999) == pytest.approx(100)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([predictions()], []), "same images"),
        (([predictions()], [truth(FACE)], [np.ones(2, bool)]), "image 0: 1 true boxes"),
        (([predictions((FACE, np.nan))], [truth(FACE)]), "image 0: a box or score is not finite"),
        # Arrays that could be cut into rows of another length.
        (
            ([np.ones((10, 6))], [truth(FACE)]),
            r"predictions must be \[N, 5\] \(x0, .*got \[10, 6\]",
        ),
        (([np.ones((5, 4))], [truth(FACE)]), r"predictions must be .* got \[5, 4\]"),
        (([predictions()], [np.ones((4, 5))]), r"image 0: true boxes must be .* got \[4, 5\]"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        detection.wider_average_precision(*arguments)
