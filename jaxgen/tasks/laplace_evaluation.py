"""Measures a LaplaceKL network on a labelled split."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from jaxgen.metrics import landmarks, uncertainty
from jaxgen.metrics.normalizers import NORMALIZERS
from jaxgen.tasks import laplace, laplace_data
from jaxgen.tasks.laplace_inference import to_original
from jaxgen.training.mesh import compile_evaluation, put_batch


class Evaluation(NamedTuple):
    """A split with its predictions; all pixels are those of the original images."""

    rows: np.ndarray  # [N] positions in the source
    points: np.ndarray  # [N, K, 2] predicted
    scales: np.ndarray  # [N, K, 2] predicted Laplace scales
    true: np.ndarray  # [N, K, 2] labels
    mask: np.ndarray  # [N, K] bool, True where labelled
    loss: np.ndarray  # [N] supervised loss
    matrix: np.ndarray  # [N, 2, 3] original pixels -> crop pixels
    crops: np.ndarray  # [N, S, S, 3] uint8, what the network saw


def compile_evaluate(config, mesh: Mesh) -> Callable[[Any, Any], Evaluation]:
    """Compiles once: (variables, source) -> Evaluation of all its faces, on every process."""
    compiled = compile_evaluation(mesh, partial(laplace.eval_step, config))

    def evaluate(variables: Any, source: Any) -> Evaluation:
        parts = []
        for batch in laplace_data.evaluation_batches(config, source):
            device_batch = put_batch(mesh, {k: batch[k] for k in ("image", "points", "mask")})
            local = {k: _local(v) for k, v in compiled(variables, device_batch).items()}
            keep = batch["valid"]
            parts.append(
                {
                    "index": batch["index"][keep],
                    "pred": local["points"][keep],
                    "scales": local["scales"][keep],
                    "loss": local["loss"][keep],
                    **{k: batch[k][keep] for k in ("points", "mask", "matrix", "image")},
                }
            )
        joined = {k: np.concatenate([part[k] for part in parts]) for k in parts[0]}
        if jax.process_count() > 1:
            joined = _gather(joined)
        return _in_original_pixels(joined)

    return evaluate


def measure(config, evaluation: Evaluation, source: Any) -> dict[str, float]:
    """Flat figures under the field's names: NME with its normaliser, AUC, failures, uncertainty.

    Percent where the field prints percent; see jaxgen.metrics.landmarks.summarise.
    """
    names = laplace_data.names_of(source, evaluation.rows)
    normalizer = config.evaluate.normalizer
    errors = landmarks.summarise(
        evaluation.points,
        evaluation.true,
        evaluation.mask,
        normalizer=normalizer,
        subsets=names["subset"],
        groups=names["group"],
        seed=config.seed,
    )
    spread = uncertainty.summarise(
        evaluation.scales,
        evaluation.points,
        evaluation.true,
        evaluation.mask,
        lengths=NORMALIZERS[normalizer],
    )
    return {**errors, **spread, "loss": float(evaluation.loss.mean())}


def validation_numbers(config, evaluation: Evaluation) -> dict[str, float]:
    """The few figures that are worth their time after every few hundred steps."""
    name = config.evaluate.normalizer
    errors = landmarks.nme(
        evaluation.points, evaluation.true, NORMALIZERS[name], mask=evaluation.mask
    )
    scale = np.median(evaluation.scales[evaluation.mask])
    shrink = np.sqrt(np.abs(np.linalg.det(evaluation.matrix[:, :, :2])))
    return {
        f"nme_{name}": float(errors.mean()),
        "loss": float(evaluation.loss.mean()),
        "median_scale_crop_pixels": float(scale * np.median(shrink)),
    }


def _local(array: jax.Array) -> np.ndarray:
    """Rows of this process of an array that is split over all devices, in order."""
    shards = sorted(array.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    return np.concatenate([np.asarray(shard.data) for shard in shards])


def _gather(joined: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All processes' rows; shares differ by one face at most, so rows are padded and dropped."""
    count = len(joined["index"])
    most = int(multihost_utils.process_allgather(np.array(count)).max())
    padded = {k: np.concatenate([v, v[:1].repeat(most - count, 0)]) for k, v in joined.items()}
    padded["real"] = np.arange(most) < count
    everyone = multihost_utils.process_allgather(padded, tiled=True)
    real = everyone.pop("real").astype(bool)
    return {k: np.asarray(v)[real] for k, v in everyone.items()}


def _in_original_pixels(joined: dict[str, np.ndarray]) -> Evaluation:
    order = np.argsort(joined["index"], kind="stable")
    joined = {k: v[order] for k, v in joined.items()}
    matrices = joined["matrix"].astype(np.float64)
    items = zip(matrices, joined["pred"], joined["scales"], joined["points"], strict=True)
    found = [(*to_original(m, p, s), to_original(m, t, s)[0]) for m, p, s, t in items]
    points, scales, true = (np.stack(field) for field in zip(*found, strict=True))
    return Evaluation(
        rows=joined["index"],
        points=points,
        scales=scales,
        true=true,
        mask=joined["mask"].astype(bool),
        loss=joined["loss"],
        matrix=matrices,
        crops=joined["image"],
    )
