"""Ranks, sparsification and calibration of predicted scales."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jaxgen.metrics import uncertainty as un
from jaxgen.metrics.normalizers import inter_ocular

pairs = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=40)


def test_spearman_of_hand_made_ranks():
    # Ranks 1 2 3 4 5 against 2 1 4 3 5: sum of squared differences 4, so 1 - 6 * 4 / (5 * 24).
    assert un.spearman([10, 20, 30, 40, 50], [2, 1, 40, 3, 500]) == pytest.approx(0.8)
    assert un.spearman([1, 2, 3], [9, 5, 1]) == pytest.approx(-1.0)


@settings(max_examples=100, deadline=None)
@given(pairs=pairs)
def test_spearman_with_ties_equals_scipys(pairs):
    scale, error = np.array(pairs, float).T
    if np.ptp(scale) and np.ptp(error):
        assert un.spearman(scale, error) == pytest.approx(stats.spearmanr(scale, error)[0])
    else:
        assert np.isnan(un.spearman(scale, error))


@settings(max_examples=50, deadline=None)
@given(pairs=pairs)
def test_spearman_sees_ranks_only(pairs):
    scale, error = np.array(pairs, float).T
    stretched = un.spearman(np.exp(scale), error**3)
    assert stretched == pytest.approx(un.spearman(scale, error), nan_ok=True)


def test_sparsification_of_three_rows_by_hand():
    # By scale the order of leaving is 30, 20, 10: errors 1, then 6.
    curves = un.sparsification([10.0, 30.0, 20.0], [2.0, 1.0, 6.0])
    assert np.allclose(curves.rejected, [0, 100 / 3, 200 / 3])
    assert np.allclose(curves.by_scale, [3, 4, 2])
    assert np.allclose(curves.by_error, [3, 1.5, 1])
    assert un.ause([10.0, 30.0, 20.0], [2.0, 1.0, 6.0]) == pytest.approx(100 * 3.5 / 3 / 3)


@settings(max_examples=50, deadline=None)
@given(pairs=pairs, seed=st.integers(0, 9))
def test_no_figure_depends_on_the_order_of_rows_and_none_beats_the_oracle(pairs, seed):
    scale, error = np.array(pairs, float).T
    order = np.random.default_rng(seed).permutation(scale.size)
    curves = un.sparsification(scale, error)
    assert np.allclose(curves.by_scale, un.sparsification(scale[order], error[order]).by_scale)
    assert (curves.by_error <= curves.by_scale + 1e-9).all()
    assert curves.by_scale[0] == pytest.approx(error.mean())
    bins, shuffled = un.calibration(scale, error), un.calibration(scale[order], error[order])
    assert np.allclose(bins.error, shuffled.error) and np.array_equal(bins.count, shuffled.count)


def test_ause_is_zero_for_the_right_order_and_flat_for_no_order():
    error = np.array([1.0, 2.0, 4.0, 8.0])
    assert un.ause(error**2, error) == 0
    flat = un.sparsification(np.ones(4), error)
    assert np.allclose(flat.by_scale, error.mean())
    assert un.ause(np.ones(4), np.zeros(4)) == 0


def test_calibration_bins_hold_equal_shares_and_the_true_means():
    scale = np.arange(100.0)
    found = un.calibration(scale, 2 * scale, bins=4)
    assert np.array_equal(found.count, [25, 25, 25, 25])
    assert np.allclose(found.scale, [12, 37, 62, 87])
    assert np.allclose(found.error, 2 * found.scale)
    assert un.calibration_error(scale, 2 * scale) == pytest.approx(50.0)
    assert un.calibration_error(scale, scale) == 0


def test_a_bin_counts_as_much_as_it_holds():
    # Three rows of scale and error 1; one of scale 2 and error 6. Mean error 9 / 4, mean gap 4 / 4.
    found = un.calibration_error([1, 1, 1, 2], [1, 1, 1, 6], bins=2)
    assert found == pytest.approx(100 * 4 / 9)


def test_calibration_of_equal_scales_is_one_bin():
    found = un.calibration(np.full(7, 2.0), np.arange(7.0), bins=5)
    assert found.count.tolist() == [7] and found.error.tolist() == [3.0]


def laplace_faces(seed=0, count=300, points=68):
    """Faces whose errors really are Laplace with the predicted scales."""
    rng = np.random.default_rng(seed)
    true = rng.uniform(20, 100, (count, points, 2))
    true[:, 36], true[:, 45] = (30.0, 50.0), (90.0, 50.0)
    face, landmark = rng.uniform(0.5, 2, (count, 1, 1)), rng.uniform(0.5, 3, (1, points, 1))
    scale = np.broadcast_to(face * landmark, true.shape).copy()
    return scale, true + rng.laplace(0, scale), true


def test_true_laplace_scales_are_calibrated_and_ranked():
    scale, pred, true = laplace_faces()
    summary = un.summarise(scale, pred, true, lengths=inter_ocular)
    assert summary["calibration_error_scale"] < 3
    assert summary["spearman_scale_error"] > 0.4
    assert summary["spearman_scale_error_face"] > 0.9
    doubled = un.summarise(2 * scale, pred, true, lengths=inter_ocular)
    assert doubled["calibration_error_scale"] == pytest.approx(100, abs=5)
    assert doubled["spearman_scale_error"] == pytest.approx(summary["spearman_scale_error"])


def test_knowing_only_which_landmarks_are_hard_scores_zero_within_landmarks():
    scale, pred, true = laplace_faces()
    by_landmark = np.broadcast_to(scale.mean(0, keepdims=True), scale.shape)
    noise = np.random.default_rng(1).normal(0, 1e-9, scale.shape)
    summary = un.summarise(by_landmark + noise, pred, true, lengths=inter_ocular)
    assert summary["spearman_scale_error"] > 0.3
    assert abs(summary["spearman_scale_error_within_landmark"]) < 0.05


def test_masked_landmarks_count_nowhere():
    scale, pred, true = laplace_faces(count=20)
    mask = np.ones(true.shape[:2], bool)
    mask[:, 60:] = False
    expected = un.summarise(scale[:, :60], pred[:, :60], true[:, :60], lengths=np.full(20, 60.0))
    true[:, 60:], scale[:, 60:] = np.nan, -1.0
    found = un.summarise(scale, pred, true, mask, lengths=np.full(20, 60.0))
    assert found == pytest.approx(expected)


def test_size_of_the_picture_changes_nothing():
    scale, pred, true = laplace_faces(count=20)
    expected = un.summarise(scale, pred, true, lengths=inter_ocular)
    assert un.summarise(3 * scale, 3 * pred, 3 * true, lengths=inter_ocular) == pytest.approx(
        expected
    )


def test_every_face_is_measured_in_its_own_length():
    scale, pred, true = laplace_faces(count=20)
    expected = un.summarise(scale, pred, true, lengths=np.full(20, 60.0))
    size = np.geomspace(1, 100, 20)[:, None, None]
    found = un.summarise(size * scale, size * pred, size * true, lengths=60 * size[:, 0, 0])
    del expected["calibration_error_scale"], found["calibration_error_scale"]  # of pixels
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("scale", "error", "message"),
    [
        ([1.0], [1.0, 2.0], "must be equal"),
        ([], [], "must be equal"),
        ([np.nan], [1.0], "must be finite"),
    ],
)
def test_bad_pairs(scale, error, message):
    for function in (un.spearman, un.sparsification, un.calibration):
        with pytest.raises(ValueError, match=message):
            function(scale, error)


def test_bad_scales():
    scale, pred, true = laplace_faces(count=3)
    with pytest.raises(ValueError, match="must have the shape of the points"):
        un.summarise(scale[..., 0], pred, true, lengths=inter_ocular)
    with pytest.raises(ValueError, match="positive"):
        un.summarise(0 * scale, pred, true, lengths=inter_ocular)
    with pytest.raises(ValueError, match="bins"):
        un.calibration([1.0], [1.0], bins=0)


def test_a_mask_of_numbers_is_refused():
    """It would choose faces 0 and 1 again and again."""
    scale, pred, true = laplace_faces(count=3)
    mask = np.ones(true.shape[:2], bool)
    with pytest.raises(ValueError, match="mask must be bool"):
        un.coordinate_pairs(scale, pred, true, mask.astype(int))
    with pytest.raises(ValueError, match="mask must be bool"):
        un.coordinate_pairs(scale, pred, true, mask[0])
