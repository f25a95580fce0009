"""A detector on whole pictures of any size: tiles at full size, then the picture made smaller.

A network sees tiles of one size, so one compiled function serves every picture, and memory holds
a few tiles. Tiles overlap; a face counts in the tile that shows it whole. Faces larger than the
overlap are left to the next pass, in which the picture is smaller, and so on until the picture is
no larger than the crops of training. So tiny faces are seen at full size, and a face that fills a
photograph is seen at a size that was learned.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image

from jaxgen.data import tiles
from jaxgen.tasks import tiny_faces_detector
from jaxgen.training.mesh import compile_evaluation, data_mesh, put_batch

# From pass to pass pictures shrink by this factor at most.
_SHRINK = 4.0
# Faces that a pass leaves to the next are searched there from a somewhat smaller size on.
_SLACK = 0.7
_GREY = 127  # fills up tiles; what convolutions see beyond their own borders too


class Found(NamedTuple):
    """Faces of one picture, best first."""

    boxes: np.ndarray  # [N, 4] float32 (x0, y0, x1, y1), pixels of the picture
    scores: np.ndarray  # [N] float32 in [0, 1]


class Tile(NamedTuple):
    """A part of a picture, and what to believe of the faces in it."""

    image: np.ndarray  # uint8 [T, T, 3]
    zoom: float  # pixels of the tile for one of the picture
    corner: np.ndarray  # [2] (x, y) of its first pixel in the zoomed picture
    core: np.ndarray  # [4] where centres of its own faces lie, in tile pixels
    sides: tuple[float, float]  # (least, most) longer side of its own faces, in tile pixels


def compile_detector(config) -> Callable[[Any, np.ndarray], tiny_faces_detector.Detections]:
    """Compiles once: (variables, uint8 tiles [B, T, T, 3]) -> Detections as NumPy arrays.

    B is config.detector.inference.tiles, rounded up to the devices of this process. Every
    process works for itself, on its own pictures.
    """
    devices = data_mesh(jax.local_devices())
    compiled = compile_evaluation(devices, partial(tiny_faces_detector.predict, config))

    def detect(variables, images):
        images = np.concatenate([images, np.repeat(images[-1:], -len(images) % devices.size, 0)])
        found = compiled(variables, put_batch(devices, images))
        return tiny_faces_detector.Detections(*map(np.asarray, found))

    return detect


def detect_pictures(
    config,
    detect: Callable[[np.ndarray], tiny_faces_detector.Detections],
    pictures: Iterable[tuple[Any, np.ndarray]],
) -> Iterator[tuple[Any, Found]]:
    """Finds the faces of pictures of any size, in order; tiles of several share a batch.

    Args:
        config: section detector.inference.
        detect: uint8 tiles [B, T, T, 3] -> Detections in tile pixels.
        pictures: (key, uint8 [H, W, 3]); keys are handed through.

    Yields:
        (key, Found).
    """
    settings = config.detector.inference
    size = settings.tiles
    parts: list[Found] = []
    for batch in _batches(_tiles_of_all(config, pictures), size):
        images = np.stack([tile.image for _, tile, _ in batch])
        # Filled up, so that the last batch compiles nothing new.
        images = np.concatenate([images, np.repeat(images[-1:], size - len(images), 0)])
        found = detect(images)
        for row, (key, tile, shape) in enumerate(batch):
            valid = found.valid[row]
            parts.append(to_picture(tile, found.boxes[row][valid], found.scores[row][valid]))
            if shape is not None:  # the picture's last tile
                yield key, merge(config, parts, shape)
                parts = []


def picture_tiles(config, picture: np.ndarray) -> Iterator[Tile]:
    """Every tile of a picture, pass by pass.

    Args:
        config: section detector.inference.
        picture: uint8 [H, W, 3].
    """
    settings = config.detector.inference
    size, overlap = settings.tile, settings.overlap
    smallest = smallest_side(config)
    zoom, least = float(settings.enlarge), 0.0
    while True:
        zoomed = _zoomed(picture, zoom)
        longest = max(zoomed.shape[:2])
        last = longest <= smallest
        for y, x in tiles.corners(zoomed.shape[:2], size=size, overlap=overlap):
            yield Tile(
                _cut(zoomed, y, x, size),
                zoom,
                np.array([x, y]),
                _core(zoomed.shape, y, x, size, overlap),
                (least, np.inf if last else float(overlap)),
            )
        if last:
            return
        # First until one tile holds it, then until it is small enough.
        goal = size if longest > size else smallest
        # A pixel less than fits, because sides are rounded.
        smaller = max(zoom / _SHRINK, (goal - 0.5) / max(picture.shape[:2]))
        least = _SLACK * overlap * smaller / zoom
        zoom = smaller


def smallest_side(config) -> int:
    """Longer side at which a picture need not be made smaller, in pixels: that of training."""
    detector = config.detector
    return detector.inference.smallest or min(detector.train.size, detector.inference.tile)


def to_picture(tile: Tile, boxes: np.ndarray, scores: np.ndarray) -> Found:
    """The faces that a tile is to be believed of, in pixels of the picture.

    Args:
        tile: where they were found.
        boxes: [N, 4] in tile pixels.
        scores: [N].
    """
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    longest = (boxes[:, 2:] - boxes[:, :2]).max(1, initial=0)
    own = ((centres >= tile.core[:2]) & (centres <= tile.core[2:])).all(1)
    own &= (longest >= tile.sides[0]) & (longest <= tile.sides[1])
    moved = (boxes[own] + np.tile(tile.corner, 2) + 0.5) / tile.zoom - 0.5
    return Found(moved.astype(np.float32), scores[own])


def merge(config, parts: list[Found], shape: tuple[int, int]) -> Found:
    """Faces of all tiles of a picture (H, W): cut at its border, repeats suppressed, best first."""
    settings = config.detector.inference
    boxes = np.concatenate([part.boxes for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    height, width = shape
    boxes = np.clip(boxes, -0.5, np.tile([width - 0.5, height - 0.5], 2)).astype(np.float32)
    real = (boxes[:, 2:] > boxes[:, :2]).all(1)
    boxes, scores = boxes[real], scores[real]
    kept = suppress(boxes, scores, iou_threshold=settings.nms_iou)
    if settings.most:
        kept = kept[: settings.most]
    return Found(boxes[kept], scores[kept])


def suppress(boxes: np.ndarray, scores: np.ndarray, *, iou_threshold: float) -> np.ndarray:
    """Greedy suppression of any number of boxes, on the host.

    Args:
        boxes: [N, 4].
        scores: [N].
        iou_threshold: pairs that overlap more cannot both stay.

    Returns:
        Positions of those that stay, best first.
    """
    order = np.argsort(-scores, kind="stable")
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    kept = []
    while len(order):
        first, rest = order[0], order[1:]
        kept.append(first)
        low = np.maximum(boxes[first, :2], boxes[rest, :2])
        high = np.minimum(boxes[first, 2:], boxes[rest, 2:])
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        union = areas[first] + areas[rest] - shared
        order = rest[shared <= iou_threshold * union]
    return np.array(kept, int)


def _tiles_of_all(config, pictures):
    """(key, tile, None), or the picture's shape in place of None at its last tile."""
    for key, picture in pictures:
        before = None
        for tile in picture_tiles(config, picture):
            if before is not None:
                yield key, before, None
            before = tile
        yield key, before, picture.shape[:2]


def _batches(items, size):
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _zoomed(picture, zoom):
    if zoom == 1:
        return picture
    height, width = (max(1, round(side * zoom)) for side in picture.shape[:2])
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))


def _cut(picture, y, x, size):
    tile = np.full((size, size, 3), _GREY, np.uint8)
    part = picture[y : y + size, x : x + size]
    tile[: part.shape[0], : part.shape[1]] = part
    return tile


def _core(shape, y, x, size, overlap):
    """Half of the overlap belongs to the neighbour; at the picture's border there is none.

    Integers are centres of pixels: the edges of a tile lie half a pixel before its first one and
    half a pixel after its last one.
    """
    height, width = shape[:2]
    low = [overlap / 2 - 0.5 if start > 0 else -np.inf for start in (x, y)]
    high = [
        size - overlap / 2 - 0.5 if start + size < side else np.inf
        for start, side in ((x, width), (y, height))
    ]
    return np.array([*low, *high])
