"""Anchors of a detector's levels, and which of them learn which face.

Contract as in boxes.py: one image, boxes [..., 4] in pixels, static shapes, masks. Faces come
padded to [M, 4]; what is padding, or has no area, is masked and matches nothing.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.kernels import boxes as box_kernels


class Matches(NamedTuple):
    """What each anchor is to learn; one that is neither positive nor negative is not asked."""

    face: jax.Array  # [A] int32, position of the face it learns; 0 where not positive
    positive: jax.Array  # [A] bool
    negative: jax.Array  # [A] bool


def level_anchors(
    shape: tuple[int, int], *, stride: int, sizes: Sequence[float], aspect: float = 1.0
) -> np.ndarray:
    """Anchors of one level, centred on its cells.

    Args:
        shape: (h, w) of the level's map; the image has (h * stride, w * stride) pixels.
        stride: pixels from cell to cell.
        sizes: sides in pixels: square roots of the anchors' areas.
        aspect: height / width.

    Returns:
        [h * w * len(sizes), 4] float32: row by row, the sizes of a cell side by side, as the
        channels of a convolution's output lie.
    """
    rows, columns = (stride * (np.arange(n) + 0.5) - 0.5 for n in shape)
    x, y, size = np.meshgrid(columns, rows, np.asarray(sizes, np.float64), indexing="xy")
    half_w, half_h = size / np.sqrt(aspect) / 2, size * np.sqrt(aspect) / 2
    boxes = np.stack([x - half_w, y - half_h, x + half_w, y + half_h], -1)
    return boxes.reshape(-1, 4).astype(np.float32)


def match(
    anchors: chex.Array,
    faces: chex.Array,
    is_face: chex.Array,
    is_ignored: chex.Array,
    *,
    positive_iou: float = 0.35,
    negative_iou: float = 0.3,
    compensate_iou: float = 0.1,
    least_anchors: int = 3,
) -> Matches:
    """Assigns anchors to faces, with compensation for sizes between those of the anchors.

    (1) An anchor learns the face that it overlaps most, if by `positive_iou`. (2) Tiny faces and
    faces between two sizes get few anchors that way: a face with fewer than `least_anchors` takes
    the best that are left, down to `compensate_iou`. (3) Its single best anchor learns a face in
    any case. Anchors below `negative_iou` with every face are background, unless an ignored box
    hides them: it covers most of the anchor, or overlaps it by `negative_iou`, or is so tiny that
    one of the smallest anchors holds most of it.

    Args:
        anchors: [A, 4].
        faces: [M, 4], anything where neither face nor ignored.
        is_face: [M] bool.
        is_ignored: [M] bool, boxes that are neither to be found nor to be background.
        positive_iou: see (1).
        negative_iou: below it an anchor is background.
        compensate_iou: see (2).
        least_anchors: see (2); 1 leaves step (2) out.

    Returns:
        Matches of A rows.

    Source: Zhang et al., S3FD, ICCV 2017, section 3.2; there the number of anchors is the mean of
    step (1).
    """
    count = len(faces)
    chex.assert_shape(
        [anchors, faces, is_face, is_ignored], [(None, 4), (count, 4)] + [(count,)] * 2
    )
    has_area = box_kernels.area(faces) > 0
    is_face = is_face & has_area & ~is_ignored
    overlap = box_kernels.pairwise_iou(faces, anchors)  # [M, A]
    overlap = jnp.where(is_face[:, None], overlap, 0)
    best = overlap.max(0)
    first = (best >= positive_iou) & (best > 0)
    face = jnp.where(first, overlap.argmax(0), 0)

    # (2) Each face names the best anchors that are left; an anchor hears the closest of those.
    k = min(least_anchors, len(anchors))
    values, places = _largest(jnp.where(first, 0, overlap), k)  # [M, k]
    own = jax.nn.one_hot(face, count, dtype=jnp.int32) * first[:, None]
    missing = (least_anchors - own.sum(0))[:, None]
    called = (jnp.arange(k) < missing) & (values >= compensate_iou) & (values > 0)
    rows = jnp.arange(count)
    wish = jnp.full(overlap.shape, -1.0)
    wish = wish.at[rows[:, None], places].max(jnp.where(called, values, -1.0))
    # (3) The best anchor of a face is not for another one, however well that one fits.
    most, place = overlap.max(1), overlap.argmax(1)
    wish = wish.at[rows, place].max(jnp.where(most > 0, 1 + most, -1.0))
    wished = wish.max(0)
    takes = (wished >= 1) | ((wished > 0) & ~first)
    face = jnp.where(takes, wish.argmax(0), face)
    positive = first | takes

    hidden = jax.vmap(partial(_hides, anchors, negative_iou=negative_iou))(faces)
    hidden = (hidden & (is_ignored & has_area)[:, None]).any(0)
    negative = ~positive & ~hidden & (best < negative_iou)
    return Matches(face.astype(jnp.int32), positive, negative)


def _hides(anchors, ignored, *, negative_iou):
    """Anchors that an ignored box [4] says nothing about. -> [A] bool."""
    most = box_kernels.share_inside(anchors, ignored) > 0.5
    fits = box_kernels.iou(ignored, anchors) >= negative_iou
    # A face far below the smallest anchors overlaps none of them by much, and yet they would be
    # the ones to propose it.
    areas = box_kernels.area(anchors)
    held = jax.vmap(lambda anchor: box_kernels.share_inside(ignored[None], anchor)[0])(anchors)
    smallest = areas <= 1.01 * areas.min()
    return most | fits | (smallest & (held > 0.5))


def _largest(values, k):
    """What `lax.top_k` gives, in k passes. [M, A] -> values and places [M, k].

    A batch that is split over devices stays split: for `lax.top_k` each device would fetch the
    overlaps of the whole batch.
    """
    found = []
    for _ in range(k):
        place = values.argmax(-1)
        found.append((values.max(-1), place))
        values = jnp.where(jnp.arange(values.shape[-1]) == place[:, None], -jnp.inf, values)
    return tuple(jnp.stack(each, -1) for each in zip(*found, strict=True))
