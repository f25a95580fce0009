"""Bootstrap intervals: coverage of known cases, groups, seeds."""

import numpy as np
import pytest

from jaxgen.metrics.bootstrap import bootstrap_interval


def test_interval_of_a_mean_matches_the_normal_one():
    sample = np.random.default_rng(0).normal(5, 2, 400)
    low, high = bootstrap_interval(np.mean, sample, seed=1, resamples=2000)
    half = 1.96 * sample.std() / np.sqrt(sample.size)
    assert low == pytest.approx(sample.mean() - half, abs=0.03)
    assert high == pytest.approx(sample.mean() + half, abs=0.03)


def test_same_seed_same_interval_other_seed_other_interval():
    sample = np.random.default_rng(0).normal(size=50)
    first = bootstrap_interval(np.mean, sample, seed=3)
    assert first == bootstrap_interval(np.mean, sample, seed=3)
    assert first != bootstrap_interval(np.mean, sample, seed=4)


def test_groups_of_equal_rows_count_as_one_face_each():
    """Ten frames of each of 20 videos carry the information of 20 faces, not of 200."""
    videos = np.random.default_rng(0).normal(size=20)
    frames, groups = np.repeat(videos, 10), np.repeat(np.arange(20), 10)
    by_video = np.subtract(*bootstrap_interval(np.mean, frames, seed=0, groups=groups)[::-1])
    by_frame = np.subtract(*bootstrap_interval(np.mean, frames, seed=0)[::-1])
    alone = np.subtract(*bootstrap_interval(np.mean, videos, seed=0)[::-1])
    assert by_video == pytest.approx(alone, rel=0.1)
    assert by_video > 2.5 * by_frame


def test_groups_need_no_order_and_may_be_names():
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    names = ["b", "a", "b", "c", "a", "c"]
    rows = np.array([0, 2, 1, 4, 3, 5])
    shuffled = bootstrap_interval(np.mean, values[rows], seed=0, groups=[names[i] for i in rows])
    assert bootstrap_interval(np.mean, values, seed=0, groups=names) == shuffled


def test_several_samples_are_drawn_together():
    first = np.random.default_rng(0).normal(size=30)
    gap = bootstrap_interval(lambda a, b: (a - b).mean(), first, first - 1, seed=0)
    assert gap == pytest.approx((1.0, 1.0))


@pytest.mark.parametrize(
    ("samples", "options", "message"),
    [
        ([np.ones(3), np.ones(4)], {}, "one length"),
        ([np.ones(0)], {}, "one length"),
        ([np.ones(3)], dict(groups=["a"]), "one length"),
        ([np.ones(3)], dict(confidence=0.0), "confidence is in percent"),
    ],
)
def test_bad_input(samples, options, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(np.mean, *samples, seed=0, **options)
