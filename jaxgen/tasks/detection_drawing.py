"""Draws boxes onto a picture, fast enough for every frame of a video."""

from collections.abc import Sequence

import numpy as np

FOUND, TRUE = (255, 176, 0), (0, 200, 255)
LEAST_SIDE = 768  # smaller pictures are enlarged, or lines would hide tiny faces
_LABELLED_HEIGHT = 24  # pixels; scores of smaller boxes are not written


def draw_boxes(
    image: np.ndarray,
    boxes: np.ndarray,
    scores: Sequence[float] | None = None,
    *,
    true_boxes: np.ndarray | None = None,
) -> np.ndarray:
    """A copy of the picture with a frame around each box.

    Args:
        image: uint8 [H, W, 3].
        boxes: [N, 4] pixels, edge to edge, pixel centres at integers.
        scores: [N] in [0, 1]: the frame is fainter the lower it is, and large boxes show it.
        true_boxes: [M, 4] drawn below in another colour.

    Returns:
        uint8 [n * H, n * W, 3]; n is the least whole number that makes the longer side 768.
    """
    from PIL import Image, ImageDraw

    enlarge = max(1, -(-LEAST_SIDE // max(image.shape[:2])))
    picture = Image.fromarray(image)
    picture = picture.resize([enlarge * side for side in picture.size], Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture, "RGBA")
    width = max(1, round(max(picture.size) / 700))
    for box in [] if true_boxes is None else true_boxes:
        _frame(draw, box, enlarge, (*TRUE, 230), width)
    order = range(len(boxes)) if scores is None else np.argsort(scores)  # the best on top
    for number in order:
        score = 1.0 if scores is None else float(scores[number])
        colour = (*FOUND, int(80 + 175 * np.clip(score, 0, 1)))
        left, top, bottom = _frame(draw, boxes[number], enlarge, colour, width)
        if scores is not None and bottom - top >= _LABELLED_HEIGHT:
            draw.text((left + 2, top + 1), f"{score:.2f}", fill=(*FOUND, 255))
    return np.asarray(picture)


def _frame(draw, box, enlarge, colour, width):
    x0, y0, x1, y1 = (enlarge * (float(value) + 0.5) for value in box)  # from the corner
    x1, y1 = max(x1 - 1, x0), max(y1 - 1, y0)
    draw.rectangle((x0, y0, x1, y1), outline=colour, width=width)
    return x0, y0, y1
