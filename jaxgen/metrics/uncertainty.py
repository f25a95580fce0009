"""Does the predicted scale tell where the error is large? Ranks, sparsification, calibration.

Contract. `scale` and `error` are [M] arrays of one unit (percent of the normaliser, or pixels): one
entry per face or per labelled landmark. A scale that only ranks errors well serves to reject bad
faces; to be read as "expected error" it must be calibrated too. The Laplace scale that minimises
KL(pred || target) grows more slowly than the error, so it ranks but is not calibrated.

Everything here is NumPy on the host, in float64. Equal scales are exchangeable: no figure depends
on the order of the rows.
"""

from typing import NamedTuple

import numpy as np

from jaxgen.metrics.landmarks import face_lengths, landmark_errors
from jaxgen.metrics.normalizers import Normalizer


def spearman(scale: np.ndarray, error: np.ndarray) -> float:
    """Spearman rank correlation in [-1, 1]: Pearson's of the ranks, ties sharing their mean rank.

    NaN where it is undefined: fewer than two rows, or all scales or all errors equal.
    """
    scale, error = _paired(scale, error)
    ranks = _ranks(scale), _ranks(error)
    first, second = (rank - rank.mean() for rank in ranks)
    norm = np.sqrt((first**2).sum() * (second**2).sum())
    return float((first * second).sum() / norm) if norm > 0 else float("nan")


class Sparsification(NamedTuple):
    """Mean error of what is kept when the rows of largest scale are rejected first."""

    rejected: np.ndarray  # [M] percent of the rows rejected: 0, 100 / M, 200 / M ...
    by_scale: np.ndarray  # [M] mean error of the rest, in the unit of the errors
    by_error: np.ndarray  # [M] the same with the true error as scale: the best possible order


def sparsification(scale: np.ndarray, error: np.ndarray) -> Sparsification:
    """Sparsification curves of [M] scales and errors; rejecting at random stays at the mean."""
    scale, error = _paired(scale, error)
    rejected = 100 * np.arange(scale.size) / scale.size
    return Sparsification(rejected, _kept_error(scale, error), _kept_error(error, error))


def ause(scale: np.ndarray, error: np.ndarray) -> float:
    """Area under the sparsification error: how far rejecting by scale is from the best order.

    Returns:
        Mean gap of the two curves in percent of the mean error: 0 for the order of the errors.
    """
    curves = sparsification(scale, error)
    mean = curves.by_error[0]
    return float(100 * (curves.by_scale - curves.by_error).mean() / mean) if mean > 0 else 0.0


class Calibration(NamedTuple):
    """Predicted scale against measured error, in quantile bins of the scale."""

    scale: np.ndarray  # [bins] mean predicted scale
    error: np.ndarray  # [bins] mean measured error, same unit; calibrated means equal to `scale`
    count: np.ndarray  # [bins] rows in the bin


def calibration(scale: np.ndarray, error: np.ndarray, *, bins: int = 10) -> Calibration:
    """Mean scale and mean error in bins of about equally many rows.

    A Laplace scale is the mean absolute error of one coordinate. So give the scale and the
    |x - true x| of single coordinates (`coordinate_pairs`) to test calibration. Equal scales share
    a bin; bins that this leaves empty are dropped.
    """
    scale, error = _paired(scale, error)
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    edges = np.quantile(scale, np.arange(1, bins) / bins)
    label = np.searchsorted(edges, scale, side="left")
    count = np.bincount(label, minlength=bins)
    kept = count > 0
    sums = (np.bincount(label, weights=values, minlength=bins) for values in (scale, error))
    mean_scale, mean_error = (total[kept] / count[kept] for total in sums)
    return Calibration(mean_scale, mean_error, count[kept])


def calibration_error(scale: np.ndarray, error: np.ndarray, *, bins: int = 10) -> float:
    """Mean |scale - error| over the bins, weighted by their rows, in percent of the mean error."""
    found = calibration(scale, error, bins=bins)
    gap = np.average(np.abs(found.scale - found.error), weights=found.count)
    mean = np.average(found.error, weights=found.count)
    return float(100 * gap / mean) if mean > 0 else float("nan")


