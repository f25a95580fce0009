"""Landmark errors: normalised mean error, cumulative error, area under it, failure rate.

Contract. Points are (x, y) in pixels, [N, K, 2]: N faces, K landmarks. Predicted and true points
share one frame (crop or original image); a similarity between frames changes no figure. Errors,
failure rates and areas are in PERCENT, as the field prints them. An error of 3.4 is "3.4 % of the
normaliser". A `mask` [N, K] is True where a point is labelled; other points may hold anything.

An error has no meaning without its normaliser: published tables differ by 1.4 times between eye
corners and pupils, and by 1.41 between box size and box diagonal. So every summary names it.

Everything here is NumPy on the host, in float64.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxgen.metrics.bootstrap import bootstrap_interval
from jaxgen.metrics.normalizers import NORMALIZERS, Normalizer


def landmark_errors(
    pred: np.ndarray,
    true: np.ndarray,
    normalizer: Normalizer | np.ndarray,
    mask: np.ndarray | None = None,
) -> np.ndarray:
    """Error of every landmark in percent of its face's normaliser.

    Args:
        pred: [N, K, 2] predicted points, pixels.
        true: [N, K, 2] true points, same frame.
        normalizer: [N] lengths in pixels, or a function of the true points that gives them, such
            as `normalizers.inter_ocular`.
        mask: [N, K] bool, True where labelled. None: every point is.

    Returns:
        [N, K] float64, percent; NaN where the mask is False.

    Raises:
        ValueError: shapes differ, a prediction or a labelled true point is not finite, a face has
            no labelled point, or a normaliser is not positive. The message names the face.
    """
    pred, true, mask = _checked(pred, true, mask)
    labelled = np.where(mask[..., None], true, np.nan)
    lengths = face_lengths(labelled, normalizer)
    return 100 * np.hypot(*np.moveaxis(pred - labelled, -1, 0)) / lengths[:, None]


def face_lengths(true: np.ndarray, normalizer: Normalizer | np.ndarray) -> np.ndarray:
    """Normaliser of every face, checked: [N] pixels, positive and finite.

    Args:
        true: [N, K, 2] true points, NaN where not labelled.
        normalizer: as in `landmark_errors`.
    """
    lengths = normalizer(true) if callable(normalizer) else normalizer
    lengths = np.asarray(lengths, np.float64)
    if lengths.shape != (len(true),):
        raise ValueError(f"normaliser has shape {lengths.shape}, expected ({len(true)},)")
    # `not >` also catches NaN: an eye corner without a label.
    bad = np.flatnonzero(~(lengths > 0) | np.isinf(lengths))
    if bad.size:
        raise ValueError(
            f"normaliser of face {bad[0]} is {lengths[bad[0]]}: it must be positive and finite. "
            "Its points are not labelled, or coincide; drop the face or choose a box normaliser."
        )
    return lengths


def nme(
    pred: np.ndarray,
    true: np.ndarray,
    normalizer: Normalizer | np.ndarray,
    mask: np.ndarray | None = None,
) -> np.ndarray:
    """Normalised mean error of each face in percent: [N]. Arguments as in `landmark_errors`."""
    return np.nanmean(landmark_errors(pred, true, normalizer, mask), axis=1)


class CumulativeError(NamedTuple):
    """A step function: `share[i]` percent of the faces have an error of at most `error[i]`."""

    error: np.ndarray  # [N] sorted, the unit of the errors
    share: np.ndarray  # [N] percent, ends at 100


def cumulative_error(errors: np.ndarray) -> CumulativeError:
    """Cumulative error distribution (CED) of per-face errors [N]."""
    errors = np.sort(_finite(errors))
    return CumulativeError(errors, 100 * np.arange(1, errors.size + 1) / errors.size)


def auc(errors: np.ndarray, limit: float) -> float:
    """Area under the CED from 0 to `limit`, divided by `limit`, in percent (100: no error).

    `limit` has the unit of `errors`: the field's AUC at 0.08 is `auc(nme, 8)`. The integral of the
    step function is exact. Scripts of the field sample it every 0.01 % and apply Simpson's rule,
    which differs by about one step over the limit (0.1 points) at most.
    """
    errors = _finite(errors)
    # A face with error e < limit adds 1 / N to the CED from e to the limit.
    return float(100 * np.maximum(_positive(limit) - errors, 0).mean() / limit)


def failure_rate(errors: np.ndarray, limit: float) -> float:
    """Percent of the faces whose error is above `limit` (same unit as `errors`)."""
    return float(100 * (_finite(errors) > _positive(limit)).mean())


def per_landmark(errors: np.ndarray) -> np.ndarray:
    """Mean error of each landmark over the faces where it is labelled: [N, K] -> [K] percent.

    NaN for a landmark that is labelled on no face.
    """
    counts = np.isfinite(errors).sum(0)
    return np.where(counts > 0, np.nansum(errors, 0) / np.maximum(counts, 1), np.nan)


def summarise(
    pred: np.ndarray,
    true: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    normalizer: str,
    lengths: np.ndarray | None = None,
    subsets: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Flat figures of one evaluation under the field's names, all in percent.

    Args:
        pred: [N, K, 2] predicted points, pixels.
        true: [N, K, 2] true points, same frame.
        mask: [N, K] bool, True where labelled.
        normalizer: one of `NORMALIZERS`, or with `lengths` any name that says what they are.
        lengths: [N] normalisers measured elsewhere (annotated boxes, a markup of one's own).
        subsets: N names; "pose+blur" counts in both. A name gets figures with its suffix.
        groups: N names of a person or video. The interval then resamples groups, not faces.
        seed: of the bootstrap interval.

    Returns:
        `faces`, `nme_<normalizer>`, its 95 % bootstrap interval `..._low` and `..._high`, its 90th
        percentile `..._p90`, `auc_0.08`, `auc_0.10`, `failure_rate_0.08`, `failure_rate_0.10`;
        for each subset `faces_<subset>`, `nme_<normalizer>_<subset>`, `auc_0.08_<subset>` ...
    """
    if lengths is None and normalizer not in NORMALIZERS:
        known = ", ".join(NORMALIZERS)
        raise ValueError(f"unknown normaliser {normalizer!r}: use one of {known}, or give lengths")
    errors = nme(pred, true, NORMALIZERS[normalizer] if lengths is None else lengths, mask)
    name = f"nme_{normalizer}"
    low, high = bootstrap_interval(np.mean, errors, groups=groups, seed=seed)
    summary = {
        "faces": int(errors.size),
        name: float(errors.mean()),
        f"{name}_low": low,
        f"{name}_high": high,
        f"{name}_p90": float(np.percentile(errors, 90)),
    } | _figures(errors, name)
    for subset, rows in subset_rows(subsets, errors.size).items():
        figures = _figures(errors[rows], name)
        figures = {f"{key}_{subset}": value for key, value in figures.items()}
        if figures.keys() & summary.keys():
            raise ValueError(f"a subset cannot be named {subset!r}: another figure ends like that")
        summary |= figures
    return summary


