"""Measures a LaplaceKL network on a labelled split, and writes its report."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxgen.metrics import landmarks
from jaxgen.metrics.normalizers import NORMALIZERS
from jaxgen.tasks import laplace, laplace_data
from jaxgen.training import hosts
from jaxgen.training.logging import counted
from jaxgen.training.mesh import compile_evaluation, local_rows, put_batch

HEATMAP_FACES = 6  # faces of the report whose heatmaps are drawn
_RATE = "train/images_per_second"  # in metrics.jsonl


class Evaluation(NamedTuple):
    """The faces of a split in order, with their predictions, in crop pixels.

    A crop without augmentation is a scaled and shifted original, so errors divided by a
    length of the same face are the same in both.
    """

    index: np.ndarray  # [N] positions in the source
    image: np.ndarray  # [N, S, S, 3] uint8, what the network saw
    points: np.ndarray  # [N, K, 2] predicted
    scales: np.ndarray  # [N, K, 2] predicted Laplace scales
    true: np.ndarray  # [N, K, 2] labels
    mask: np.ndarray  # [N, K] bool, True where labelled
    loss: np.ndarray  # [N] supervised loss
    lengths: np.ndarray | None = None  # [N] normalisers, where the points do not give them


def compile_evaluate(config, mesh: Mesh) -> Callable[[Any, Any], Evaluation]:
    """Compiles once: (variables, source) -> Evaluation of all its faces, on every process."""
    compiled = compile_evaluation(mesh, partial(laplace.eval_step, config))

    def evaluate(variables: Any, source: Any) -> Evaluation:
        parts = []
        for batch in laplace_data.evaluation_batches(config, source):
            seen = {key: batch[key] for key in ("image", "points", "mask")}
            found = jax.tree.map(local_rows, compiled(variables, put_batch(mesh, seen)))
            part = Evaluation(
                index=batch["index"],
                image=batch["image"],
                points=found["points"],
                scales=found["scales"],
                true=batch["points"],
                mask=batch["mask"],
                loss=found["loss"],
            )
            parts.append(jax.tree.map(lambda rows, valid=batch["valid"]: rows[valid], part))
        joined = jax.tree.map(lambda *rows: np.concatenate(rows), *parts)
        found = hosts.gather_in_order(joined, joined.index)
        if config.evaluate.normalizer == "face_box":
            found = found._replace(lengths=laplace_data.box_lengths(config, source, found.index))
        return found

    return evaluate


def validation_numbers(config, found: Evaluation) -> dict[str, float]:
    """The few figures that are worth their time every few hundred steps."""
    name = config.evaluate.normalizer
    lengths = NORMALIZERS[name] if found.lengths is None else found.lengths
    errors = landmarks.nme(found.points, found.true, lengths, mask=found.mask)
    return {
        f"nme_{name}": float(errors.mean()),
        "loss": float(found.loss.mean()),
        "median_scale": float(np.median(found.scales[found.mask])),  # crop pixels
    }


def report(
    config,
    directory: Path,
    found: Evaluation,
    source: Any,
    *,
    variables: Any,
    step: int,
    records: list[dict[str, float]],
) -> dict[str, float]:
    """Writes results.json, pictures and index.html of one evaluation.

    Args:
        config: of the run.
        directory: WORKDIR/report.
        found: the evaluated split.
        source: what it was read from, for names.
        variables: of the network, for the heatmaps.
        step: of the checkpoint.
        records: lines of metrics.jsonl.

    Returns:
        The flat figures; nothing on processes other than the first, which writes.
    """
    from jaxgen.tasks import landmark_report
    from jaxgen.training.report import write_report

    variables = hosts.fetch(variables)
    if not hosts.is_first():
        return {}
    names = laplace_data.names_of(source, found.index)
    evaluation = landmark_report.Evaluation(
        pred=found.points,
        scale=found.scales,
        true=found.true,
        mask=found.mask,
        normalizer=config.evaluate.normalizer,
        lengths=found.lengths,
        subsets=names["subset"],
        groups=names["group"],
    )
    shown = found.image[np.linspace(0, len(found.image) - 1, HEATMAP_FACES).astype(int)]
    heat = laplace.fake_heatmaps(config, laplace.heatmaps(config, variables, shown))
    numbers = landmark_report.summarise(evaluation, seed=config.seed)
    numbers["loss"] = float(found.loss.mean())
    numbers |= counted(records)
    rates = [line[_RATE] for line in records if _RATE in line]
    write_report(
        directory,
        title=f"LaplaceKL on {config.test.name or config.data.name}",
        metrics=numbers,
        split=config.data.test_split,
        step=step,
        seed=config.seed,
        images_per_second=float(np.median(rates)) if rates else None,
        config=config,
        pictures=landmark_report.pictures(
            evaluation,
            found.image,
            heatmaps=(shown, np.asarray(heat)),
            records=records,
            method=config.loss.name,
        ),
        tables=landmark_report.subset_table(numbers, names["subset"]),
        headline=landmark_report.headline(numbers),
        meanings=landmark_report.meanings(numbers),
    )
    return numbers
