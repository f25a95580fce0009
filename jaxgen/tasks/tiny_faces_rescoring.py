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
from jaxgen.tasks.detection_inference import suppress
from jaxgen.tasks.tiny_faces import Variables

_EDGE = 1e-6  # probabilities keep this distance from 0 and 1


class Fusion(NamedTuple):
    """How two scores become one; config.gan.fusion has the same names."""

    rule: str
    weight: float  # of the second look in "mean_logit"
    longest_side: float  # pixels: larger boxes keep the detector's score


class Look(NamedTuple):
    """What was seen at the boxes of one picture. Rows are those of the detector."""

    boxes: np.ndarray  # [N, 4] float32 of the detector
    scores: np.ndarray  # [N] float32, its probabilities
    face_probability: np.ndarray  # [N] float32 of the GAN; NaN where it was not asked
    moved: np.ndarray | None  # [N, 4] float32 by the box head; None where it moves nothing
    shape: tuple[int, int]  # height and width of the picture
    super_resolved: dict[int, np.ndarray]  # row -> uint8 [h, h, 3]
    low: dict[int, np.ndarray]  # row -> uint8 [l, l, 3], what it was made from


class SecondOpinion(NamedTuple):
    """Boxes of one picture after a second look."""

    rows: np.ndarray  # [K] int, of the detector's boxes: moved ones may repeat each other
    boxes: np.ndarray  # [K, 4] float32, moved where the box head is used
    scores: np.ndarray  # [K] float32, fused
    face_probability: np.ndarray  # [K] float32 of the GAN; NaN where it was not asked
    super_resolved: dict[int, np.ndarray]  # row of the detector -> uint8 [h, h, 3]
    low: dict[int, np.ndarray]  # row of the detector -> uint8 [l, l, 3]


def fuse(
    detector: np.ndarray, gan: np.ndarray, longer_sides: np.ndarray, settings: Any
) -> np.ndarray:
    """One score of two.

    Args:
        detector: [N] probabilities of the detector.
        gan: [N] probabilities of the GAN; NaN where it was not asked.
        longer_sides: [N] of the boxes, pixels.
        settings: a Fusion, or config.gan.fusion.

    Returns:
        [N] float32.

    Raises:
        ValueError: the rule is still to be chosen.
    """
    if settings.rule == "chosen":
        raise ValueError(
            'config.gan.fusion.rule="chosen" is no rule: give a Fusion, such as that of '
            "tiny_faces_fusion.settings_of"
        )
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


def look(
    config,
    rescore: Callable[[np.ndarray], tiny_faces.Rescored],
    image: np.ndarray,
    boxes: np.ndarray,
    scores: np.ndarray,
    *,
    longest_side: float,
    most: int,
    keep_images: bool = False,
) -> Look:
    """Enlarges and classifies the small boxes of a picture.

    Args:
        config: of the run.
        rescore: low uint8 [N, l, l, 3] -> Rescored, such as `compile_rescore` with variables.
        image: uint8 [H, W, 3].
        boxes: [N, 4] of the detector.
        scores: [N] its probabilities.
        longest_side: of the boxes to look at, pixels.
        most: boxes to look at, the best first.
        keep_images: hand the crops back too.

    Raises:
        ValueError: a box that is to be looked at is not finite or has no area.
    """
    fusion, crops = config.gan.fusion, config.crops
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    scores = np.asarray(scores, np.float32)
    sides = (boxes[:, 2:] - boxes[:, :2]).max(1, initial=0)
    chosen = _best_small(sides, scores, longest_side, most)
    probability = np.full(len(boxes), np.nan, np.float32)
    shape = image.shape[:2]
    if not len(chosen):
        return Look(boxes, scores, probability, None, shape, {}, {})
    size = crops.high // face_pairs.SCALE
    low = np.stack(
        [face_pairs.cut(image, boxes[row], size=size, margin=crops.margin) for row in chosen]
    )
    found = rescore(low)
    probability[chosen] = found.face_probability
    moved = None
    if fusion.move_boxes:
        moved = boxes.copy()
        moved[chosen] = _moved(boxes[chosen], found.offsets)
    pictures = dict(zip(chosen.tolist(), found.super_resolved, strict=True)) if keep_images else {}
    before = dict(zip(chosen.tolist(), low, strict=True)) if keep_images else {}
    return Look(boxes, scores, probability, moved, shape, pictures, before)


