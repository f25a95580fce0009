"""Lengths by which landmark errors are divided: functions of the true points [N, K, 2] -> [N].

Points are (x, y) in pixels, NaN where not labelled. A length that needs a missing point is NaN;
`landmarks.nme` refuses it and names the face. The normaliser belongs to the figure: on 300-W an
error over the pupils is about 1.4 times the same error over the eye corners.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

Normalizer = Callable[[np.ndarray], np.ndarray]

# Points whose means are the two ends of a distance, by the number of points of the markup:
# 68 300-W, 98 WFLW, 29 COFW, 19 AFLW without ears, 106 LaPa.
EYE_CORNERS = {
    68: ((36,), (45,)),
    98: ((60,), (72,)),
    29: ((8,), (9,)),
    19: ((6,), (11,)),
    106: ((66,), (79,)),
}
# 300-W has no pupils: the field takes the mean of the six points of each eye.
PUPILS = {
    68: (tuple(range(36, 42)), tuple(range(42, 48))),
    98: ((96,), (97,)),
    29: ((16,), (17,)),
    19: ((7,), (10,)),
}


def between(left: Sequence[int], right: Sequence[int]) -> Normalizer:
    """Normaliser of a markup of one's own: distance between the means of two groups of points."""

    def distance(true: np.ndarray) -> np.ndarray:
        true = np.asarray(true, np.float64)
        ends = true[:, list(left)].mean(1) - true[:, list(right)].mean(1)
        return np.hypot(ends[:, 0], ends[:, 1])

    return distance


def inter_ocular(true: np.ndarray) -> np.ndarray:
    """Distance of the outer eye corners. true: [N, K, 2] -> [N] pixels. The 300-W standard."""
    return between(*_ends(EYE_CORNERS, true, "inter_ocular"))(true)


def inter_pupil(true: np.ndarray) -> np.ndarray:
    """Distance of the pupils, or of the eye centres where pupils are not labelled. -> [N]."""
    return between(*_ends(PUPILS, true, "inter_pupil"))(true)


def box_size(true: np.ndarray) -> np.ndarray:
    """sqrt(width * height) of the tight box of the points. true: [N, K, 2] -> [N] pixels.

    Points that are NaN do not count. For annotated face boxes (AFLW) give their corners:
    `box_size(boxes.reshape(-1, 2, 2))`.
    """
    return np.sqrt(_extent(true).prod(1))


def box_diagonal(true: np.ndarray) -> np.ndarray:
    """Diagonal of the tight box of the points: at least sqrt(2) times `box_size`. -> [N]."""
    return np.hypot(*_extent(true).T)


NORMALIZERS: Mapping[str, Normalizer] = {
    "inter_ocular": inter_ocular,
    "inter_pupil": inter_pupil,
    "box_size": box_size,
    "box_diagonal": box_diagonal,
}


def describe(name: str) -> str:
    """Words for the name of a normaliser, for axes and tables."""
    words = {"inter_ocular": "inter-ocular distance", "inter_pupil": "inter-pupil distance"}
    return words.get(name, name.replace("_", " "))


def _ends(table: Mapping[int, tuple], true: np.ndarray, name: str) -> tuple:
    count = np.shape(true)[1]
    if count not in table:
        raise ValueError(
            f"{name} is not defined for {count} points (known: {sorted(table)}): use box_size, or "
            "between(left, right) with the point numbers of your markup"
        )
    return table[count]


def _extent(true: np.ndarray) -> np.ndarray:
    true = np.asarray(true, np.float64)
    # fmin and fmax step over NaN and stay silent where all points are NaN.
    return np.fmax.reduce(true, axis=1) - np.fmin.reduce(true, axis=1)