def coordinate_pairs(
    scale: np.ndarray, pred: np.ndarray, true: np.ndarray, mask: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Scales and absolute errors of all labelled coordinates, x and y alike: two [M] arrays.

    Args:
        scale: [N, K, 2] predicted scale of each coordinate, pixels.
        pred: [N, K, 2] predicted points, same pixels.
        true: [N, K, 2] true points, same pixels.
        mask: [N, K] bool, True where labelled.

    Raises:
        ValueError: the mask is of another kind; numbers would choose rows.
    """
    rows = np.ones(np.shape(true)[:2], bool) if mask is None else np.asarray(mask)
    if rows.dtype != bool or rows.shape != np.shape(true)[:2]:
        raise ValueError(f"mask must be bool {np.shape(true)[:2]}, got {rows.dtype} {rows.shape}")
    return np.asarray(scale)[rows].ravel(), np.abs(np.subtract(pred, true))[rows].ravel()


def summarise(
    scale: np.ndarray,
    pred: np.ndarray,
    true: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    lengths: np.ndarray | Normalizer,
) -> dict[str, float]:
    """Flat figures of one evaluation's uncertainty.

    Args:
        scale: [N, K, 2] predicted (b_x, b_y), pixels, positive.
        pred: [N, K, 2] predicted points, same pixels.
        true: [N, K, 2] true points, same pixels.
        mask: [N, K] bool, True where labelled.
        lengths: the normaliser, as in `landmarks.landmark_errors`; scales are divided by it too, so
            that large and small faces compare.

    Returns:
        `spearman_scale_error`: all labelled landmarks pooled. Part of it says only that some
            landmarks (the jaw) are harder on every face.
        `spearman_scale_error_within_landmark`: mean over landmarks of the correlation across
            faces, which leaves that part out.
        `spearman_scale_error_face`: means per face.
        `ause_face`, `calibration_error_scale`: see `ause` and `calibration_error`; percent.
    """
    error = landmark_errors(pred, true, lengths, mask)
    rows = np.isfinite(error)
    scale = np.asarray(scale, np.float64)
    if scale.shape != np.shape(true):
        raise ValueError(f"scales {scale.shape} must have the shape of the points {np.shape(true)}")
    if not (scale[rows] > 0).all():
        raise ValueError("every predicted scale must be a positive number of pixels")
    labelled = np.where(rows[..., None], true, np.nan)
    spread = 100 * scale.mean(-1) / face_lengths(labelled, lengths)[:, None]
    spread = np.where(rows, spread, np.nan)
    face_spread, face_error = np.nanmean(spread, 1), np.nanmean(error, 1)
    within = [
        spearman(spread[rows[:, k], k], error[rows[:, k], k])
        for k in range(error.shape[1])
        if rows[:, k].sum() > 1
    ]
    # A constant landmark has no ranks; it says nothing either way.
    within = [value for value in within if np.isfinite(value)]
    return {
        "spearman_scale_error": spearman(spread[rows], error[rows]),
        "spearman_scale_error_within_landmark": float(np.mean(within)) if within else float("nan"),
        "spearman_scale_error_face": spearman(face_spread, face_error),
        "ause_face": ause(face_spread, face_error),
        "calibration_error_scale": calibration_error(*coordinate_pairs(scale, pred, true, rows)),
    }


def _kept_error(scale: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Mean error of the rows that stay when 0, 1, 2 ... rows of largest scale are rejected."""
    _, tie, size = np.unique(scale, return_inverse=True, return_counts=True)
    # Rows of equal scale leave in random order: each then counts with the mean of its tie.
    expected = (np.bincount(tie, weights=error) / size)[tie]
    ascending = expected[np.argsort(scale, kind="stable")]
    return (np.cumsum(ascending) / np.arange(1, ascending.size + 1))[::-1]


def _ranks(values: np.ndarray) -> np.ndarray:
    _, tie, size = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(size) - (size - 1) / 2)[tie]


def _paired(scale: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scale, error = np.asarray(scale, np.float64), np.asarray(error, np.float64)
    if scale.shape != error.shape or scale.ndim != 1 or not scale.size:
        raise ValueError(f"scale {scale.shape} and error {error.shape} must be equal, [M], M > 0")
    if not (np.isfinite(scale).all() and np.isfinite(error).all()):
        raise ValueError("scales and errors must be finite: mask unlabelled points first")
    return scale, error
