"""The one crop: box -> square around its centre -> margin -> resize, and its inverse.

Training, evaluation and prediction all call this file, so that a model never meets a crop that it
was not trained on.

Coordinates. The centre of the top left pixel is (0, 0), so an image of width W spans the x range
[-0.5, W - 0.5]: a pixel is a unit square around its integer centre. Points AND boxes live in these
coordinates; the box of the whole image is `(-0.5, -0.5, W - 0.5, H - 0.5)`. A square box with
margin 1 therefore maps exactly onto the crop: its left side goes to x = -0.5 and its right side to
x = size - 0.5, edge to edge. (Mapping centres to centres, W - 1 to size - 1, would change the scale
with the size and shift every landmark by up to half a pixel.)

Matrices are [2, 3] float64 and map a column (x, y, 1) of the original image to crop pixels.
"""

import math

import numpy as np
from PIL import Image


def crop_matrix(
    box, *, size, margin, rotation=0.0, scale=1.0, shift=(0.0, 0.0), flip=False
) -> np.ndarray:
    """Affine map from original pixels to crop pixels.

    Args:
        box: [4] (x0, y0, x1, y1) in original pixels. It need not lie inside the image.
        size: side of the crop in pixels.
        margin: side of the cropped square, as a multiple of the box's longer side.
        rotation: degrees by which the picture turns around the box centre, positive clockwise.
        scale: how much larger the face appears; 1.1 shows a tenth less of the surroundings.
        shift: (x, y) by which the picture moves, as a fraction of the box's longer side.
        flip: mirror the crop left to right, after everything else.

    Returns:
        [2, 3] float64, (x, y, 1) in original pixels -> (x, y) in crop pixels.

    Raises:
        ValueError: the box is not finite or has no area.
    """
    x0, y0, x1, y1 = (float(v) for v in box)
    longer = max(x1 - x0, y1 - y0)
    if not (math.isfinite(x0 + y0 + x1 + y1) and min(x1 - x0, y1 - y0) >= 0 and longer > 0):
        raise ValueError(f"a face box needs x0 <= x1, y0 <= y1 and some area, got {list(box)}")
    unit = size / (margin * longer)  # crop pixels per original pixel, before `scale`
    cos, sin = (f(math.radians(rotation)) * unit * scale for f in (math.cos, math.sin))
    matrix = np.array([[cos, -sin, 0.0], [sin, cos, 0.0]])
    target = (size - 1) / 2 + np.asarray(shift, float) * longer * unit
    matrix[:, 2] = target - matrix[:, :2] @ ((x0 + x1) / 2, (y0 + y1) / 2)
    if flip:
        matrix[0] = (0.0, 0.0, size - 1.0) - matrix[0]  # x -> size - 1 - x swaps pixel centres
    return matrix


def transform_points(matrix, points) -> np.ndarray:
    """Moves points with the picture. points: [..., 2] -> [..., 2] float64; NaN stays NaN."""
    matrix = np.asarray(matrix, np.float64)
    return np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2]


def compose(second, first) -> np.ndarray:
    """The one map that applies `first`, then `second`. [2, 3], [2, 3] -> [2, 3] float64."""
    second, first = np.asarray(second, np.float64), np.asarray(first, np.float64)
    return np.column_stack([second[:, :2] @ first[:, :2], transform_points(second, first[:, 2])])


def invert(matrix) -> np.ndarray:
    """The map back, crop pixels -> original pixels. [2, 3] -> [2, 3] float64."""
    matrix = np.asarray(matrix, np.float64)
    inverse = np.linalg.inv(matrix[:, :2])
    return np.column_stack([inverse, -inverse @ matrix[:, 2]])


def crop_image(image, matrix, size) -> np.ndarray:
    """Samples the crop from the original image once, bilinearly.

    Where the crop shrinks the image, whole blocks of round(shrink factor) pixels are averaged
    first, so that fine texture does not turn into noise; what is left to resample then lies
    between 2/3 and 3/2. Crop pixels whose centre falls outside the image are black.

    Args:
        image: [H, W, 3] uint8.
        matrix: [2, 3] original -> crop pixels, from `crop_matrix`.
        size: side of the crop in pixels.

    Returns:
        [size, size, 3] uint8.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"an image is uint8 [H, W, 3], got {image.dtype} {list(image.shape)}")
    to_source = invert(matrix)
    block = max(1, round(math.sqrt(abs(np.linalg.det(to_source[:, :2])))))
    left, top, right, bottom = _source_window(to_source, size, block, image.shape)
    if left >= right or top >= bottom:
        return np.zeros((size, size, 3), np.uint8)
    # Copying just the window matters for 12 megapixel photographs.
    window = Image.fromarray(np.ascontiguousarray(image[top:bottom, left:right]))
    if block > 1:
        window = window.reduce(block)
    # Pillow counts from the corner of the first pixel: a centre is i + 0.5, for the crop and for
    # the window alike. One window pixel is a block of `block` original pixels.
    linear = to_source[:, :2]
    offset = to_source[:, 2] - linear @ (0.5, 0.5) + 0.5 - (left, top)
    rows = np.column_stack([linear, offset]) / block
    crop = window.transform(
        (size, size), Image.Transform.AFFINE, rows.ravel().tolist(), Image.Resampling.BILINEAR
    )
    return np.asarray(crop)


def _source_window(to_source, size, block, shape):
    """Whole-pixel window (left, top, right, bottom) of the image that the crop can touch."""
    low, high = -0.5, size - 0.5
    corners = transform_points(to_source, [(low, low), (low, high), (high, low), (high, high)])
    reach = 2 * block  # a bilinear sample reads one block further; one more for safety
    left, top = np.clip(np.floor(corners.min(0)) - reach, 0, (shape[1], shape[0])).astype(int)
    right, bottom = np.clip(np.ceil(corners.max(0)) + reach, 0, (shape[1], shape[0])).astype(int)
    return left, top, right, bottom
