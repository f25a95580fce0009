"""Measures a task network of CyCADA: confusion matrix, and what needs no label at all."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxgen.metrics import adaptation, segmentation
from jaxgen.tasks import cycada, cycada_data, cycada_translation
from jaxgen.training import hosts
from jaxgen.training.mesh import data_mesh, replicated
from jaxgen.training.whole_sets import compile_over_sets

TILE_OVERLAP = 0.25  # of a tile's side, for whole scenes
PIXELS_PER_SCENE = 64  # whose probabilities are kept


class Evaluation(NamedTuple):
    """What a network said of a set."""

    confusion: np.ndarray  # [K, K] int64, rows are true classes; images or pixels
    probabilities: np.ndarray  # [M, K] float32, of all images, or of some pixels of every scene


def compile_evaluate(config, mesh: Mesh) -> Callable[[Any, Any], Evaluation]:
    """Compiles once: (variables, set) -> Evaluation, alike on every process.

    Processes share the images of a set in memory batch by batch, and scenes one by one.
    """
    scenes = cycada_data.is_segmentation(config)
    own = data_mesh(jax.local_devices())
    predict = compile_predict(config, own if scenes else mesh)

    def evaluate(variables, opened) -> Evaluation:
        count = config.model.num_classes
        if scenes:
            variables = jax.device_put(hosts.fetch(variables), replicated(own))
            return _evaluate_scenes(config, partial(predict, variables), opened)
        probabilities = predict(variables, opened.image)
        found = probabilities.argmax(-1)
        labelled = opened.label >= 0
        confusion = segmentation.confusion(
            found[labelled], opened.label[labelled], count, ignore=cycada.ignored(config)
        )
        return Evaluation(confusion, probabilities)

    return evaluate


def compile_predict(config, mesh: Mesh) -> Callable[[Any, np.ndarray], np.ndarray]:
    """Compiles once: (variables, uint8 [N, H, W, C]) -> probabilities [N, K] or [N, H, W, K]."""

    def probabilities(variables, batch):
        return jax.nn.softmax(cycada.predict(config, variables, batch["image"]))

    return compile_over_sets(mesh, probabilities, batch_size=config.evaluate.batch_size)


def compile_translate(config, mesh: Mesh) -> Callable[[Any, np.ndarray], np.ndarray]:
    """Compiles once: (params of one generator, uint8 [N, H, W, C]) -> the same, translated.

    Images whose sides are no multiple of 4 are padded by their last pixels meanwhile.
    """

    def translate(params, batch):
        return cycada_translation.translate(config, params, batch["image"])

    run = compile_over_sets(mesh, translate, batch_size=config.evaluate.batch_size)

    def translate_all(params, images):
        h, w = images.shape[1:3]
        padded = np.pad(images, ((0, 0), (0, -h % 4), (0, -w % 4), (0, 0)), mode="edge")
        return run(params, padded)[:, :h, :w]

    return translate_all


def predict_scene(config, predict: Callable[[np.ndarray], np.ndarray], image) -> np.ndarray:
    """Class probabilities of a whole scene, by overlapping tiles of the training crop's size.

    Args:
        config: of the run.
        predict: uint8 [N, S, S, 3] -> [N, S, S, K].
        image: uint8 [H, W, 3] of any size.

    Returns:
        [H, W, K] float32.
    """
    from jaxgen.data import tiles

    return tiles.predict_by_tiles(
        predict,
        image,
        size=config.data.size,
        overlap=int(TILE_OVERLAP * config.data.size),
        batch_size=config.evaluate.batch_size,
    )


def task_numbers(config, confusion: np.ndarray) -> dict[str, float]:
    """Headline figures of a confusion matrix, in percent."""
    if cycada_data.is_segmentation(config):
        return {
            "miou": segmentation.mean_iou(confusion),
            "fwiou": segmentation.frequency_weighted_iou(confusion),
            "pixel_accuracy": segmentation.pixel_accuracy(confusion),
        }
    return {"accuracy": segmentation.pixel_accuracy(confusion)}


def headline(config) -> str:
    """The metric that counts most: higher is better."""
    return "miou" if cycada_data.is_segmentation(config) else "accuracy"


def label_free_numbers(probabilities: np.ndarray, *, most: int = 2000) -> dict[str, float]:
    """Criteria for choosing a checkpoint without labels, see jaxgen.metrics.adaptation.

    Args:
        probabilities: [M, K].
        most: rows to use, evenly chosen: the density compares all pairs.
    """
    rows = np.linspace(0, len(probabilities) - 1, min(most, len(probabilities))).astype(int)
    chosen = probabilities[rows]
    return {
        "entropy": adaptation.mean_entropy(chosen),
        "information_maximisation": adaptation.information_maximisation(chosen),
        "soft_neighbourhood_density": adaptation.soft_neighbourhood_density(chosen),
    }


def _evaluate_scenes(config, predict, scenes) -> Evaluation:
    count = config.model.num_classes
    confusion, kept, positions = np.zeros((count, count), np.int64), {}, range(len(scenes))
    for position in positions[hosts.index() :: hosts.count()]:
        scene = scenes[position]
        merged = predict_scene(config, predict, scene["image"])
        confusion += segmentation.confusion(merged.argmax(-1), scene["label"], count)
        flat = merged.reshape(-1, count)
        kept[position] = flat[np.linspace(0, len(flat) - 1, PIXELS_PER_SCENE).astype(int)]
    confusion = hosts.sum_counts(confusion)
    return Evaluation(confusion, np.concatenate(hosts.gather_lists(kept, width=count)))