def subset_rows(subsets: Sequence[str] | None, count: int) -> dict[str, np.ndarray]:
    """Rows of each subset, by name: N strings, in which "+" joins the names of one face."""
    if subsets is None:
        return {}
    if len(subsets) != count:
        raise ValueError(f"{len(subsets)} subset names for {count} faces")
    parts = [set(filter(None, subset.split("+"))) for subset in subsets]
    return {
        name: np.flatnonzero([name in part for part in parts])
        for name in sorted(set().union(*parts))
    }


def normalizer_of(summary: Mapping[str, float]) -> str:
    """Name of the normaliser of a summary; refuses one that mixes two."""
    names = sorted((key for key in summary if key.startswith("nme_")), key=len)
    if not names:
        raise ValueError("no nme_<normalizer> among: " + ", ".join(summary))
    for name in names[1:]:
        if not name.startswith(names[0] + "_"):
            raise ValueError(f"mixed normalisers: {names[0]} and {name}")
    return names[0].removeprefix("nme_")


def check_comparable(summaries: Mapping[str, Mapping[str, float]]) -> str:
    """Refuses to set results side by side that were normalised in different ways.

    Args:
        summaries: method -> its summary.

    Returns:
        The one normaliser of them all.
    """
    found = {method: normalizer_of(summary) for method, summary in summaries.items()}
    if len(set(found.values())) != 1:
        listed = ", ".join(f"{method} uses {name}" for method, name in found.items())
        raise ValueError(f"errors with different normalisers cannot be compared: {listed}")
    return next(iter(found.values()))


def _figures(errors: np.ndarray, name: str) -> dict[str, float]:
    return {
        "faces": int(errors.size),
        name: float(errors.mean()),
        "auc_0.08": auc(errors, 8.0),
        "auc_0.10": auc(errors, 10.0),
        "failure_rate_0.08": failure_rate(errors, 8.0),
        "failure_rate_0.10": failure_rate(errors, 10.0),
    }


def _checked(pred, true, mask):
    pred, true = np.asarray(pred, np.float64), np.asarray(true, np.float64)
    if pred.shape != true.shape or true.ndim != 3 or true.shape[-1] != 2:
        raise ValueError(
            f"predicted {pred.shape} and true {true.shape} points must both be [N, K, 2]"
        )
    if not true.shape[0]:
        raise ValueError("no face to measure: the split is empty")
    mask = np.ones(true.shape[:2], bool) if mask is None else np.asarray(mask)
    if mask.shape != true.shape[:2] or mask.dtype != bool:
        raise ValueError(f"mask must be bool {true.shape[:2]}, got {mask.dtype} {mask.shape}")
    _refuse(~np.isfinite(pred).all(-1), "prediction", "the model diverged or was not restored")
    _refuse(
        mask & ~np.isfinite(true).all(-1), "true point", "set the mask to False where unlabelled"
    )
    empty = np.flatnonzero(~mask.any(1))
    if empty.size:
        raise ValueError(f"face {empty[0]} has no labelled point: drop such faces first")
    return pred, true, mask


def _refuse(bad: np.ndarray, what: str, hint: str) -> None:
    if bad.any():
        face, point = np.argwhere(bad)[0]
        raise ValueError(
            f"{what} of face {face}, landmark {point} is not finite "
            f"({bad.any(1).sum()} faces affected): {hint}"
        )


def _finite(errors: np.ndarray) -> np.ndarray:
    errors = np.asarray(errors, np.float64)
    if errors.ndim != 1 or not errors.size or not np.isfinite(errors).all():
        raise ValueError(f"errors must be [N] with N > 0, all finite; got shape {errors.shape}")
    return errors


def _positive(limit: float) -> float:
    if not limit > 0:
        raise ValueError(f"the limit must be positive, got {limit}")
    return limit