def _best_small(sides, scores, longest_side, most):
    """Rows of the best boxes up to a size, best first."""
    small = np.flatnonzero(sides <= longest_side)
    return small[np.argsort(-scores[small], kind="stable")][:most]


def join(seen: Look, settings: Any, *, most: int, nms_iou: float) -> SecondOpinion:
    """Fused scores, and boxes where they were moved to.

    Moved boxes are cut at the border of the picture, and as they may meet on one face, repeats
    among them are suppressed once more, by the fused scores. With weight 0 in "mean_logit" nothing
    moves: that is the detector alone.

    Args:
        seen: of `look`.
        settings: a Fusion, or config.gan.fusion.
        most: looks that count, at the best boxes of the sizes of the rule: as many as `look` gets
            when it is asked for this rule alone.
        nms_iou: moved boxes that overlap more cannot both stay.
    """
    sides = (seen.boxes[:, 2:] - seen.boxes[:, :2]).max(1, initial=0)
    counted = np.full(len(sides), False)
    counted[_best_small(sides, seen.scores, settings.longest_side, most)] = True
    probability = np.where(counted, seen.face_probability, np.nan)
    scores = fuse(seen.scores, probability, sides, settings)
    boxes, rows = seen.boxes, np.arange(len(seen.boxes))
    detector_alone = settings.rule == "mean_logit" and settings.weight == 0
    if seen.moved is not None and not detector_alone:
        asked = np.isfinite(probability)
        height, width = seen.shape
        inside = np.clip(seen.moved, -0.5, np.tile([width - 0.5, height - 0.5], 2))
        boxes = np.where(asked[:, None], inside, boxes).astype(np.float32)
        own = np.flatnonzero(asked & (boxes[:, 2:] > boxes[:, :2]).all(1))
        kept = suppress(boxes[own], scores[own], iou_threshold=nms_iou)
        rows = np.sort(np.concatenate([np.flatnonzero(~asked), own[kept]]))
    return SecondOpinion(
        rows, boxes[rows], scores[rows], seen.face_probability[rows], seen.super_resolved, seen.low
    )


def look_again(
    config,
    rescore: Callable[[np.ndarray], tiny_faces.Rescored],
    image: np.ndarray,
    boxes: np.ndarray,
    scores: np.ndarray,
    *,
    fusion: Any = None,
    keep_images: bool = False,
) -> SecondOpinion:
    """Scores the small boxes of a picture anew: `look`, then `join`.

    Args:
        config: of the run.
        rescore: as of `look`.
        image: uint8 [H, W, 3].
        boxes: [N, 4] of the detector.
        scores: [N] its probabilities.
        fusion: a Fusion; None takes config.gan.fusion.
        keep_images: hand the crops back too.

    Raises:
        ValueError: a box that is to be looked at is not finite or has no area, or the rule is
            still to be chosen.
    """
    fusion = fusion or config.gan.fusion
    most = config.gan.fusion.most
    limits = dict(longest_side=fusion.longest_side, most=most)
    seen = look(config, rescore, image, boxes, scores, **limits, keep_images=keep_images)
    return join(seen, fusion, most=most, nms_iou=config.detector.inference.nms_iou)


def _moved(boxes, offsets):
    """Boxes after the box head's offsets from their squares, see `jaxgen.kernels.boxes`."""
    sides = (boxes[:, 2:] - boxes[:, :2]).max(1, keepdims=True)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 + offsets[:, :2] * sides
    half = sides * np.exp(np.clip(offsets[:, 2:], -2, 2)) / 2
    return np.concatenate([centres - half, centres + half], 1)


def _logit(probability):
    probability = np.clip(probability.astype(np.float64), _EDGE, 1 - _EDGE)
    return np.log(probability / (1 - probability))


def _sigmoid(logit):
    return 1 / (1 + np.exp(-logit))
