"""Recognition figures: closed forms, peers, invariances, bad input."""

import statistics

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import sklearn.metrics
from hypothesis.extra import numpy as hnp

from jaxgen.metrics import recognition as metrics

RNG = np.random.default_rng(0)


@st.composite
def pairs(draw):
    """Scores with ties, and labels of both kinds."""
    count = draw(st.integers(2, 40))
    scores = draw(hnp.arrays(np.int64, count, elements=st.integers(-6, 6))) / 4
    labels = draw(hnp.arrays(np.bool_, count))
    labels[:2] = True, False
    return scores, labels


# ------------------------------------------------------------------------------- features


def test_cosine_of_known_angles():
    found = metrics.cosine([[2, 0], [1, 1], [0, 0]], [[3, 0], [0, 1], [-1, -1]])
    half = np.sqrt(0.5)
    np.testing.assert_allclose(found, [[1, 0, -half], [half, half, -1], [0, 0, 0]], atol=1e-12)


def test_fusion_is_a_weighted_mean():
    features = RNG.normal(size=(5, 7))
    np.testing.assert_allclose(metrics.fuse(features, np.full(5, 0.3)), features.mean(0))
    np.testing.assert_allclose(metrics.fuse(features[:1], [0.01]), features[0])
    weights = RNG.uniform(size=5)
    np.testing.assert_allclose(
        metrics.fuse(features, weights), weights @ features / weights.sum(), rtol=1e-12
    )


def test_fusion_does_not_see_the_order_or_masked_pictures():
    features, weights = RNG.normal(size=(3, 5, 7)), RNG.uniform(0.1, 1, (3, 5))
    mask = np.array([[1, 1, 0, 1, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1]], bool)
    fused = metrics.fuse(features, weights, mask)
    order = RNG.permutation(5)
    shuffled = metrics.fuse(features[:, order], weights[:, order], mask[:, order])
    np.testing.assert_allclose(shuffled, fused, rtol=1e-12)
    features[~mask], weights[~mask] = np.nan, np.nan
    np.testing.assert_array_equal(metrics.fuse(features, weights, mask), fused)
    np.testing.assert_allclose(fused[1], features[1, 0])


def test_a_set_of_zero_pictures_is_refused_by_its_number():
    mask = np.array([[True, False], [False, False]])
    with pytest.raises(ValueError, match=r"set \[1\] holds no picture"):
        metrics.fuse(np.ones((2, 2, 3)), np.ones((2, 2)), mask)
    with pytest.raises(ValueError, match="holds no picture"):
        metrics.fuse(np.ones((0, 3)), np.ones(0))
    with pytest.raises(ValueError, match="weights"):
        metrics.fuse(np.ones((2, 3)), [1, -1])


# ------------------------------------------------------------------------- identification


def test_identification_of_a_tiny_case():
    gallery, people = [[1, 0], [0, 1], [0.9, 0.2]], ["ann", "bob", "bob"]
    probes = [[1, 0.01], [0.8, 0.2], [0.1, 1], [0.1, 1]]
    found = metrics.rank1(gallery, people, probes, ["ann", "bob", "bob", "ann"])
    np.testing.assert_array_equal(found, [True, True, True, False])


def test_identification_sees_neither_length_nor_order():
    gallery, probes = RNG.normal(size=(20, 8)), RNG.normal(size=(60, 8))
    ids, truth = np.arange(20), RNG.integers(0, 20, 60)
    found = metrics.rank1(gallery, ids, probes, truth)
    assert 0 < found.sum() < 60
    order = RNG.permutation(20)
    scaled = gallery[order] * RNG.uniform(0.1, 9, (20, 1))
    np.testing.assert_array_equal(metrics.rank1(scaled, ids[order], probes, truth), found)


def test_one_feature_for_everybody_identifies_nobody():
    """The collapsed network: a gallery in a lucky order must not make it look right."""
    same = np.tile(RNG.normal(size=33), (7, 1))
    assert not metrics.rank1(same, np.arange(7), same, np.arange(7)).any()
    assert not metrics.rank1(np.eye(7), np.arange(7), np.zeros((7, 7)), np.arange(7)).any()
    assert metrics.rank1(np.eye(7), np.arange(7), np.eye(7), np.arange(7)).all()


def test_a_probe_without_a_gallery_picture_is_refused():
    with pytest.raises(ValueError, match=r"1 probes show people without a gallery picture.*'eve'"):
        metrics.rank1(np.eye(2), ["ann", "bob"], np.eye(2), ["ann", "eve"])


