"""Second opinion on a detector's boxes: cut out, enlarge, classify, and make one score of two.

How the paper joins both scores is not known. Rules here, for boxes whose longer side is at most
`gan.fusion.longest_side`; larger boxes keep the detector's score:

    replace      the GAN's probability alone
    product      of both probabilities
    mean_logit   sigmoid of the weighted mean of both logits
"""

from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxgen.data import face_pairs
from jaxgen.tasks import tiny_faces
from jaxgen.tasks.tiny_faces import Variables

_EDGE = 1e-6  # probabilities keep this distance from 0 and 1


class SecondOpinion(NamedTuple):
    """Boxes of one picture after a second look. Rows are those of the detector."""

    boxes: np.ndarray  # [N, 4] float32, moved where the box head is used
    scores: np.ndarray  # [N] float32, fused
    face_probability: np.ndarray  # [N] float32 of the GAN; NaN where it was not asked
    super_resolved: dict[int, np.ndarray]  # row -> uint8 [h, h, 3]
    low: dict[int, np.ndarray]  # row -> uint8 [l, l, 3], what it was made from


def fuse(
    detector: np.ndarray, gan: np.ndarray, longer_sides: np.ndarray, settings: Any
) -> np.ndarray:
    """One score of two.

    Args:
        detector: [N] probabilities of the detector.
        gan: [N] probabilities of the GAN; NaN where it was not asked.
        longer_sides: [N] of the boxes, pixels.
        settings: config.gan.fusion.

    Returns:
        [N] float32.
    """
    detector, gan = np.asarray(detector, np.float32), np.asarray(gan, np.float32)
    asked = np.isfinite(gan) & (np.asarray(longer_sides) <= settings.longest_side)
    second = np.where(asked, gan, 0.5)
    fused = {
        "replace": lambda: second,
        "product": lambda: detector * second,
        "mean_logit": lambda: _sigmoid(
            (1 - settings.weight) * _logit(detector) + settings.weight * _logit(second)
        ),
    }[settings.rule]()
    return np.where(asked, fused, detector).astype(np.float32)


def compile_rescore(config) -> Callable[[Variables, np.ndarray], tiny_faces.Rescored]:
    """Compiles once for `gan.fusion.batch_size` crops: (variables, low [N, l, l, 3]) -> Rescored.

    Any N works; results are NumPy arrays, of N rows.
    """
    size = config.gan.fusion.batch_size
    compiled = jax.jit(partial(tiny_faces.rescore, config))

    def run(variables, low):
        parts = []
        for start in range(0, len(low), size):
            batch = low[start : start + size]
            fill = size - len(batch)
            padded = np.concatenate([batch, np.zeros((fill, *batch.shape[1:]), np.uint8)])
            found = jax.device_get(compiled(variables, padded))
            parts.append(jax.tree.map(itemgetter(slice(len(batch))), found))
        return jax.tree.map(lambda *each: np.concatenate(each), *parts)

    return run


def look_again(
    config,
    rescore: Callable[[np.ndarray], tiny_faces.Rescored],
    image: np.ndarray,
    boxes: np.ndarray,
    scores: np.ndarray,
    *,
    keep_images: bool = False,
) -> SecondOpinion:
    """Scores the small boxes of a picture anew.

    Args:
        config: of the run.
        rescore: low uint8 [N, l, l, 3] -> Rescored, such as `compile_rescore` with variables.
        image: uint8 [H, W, 3].
        boxes: [N, 4] of the detector.
        scores: [N] its probabilities.
        keep_images: hand the enlarged crops back too.

    Returns:
        As many rows as boxes, in their order.

    Raises:
        ValueError: a box that is to be looked at is not finite or has no area.
    """
    fusion, crops = config.gan.fusion, config.crops
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    scores = np.asarray(scores, np.float32)
    sides = (boxes[:, 2:] - boxes[:, :2]).max(1, initial=0)
    small = np.flatnonzero(sides <= fusion.longest_side)
    chosen = small[np.argsort(-scores[small], kind="stable")][: fusion.most]
    probability = np.full(len(boxes), np.nan, np.float32)
    if not len(chosen):
        return SecondOpinion(boxes, scores, probability, {}, {})
    size = crops.high // face_pairs.SCALE
    low = np.stack(
        [face_pairs.cut(image, boxes[row], size=size, margin=crops.margin) for row in chosen]
    )
    found = rescore(low)
    probability[chosen] = found.face_probability
    if fusion.move_boxes:
        boxes = boxes.copy()
        boxes[chosen] = _moved(boxes[chosen], found.offsets)
    pictures = dict(zip(chosen.tolist(), found.super_resolved, strict=True)) if keep_images else {}
    before = dict(zip(chosen.tolist(), low, strict=True)) if keep_images else {}
    return SecondOpinion(
        boxes, fuse(scores, probability, sides, fusion), probability, pictures, before
    )


def _moved(boxes, offsets):
    """Boxes after the box head's offsets, as `jaxgen.kernels.boxes.decode` has it."""
    sides = boxes[:, 2:] - boxes[:, :2]
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 + offsets[:, :2] * sides
    half = sides * np.exp(np.clip(offsets[:, 2:], -2, 2)) / 2
    return np.concatenate([centres - half, centres + half], 1)


def _logit(probability):
    probability = np.clip(probability.astype(np.float64), _EDGE, 1 - _EDGE)
    return np.log(probability / (1 - probability))


def _sigmoid(logit):
    return 1 / (1 + np.exp(-logit))
