"""Box kernels of detection: overlap, offsets, the best of many, suppression of repeats.

Contract. Boxes are [..., 4] float (x0, y0, x1, y1) in pixels, edge to edge, pixel centres at
integers. Everything is written for ONE image and lifted with `jax.vmap`; shapes are static, and
what does not exist is masked: a box without area overlaps nothing. Which anchors learn which face
is decided in jaxgen/kernels/anchors.py.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax import lax

# exp of more than this would make a face larger than any picture out of any anchor.
_LARGEST_LOG = 6.0


class Kept(NamedTuple):
    """Boxes of one image after a selection, best first; rows that are not `valid` hold zeros."""

    boxes: jax.Array  # [N, 4] float32
    scores: jax.Array  # [N] float32
    valid: jax.Array  # [N] bool


def area(boxes: chex.Array) -> jax.Array:
    """Width times height, 0 for a box that is inside out.

    [..., 4] -> [...] float32, pixels squared.
    """
    boxes = _in_float32(boxes)
    sides = jnp.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return sides[..., 0] * sides[..., 1]


def iou(box: chex.Array, others: chex.Array, *, plus_one: bool = False) -> jax.Array:
    """Intersection over union of one box and many.

    Args:
        box: [4].
        others: [N, 4].
        plus_one: count corners as pixels that belong to the box, so that a box from 3 to 5 is 3
            wide. The convention of WIDER FACE's evaluation and of other old ones.

    Returns:
        [N] float32 in [0, 1]; 0 where either box has no area.
    """
    chex.assert_shape([box, others], [(4,), (None, 4)])
    box, others = _in_float32(box), _in_float32(others)
    extra = 1.0 if plus_one else 0.0
    low = jnp.maximum(box[:2], others[:, :2])
    high = jnp.minimum(box[2:], others[:, 2:])
    sides = jnp.maximum(high - low + extra, 0)
    shared = sides[:, 0] * sides[:, 1]
    areas = [_extended_area(each, extra) for each in (box, others)]
    union = areas[0] + areas[1] - shared
    real = (area(box) > 0) & (area(others) > 0)
    return jnp.where(real, shared / jnp.where(real, union, 1), 0)


def _in_float32(boxes):
    """Areas of large faces are beyond float16, and offsets between bfloat16's pixels."""
    return jnp.asarray(boxes, jnp.float32)


def _extended_area(boxes, extra):
    sides = boxes[..., 2:] - boxes[..., :2] + extra
    return sides[..., 0] * sides[..., 1]


def pairwise_iou(first: chex.Array, second: chex.Array, *, plus_one: bool = False) -> jax.Array:
    """Intersection over union of all pairs. [N, 4], [M, 4] -> [N, M], see `iou`."""
    return jax.vmap(lambda box: iou(box, second, plus_one=plus_one))(first)


def share_inside(boxes: chex.Array, container: chex.Array) -> jax.Array:
    """Share of each box's own area that lies inside another. [N, 4], [4] -> [N] in [0, 1]."""
    low = jnp.maximum(boxes[:, :2], container[:2])
    high = jnp.minimum(boxes[:, 2:], container[2:])
    shared = area(jnp.concatenate([low, high], -1))
    return shared / jnp.maximum(area(boxes), 1e-9)


def square(boxes: chex.Array) -> jax.Array:
    """The squares around the centres of boxes, as large as their longer sides. [..., 4] twice."""
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    half = (boxes[..., 2:] - boxes[..., :2]).max(-1, keepdims=True) / 2
    return jnp.concatenate([centre - half, centre + half], -1)


