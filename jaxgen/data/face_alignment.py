"""Bringing faces to one place and size: five points -> similarity -> one resampling.

Aligned faces are squares of 110 pixels, of which networks see 96: a random part in training, the
middle in use. `TEMPLATE` says where the points of a frontal face come to lie. Other sizes scale
everything, see `aligned_side`.

The five points, in this order: centre of the eye on the image's left, of the eye on its right, tip
of the nose, corner of the mouth on the image's left, on its right. A point that cannot be seen or
is not known is NaN.

A face whose five points are all known is moved so that they come as near to the template as they
can. Of a profile, or where points are missing, the middle of the eyes and the middle of the mouth
come to their places instead: turning a head leaves the distance between the two as it is, so that
a profile comes out as large as a frontal face and its eyes at the same height. Both are
similarities (a turn, one scale, a shift; never a mirror image).

A turned head shows its ear on one side and the tip of its nose on the other, and neither should be
cut. So the picture moves sideways, towards where the nose points, by the nose's distance from the
line of eyes and mouth, up to a third of the length of that line. Frontal faces do not move.

Coordinates are those of `jaxgen.data.crop`.
"""

import numpy as np

from jaxgen.data import crop

VERSION = 1  # raised whenever aligned pictures change: they are kept in files
SIDE, SEEN = 110, 96  # pixels of an aligned face, and of the part that a network sees
# Proportions of an average frontal face. With more than 35 pixels from the eyes to the mouth, the
# middle crop would cut the chin, or the ear of a profile.
TEMPLATE = np.array([(39.5, 38.0), (69.5, 38.0), (54.5, 55.5), (42.0, 73.0), (67.0, 73.0)])
TEMPLATE.setflags(write=False)
_MOST_ASIDE = 12.0  # pixels that a turned face moves sideways


def aligned_side(size: int) -> int:
    """Side of the aligned face of which a network sees `size` pixels: 96 -> 110, 48 -> 55."""
    return round(size * SIDE / SEEN)


def five_points(points: np.ndarray) -> np.ndarray:
    """The five points of iBUG's 68. [..., 68, 2] -> [..., 5, 2] float64."""
    points = np.asarray(points, np.float64)
    if points.shape[-2:] != (68, 2):
        raise ValueError(f"five points come from 68, got an array of shape {points.shape}")
    eyes = [points[..., first : first + 6, :].mean(-2) for first in (36, 42)]
    return np.stack([*eyes, *(points[..., k, :] for k in (30, 48, 54))], -2)


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The turn, scale and shift that bring points nearest to others, by least squares.

    Args:
        source: [K, 2], two or more different points.
        target: [K, 2].

    Returns:
        [2, 3] float64, source -> target, determinant above 0.

    Raises:
        ValueError: the source points coincide or are not finite.

    Source: Umeyama, Least-squares estimation of transformation parameters between two point
    patterns, PAMI 1991; in the plane without reflections its solution is one complex number.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    if source.shape != target.shape or source.ndim != 2 or source.shape[1] != 2:
        raise ValueError(f"points {source.shape} and {target.shape} must both be [K, 2]")
    a, b = (p[:, 0] + 1j * p[:, 1] for p in (source - source.mean(0), target - target.mean(0)))
    spread = np.square(np.abs(a)).sum()
    if not spread > 1e-12 or not np.isfinite(spread):
        raise ValueError("the points to align coincide or are not all known")
    turn = (a.conj() @ b) / spread
    linear = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    return np.column_stack([linear, target.mean(0) - linear @ source.mean(0)])


def alignment(points: np.ndarray, *, side: int = SIDE) -> np.ndarray:
    """The matrix that aligns a face by its points.

    Args:
        points: [5, 2] (x, y) in pixels, NaN where unknown. All five are used if all are known;
            otherwise the eyes and the corners of the mouth, one of each or both, and the nose.
        side: of the aligned picture.

    Returns:
        [2, 3] float64, pixels of the picture -> pixels of the aligned picture.

    Raises:
        ValueError: no eye or no corner of the mouth is known, or points coincide.
    """
    points = np.asarray(points, np.float64)
    if points.shape != (5, 2):
        raise ValueError(f"a face is aligned by [5, 2] points, got {points.shape}")
    # Edge to edge, as everywhere: a pixel is a unit square around its centre.
    target = (TEMPLATE + 0.5) * (side / SIDE) - 0.5
    if np.isfinite(points).all():
        matrix = similarity(points, target)
    else:
        matrix = similarity(_axis(points), _axis(target))
    axis = crop.transform_points(matrix, _axis(points))[:, 0].mean()
    nose = crop.transform_points(matrix, points[2])[0]
    most = _MOST_ASIDE * side / SIDE
    aside = np.clip(nose - axis, -most, most) if np.isfinite(nose) else 0.0
    matrix[0, 2] += (side - 1) / 2 + aside - axis
    return matrix


def box_alignment(box: np.ndarray, *, side: int = SIDE) -> np.ndarray:
    """The matrix that aligns a face by its box alone, where no points are known.

    The box is taken to reach from the hairline to the chin, as those of face detectors do: eyes at
    40 % of its height, mouth at 75 %. Its longer side is taken as the height.

    Args:
        box: [4] (x0, y0, x1, y1).
        side: of the aligned picture.

    Raises:
        ValueError: the box is not finite or has no area.
    """
    x0, y0, x1, y1 = (float(v) for v in box)
    longer = max(x1 - x0, y1 - y0)
    if not (np.isfinite(longer) and min(x1 - x0, y1 - y0) > 0):
        raise ValueError(f"a face box needs x0 < x1 and y0 < y1, got {[x0, y0, x1, y1]}")
    x, top = (x0 + x1) / 2, (y0 + y1 - longer) / 2
    eye, mouth, unknown = (x, top + 0.40 * longer), (x, top + 0.75 * longer), (np.nan, np.nan)
    return alignment([eye, unknown, unknown, mouth, unknown], side=side)


def align(image: np.ndarray, matrix: np.ndarray, *, side: int = SIDE) -> np.ndarray:
    """The aligned picture, sampled once; beyond its border the border repeats.

    Black corners would tell the pose, and a generator would learn to draw them.

    Args:
        image: [H, W, 3] uint8.
        matrix: [2, 3] from `alignment`.
        side: of the aligned picture.

    Returns:
        [side, side, 3] uint8.
    """
    corners = [(-1, -1), (-1, side), (side, -1), (side, side)]
    reach = crop.transform_points(crop.invert(matrix), corners)
    low = np.ceil(np.maximum(-reach.min(0), 0)).astype(int) + 1
    high = np.ceil(np.maximum(reach.max(0) - image.shape[1::-1], 0)).astype(int) + 1
    # A face far outside of its picture is a mistake in its points, not a reason to fill memory.
    if max(low.max(), high.max()) > 4 * max(image.shape):
        raise ValueError("the face lies far outside of its picture: its points are wrong")
    padded = np.pad(image, ((low[1], high[1]), (low[0], high[0]), (0, 0)), mode="edge")
    moved = crop.compose(matrix, np.array([[1.0, 0, -low[0]], [0, 1.0, -low[1]]]))
    return crop.crop_image(padded, moved, side)


def _axis(points):
    """Middle of the eyes and middle of the mouth; of a profile the visible eye and corner."""
    pairs = [pair[np.isfinite(pair).all(1)] for pair in (points[:2], points[3:])]
    if not all(map(len, pairs)):
        raise ValueError("an eye and a corner of the mouth must be known to align a face")
    return np.stack([pair.mean(0) for pair in pairs])
