"""Percentile bootstrap: how far a figure would move on another draw of the test set."""

from collections.abc import Callable, Sequence

import numpy as np


def bootstrap_interval(
    statistic: Callable[..., float],
    *samples: np.ndarray,
    seed: int,
    groups: Sequence | None = None,
    confidence: float = 95.0,
    resamples: int = 1000,
) -> tuple[float, float]:
    """Percentile interval of a statistic under resampling of the test set with replacement.

    Args:
        statistic: function of the resampled arrays -> float. For the difference of two methods on
            the same faces give their per-face difference to `np.mean`: a paired interval.
        *samples: arrays [N, ...], resampled with the same rows.
        seed: of the draws; the same seed gives the same interval.
        groups: N labels. Whole groups are drawn, because faces of one person or video are not
            independent. None draws single rows.
        confidence: percent of the resampled figures inside the interval.
        resamples: number of draws.

    Returns:
        (low, high). It tells of the choice of test images only, not of the training seed.

    Raises:
        ValueError: empty or unequal lengths, or a confidence outside (0, 100).
    """
    count = len(samples[0])
    lengths = {len(sample) for sample in samples} | ({len(groups)} if groups is not None else set())
    if len(lengths) != 1 or not count:
        raise ValueError(f"samples and groups must have one length above 0, got {sorted(lengths)}")
    if not 0 < confidence < 100:
        raise ValueError(f"confidence is in percent, between 0 and 100; got {confidence}")
    samples = [np.asarray(sample) for sample in samples]
    units = _units(groups, count)
    rng = np.random.default_rng(seed)
    figures = []
    for _ in range(resamples):
        drawn = rng.integers(len(units), size=len(units))
        rows = np.concatenate([units[unit] for unit in drawn]) if groups is not None else drawn
        figures.append(statistic(*(sample[rows] for sample in samples)))
    tail = (100 - confidence) / 2
    low, high = np.percentile(figures, [tail, 100 - tail])
    return float(low), float(high)


def _units(groups: Sequence | None, count: int) -> Sequence[np.ndarray]:
    if groups is None:
        return range(count)
    _, label = np.unique(np.asarray(groups), return_inverse=True)
    order = np.argsort(label, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(label[order])) + 1)
