"""Crops of faces and of what a detector takes for faces, at high and at low resolution.

A crop is the square around a box, `margin` times its longer side, never squashed; where it leaves
the picture, the picture's border is repeated. `low` has a quarter of the pixels of `image` along
each side. A crop is `paired` where the picture has enough pixels for `image` to show real detail:
then `low` is made from it. Elsewhere `low` comes straight from the picture, as it will at test
time, and `image` is merely enlarged: nothing may learn pixels from it.

Boxes are (x0, y0, x1, y1) in pixels, edge to edge, pixel centres at integers.
"""

import math
from collections.abc import Callable
from io import BytesIO
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

SCALE = 4  # high resolution over low resolution
FACE_OVERLAP, BACKGROUND_OVERLAP = 0.5, 0.3  # IoU from which, and below which
_MIN_SIDE = 1.0  # pixels: a smaller box shows nothing

Proposals = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class Choice(NamedTuple):
    """The boxes to cut out of one picture."""

    box: np.ndarray  # [N, 4] float32
    face_box: np.ndarray  # [N, 4] float32, the face in it; the box itself on backgrounds
    is_face: np.ndarray  # [N] bool


NOTHING = Choice(np.zeros((0, 4), np.float32), np.zeros((0, 4), np.float32), np.zeros(0, bool))


# ------------------------------------------------------------------------------- one crop


def square_of(box, margin: float) -> np.ndarray:
    """The square around a box's centre, `margin` times its longer side. [4] -> [4] float64.

    Raises:
        ValueError: the box is not finite or has no area.
    """
    box = np.asarray(box, np.float64)
    sides = box[2:] - box[:2]
    if not (np.isfinite(box).all() and (sides > 0).all()):
        raise ValueError(f"a box needs x0 < x1 and y0 < y1, all finite, got {box.tolist()}")
    centre, half = (box[:2] + box[2:]) / 2, margin * sides.max() / 2
    return np.concatenate([centre - half, centre + half])


def cut(image: np.ndarray, box, *, size: int, margin: float) -> np.ndarray:
    """Cuts out the square around a box and resizes it bicubically, without aliasing.

    Args:
        image: uint8 [H, W, 3].
        box: [4]; it may leave the image.
        size: side of the crop in pixels.
        margin: side of the square over the box's longer side.

    Returns:
        uint8 [size, size, 3].

    Raises:
        ValueError: no such image, or a box without area.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"an image is uint8 [H, W, 3], got {image.dtype} {list(image.shape)}")
    # From pixel centres to Pillow's corners; no square needs more than the picture and its border.
    x0, y0, x1, y1 = square_of(box, margin) + 0.5
    height, width = image.shape[:2]
    reach = math.ceil(2 * max(1.0, (x1 - x0) / size)) + 1  # what the cubic reads beyond the square
    left, top = math.floor(x0) - reach, math.floor(y0) - reach
    right, bottom = math.ceil(x1) + reach, math.ceil(y1) + reach
    if x1 - x0 > 4 * (width + height):
        raise ValueError(f"the box {np.round(box, 1).tolist()} is far larger than the image")
    rows = np.clip(np.arange(top, bottom), 0, height - 1)
    columns = np.clip(np.arange(left, right), 0, width - 1)
    window = Image.fromarray(image[rows[:, None], columns])
    return np.asarray(
        window.resize(
            (size, size),
            Image.Resampling.BICUBIC,
            box=(x0 - left, y0 - top, x1 - left, y1 - top),
        )
    )


def is_paired(box, *, high: int, margin: float, least_real: float) -> bool:
    """Whether the picture has at least `least_real` pixels for each pixel of the crop's side."""
    return bool(np.ptp(square_of(box, margin)[::2]) >= least_real * high)


def shrink(rng: np.random.Generator, image: np.ndarray, degradation: str) -> np.ndarray:
    """A crop at low resolution. uint8 [h, h, 3] -> [h / 4, h / 4, 3].

    Args:
        rng: for the "realistic" degradation.
        image: the crop at high resolution.
        degradation: "bicubic", or "realistic": out of focus before, sensor noise and JPEG after.

    Raises:
        ValueError: there is no such degradation.
    """
    if degradation not in ("bicubic", "realistic"):
        raise ValueError(f'degradation must be "bicubic" or "realistic", not {degradation!r}')
    picture, size = Image.fromarray(image), len(image) // SCALE
    realistic = degradation == "realistic"
    if realistic:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.6) * SCALE))
    low = np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC))
    if not realistic:
        return low
    noise = rng.standard_normal(low.shape) * rng.uniform(0, 8)
    low = np.clip(low + noise + 0.5, 0, 255).astype(np.uint8)
    file = BytesIO()
    Image.fromarray(low).save(file, "JPEG", quality=int(rng.integers(50, 96)), subsampling=0)
    with Image.open(file) as stored:
        return np.asarray(stored.convert("RGB"))