def test_the_mean_counts_every_view_once():
    yaw = np.array([-30, -30, 0, 0, 0, 0, 30, 30])
    correct = np.array([1, 0, 1, 1, 1, 0, 0, 0], bool)
    figures = metrics.rank1_by_yaw(correct, yaw, (-30, 0, 30))
    assert figures == {
        "rank1": pytest.approx((50 + 75 + 0) / 3),
        "rank1_yaw_0": 75,
        "rank1_yaw_30": 25,
    }


def test_probes_belong_to_the_nearest_view():
    yaw = np.array([-53.0, 3.0, 44.0, 70.0])
    figures = metrics.rank1_by_yaw(np.array([1, 1, 0, 1]), yaw, (-60, -45, 0, 45, 60))
    assert set(figures) == {"rank1", "rank1_yaw_0", "rank1_yaw_45", "rank1_yaw_60"}
    assert (figures["rank1_yaw_45"], figures["rank1_yaw_60"]) == (0, 100)
    with pytest.raises(ValueError, match="1 probes have no yaw"):
        metrics.rank1_by_yaw(np.ones(2), np.array([0, np.nan]), (0,))


# --------------------------------------------------------------------------- verification


def test_perfect_useless_and_wrong_scores():
    labels = np.arange(200) % 2 == 0
    perfect = metrics.verification(labels * 1.0, labels)
    assert perfect == (100, 0.5, 0, 100, {0.01: 100})
    useless = metrics.verification(np.zeros(200), labels)
    assert (useless.accuracy, useless.eer, useless.auc) == (50, 50, 50)
    wrong = metrics.verification(-1.0 * labels, labels)
    assert (wrong.accuracy, wrong.eer, wrong.auc) == (50, 100, 0)


def test_a_tiny_case_by_hand():
    scores, labels = np.array([0.9, 0.8, 0.7, 0.4]), np.array([True, False, True, False])
    curve = metrics.roc(scores, labels)
    np.testing.assert_array_equal(curve.far, [0, 0, 50, 50, 100])
    np.testing.assert_array_equal(curve.tar, [0, 50, 50, 100, 100])
    found = metrics.verification(scores, labels)
    assert (found.accuracy, found.auc, found.eer) == (75, 75, 50)
    assert found.threshold == pytest.approx(0.85)
    assert metrics.tar_at_far(curve, 0.49) == 50 and metrics.tar_at_far(curve, 0.5) == 100


@hypothesis.given(pairs())
def test_area_counts_pairs_and_agrees_with_the_peer(case):
    scores, labels = case
    same, other = scores[labels], scores[~labels]
    wins = (same[:, None] > other) + 0.5 * (same[:, None] == other)
    found = metrics.verification(scores, labels).auc
    assert found == pytest.approx(100 * wins.mean())
    assert found == pytest.approx(100 * sklearn.metrics.roc_auc_score(labels, scores))


@hypothesis.given(pairs())
def test_figures_stay_under_an_increasing_map_and_mirror(case):
    scores, labels = case
    here = metrics.verification(scores, labels)
    mapped = metrics.verification(np.exp(3 * scores) - 5, labels)
    for figure in ("accuracy", "eer", "auc"):
        assert getattr(here, figure) == pytest.approx(getattr(mapped, figure))
    curve, other = metrics.roc(scores, labels), metrics.roc(np.exp(3 * scores) - 5, labels)
    np.testing.assert_array_equal(curve[1:], other[1:])
    # Exchanging the two kinds of pairs and the direction leaves the errors in place.
    mirrored = metrics.verification(-scores, ~labels)
    assert (mirrored.auc, mirrored.eer) == pytest.approx((here.auc, here.eer))


@hypothesis.given(pairs())
def test_the_threshold_is_one_that_reaches_the_accuracy(case):
    scores, labels = case
    found = metrics.verification(scores, labels)
    at = {np.mean((scores >= t) == labels) for t in [*(np.unique(scores) - 1e-3), np.inf]}
    assert found.accuracy == pytest.approx(100 * max(at))
    assert np.mean((scores >= found.threshold) == labels) == pytest.approx(max(at))


