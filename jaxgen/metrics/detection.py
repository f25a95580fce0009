"""How good a face detector is: average precision by the protocol of WIDER FACE, by size, and ROC.

Contract. Predictions are one [N, 5] array an image, (x0, y0, x1, y1, score), in any order; true
boxes one [M, 4] array an image; `counted` one [M] bool array an image, False for faces that are
to be ignored: finding them is neither right nor wrong. Boxes are pixels, edge to edge. Figures are
percent; NaN where there is nothing to find.

A prediction belongs to the true face that it overlaps most, counted or not, if by IoU >= 0.5. The
best prediction of a face is right, further ones are wrong, and so are those that belong to none.

Source of the protocol: the published evaluation of WIDER FACE (Yang et al., CVPR 2016), MATLAB,
and its Python ports.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

# Heights of faces in pixels, and the names of their figures: (least, below).
HEIGHT_BINS = {
    "0_10": (0, 10),
    "10_16": (10, 16),
    "0_16": (0, 16),  # both
    "16_32": (16, 32),
    "32_96": (32, 96),
    "96_inf": (96, np.inf),
}

Images = Sequence[np.ndarray]


class Curve(NamedTuple):
    """Precision and recall at falling thresholds, in [0, 1]; precision is NaN before any box."""

    recall: np.ndarray  # [T]
    precision: np.ndarray  # [T]
    threshold: np.ndarray  # [T] scores


class Roc(NamedTuple):
    """True positive rate by the number of false positives in the whole set."""

    false_positives: np.ndarray  # [T] int, rising
    true_positive_rate: np.ndarray  # [T] in [0, 1]


class _Outcome(NamedTuple):
    """Predictions of all images that are not ignored."""

    scores: np.ndarray  # [P]
    right: np.ndarray  # [P] bool
    heights: np.ndarray  # [P] of the predictions
    faces: int  # to be found


# ------------------------------------------------------------------- the protocol of WIDER FACE


def wider_average_precision(
    predictions: Images,
    ground_truth: Images,
    counted: Images | None = None,
    *,
    thresholds: int = 1000,
) -> float:
    """Average precision by the protocol of WIDER FACE, in percent.

    Args:
        predictions: [N, 5] for each image.
        ground_truth: [M, 4] for each image.
        counted: [M] bool for each image, the faces of the level; None counts all.
        thresholds: steps at which precision and recall are taken.
    """
    return area_under(wider_curve(predictions, ground_truth, counted, thresholds=thresholds))


def wider_curve(
    predictions: Images,
    ground_truth: Images,
    counted: Images | None = None,
    *,
    thresholds: int = 1000,
) -> Curve:
    """Precision and recall by the protocol of WIDER FACE, which has these particulars.

    Scores are first stretched to [0, 1] over the whole set. IoU counts corners as pixels (+1). An
    image without true boxes is left out: what is found there is not counted as wrong; see
    `average_precision` for the figure that does. Thresholds are 1 - t / thresholds.

    Arguments as in `wider_average_precision`.

    Raises:
        ValueError: shapes or numbers of images do not fit, or a box or score is not finite.
    """
    predictions, ground_truth, counted = _checked(predictions, ground_truth, counted)
    faces = sum(int(keep.sum()) for keep in counted)
    images = [item for item in zip(predictions, ground_truth, counted, strict=True) if len(item[1])]
    outcome = _outcomes(images, plus_one=True)
    scores = stretch(outcome.scores, predictions)
    at = 1 - np.arange(1, thresholds + 1) / thresholds
    # Scores fall inside an image, so what its curve has at a threshold is what lies above it;
    # added over images, that is one search in the sorted scores of all.
    order = np.argsort(scores, kind="stable")
    ascending, right = scores[order], outcome.right[order]
    first = np.searchsorted(ascending, at, side="left")
    found = np.concatenate([np.cumsum(right[::-1])[::-1], [0]])[first]
    proposals = len(scores) - first
    with np.errstate(invalid="ignore", divide="ignore"):
        return Curve(found / np.float64(faces), found / proposals.astype(np.float64), at)


def stretch(scores: np.ndarray, predictions: Images) -> np.ndarray:
    """Scores as shares of the range of all scores of a set. [P] -> [P] in [0, 1]."""
    every = np.concatenate([each[:, 4] for each in predictions] or [np.zeros(0)])
    if not every.size:
        return scores
    low, high = every.min(), every.max()
    return (scores - low) / (high - low) if high > low else np.ones_like(scores)


def area_under(curve: Curve) -> float:
    """Area under the falling envelope of a curve, all points (VOC since 2010), in percent."""
    if not np.isfinite(curve.recall).all():
        return float("nan")  # nothing to find
    known = np.isfinite(curve.precision)
    recall = np.concatenate([[0.0], curve.recall[known], [1.0]])
    precision = np.concatenate([[0.0], curve.precision[known], [0.0]])
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(100 * np.sum(np.diff(recall) * envelope[1:]))


# ------------------------------------------------------------------------------ every box counts


def precision_recall(
    predictions: Images,
    ground_truth: Images,
    counted: Images | None = None,
    *,
    heights: tuple[float, float] = (0, np.inf),
) -> Curve:
    """Precision and recall after every prediction of the set, best first.

    Unlike `wider_curve`, images without faces count, IoU has no extra pixel, and there are no
    threshold steps. Faces with a height outside of `heights` are ignored, and so are wrong boxes
    with a height outside: each size is judged by itself.

    Args:
        predictions: [N, 5] for each image.
        ground_truth: [M, 4] for each image.
        counted: [M] bool for each image; None counts all.
        heights: (least, below) in pixels.
    """
    outcome = _by_height(predictions, ground_truth, counted, heights)
    order = np.argsort(-outcome.scores, kind="stable")
    scores, found = outcome.scores[order], np.cumsum(outcome.right[order])
    # Equal scores cannot be told apart: a curve has points only where the score changes.
    last = np.concatenate([np.diff(scores) != 0, [True]])[: len(scores)]
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = found[last] / np.float64(outcome.faces)
    precision = (found / np.arange(1, len(found) + 1))[last]
    if not outcome.faces:
        recall = np.full(max(1, len(recall)), np.nan)
        precision = np.full(len(recall), np.nan)
        return Curve(recall, precision, np.full(len(recall), np.nan))
    return Curve(recall, precision, scores[last])


def average_precision(
    predictions: Images, ground_truth: Images, counted: Images | None = None, **options
) -> float:
    """Area under `precision_recall`, in percent; arguments are its."""
    return area_under(precision_recall(predictions, ground_truth, counted, **options))


def average_precision_by_height(
    predictions: Images,
    ground_truth: Images,
    counted: Images | None = None,
    *,
    bins: Mapping[str, tuple[float, float]] = HEIGHT_BINS,
) -> dict[str, float]:
    """Average precision of the faces of each height: {"ap_height_0_10": percent, ...}.

    Args:
        predictions: [N, 5] for each image.
        ground_truth: [M, 4] for each image.
        counted: [M] bool for each image; None counts all.
        bins: name -> (least, below) height in pixels.
    """
    return {
        f"ap_height_{name}": average_precision(predictions, ground_truth, counted, heights=heights)
        for name, heights in bins.items()
    }


def faces_by_height(
    ground_truth: Images,
    counted: Images | None = None,
    *,
    bins: Mapping[str, tuple[float, float]] = HEIGHT_BINS,
) -> dict[str, int]:
    """Number of faces of each height: {"0_10": 231, ...}."""
    nothing = [np.zeros((0, 5))] * len(ground_truth)
    images = zip(*_checked(nothing, ground_truth, counted), strict=True)
    heights = [(boxes[:, 3] - boxes[:, 1])[keep] for _, boxes, keep in images]
    heights = np.concatenate(heights or [np.zeros(0)])
    return {
        name: int(((heights >= low) & (heights < high)).sum()) for name, (low, high) in bins.items()
    }


def ceiling(
    predictions: Images,
    ground_truth: Images,
    counted: Images | None = None,
    *,
    heights: tuple[float, float] = (0, np.inf),
    protocol: Literal["every", "wider"] = "every",
) -> float:
    """What average precision the same boxes would have with perfect scores, in percent.

    That is the share of the faces that some box finds.

    Args:
        predictions: [N, 5] for each image; scores are not used.
        ground_truth: [M, 4] for each image.
        counted: [M] bool for each image; None counts all.
        heights: (least, below) in pixels.
        protocol: "every" as `average_precision` judges a box, "wider" as
            `wider_average_precision` does, with one more pixel.
    """
    outcome = _by_height(predictions, ground_truth, counted, heights, plus_one=protocol == "wider")
    return 100 * int(outcome.right.sum()) / outcome.faces if outcome.faces else float("nan")


def roc(predictions: Images, ground_truth: Images, counted: Images | None = None) -> Roc:
    """The discrete ROC of FDDB: share of faces found, by the false positives of the whole set.

    FDDB marks faces as ellipses; give boxes around them, on both sides alike. A box is matched with
    the face that it overlaps most, as in the other figures here, and not, as in FDDB's own program,
    so that all boxes of an image together overlap most: that differs where faces overlap. Arguments
    as in `wider_average_precision`.

    Source: Jain and Learned-Miller, FDDB, 2010.
    """
    outcome = _outcomes(list(zip(*_checked(predictions, ground_truth, counted), strict=True)))
    order = np.argsort(-outcome.scores, kind="stable")
    right = outcome.right[order]
    last = np.concatenate([np.diff(outcome.scores[order]) != 0, [True]])[: len(right)]
    rate = np.cumsum(right) / max(outcome.faces, 1)
    return Roc(np.concatenate([[0], np.cumsum(~right)[last]]), np.concatenate([[0.0], rate[last]]))


def rate_at(curve: Roc, false_positives: int) -> float:
    """Percent of faces found while at most that many boxes of the set are wrong."""
    place = np.searchsorted(curve.false_positives, false_positives, side="right") - 1
    return float(100 * curve.true_positive_rate[place])


# -------------------------------------------------------------------------------- matching


def match_image(predictions, boxes, counted, *, plus_one=False, iou_threshold=0.5):
    """What one image's predictions are worth.

    Args:
        predictions: [N, 5], best first.
        boxes: [M, 4].
        counted: [M] bool.
        plus_one: count corners as pixels.
        iou_threshold: least overlap of a prediction with its face.

    Returns:
        right [N] bool, and ignored [N] bool: its face is not counted.
    """
    if not len(predictions) or not len(boxes):
        return np.zeros(len(predictions), bool), np.zeros(len(predictions), bool)
    overlaps = _pairwise_iou(predictions[:, :4], boxes, plus_one)
    face = overlaps.argmax(1)
    hit = overlaps[np.arange(len(face)), face] >= iou_threshold
    ignored = hit & ~counted[face]
    right = np.zeros(len(face), bool)
    claims = np.flatnonzero(hit & ~ignored)
    right[claims[np.unique(face[claims], return_index=True)[1]]] = True  # the first of each face
    return right, ignored


def _pairwise_iou(first, second, plus_one):
    extra = 1.0 if plus_one else 0.0
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    sides = np.maximum(high - low + extra, 0)
    shared = sides[..., 0] * sides[..., 1]
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2] + extra, axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None] - shared
    return np.where(union > 0, shared / np.where(union > 0, union, 1), 0)


def _outcomes(images, *, plus_one=False) -> _Outcome:
    """Judges the predictions of images [(predictions, boxes, counted)]."""
    scores, right, heights = [np.zeros(0)], [np.zeros(0, bool)], [np.zeros(0)]
    for predictions, boxes, counted in images:
        ordered = predictions[np.argsort(-predictions[:, 4], kind="stable")]
        found, ignored = match_image(ordered, boxes, counted, plus_one=plus_one)
        scores.append(ordered[~ignored, 4])
        right.append(found[~ignored])
        heights.append((ordered[:, 3] - ordered[:, 1])[~ignored])
    faces = sum(int(counted.sum()) for _, _, counted in images)
    return _Outcome(*map(np.concatenate, (scores, right, heights)), faces)


def _by_height(predictions, ground_truth, counted, heights, *, plus_one=False) -> _Outcome:
    predictions, ground_truth, counted = _checked(predictions, ground_truth, counted)
    low, high = heights
    inside = [(b[:, 3] - b[:, 1] >= low) & (b[:, 3] - b[:, 1] < high) for b in ground_truth]
    counted = [keep & own for keep, own in zip(counted, inside, strict=True)]
    images = list(zip(predictions, ground_truth, counted, strict=True))
    outcome = _outcomes(images, plus_one=plus_one)
    own = outcome.right | ((outcome.heights >= low) & (outcome.heights < high))
    return _Outcome(outcome.scores[own], outcome.right[own], outcome.heights[own], outcome.faces)


def _checked(predictions, ground_truth, counted):
    """All three as lists of float64 and bool arrays that fit together."""
    if counted is None:
        counted = [np.ones(len(boxes), bool) for boxes in ground_truth]
    if not len(predictions) == len(ground_truth) == len(counted):
        raise ValueError(
            f"predictions of {len(predictions)} images, true boxes of {len(ground_truth)} and "
            f"counted faces of {len(counted)}: they must be of the same images"
        )
    predictions = [
        _rows(each, f"image {n}: predictions", ("x0", "y0", "x1", "y1", "score"))
        for n, each in enumerate(predictions)
    ]
    ground_truth = [
        _rows(each, f"image {n}: true boxes", ("x0", "y0", "x1", "y1"))
        for n, each in enumerate(ground_truth)
    ]
    counted = [np.asarray(each, bool).reshape(-1) for each in counted]
    for place, (found, boxes, keep) in enumerate(
        zip(predictions, ground_truth, counted, strict=True)
    ):
        if len(boxes) != len(keep):
            raise ValueError(f"image {place}: {len(boxes)} true boxes, but {len(keep)} of counted")
        if not (np.isfinite(found).all() and np.isfinite(boxes).all()):
            raise ValueError(f"image {place}: a box or score is not finite")
    return predictions, ground_truth, counted


def _rows(rows, what, columns):
    """float64 [N, len(columns)]; of an image without any the shape does not matter."""
    rows = np.asarray(rows, np.float64)
    if not rows.size:
        return np.zeros((0, len(columns)))
    if rows.ndim != 2 or rows.shape[1] != len(columns):
        raise ValueError(
            f"{what} must be [N, {len(columns)}] ({', '.join(columns)}), got {list(rows.shape)}"
        )
    return rows