# --------------------------------------------------------------------- what to cut out


def overlaps(first: np.ndarray, second: np.ndarray, *, of_smaller: bool = False) -> np.ndarray:
    """Intersection over union of all pairs, in NumPy; or over the smaller area of the two.

    [N, 4], [M, 4] -> [N, M] float32 in [0, 1]; 0 where a box has no area.
    """
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.maximum(high - low, 0).prod(-1)
    areas = [np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(-1) for boxes in (first, second)]
    if of_smaller:
        whole = np.minimum(areas[0][:, None], areas[1])
    else:
        whole = areas[0][:, None] + areas[1] - shared
    return (shared / np.maximum(whole, 1e-9)).astype(np.float32)


def are_backgrounds(boxes: np.ndarray, true_boxes: np.ndarray, unusable: np.ndarray) -> np.ndarray:
    """Which boxes show no face, as far as the labels say.

    They overlap every box by less than 0.3. An ignored box often stands for a whole crowd, and a
    face too small to be used lies well inside of any box that proposes it, so the overlap with
    those is also taken as a share of the smaller of both: at most a half.

    Args:
        boxes: [N, 4].
        true_boxes: [T, 4].
        unusable: [T] bool, those that are ignored or too small.

    Returns:
        [N] bool.
    """
    if not len(true_boxes):
        return np.ones(len(boxes), bool)
    clear = overlaps(boxes, true_boxes).max(1) < BACKGROUND_OVERLAP
    covered = overlaps(boxes, true_boxes[unusable], of_smaller=True)
    return clear & (covered.max(1, initial=0) <= 0.5)


def choose(
    rng: np.random.Generator,
    shape: tuple[int, int],
    true_boxes: np.ndarray,
    ignored: np.ndarray,
    proposed: np.ndarray,
    scores: np.ndarray,
    *,
    least_height: float,
    jitter: float,
    copies: int,
    per_image: int,
) -> Choice:
    """Faces and backgrounds of one picture.

    Faces are proposals that overlap a true one by half, and true boxes moved a little. Backgrounds
    are proposals as of `are_backgrounds`, the detector's surest mistakes first; random boxes fill
    up to the number of faces. What lies between is not used, nor are backgrounds that share most of
    their area, or of its, with an ignored or too small face.

    Args:
        rng: of this picture.
        shape: its height and width.
        true_boxes: [T, 4].
        ignored: [T] bool.
        proposed: [P, 4] boxes of a detector; P may be 0.
        scores: [P].
        least_height: of a face in pixels.
        jitter: largest move of a true box, in sides, and largest change of its size.
        copies: moved boxes of every true one.
        per_image: most faces, and most backgrounds.
    """
    heights = true_boxes[:, 3] - true_boxes[:, 1]
    usable = ~ignored & (heights >= least_height) & (true_boxes[:, 2] - true_boxes[:, 0] > 1)
    proposed, scores = _sensible(proposed, scores)
    table = overlaps(proposed, true_boxes)
    nothing = np.zeros(len(proposed))
    best = table.argmax(1) if len(true_boxes) else nothing.astype(int)
    most = table.max(1) if len(true_boxes) else nothing
    found = (most >= FACE_OVERLAP) & (usable[best] if len(true_boxes) else False)

    moved = _moved(rng, np.repeat(true_boxes[usable], copies, 0), jitter)
    faces = np.concatenate([moved, proposed[found]])
    inside = np.concatenate([np.repeat(true_boxes[usable], copies, 0), true_boxes[best[found]]])
    if len(faces) > per_image:
        rows = rng.choice(len(faces), per_image, replace=False)
        faces, inside = faces[rows], inside[rows]

    wrong = np.flatnonzero(are_backgrounds(proposed, true_boxes, ~usable))
    wrong = wrong[np.argsort(-scores[wrong], kind="stable")][:per_image]
    backgrounds = proposed[wrong]
    missing = max(min(len(faces), per_image), 2) - len(backgrounds)
    if missing > 0:
        sides = heights[usable] if usable.any() else np.array([least_height, min(shape) / 4])
        drawn = random_backgrounds(rng, shape, true_boxes, ~usable, sides, missing)
        backgrounds = np.concatenate([backgrounds, drawn])
    return Choice(
        np.concatenate([faces, backgrounds]).astype(np.float32),
        np.concatenate([inside, backgrounds]).astype(np.float32),
        np.arange(len(faces) + len(backgrounds)) < len(faces),
    )


