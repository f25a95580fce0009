"""Draws landmarks and their scales onto a picture, fast enough for every frame of a video."""

from collections.abc import Sequence

import numpy as np

POINT, EDGE, ELLIPSE = (255, 176, 0, 255), (0, 0, 0, 200), (255, 176, 0, 150)
# Marks are drawn this many times larger, then shrunk: Pillow draws no soft edges itself.
SMOOTHING, LARGEST_LAYER = 3, 2400
LEAST_SIDE = 512  # smaller pictures are enlarged, or the marks would hide the face


def draw_landmarks(
    image: np.ndarray,
    points: Sequence[np.ndarray],
    scales: Sequence[np.ndarray],
    *,
    ellipse: float = 1.0,
) -> np.ndarray:
    """A copy of the picture with a dot at each landmark and an ellipse of its scale.

    Args:
        image: uint8 [H, W, 3].
        points: for each face [K, 2] (x, y) in image pixels, pixel centres at integers.
        scales: for each face [K, 2] (b_x, b_y), same pixels.
        ellipse: half axes in units of the scale.

    Returns:
        uint8 [n * H, n * W, 3]; n is the least whole number that makes the longer side 512.
    """
    from PIL import Image, ImageDraw

    enlarge = max(1, -(-LEAST_SIDE // max(image.shape[:2])))
    picture = Image.fromarray(image)
    picture = picture.resize([enlarge * side for side in picture.size], Image.Resampling.BICUBIC)
    for face, scale in zip(points, scales, strict=True):
        centres = enlarge * (np.asarray(face, np.float64) + 0.5)  # from the picture's corner
        half_axes = enlarge * ellipse * np.asarray(scale, np.float64)
        radius = _dot_radius(centres)
        reach = np.maximum(half_axes, radius).max(0) + 2
        low = np.maximum(np.floor((centres - reach).min(0)), 0).astype(int)
        high = np.minimum(np.ceil((centres + reach).max(0)), picture.size).astype(int)
        if (low >= high).any():
            continue  # the whole face lies outside the picture
        # A face that fills a large photograph is drawn smaller instead, to bound the memory.
        zoom = min(SMOOTHING, LARGEST_LAYER / (high - low).max())
        size = np.maximum(np.round(zoom * (high - low)), 1).astype(int)
        layer = Image.new("RGBA", tuple(size), (*POINT[:3], 0))
        draw = ImageDraw.Draw(layer)
        dot, width = zoom * radius, max(1, round(zoom * radius / 3))
        for centre, axes in zip(zoom * (centres - low), zoom * half_axes, strict=True):
            draw.ellipse([*(centre - axes), *(centre + axes)], outline=ELLIPSE, width=width)
        for centre in zoom * (centres - low):
            draw.ellipse([*(centre - dot), *(centre + dot)], POINT, EDGE, width=max(1, width // 2))
        layer = layer.resize(tuple(high - low), Image.Resampling.BILINEAR)
        picture.paste(layer, tuple(low), layer)
    return np.asarray(picture)


def _dot_radius(centres: np.ndarray) -> float:
    """Radius in picture pixels that leaves room between the dots of a face of this size."""
    return float(np.clip(np.ptp(centres, axis=0).max() / 110, 1.5, 12))