def test_equal_error_rate_of_two_gaussians():
    """Scores N(0, 1) and N(d, 1): EER = Phi(-d / 2), AUC = Phi(d / sqrt 2)."""
    normal, grid = statistics.NormalDist(), (np.arange(20_000) + 0.5) / 20_000
    quantiles = np.array([normal.inv_cdf(p) for p in grid])  # no sampling noise
    for distance in (0.5, 2.0, 3.0):
        scores = np.concatenate([quantiles, quantiles + distance])
        found = metrics.verification(scores, np.arange(40_000) >= 20_000)
        assert found.eer == pytest.approx(100 * normal.cdf(-distance / 2), abs=0.01)
        assert found.auc == pytest.approx(100 * normal.cdf(distance / 2**0.5), abs=0.01)
        assert found.accuracy == pytest.approx(100 - found.eer, abs=0.02)
        assert found.threshold == pytest.approx(distance / 2, abs=0.05)
        for rate, tar in found.tar_at_far.items():
            expected = 100 * normal.cdf(distance - normal.inv_cdf(1 - rate))
            assert tar == pytest.approx(expected, abs=0.5)  # 20 impostors at 1e-3


def test_rates_too_small_for_the_pairs_are_not_reported():
    labels = np.arange(300) < 150
    assert set(metrics.verification(RNG.normal(size=300), labels).tar_at_far) == {1e-2}


@pytest.mark.parametrize("far", [0.01, 0.1, 0.5])
def test_calibration_keeps_its_promise(far):
    labels = np.arange(1000) < 300
    for scores in (RNG.normal(size=1000), RNG.integers(0, 6, 1000) / 6):
        threshold = metrics.threshold_at_far(scores, labels, far)
        assert np.mean(scores[~labels] >= threshold) <= far
        lower = np.max(scores[~labels][scores[~labels] < threshold])
        assert np.mean(scores[~labels] >= lower) > far
        accepted = 100 * np.mean(scores[labels] >= threshold)
        assert accepted == pytest.approx(metrics.tar_at_far(metrics.roc(scores, labels), far))


def test_rates_that_floats_cannot_say_are_met():
    # 0.29 * 100 is 28.999999999999996.
    scores, labels = np.r_[np.arange(100) / 100, 2, 2], np.arange(102) >= 100
    threshold = metrics.threshold_at_far(scores, labels, 0.29)
    assert np.sum(scores[~labels] >= threshold) == 29
    # One of three is 33.3 %: a limit of 34 % lies midway to the score that it refuses.
    threshold = metrics.threshold_at_far([0.9, 0.3, 0.2, 0.1], [True, False, False, False], 0.34)
    assert threshold == pytest.approx(0.25)


def test_a_fold_is_judged_by_the_threshold_of_the_others():
    found = metrics.over_folds([0.6, 0.5, 0.4, 0.3], [True, False, True, False], [0, 0, 1, 1])
    assert found.accuracy == 50
    np.testing.assert_allclose(found.threshold, [0.35, 0.55])


def test_calibration_needs_enough_pairs():
    with pytest.raises(ValueError, match=r"needs 1000 pairs of different people.* got 50"):
        metrics.threshold_at_far(np.arange(100.0), np.arange(100) < 50, 1e-3)


def test_a_fold_does_not_choose_its_own_threshold():
    # Fold 3 is shifted by 10: its own threshold would be right everywhere, the others' is not.
    scores = np.tile([0.0, 1.0], 10) + 10 * (np.arange(20) >= 16)
    labels, folds = np.tile([False, True], 10), np.repeat([1, 1, 2, 2, 3], 4)
    found = metrics.over_folds(scores, labels, folds)
    assert found.accuracy == pytest.approx((100 + 100 + 50) / 3)
    assert found.accuracy_std == pytest.approx(np.std([100, 100, 50]))
    assert (found.eer, found.auc, found.auc_std) == (0, 100, 0)
    np.testing.assert_array_equal(found.threshold, [0.5, 0.5, 0.5])
    shuffle = RNG.permutation(20)
    again = metrics.over_folds(scores[shuffle], labels[shuffle], folds[shuffle])
    np.testing.assert_array_equal(again.threshold, found.threshold)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.roc([0.1, 0.2], [True, True]), "different people"),
        (lambda: metrics.roc([0.1, np.nan], [True, False]), "finite"),
        (lambda: metrics.over_folds([0.1, 0.2], [True, False], [0, 0]), "two or more folds"),
        (lambda: metrics.cosine(np.ones((2, 3)), np.ones((2, 4))), "3 and 4"),
        (lambda: metrics.cosine([[np.inf, 0]], [[1, 0]]), "finite"),
        (lambda: metrics.rank1(np.eye(2), [0], np.eye(2), [0, 1]), "2 gallery"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
