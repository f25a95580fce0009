"""Measures detections of whole sets: average precision, by the size of the faces too."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxgen.metrics import detection
from jaxgen.tasks.detection_inference import Found, detect_pictures
from jaxgen.training import hosts
from jaxgen.training.errors import ConfigError


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
    share = range(hosts.index(), len(scenes), hosts.count())
    pictures = ((row, scenes[row]["image"]) for row in share)
    found = dict(detect_pictures(config, detect, pictures))
    if hosts.count() == 1:
        return list(found.values())
    rows = {row: as_predictions([each])[0] for row, each in found.items()}
    return [Found(each[:, :4], each[:, 4]) for each in hosts.gather_lists(rows, width=5)]


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


def detection_numbers(
    predictions: Sequence[np.ndarray], truth: GroundTruth, levels: Mapping[str, GroundTruth]
) -> dict[str, float]:
    """Figures in percent.

    Args:
        predictions: [N, 5] for each scene.
        truth: of the same scenes.
        levels: of `read_levels`.

    Returns:
        ap, ap_all_images, ap_height_*, tpr_100_false_positives, and ap_LEVEL of every level.
    """
    faces = truth.boxes, truth.counted
    roc = detection.roc(predictions, *faces)
    return {
        "ap": detection.wider_average_precision(predictions, *faces),
        **{
            f"ap_{name}": detection.wider_average_precision(predictions, of.boxes, of.counted)
            for name, of in levels.items()
        },
        "ap_all_images": detection.average_precision(predictions, *faces),
        **detection.average_precision_by_height(predictions, *faces),
        "tpr_100_false_positives": detection.rate_at(roc, 100),
    }


def ceiling_numbers(predictions: Sequence[np.ndarray], truth: GroundTruth) -> dict[str, float]:
    """ap_oracle and ap_height_*_oracle: what perfect scores of the same boxes would give, percent.

    Args:
        predictions: [N, 5] for each scene.
        truth: of the same scenes.
    """
    faces = truth.boxes, truth.counted
    return {"ap_oracle": detection.ceiling(predictions, *faces, protocol="wider")} | {
        f"ap_height_{name}_oracle": detection.ceiling(predictions, *faces, heights=heights)
        for name, heights in detection.HEIGHT_BINS.items()
    }


def read_levels(config, names: Sequence[str]) -> dict[str, GroundTruth]:
    """The official levels of WIDER FACE for scenes of these names; {} where none are given.

    Raises:
        ConfigError: a scene is not in the lists.
    """
    if not config.test.levels:
        return {}
    from jaxgen.data import wider_levels

    levels = {}
    for level, faces in wider_levels.read_levels(config.test.levels).items():
        missing = [name for name in names if name not in faces]
        if missing:
            raise ConfigError(
                f"config.test.levels={config.test.levels!r}: the level {level!r} lacks "
                f"{len(missing)} of the {len(names)} test pictures, such as {missing[0]!r}. The "
                'levels are those of the split "val" of WIDER FACE.'
            )
        chosen = [faces[name] for name in names]
        levels[level] = GroundTruth(
            list(names), [each.boxes for each in chosen], [each.counted for each in chosen]
        )
    return levels
