"""Measures detections of whole sets: average precision, by the size of the faces too."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxgen.metrics import detection
from jaxgen.tasks.detection_inference import Found, detect_pictures


class GroundTruth(NamedTuple):
    """True faces of a set."""

    names: list[str]
    boxes: list[np.ndarray]  # [M, 4] for each scene
    counted: list[np.ndarray]  # [M] bool for each scene


def detect_scenes(config, detect: Callable, scenes: Sequence[dict]) -> list[Found]:
    """Faces of every scene of a set, alike on every process; each reads its share.

    Args:
        config: of the run.
        detect: uint8 tiles -> Detections, see `detection_inference.compile_detector`.
        scenes: `face_scenes.FaceScenes`.
    """
    share = range(jax.process_index(), len(scenes), jax.process_count())
    pictures = ((row, scenes[row]["image"]) for row in share)
    found = dict(detect_pictures(config, detect, pictures))
    if jax.process_count() > 1:
        found = _from_all(found, len(scenes), config.detector.inference.max_boxes)
    return [found[row] for row in range(len(scenes))]


def ground_truth(scenes: Any) -> GroundTruth:
    """True faces of a set, read without decoding a picture."""
    labels = [scenes.labels(row) for row in range(len(scenes))]
    return GroundTruth(
        [label["name"] for label in labels],
        [label["boxes"] for label in labels],
        [~label["ignored"] for label in labels],
    )


def as_predictions(found: Sequence[Found]) -> list[np.ndarray]:
    """What the metrics read: [N, 5] for each scene."""
    return [np.concatenate([each.boxes, each.scores[:, None]], 1) for each in found]


def detection_numbers(predictions: Sequence[np.ndarray], truth: GroundTruth) -> dict[str, float]:
    """Headline figures in percent: ap, ap_all_images and ap_height_*."""
    return {
        "ap": detection.wider_average_precision(predictions, truth.boxes, truth.counted),
        "ap_all_images": detection.average_precision(predictions, truth.boxes, truth.counted),
        **detection.average_precision_by_height(predictions, truth.boxes, truth.counted),
    }


def _from_all(found, count, max_boxes):
    """Found of all processes, by row; shares are padded to one shape meanwhile."""
    share = -(-count // jax.process_count())
    rows = np.full(share, -1)
    values = np.full((share, max_boxes, 5), np.nan, np.float32)
    for place, (row, each) in enumerate(found.items()):
        rows[place] = row
        values[place, : len(each.scores)] = as_predictions([each])[0]
    rows, values = multihost_utils.process_allgather((rows, values), tiled=True)
    gathered = {}
    for row, each in zip(np.asarray(rows), np.asarray(values), strict=True):
        if row >= 0:
            each = each[np.isfinite(each[:, 4])]
            gathered[int(row)] = Found(each[:, :4], each[:, 4])
    return gathered
