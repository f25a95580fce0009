"""Figures of face recognition: identification, verification, and sets of pictures.

Contract. Plain NumPy on the host, float64. Features are compared by their cosine; a feature of
zeros has cosine 0 with everybody. A pair is accepted where its score is at least the threshold.
Accuracies, rates and areas are in PERCENT; wanted false accept rates (`far`) are shares, as in
"TAR at FAR 1e-3". Every figure of verification but the threshold itself stays the same under an
increasing map of the scores.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

FALSE_ACCEPT_RATES = (1e-2, 1e-3)
_TIE = 1e-12  # equal features do not give the very same cosine in every column of a product


def cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosine of every row of one array with every row of another.

    Args:
        first: [N, F].
        second: [M, F].

    Returns:
        [N, M] float64 in [-1, 1].
    """
    first, second = _unit(first), _unit(second)
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"features of {first.shape[1]} and {second.shape[1]} numbers differ")
    return np.clip(first @ second.T, -1, 1)


def fuse(features: np.ndarray, weights: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """One feature of several pictures: sum w f / sum w.

    Args:
        features: [..., n, F].
        weights: [..., n], 0 or more; all alike gives the mean.
        mask: [..., n] bool, False for pictures that are not there; None means all are.

    Returns:
        [..., F] float64.

    Raises:
        ValueError: a set without a picture, or whose weights are all 0; its number is named.
    """
    features, weights = np.asarray(features, np.float64), np.asarray(weights, np.float64)
    mask = np.ones(weights.shape, bool) if mask is None else np.asarray(mask, bool)
    if features.shape[:-1] != weights.shape or mask.shape != weights.shape:
        raise ValueError(
            f"features {features.shape} need weights and mask of shape {features.shape[:-1]}, "
            f"got {weights.shape} and {mask.shape}"
        )
    weights = np.where(mask, weights, 0)
    if not (weights >= 0).all():
        raise ValueError("weights must be 0 or more, and not NaN")
    total = weights.sum(-1)
    if not (total > 0).all():
        empty = [int(i) for i in np.argwhere(~(total > 0))[0]] if total.ndim else ""
        raise ValueError(f"set {empty} holds no picture (or only weights of 0): leave it out")
    features = np.where(mask[..., None], features, 0)
    return (weights[..., None] * features).sum(-2) / total[..., None]


# ----------------------------------------------------------------------- identification


def rank1(gallery_features, gallery_ids, probe_features, probe_ids) -> np.ndarray:
    """Whether the most similar gallery picture of each probe shows the right person.

    A person may have several gallery pictures; the best one counts. A probe that is as similar to
    somebody else counts as wrong, so a network that gives one feature to all is never right.

    Args:
        gallery_features: [G, F].
        gallery_ids: [G] numbers or names of people.
        probe_features: [P, F].
        probe_ids: [P].

    Returns:
        [P] bool.

    Raises:
        ValueError: a probe shows a person who is not in the gallery. Identification is closed:
            leave such probes out first.
    """
    gallery_ids, probe_ids = np.asarray(gallery_ids), np.asarray(probe_ids)
    scores = cosine(probe_features, gallery_features)
    if scores.shape != (len(probe_ids), len(gallery_ids)):
        raise ValueError(
            f"{scores.shape[1]} gallery and {scores.shape[0]} probe features for "
            f"{len(gallery_ids)} and {len(probe_ids)} ids"
        )
    absent = ~np.isin(probe_ids, gallery_ids)
    if absent.any():
        raise ValueError(
            f"{int(absent.sum())} probes show people without a gallery picture, the first "
            f"{probe_ids[absent][0]!r}: leave them out"
        )
    own = probe_ids[:, None] == gallery_ids
    best_own = np.where(own, scores, -np.inf).max(1)
    best_other = np.where(own, -np.inf, scores).max(1)
    return best_own > best_other + _TIE


def rank1_by_yaw(correct: np.ndarray, yaw: np.ndarray, views: Sequence[float]) -> dict[str, float]:
    """Rank-1 rates by pose.

    Args:
        correct: [P] bool, from `rank1`.
        yaw: [P] degrees, no NaN.
        views: yaws of the protocol's views, such as (-60, -45, ..., 60); each probe belongs to the
            nearest, however far it is: leave out first what none of the views stands for.

    Returns:
        Percent: `rank1_yaw_A` over the probes at -A and A for each A that has any, and `rank1`,
        the mean over the VIEWS with probes (yaw 0 counts once, every other A twice). That is how
        the published means over Multi-PIE's nine views come about; it is not the mean of the
        `rank1_yaw_A`. Where all views have equally many probes it is the mean over probes too.
    """
    correct, yaw = np.asarray(correct, np.float64), np.asarray(yaw, np.float64)
    if correct.shape != yaw.shape or correct.ndim != 1 or not correct.size:
        raise ValueError(f"answers {correct.shape} and yaws {yaw.shape} must be [P] with P > 0")
    if not np.isfinite(yaw).all():
        raise ValueError(f"{int(np.isnan(yaw).sum())} probes have no yaw: leave them out")
    views = np.sort(np.asarray(views, np.float64))
    view = np.abs(yaw[:, None] - views).argmin(1)
    rates = {v: 100 * correct[view == v].mean() for v in np.unique(view)}
    figures = {"rank1": float(np.mean(list(rates.values())))}
    for angle in np.unique(np.abs(views[list(rates)])):
        at = np.isin(view, np.flatnonzero(np.abs(views) == angle))
        figures[f"rank1_yaw_{angle:g}"] = float(100 * correct[at].mean())
    return figures


# ------------------------------------------------------------------------- verification


class Roc(NamedTuple):
    """Points of the receiver operating characteristic, strictest threshold first."""

    threshold: np.ndarray  # [K] decreasing; the first is inf: nothing is accepted
    far: np.ndarray  # [K] percent of different people that are accepted
    tar: np.ndarray  # [K] percent of same people that are accepted


class Verification(NamedTuple):
    """Figures of one list of pairs, in percent."""

    accuracy: float  # at the best threshold of these very pairs
    threshold: float  # that threshold
    eer: float  # equal error rate
    auc: float  # area under the ROC
    tar_at_far: dict[float, float]  # only for rates that so few impostors can show


class Folds(NamedTuple):
    """Mean and standard deviation over folds, in percent."""

    accuracy: float
    accuracy_std: float
    eer: float
    eer_std: float
    auc: float
    auc_std: float
    threshold: np.ndarray  # [folds], chosen without the fold


def roc(scores: np.ndarray, labels: np.ndarray) -> Roc:
    """The ROC of pairs.

    Args:
        scores: [Q], higher for the same person.
        labels: [Q] bool, True for the same person. Both kinds must be there.

    Returns:
        One point for each different score, after the point where nothing is accepted.
    """
    scores, labels = _pairs(scores, labels)
    order = np.argsort(-scores, kind="stable")
    scores, labels = scores[order], labels[order]
    last = np.flatnonzero(np.append(np.diff(scores) != 0, True))  # ties go together
    accepted = np.cumsum(labels)[last]
    tar, far = accepted / labels.sum(), (last + 1 - accepted) / (~labels).sum()
    return Roc(
        np.append(np.inf, scores[last]), 100 * np.append(0.0, far), 100 * np.append(0.0, tar)
    )


def verification(
    scores: np.ndarray, labels: np.ndarray, *, rates: Sequence[float] = FALSE_ACCEPT_RATES
) -> Verification:
    """All figures of one list of pairs; arguments as of `roc`, `rates` as of `tar_at_far`."""
    curve = roc(scores, labels)
    threshold = _best_threshold(scores, labels)
    impostors = np.count_nonzero(~np.asarray(labels, bool))
    return Verification(
        accuracy=_accuracy(scores, labels, threshold),
        threshold=threshold,
        eer=equal_error_rate(curve),
        auc=float(np.trapezoid(curve.tar, curve.far) / 100),
        tar_at_far={rate: tar_at_far(curve, rate) for rate in rates if rate * impostors >= 1},
    )


def equal_error_rate(curve: Roc) -> float:
    """Percent at which as many different people are accepted as same people are rejected.

    Between two points of the ROC the line between them is meant.
    """
    gap = curve.far + curve.tar - 100  # accepted impostors - rejected people; it never falls
    after = int(np.argmax(gap >= 0))
    before = after - 1
    part = -gap[before] / (gap[after] - gap[before])
    return float(curve.far[before] + part * (curve.far[after] - curve.far[before]))


def tar_at_far(curve: Roc, far: float) -> float:
    """Largest TAR in percent at thresholds whose FAR is at most `far` (a share), without lines."""
    return float(curve.tar[curve.far <= 100 * far + 1e-9].max())


def threshold_at_far(scores: np.ndarray, labels: np.ndarray, far: float) -> float:
    """The lowest threshold that accepts at most a share `far` of the pairs of different people.

    Args:
        scores: [Q] of pairs that calibrate.
        labels: [Q] bool.
        far: wanted false accept rate, above 0 and below 1.

    Raises:
        ValueError: there are fewer than 1 / far pairs of different people, so that no threshold
            can be told from another at that rate.
    """
    scores, labels = _pairs(scores, labels)
    impostors = np.sort(scores[~labels])[::-1]
    allowed = int(far * len(impostors) + 1e-9)
    if not 0 < far < 1 or allowed < 1:
        raise ValueError(
            f"a false accept rate of {far:g} needs {int(np.ceil(1 / max(far, 1e-9)))} pairs of "
            f"different people to calibrate, got {len(impostors)}: use more pairs or a higher rate"
        )
    # Halfway to the best pair that must be refused; right above it where the two are tied.
    refused = impostors[allowed]
    accepted = scores[scores > refused].min(initial=np.inf)
    return float(np.nextafter(refused, np.inf) if np.isinf(accepted) else (refused + accepted) / 2)


def over_folds(scores: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> Folds:
    """Figures over the folds of a protocol, as for LFW and CFP.

    Each fold's accuracy uses the threshold that is best on all OTHER folds. EER and AUC are those
    of each fold. Deviations are those of the folds themselves (divided by their number).

    Args:
        scores: [Q].
        labels: [Q] bool.
        folds: [Q] number of each pair's fold; two folds or more.
    """
    scores, labels = _pairs(scores, labels)
    folds = np.asarray(folds)
    names = np.unique(folds)
    if folds.shape != scores.shape or len(names) < 2:
        raise ValueError(f"folds must name two or more folds of {len(scores)} pairs")
    rows = []
    for name in names:
        inside = folds == name
        threshold = _best_threshold(scores[~inside], labels[~inside])
        found = verification(scores[inside], labels[inside], rates=())
        accuracy = _accuracy(scores[inside], labels[inside], threshold)
        rows.append((accuracy, found.eer, found.auc, threshold))
    accuracy, eer, auc, thresholds = np.array(rows).T
    figures = (float(f(x)) for x in (accuracy, eer, auc) for f in (np.mean, np.std))
    return Folds(*figures, threshold=thresholds)


def _accuracy(scores, labels, threshold):
    return float(100 * np.mean((np.asarray(scores) >= threshold) == np.asarray(labels, bool)))


def _best_threshold(scores, labels):
    """Halfway between the two scores between which most pairs are right (the strictest such)."""
    curve, labels = roc(scores, labels), np.asarray(labels, bool)
    right = curve.tar * labels.sum() + (100 - curve.far) * (~labels).sum()
    best = int(np.argmax(right))
    around = curve.threshold[best : best + 2]
    if best == 0:
        return float(np.nextafter(around[1], np.inf))
    return float(around.mean())


def _unit(features):
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or not np.isfinite(features).all():
        raise ValueError(f"features must be [N, F] and finite, got shape {features.shape}")
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-30)


def _pairs(scores, labels):
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels, bool)
    if scores.shape != labels.shape or scores.ndim != 1 or not np.isfinite(scores).all():
        raise ValueError(f"scores {scores.shape} and labels {labels.shape} must be [Q] and finite")
    if labels.all() or not labels.any():
        raise ValueError("pairs of the same person AND pairs of different people are needed")
    return scores, labels
