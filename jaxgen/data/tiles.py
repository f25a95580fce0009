"""Whole images through a network of fixed input size: cut into tiles, predict, merge.

Tiles have one size, so one compiled function serves images of every size. They overlap, and the
merge weights a tile's pixels down towards its sides, where the network saw the least around them;
seams do not show. An image that is smaller than a tile is filled up by repeating its last row and
column; what was filled up is cut away again.

`merge(tiles(image))` gives the image back. Sizes and overlaps are in pixels, (height, width) or
one number for both. The last tile of a row ends at the border and may overlap more.
"""

from collections.abc import Callable

import numpy as np


def corners(shape, *, size, overlap) -> np.ndarray:
    """Upper left corners of the tiles that cover an image.

    Args:
        shape: (H, W) of the image.
        size: of a tile.
        overlap: least overlap of neighbours, at least 0 and below `size`.

    Returns:
        [T, 2] int (row, column), row by row.

    Raises:
        ValueError: the overlap leaves no step from tile to tile.
    """
    starts = []
    for length, side, shared in zip(shape, _pair(size), _pair(overlap), strict=True):
        if not 0 <= shared < side:
            raise ValueError(f"tiles of {side} pixels cannot overlap by {shared}")
        last = max(length - side, 0)
        count = -(-last // (side - shared)) + 1
        # Even steps spread the surplus overlap over all tiles.
        starts.append(np.round(np.linspace(0, last, count)).astype(int))
    rows, columns = np.meshgrid(*starts, indexing="ij")
    return np.stack([rows.ravel(), columns.ravel()], axis=1)


def tiles(image: np.ndarray, *, size, overlap) -> np.ndarray:
    """Cuts an image into overlapping tiles.

    Args:
        image: [H, W, C] or [H, W], any type.
        size: of a tile.
        overlap: least overlap of neighbours.

    Returns:
        [T, h, w, C] or [T, h, w], in the order of `corners`.
    """
    height, width = _pair(size)
    fill = [(0, max(0, side - n)) for side, n in zip((height, width), image.shape, strict=False)]
    padded = np.pad(image, fill + [(0, 0)] * (image.ndim - 2), mode="edge")
    places = corners(image.shape[:2], size=size, overlap=overlap)
    return np.stack([padded[y : y + height, x : x + width] for y, x in places])


def merge(values: np.ndarray, shape, *, size, overlap) -> np.ndarray:
    """Puts what a network said of the tiles together again.

    Args:
        values: [T, h, w, K] float, logits or probabilities of the tiles of `tiles`.
        shape: (H, W) of the image.
        size: as for `tiles`.
        overlap: as for `tiles`.

    Returns:
        [H, W, K] float32, weighted means where tiles overlap.

    Raises:
        ValueError: `values` are not those of the tiles of such an image.
    """
    (height, width), shape = _pair(size), tuple(shape)
    places = corners(shape, size=size, overlap=overlap)
    if values.ndim != 4 or values.shape[:3] != (len(places), height, width):
        raise ValueError(
            f"an image of {shape} has {len(places)} tiles of {(height, width)}, got values of "
            f"{values.shape}"
        )
    weight = _tent(height)[:, None] * _tent(width)
    total = np.zeros((*(max(s) for s in zip(shape, (height, width), strict=True)), 1), np.float32)
    merged = np.zeros((*total.shape[:2], values.shape[-1]), np.float32)
    for (y, x), tile in zip(places, values, strict=True):
        merged[y : y + height, x : x + width] += weight[..., None] * tile
        total[y : y + height, x : x + width, 0] += weight
    return (merged / total)[: shape[0], : shape[1]]


def predict_by_tiles(
    predict: Callable[[np.ndarray], np.ndarray],
    image: np.ndarray,
    *,
    size,
    overlap,
    batch_size: int,
) -> np.ndarray:
    """Runs a network over a whole image of any size.

    Args:
        predict: [batch_size, h, w, 3] uint8 -> [batch_size, h, w, K] float, as NumPy or JAX.
        image: [H, W, 3] uint8.
        size: of a tile.
        overlap: least overlap of neighbours.
        batch_size: tiles per call; the last batch is filled up, so `predict` compiles once.

    Returns:
        [H, W, K] float32.
    """
    pieces = tiles(image, size=size, overlap=overlap)
    values = []
    for start in range(0, len(pieces), batch_size):
        batch = pieces[start : start + batch_size]
        filled = np.concatenate([batch, np.repeat(batch[-1:], batch_size - len(batch), axis=0)])
        values.append(np.asarray(predict(filled))[: len(batch)])
    return merge(np.concatenate(values), image.shape[:2], size=size, overlap=overlap)


def _pair(size) -> tuple[int, int]:
    return tuple(size) if isinstance(size, tuple | list) else (size, size)


def _tent(side: int) -> np.ndarray:
    """Distance from the nearer end in pixels, counted from 1: [side] float32, above 0."""
    place = np.arange(side, dtype=np.float32)
    return np.minimum(place + 1, side - place)
