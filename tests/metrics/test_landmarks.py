"""Landmark errors against closed forms, invariances and bad input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import simpson

from jaxgen.metrics import landmarks as lm
from jaxgen.metrics import normalizers as nz

lists_of_errors = st.lists(st.floats(0, 30), min_size=1, max_size=40)


def faces(count=5, points=68, seed=0):
    rng = np.random.default_rng(seed)
    true = rng.uniform(20, 100, (count, points, 2))
    return true + rng.normal(0, 3, true.shape), true


# Errors.


def test_a_constant_offset_is_its_length_over_the_eye_distance():
    _, true = faces()
    true[:, 36], true[:, 45] = (30.0, 40.0), (70.0, 70.0)  # 50 pixels apart
    assert np.allclose(lm.nme(true + np.array([3.0, 4.0]), true, nz.inter_ocular), 10.0)


def test_one_wrong_point_counts_one_kth():
    _, true = faces(count=1, points=29)
    pred = true.copy()
    pred[0, 5, 0] += 6.0
    length = nz.inter_ocular(true)
    assert np.allclose(lm.nme(pred, true, nz.inter_ocular), 100 * 6 / length / 29)


def test_masking_a_point_equals_dropping_it_and_its_content_is_ignored():
    pred, true = faces()
    mask = np.ones((5, 68), bool)
    mask[:, [3, 50]] = False
    true[:, 3], true[:, 50] = np.nan, 1e30
    kept = np.delete(pred, [3, 50], 1), np.delete(true, [3, 50], 1)
    lengths = nz.between([36], [45])(true)
    assert np.allclose(lm.nme(pred, true, nz.inter_ocular, mask), lm.nme(*kept, lengths))
    assert np.isnan(lm.landmark_errors(pred, true, lengths, mask)[:, [3, 50]]).all()


@pytest.mark.parametrize("name", nz.NORMALIZERS)
@settings(max_examples=25, deadline=None)
@given(scale=st.floats(0.01, 100), shift=st.floats(-500, 500), seed=st.integers(0, 99))
def test_scale_and_translation_of_both_change_nothing(name, scale, shift, seed):
    pred, true = faces(seed=seed)
    move = lambda points: scale * points + [shift, -2 * shift]  # noqa: E731
    before = lm.nme(pred, true, nz.NORMALIZERS[name])
    assert np.allclose(lm.nme(move(pred), move(true), nz.NORMALIZERS[name]), before, rtol=1e-6)


@settings(max_examples=25, deadline=None)
@given(order=st.permutations(range(5)))
def test_order_of_faces_permutes_errors_and_keeps_every_figure(order):
    pred, true = faces()
    errors = lm.nme(pred, true, nz.inter_ocular)
    shuffled = lm.nme(pred[order], true[order], nz.inter_ocular)
    assert np.allclose(shuffled, errors[order])
    assert lm.auc(shuffled, 30.0) == pytest.approx(lm.auc(errors, 30.0))
    assert lm.failure_rate(shuffled, 8.0) == lm.failure_rate(errors, 8.0)


def test_per_landmark_averages_over_the_faces_that_have_it():
    errors = np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan]])
    assert np.array_equal(lm.per_landmark(errors), [2.0, 5.0, np.nan], equal_nan=True)


# Normalisers.


def test_the_four_normalisers_on_a_drawn_face():
    true = np.full((1, 68, 2), 50.0)
    true[0, 36:42], true[0, 42:48] = (30.0, 20.0), (60.0, 20.0)  # eye centres 30 apart
    true[0, 36, 0], true[0, 45, 0] = 24.0, 66.0  # corners 6 further out
    true[0, 8] = (40.0, 100.0)  # chin: the box is 42 wide, 80 high
    assert nz.inter_ocular(true) == pytest.approx([42.0])
    assert nz.inter_pupil(true) == pytest.approx([32.0])  # six-point means move 1 px each
    assert nz.box_size(true) == pytest.approx([np.sqrt(42 * 80)])
    assert nz.box_diagonal(true) == pytest.approx([np.hypot(42, 80)])


EYE_FLIPS = {  # left-right pairs of the published flip tables that touch the eyes
    68: [(36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)],
    98: [(60, 72), (96, 97)],
    29: [(8, 9), (16, 17)],
    19: [(6, 11), (7, 10)],
    106: [(66, 79)],  # no pupils
}


@pytest.mark.parametrize("points", EYE_FLIPS)
def test_the_two_ends_are_each_others_mirror_image(points):
    mirror = dict(EYE_FLIPS[points])
    for left, right in (table[points] for table in (nz.EYE_CORNERS, nz.PUPILS) if points in table):
        assert sorted(mirror[i] for i in left) == sorted(right)


def test_annotated_boxes_serve_through_their_corners():
    boxes = np.array([[10.0, 20.0, 50.0, 120.0]])
    assert nz.box_size(boxes.reshape(-1, 2, 2)) == pytest.approx([np.sqrt(40 * 100)])


def test_box_normalisers_pass_over_unlabelled_points():
    _, true = faces()
    partly = true.copy()
    partly[:, :10] = np.nan
    assert np.allclose(nz.box_size(partly), nz.box_size(true[:, 10:]))


def test_own_markup_names_its_two_ends():
    true = np.array([[[0.0, 0.0], [0.0, 2.0], [3.0, 5.0]]])
    assert nz.between([0, 1], [2])(true) == pytest.approx([5.0])


# Cumulative error.


def test_auc_and_failure_rate_of_known_errors():
    errors = [0.0, 2.0, 4.0, 8.0, 16.0]
    # The faces add (8 - e) / 8 each: 1, 3/4, 1/2, 0, 0.
    assert lm.auc(errors, 8.0) == pytest.approx(100 * 2.25 / 5)
    assert lm.failure_rate(errors, 8.0) == pytest.approx(20.0)  # 8 itself does not fail


def test_ced_is_the_share_of_faces_at_or_below():
    ced = lm.cumulative_error([3.0, 1.0, 2.0, 1.0])
    assert np.array_equal(ced.error, [1, 1, 2, 3])
    assert np.array_equal(ced.share, [25, 50, 75, 100])


@settings(max_examples=50, deadline=None)
@given(errors=lists_of_errors)
def test_ced_rises_to_100_and_agrees_with_failures(errors):
    ced = lm.cumulative_error(errors)
    assert (np.diff(ced.error) >= 0).all() and (np.diff(ced.share) > 0).all()
    assert ced.share[-1] == 100
    for limit in (1.0, 8.0, 31.0):
        below = np.searchsorted(ced.error, limit, side="right")
        share = ced.share[below - 1] if below else 0.0
        assert lm.failure_rate(errors, limit) == pytest.approx(100 - share)


@settings(max_examples=50, deadline=None)
@given(errors=lists_of_errors, worse=st.floats(0, 5))
def test_auc_lies_in_0_100_falls_with_the_errors_and_bounds_the_failures(errors, worse):
    area = lm.auc(errors, 8.0)
    assert 0 <= area <= 100 - lm.failure_rate(errors, 8.0) + 1e-9
    assert lm.auc(np.add(errors, worse), 8.0) <= area + 1e-9


def test_auc_is_close_to_simpsons_rule_of_the_field():
    errors = np.random.default_rng(0).gamma(4, 1.2, 500)
    grid = np.arange(0, 10, 0.01)
    shares = [(errors <= x).mean() for x in grid]
    assert lm.auc(errors, 10.0) == pytest.approx(100 * simpson(shares, x=grid) / 10, abs=0.15)


# Summary.


def test_summary_names_the_normaliser_everywhere_it_matters():
    pred, true = faces()
    summary = lm.summarise(pred, true, normalizer="inter_pupil")
    errors = lm.nme(pred, true, nz.inter_pupil)
    assert summary["nme_inter_pupil"] == pytest.approx(errors.mean())
    low, high = summary["nme_inter_pupil_low"], summary["nme_inter_pupil_high"]
    assert errors.min() <= low <= summary["nme_inter_pupil"] <= high <= errors.max()
    assert summary["nme_inter_pupil_p90"] == pytest.approx(np.percentile(errors, 90))
    assert summary["auc_0.08"] == lm.auc(errors, 8.0)
    assert summary["failure_rate_0.10"] == lm.failure_rate(errors, 10.0)
    assert summary["faces"] == 5
    assert lm.normalizer_of(summary) == "inter_pupil"


def test_frames_of_one_video_are_drawn_together():
    pred, true = faces()
    summary = lm.summarise(pred, true, normalizer="box_size", groups=["video"] * 5)
    low, high = summary["nme_box_size_low"], summary["nme_box_size_high"]
    assert low == pytest.approx(summary["nme_box_size"]) == high  # one video: nothing to draw


def test_subsets_are_summaries_of_their_rows_and_may_overlap():
    pred, true = faces()
    subsets = ["pose", "pose+blur", "", "blur", "pose"]
    summary = lm.summarise(pred, true, normalizer="box_size", subsets=subsets)
    pose = lm.summarise(pred[[0, 1, 4]], true[[0, 1, 4]], normalizer="box_size")
    for key in ("faces", "nme_box_size", "auc_0.10", "failure_rate_0.08"):
        assert summary[f"{key}_pose"] == pose[key]
    assert summary["faces_blur"] == 2 and summary["faces"] == 5
    assert lm.normalizer_of(summary) == "box_size"


def test_lengths_measured_elsewhere_keep_their_own_name():
    pred, true = faces(points=7)
    summary = lm.summarise(pred, true, normalizer="face_box", lengths=np.full(5, 50.0))
    distance = np.hypot(*(pred - true).reshape(-1, 2).T)
    assert summary["nme_face_box"] == pytest.approx(2 * distance.mean())


def test_different_normalisers_are_not_compared():
    pred, true = faces()
    ocular = lm.summarise(pred, true, normalizer="inter_ocular")
    pupil = lm.summarise(pred, true, normalizer="inter_pupil")
    assert lm.check_comparable({"a": ocular, "b": ocular}) == "inter_ocular"
    with pytest.raises(ValueError, match="a uses inter_ocular, b uses inter_pupil"):
        lm.check_comparable({"a": ocular, "b": pupil})
    with pytest.raises(ValueError, match="mixed normalisers"):
        lm.normalizer_of(ocular | pupil)


# Bad input.


def test_nan_predictions_are_refused_by_face_and_landmark():
    pred, true = faces()
    pred[3, 7, 1] = np.nan
    with pytest.raises(ValueError, match=r"prediction of face 3, landmark 7 is not finite"):
        lm.nme(pred, true, nz.inter_ocular)


def test_nan_labels_need_a_mask():
    pred, true = faces()
    true[2, 9] = np.nan
    with pytest.raises(ValueError, match=r"true point of face 2, landmark 9.*mask"):
        lm.nme(pred, true, nz.inter_ocular)


@pytest.mark.parametrize("value", [0.0, np.nan, -3.0, np.inf])
def test_a_normaliser_that_is_no_length_names_the_face(value):
    pred, true = faces()
    lengths = np.full(5, 40.0)
    lengths[4] = value
    with pytest.raises(ValueError, match="normaliser of face 4"):
        lm.nme(pred, true, lengths)


def test_an_unlabelled_eye_corner_is_an_error_not_a_number():
    pred, true = faces()
    mask = np.ones((5, 68), bool)
    mask[1, 36] = False
    with pytest.raises(ValueError, match="normaliser of face 1 is nan"):
        lm.nme(pred, true, nz.inter_ocular, mask)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(pred=np.zeros((5, 29, 2))), r"must both be \[N, K, 2\]"),
        (dict(pred=np.zeros((0, 68, 2)), true=np.zeros((0, 68, 2))), "split is empty"),
        (dict(mask=np.ones((5, 68))), "mask must be bool"),
        (dict(mask=np.zeros((5, 68), bool)), "face 0 has no labelled point"),
        (dict(normalizer=np.ones(4)), "normaliser has shape"),
    ],
)
def test_wrong_shapes_are_refused(change, message):
    pred, true = faces()
    arguments = dict(pred=pred, true=true, normalizer=nz.inter_ocular) | change
    with pytest.raises(ValueError, match=message):
        lm.nme(**arguments)


def test_unknown_markup_and_unknown_name_say_what_to_use():
    pred, true = faces(points=7)
    with pytest.raises(ValueError, match=r"inter_ocular is not defined for 7 points.*box_size"):
        lm.nme(pred, true, nz.inter_ocular)
    with pytest.raises(ValueError, match="unknown normaliser 'iod': use one of inter_ocular"):
        lm.summarise(pred, true, normalizer="iod")


@pytest.mark.parametrize("errors", [[], [1.0, np.nan], [[1.0]]])
def test_curves_refuse_what_is_not_a_list_of_errors(errors):
    for function in (lm.cumulative_error, lambda e: lm.auc(e, 8), lambda e: lm.failure_rate(e, 8)):
        with pytest.raises(ValueError, match="errors must be"):
            function(errors)


def test_limits_and_subset_names_are_checked():
    with pytest.raises(ValueError, match="limit must be positive"):
        lm.auc([1.0], 0.0)
    with pytest.raises(ValueError, match="1 subset names for 2 faces"):
        lm.subset_rows(["common"], 2)