def random_backgrounds(
    rng: np.random.Generator, shape: tuple[int, int], true_boxes, unusable, sides, count: int
) -> np.ndarray:
    """Random square boxes inside a picture that show no face, see `are_backgrounds`.

    Args:
        rng: source of all draws.
        shape: height and width of the picture.
        true_boxes: [T, 4].
        unusable: [T] bool.
        sides: sides in pixels; drawn from the range that they span, evenly in the logarithm.
        count: boxes wanted; fewer come where a crowd leaves no room.

    Returns:
        [count or fewer, 4] float32.
    """
    height, width = shape
    low, high = np.log(np.clip([np.min(sides), np.max(sides)], 2, min(shape) - 1))
    side = np.exp(rng.uniform(low, high, 8 * count))
    corner = rng.uniform(0, 1, (8 * count, 2)) * (np.array([width, height]) - side[:, None]) - 0.5
    drawn = np.concatenate([corner, corner + side[:, None]], 1).astype(np.float32)
    return drawn[are_backgrounds(drawn, true_boxes, unusable)][:count]


def crops_of(rng: np.random.Generator, image: np.ndarray, choice: Choice, settings) -> dict:
    """Cuts the chosen boxes out of a picture.

    Args:
        rng: of this picture.
        image: uint8 [H, W, 3].
        choice: what to cut out.
        settings: config.crops.

    Returns:
        Arrays of N rows: image uint8 [N, h, h, 3], low uint8 [N, l, l, 3], paired, is_face bool
        [N], box, face_box float32 [N, 4], and height float32 [N], that of the face in pixels, or
        of the box on backgrounds. Without unpaired crops where settings.unpaired is 0.
    """
    high, margin = settings.high, settings.margin
    shape = dict(high=high, margin=margin)
    paired = np.array(
        [is_paired(box, least_real=settings.least_real, **shape) for box in choice.box], bool
    )
    if not settings.unpaired:
        choice, paired = Choice(*(x[paired] for x in choice)), paired[paired]
    images = np.zeros((len(paired), high, high, 3), np.uint8)
    lows = np.zeros((len(paired), high // SCALE, high // SCALE, 3), np.uint8)
    for row, box in enumerate(choice.box):
        images[row] = cut(image, box, size=high, margin=margin)
        if paired[row]:
            lows[row] = shrink(rng, images[row], settings.degradation)
        else:
            lows[row] = cut(image, box, size=high // SCALE, margin=margin)
    return {
        "image": images,
        "low": lows,
        "paired": paired,
        "is_face": choice.is_face,
        "box": choice.box,
        "face_box": choice.face_box,
        "height": choice.face_box[:, 3] - choice.face_box[:, 1],
    }


def _moved(rng, boxes, jitter):
    """Boxes shifted and resized by up to `jitter` of their sides."""
    sides = boxes[:, 2:] - boxes[:, :2]
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    centres = centres + sides * rng.uniform(-jitter, jitter, centres.shape)
    half = sides / 2 * np.exp(rng.uniform(-jitter, jitter, (len(boxes), 1)))
    return np.concatenate([centres - half, centres + half], 1)


def _sensible(proposed, scores):
    """Proposals that are finite and have an area."""
    proposed = np.asarray(proposed, np.float32).reshape(-1, 4)
    scores = np.asarray(scores, np.float32).reshape(-1)
    if len(proposed) != len(scores):
        raise ValueError(f"{len(proposed)} proposed boxes have {len(scores)} scores")
    sides = proposed[:, 2:] - proposed[:, :2]
    good = np.isfinite(proposed).all(1) & np.isfinite(scores) & (sides >= _MIN_SIDE).all(1)
    return proposed[good], scores[good]