def encode(boxes: chex.Array, anchors: chex.Array) -> jax.Array:
    """Offsets that lead from anchors to boxes: (tx, ty, tw, th).

    Shifts of the centre in anchor sides, and logarithms of the ratio of sides.

    Args:
        boxes: [..., 4] with area; elsewhere the result is finite and means nothing.
        anchors: [..., 4] with area.

    Returns:
        [..., 4] float32.

    Source: Girshick et al., Rich feature hierarchies, CVPR 2014, appendix C.
    """
    chex.assert_equal_shape([boxes, anchors])
    boxes, anchors = _in_float32(boxes), _in_float32(anchors)
    sides = jnp.maximum(boxes[..., 2:] - boxes[..., :2], 1e-6)
    anchor_sides = anchors[..., 2:] - anchors[..., :2]
    shift = (boxes[..., :2] + boxes[..., 2:] - anchors[..., :2] - anchors[..., 2:]) / 2
    return jnp.concatenate([shift / anchor_sides, jnp.log(sides / anchor_sides)], -1)


def decode(offsets: chex.Array, anchors: chex.Array) -> jax.Array:
    """Boxes that offsets lead to, the inverse of `encode`. [..., 4] twice -> [..., 4] float32."""
    chex.assert_equal_shape([offsets, anchors])
    offsets, anchors = _in_float32(offsets), _in_float32(anchors)
    anchor_sides = anchors[..., 2:] - anchors[..., :2]
    centres = (anchors[..., :2] + anchors[..., 2:]) / 2 + offsets[..., :2] * anchor_sides
    # A network that has learned nothing yet must not answer with infinity.
    half = anchor_sides * jnp.exp(jnp.clip(offsets[..., 2:], -_LARGEST_LOG, _LARGEST_LOG)) / 2
    return jnp.concatenate([centres - half, centres + half], -1)


def top_k(boxes: chex.Array, scores: chex.Array, *, k: int, floor: float) -> Kept:
    """The best boxes of one image.

    Args:
        boxes: [N, 4].
        scores: [N].
        k: boxes to keep; fewer than k are filled up.
        floor: lowest score that counts.

    Returns:
        Kept of k rows.
    """
    chex.assert_shape([boxes, scores], [(None, 4), (len(boxes),)])
    best, places = lax.top_k(scores, min(k, len(scores)))
    fill = (0, k - len(best))
    best = jnp.pad(best, fill, constant_values=-jnp.inf)
    return _masked(jnp.pad(boxes[places], (fill, (0, 0))), best, best >= floor)


def nms(kept: Kept, *, iou_threshold: float, k: int) -> Kept:
    """Greedy suppression: a box goes if it overlaps a better one that stays.

    The greedy loop takes one step a box. Here every step decides about all boxes at once from the
    last step's answer, which is right for one box more each time at least, and is right for all
    after as many steps as the longest chain of boxes that suppress one another: a handful. The
    result is that of the loop, exactly.

    Args:
        kept: best first, as `top_k` gives them.
        iou_threshold: pairs that overlap more cannot both stay.
        k: boxes to return.

    Returns:
        Kept of k rows.

    Source: the iteration is that of Cluster-NMS (Zheng et al., 2020).
    """
    count = len(kept.scores)
    overlaps = pairwise_iou(kept.boxes, kept.boxes) > iou_threshold
    # rows: who suppresses; columns: whom. Only better ones suppress, so above the diagonal.
    suppresses = overlaps & jnp.triu(jnp.ones((count, count), bool), 1) & kept.valid[:, None]

    def decide(carry):
        stays, _ = carry
        new = kept.valid & ~(suppresses & stays[:, None]).any(0)
        return new, (new != stays).any()

    stays, _ = lax.while_loop(lambda carry: carry[1], decide, (kept.valid, jnp.bool_(True)))
    scores = jnp.where(stays, kept.scores, -jnp.inf)
    return top_k(kept.boxes, scores, k=k, floor=jnp.finfo(jnp.float32).min)


def _masked(boxes, scores, valid) -> Kept:
    boxes = jnp.where(valid[:, None], boxes, 0).astype(jnp.float32)
    return Kept(boxes, jnp.where(valid, scores, 0).astype(jnp.float32), valid)
