"""Landmarks of faces in whole pictures: crop, predict, map back to original pixels."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxgen.data import crop
from jaxgen.tasks import laplace
from jaxgen.training.config import config_hash
from jaxgen.training.mesh import compile_evaluation, put_batch

# Where the search begins when no box is given: central squares, as shares of the shorter side.
# One start is too few: a network that is trained on close crops does not see a small face.
SEARCH_STARTS = (1.0, 0.7, 0.5, 0.35)
SEARCH_PASSES = 3  # from each start: the square, then twice around the points
# A mean scale above this share of the box's longer side is taken for "no face found". By the
# network of the main job: 0.024 on HELEN's faces, 95 % of them below 0.028; on pictures without a
# face nine in ten are above.
UNSURE = 0.03


class Face(NamedTuple):
    """A face to predict: a picture, and where in it."""

    key: Any  # handed through to the prediction
    image: np.ndarray  # uint8 [H, W, 3]
    box: (
        np.ndarray | None
    )  # [4] pixels; None: the picture shows one face, somewhere near its middle


class Prediction(NamedTuple):
    """Landmarks in pixels of the original picture."""

    key: Any
    points: np.ndarray  # [K, 2] (x, y)
    scales: np.ndarray  # [K, 2] (b_x, b_y)
    box: np.ndarray  # [4] box that was cropped


def to_original(matrix: np.ndarray, points: np.ndarray, scales: np.ndarray):
    """Crop pixels to original pixels, for a crop without rotation.

    Args:
        matrix: [2, 3] original -> crop.
        points: [K, 2] crop pixels.
        scales: [K, 2] crop pixels.

    Returns:
        points and scales in original pixels.
    """
    shrink = np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    return crop.transform_points(crop.invert(matrix), points), scales / shrink


def compile_predictor(config, mesh: Mesh) -> Callable[[Any, np.ndarray], laplace.Landmarks]:
    """(variables, uint8 images [B, S, S, 3]) -> Landmarks in crop pixels, as NumPy arrays."""
    compiled = compile_evaluation(mesh, partial(laplace.predict, config))

    def predict(variables, images):
        landmarks = compiled(variables, put_batch(mesh, images))
        return laplace.Landmarks(*(np.asarray(field) for field in landmarks))

    return predict


def predict_faces(
    config,
    predictor: Callable[[np.ndarray], laplace.Landmarks],
    faces: Iterable[Face],
) -> Iterator[Prediction]:
    """Predicts faces in batches, in order; memory holds one batch of pictures.

    Args:
        config: data.crop_size, data.margin and evaluate.batch_size are used.
        predictor: uint8 crops [B, S, S, 3] -> Landmarks in crop pixels.
        faces: the pictures. A box means what it meant in training: the tight box around the
            landmarks for most sets. Without a box the face is searched: from each of
            SEARCH_STARTS in a few passes, and the surest end, that of the least mean scale, is
            taken. Soft-argmax networks start from the whole picture only: nothing ties their
            scales to their errors.
    """
    faces = iter(faces)
    starts = SEARCH_STARTS if scales_mean_errors(config) else SEARCH_STARTS[:1]
    while batch := list(itertools.islice(faces, config.evaluate.batch_size)):
        if all(face.box is not None for face in batch):
            yield from _predict_batch(config, predictor, batch, [face.box for face in batch])
            continue
        ends = [_search(config, predictor, batch, start) for start in starts]
        yield from (min(found, key=_relative_scale) for found in zip(*ends, strict=True))


def scales_mean_errors(config) -> bool:
    """Whether the training loss ties the scales to the errors: soft-argmax losses do not."""
    return not config.loss.name.startswith("soft_argmax")


def is_unsure(config, prediction: Prediction) -> bool:
    """Whether the scales say that there is no face in the box. False where they say nothing."""
    # The loss asks for target_scale pixels at least, and faces have one and a half times that: in
    # small crops it is a larger share.
    least = config.loss.target_scale * config.data.margin / config.data.crop_size
    limit = max(UNSURE, 1.8 * least)
    return scales_mean_errors(config) and _relative_scale(prediction) > limit


def _relative_scale(prediction: Prediction) -> float:
    """Mean scale as a share of the box's longer side."""
    return prediction.scales.mean() / (prediction.box[2:] - prediction.box[:2]).max()


def _search(config, predictor, faces, start):
    """Predictions after some passes from one central square; given boxes stay as they are."""
    boxes = [_start_box(face, config.data.margin, start) for face in faces]
    for _ in range(SEARCH_PASSES):
        found = _predict_batch(config, predictor, faces, boxes)
        boxes = [
            prediction.box if face.box is not None else _tight_box(prediction.points)
            for face, prediction in zip(faces, found, strict=True)
        ]
    return found


def _predict_batch(config, predictor, faces, boxes):
    size = config.data.crop_size
    # Padded to one shape, so that the last batch compiles nothing new.
    crops = np.zeros((config.evaluate.batch_size, size, size, 3), np.uint8)
    matrices = [crop.crop_matrix(box, size=size, margin=config.data.margin) for box in boxes]
    for row, (face, matrix) in enumerate(zip(faces, matrices, strict=True)):
        crops[row] = crop.crop_image(face.image, matrix, size)
    landmarks = predictor(crops)
    return [
        Prediction(
            face.key,
            *to_original(matrix, landmarks.points[row], landmarks.scales[row]),
            np.asarray(box),
        )
        for row, (face, matrix, box) in enumerate(zip(faces, matrices, boxes, strict=True))
    ]


def _start_box(face: Face, margin: float, share: float) -> np.ndarray:
    """The given box, or the one whose crop is a square in the middle, share of the shorter side."""
    if face.box is not None:
        return np.asarray(face.box, np.float64)
    height, width = face.image.shape[:2]
    half = share * min(height, width) / 2 / margin
    x, y = (width - 1) / 2, (height - 1) / 2
    return np.array([x - half, y - half, x + half, y + half])


def _tight_box(points: np.ndarray) -> np.ndarray:
    low, high = points.min(0), points.max(0)
    return np.concatenate([low, np.maximum(high, low + 1)])  # never without area


def export(config, variables: Any, directory: Path, *, step: int) -> Path:
    """Writes the network as a StableHLO artifact: uint8 crops [b, S, S, 3] -> points, scales.

    Args:
        config: of the run.
        variables: {"params", "batch_stats"}.
        directory: made if missing.
        step: training steps that the variables had.

    Returns:
        Path of the artifact; its JSON of the same name says how to crop.
    """
    from jaxgen.training.export import write_artifact

    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "landmarks.stablehlo"
    variables = jax.tree.map(np.asarray, variables)
    size = config.data.crop_size
    write_artifact(
        path,
        # A plain tuple: whoever loads the file need not know jaxgen.
        lambda crops: tuple(laplace.predict(config, variables, crops)),
        [(("b", size, size, 3), np.uint8)],
        description={
            "input": f"uint8 [b, {size}, {size}, 3] RGB face crops",
            "crop": "square around the box centre, margin x longer side, resized",
            "crop_size": size,
            "margin": config.data.margin,
            "output": "points and scales, float32 [b, K, 2] (x, y) in crop pixels",
            "num_points": config.model.num_points,
            "data": config.data.name,
            "step": step,
            "config_hash": config_hash(config),
        },
    )
    return path
