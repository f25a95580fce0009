"""Figures of domain adaptation: what one may look at with target labels, and without.

Contract. Plain NumPy on the host, float64. Class numbers are integers; accuracies, rates and their
intervals are in PERCENT, entropies in nats.

Choosing a model by its accuracy on labelled target data is not unsupervised adaptation. The three
label-free figures (`mean_entropy`, `information_maximisation`, `soft_neighbourhood_density`) need
predictions on unlabelled target data alone. None of them is always right: a network that gives
every image one class has an entropy of 0 and a high density, so look at more than one.
"""

import statistics

import numpy as np


def accuracy(pred: np.ndarray, label: np.ndarray) -> float:
    """Percent of predictions [...] that equal their labels [...]."""
    pred, label = _pair(pred, label)
    return float(100 * np.mean(pred == label))


def accuracy_interval(
    pred: np.ndarray, label: np.ndarray, *, confidence: float = 95.0
) -> tuple[float, float]:
    """Binomial interval of the accuracy after Wilson (1927), for independent images.

    For images in groups (videos, people), or for the difference of two methods, resample instead:
    `bootstrap.bootstrap_interval(np.mean, 100 * (pred == label), seed=0, groups=groups)`.

    Args:
        pred: [N] predicted classes.
        label: [N] true classes.
        confidence: percent, between 0 and 100.

    Returns:
        (low, high) percent, inside [0, 100].
    """
    if not 0 < confidence < 100:
        raise ValueError(f"confidence is in percent, between 0 and 100; got {confidence}")
    rate, count = accuracy(pred, label) / 100, np.size(label)
    z = statistics.NormalDist().inv_cdf(0.5 + confidence / 200)
    centre = rate + z**2 / (2 * count)
    reach = z * np.sqrt(rate * (1 - rate) / count + z**2 / (4 * count**2))
    low, high = (100 * (centre + side * reach) / (1 + z**2 / count) for side in (-1, 1))
    # At rates of exactly 0 and 1 rounding could step over the edge.
    return float(max(low, 0.0)), float(min(high, 100.0))


def label_flip_rate(
    pred_of_translated: np.ndarray, source_label: np.ndarray, *, ignore: int | None = None
) -> float:
    """Percent of translated images (or pixels) that show another class than their source.

    Args:
        pred_of_translated: [...] classes that an INDEPENDENT classifier sees in the translated
            images. The classifier that the translator was trained against would find too few.
        source_label: same shape, labels of the source images.
        ignore: label of pixels that are left out.
    """
    pred, label = _pair(pred_of_translated, source_label)
    if ignore is not None:
        pred, label = _pair(pred[label != ignore], label[label != ignore])
    return 100 - accuracy(pred, label)


def mean_entropy(probabilities: np.ndarray) -> float:
    """Mean entropy of predictions; lower is surer.

    Args:
        probabilities: [N, K], rows sum to 1.

    Returns:
        nats, in [0, log K].
    """
    return float(_entropy(_distributions(probabilities)).mean())


def information_maximisation(probabilities: np.ndarray) -> float:
    """Mutual information of image and predicted class; higher is better.

    The entropy of the mean prediction minus the mean entropy: predictions should be sure one by
    one and spread over the classes together. It presumes that classes are about equally frequent.

    Args:
        probabilities: [N, K], rows sum to 1.

    Returns:
        nats, in [0, log K].
    """
    probabilities = _distributions(probabilities)
    return float(_entropy(probabilities.mean(0)) - _entropy(probabilities).mean())


def soft_neighbourhood_density(
    features: np.ndarray, *, temperature: float = 0.05, chunk: int = 512
) -> float:
    """How closely each image is surrounded by many others alike; higher is better.

    Every row is normalised; a softmax over its similarities with all OTHER rows says who its
    neighbours are, and the entropy of that softmax how many they are: log(n) where n rows are
    equally near and the rest far.

    Args:
        features: [N, D], N >= 2; softmax outputs on target images, or features.
        temperature: of the softmax over neighbours.
        chunk: rows compared at a time; memory is chunk x N, never N x N.

    Returns:
        nats, in [0, log(N - 1)].

    Source: Saito et al., "Tune it the right way" (ICCV 2021), equations 2 and 3.
    """
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"features are [N, D] with N of 2 or more, got {features.shape}")
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        raise ValueError("a row of the features is zero or not finite: it has no direction")
    unit = features / lengths
    total = 0.0
    for start in range(0, len(unit), chunk):
        logits = unit[start : start + chunk] @ unit.T / temperature
        rows = np.arange(len(logits))
        logits[rows, start + rows] = -np.inf  # nobody is a neighbour of itself
        logits -= logits.max(1, keepdims=True)
        weights = np.exp(logits)
        weights /= weights.sum(1, keepdims=True)
        total += _entropy(weights).sum()
    return float(total / len(unit))


def _entropy(probabilities: np.ndarray) -> np.ndarray:
    """[..., K] -> [...] nats; 0 log 0 is 0."""
    log = np.log(probabilities, out=np.zeros_like(probabilities), where=probabilities > 0)
    return -(probabilities * log).sum(-1)


def _distributions(probabilities: np.ndarray) -> np.ndarray:
    probabilities = np.asarray(probabilities, np.float64)
    if probabilities.ndim != 2 or not len(probabilities):
        raise ValueError(f"probabilities are [N, K] with N above 0, got {probabilities.shape}")
    # `not all` also catches NaN.
    if not ((probabilities >= 0).all() and np.allclose(probabilities.sum(1), 1, atol=1e-3)):
        raise ValueError("rows of probabilities must be 0 or more and sum to 1: give softmax first")
    return probabilities


def _pair(pred: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pred, label = np.asarray(pred), np.asarray(label)
    if pred.shape != label.shape or not label.size:
        raise ValueError(f"predictions {pred.shape} and labels {label.shape} differ or are empty")
    return pred, label
