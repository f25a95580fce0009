"""Figures of semantic segmentation, all from one confusion matrix.

Contract. A confusion matrix is int64 [K, K]: entry (i, j) counts pixels of true class i that were
predicted as j. Matrices of parts of a test set ADD up to the matrix of the whole, so a set is
measured by one matrix over all of its pixels, never by a mean over images. Pixels labelled
`ignore` are left out. Figures are in PERCENT, as the field prints them.

Source: Long, Shelhamer, Darrell, "Fully convolutional networks for semantic segmentation" (2015),
section 5, for the four figures.
"""

from collections.abc import Sequence

import numpy as np

IGNORE = 255


def confusion(
    pred: np.ndarray, label: np.ndarray, num_classes: int, ignore: int = IGNORE
) -> np.ndarray:
    """Counts pixels by true and predicted class.

    Args:
        pred: [...] integer class of every pixel, 0 .. num_classes - 1 wherever it is counted.
        label: same shape, integer true class, or `ignore`.
        num_classes: K.
        ignore: label of pixels that are left out.

    Returns:
        [K, K] int64, rows are true classes.

    Raises:
        ValueError: shapes differ, values are no integers, or a counted class is outside 0 .. K - 1.
    """
    pred, label = np.asarray(pred), np.asarray(label)
    if pred.shape != label.shape:
        raise ValueError(f"prediction {pred.shape} and label {label.shape} differ in shape")
    for name, values in (("prediction", pred), ("label", label)):
        if not np.issubdtype(values.dtype, np.integer):
            raise ValueError(f"a {name} holds whole class numbers, got {values.dtype}")
    counted = label != ignore
    # int64 first: in uint8 the products below would wrap around.
    pred, label = pred[counted].astype(np.int64), label[counted].astype(np.int64)
    for name, values in (("prediction", pred), ("label", label)):
        if values.size and not 0 <= values.min() <= values.max() < num_classes:
            bad = values[(values < 0) | (values >= num_classes)][0]
            raise ValueError(f"{name} {bad} is no class: there are {num_classes}, from 0")
    pairs = np.bincount(label * num_classes + pred, minlength=num_classes**2)
    return pairs.reshape(num_classes, num_classes)


def per_class_iou(matrix: np.ndarray) -> np.ndarray:
    """Intersection over union of every class: TP / (TP + FP + FN).

    Args:
        matrix: [K, K] from `confusion`.

    Returns:
        [K] float64 percent; NaN for a class that is neither labelled nor predicted anywhere.
    """
    matrix = _checked(matrix)
    hit = np.diag(matrix)
    union = matrix.sum(0) + matrix.sum(1) - hit
    return 100 * np.divide(hit, union, out=np.full(len(hit), np.nan), where=union > 0)


def mean_iou(matrix: np.ndarray) -> float:
    """Mean IoU in percent over the classes that are labelled or predicted somewhere."""
    return float(np.nanmean(per_class_iou(matrix)))


def frequency_weighted_iou(matrix: np.ndarray) -> float:
    """IoU in percent, weighted by each class's share of the labelled pixels."""
    matrix = _checked(matrix)
    share = matrix.sum(1) / matrix.sum()
    # A class without labelled pixels has no weight, and its IoU may be undefined.
    return float(share @ np.nan_to_num(per_class_iou(matrix)))


def pixel_accuracy(matrix: np.ndarray) -> float:
    """Percent of the labelled pixels whose class is right."""
    matrix = _checked(matrix)
    return float(100 * np.trace(matrix) / matrix.sum())


def summary(matrix: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    """All figures under their standard names.

    Args:
        matrix: [K, K] from `confusion`.
        classes: K names.

    Returns:
        miou, fwiou, pixel_accuracy and one iou_<class> a class, percent; NaN as in `per_class_iou`.
    """
    iou = per_class_iou(matrix)
    return {
        "miou": mean_iou(matrix),
        "fwiou": frequency_weighted_iou(matrix),
        "pixel_accuracy": pixel_accuracy(matrix),
        **{
            f"iou_{name.replace(' ', '_')}": float(value)
            for name, value in zip(classes, iou, strict=True)
        },
    }


def _checked(matrix: np.ndarray) -> np.ndarray:
    matrix = np.asarray(matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"a confusion matrix is square, got {matrix.shape}")
    if not matrix.sum() > 0:
        raise ValueError("the confusion matrix counts no labelled pixel: nothing was measured")
    return matrix
