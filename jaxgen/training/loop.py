"""The training loop that every system shares: step, log, validate, save, resume."""

import logging
import math
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from jaxgen.training.batches import ZippedBatches
from jaxgen.training.checkpoint import Checkpoints
from jaxgen.training.errors import NotFinite
from jaxgen.training.logging import MetricWriter
from jaxgen.training.mesh import compile_step, put_batch
from jaxgen.training.prefetch import Prefetched

State = Any
_log = logging.getLogger(__name__)


def train(
    state: State,
    *,
    step: Callable[[State, Any], tuple[State, dict[str, jax.Array]]],
    batches: ZippedBatches,
    validate: Callable[[State], dict[str, float]],
    mesh: Mesh,
    checkpoints: Checkpoints,
    workdir: Path,
    settings: Any,
) -> State:
    """Trains from the newest checkpoint in the workdir, or from `state`, to settings.steps.

    Args:
        state: initial state on the mesh, with an integer `step`. Donated: do not reuse it.
        step: pure train step; its metrics are scalars and hold "loss".
        batches: what the step reads; its position is saved with the state.
        validate: state -> flat numbers; called every settings.validate_every steps.
        mesh: the devices.
        checkpoints: where to save.
        workdir: for metrics.jsonl, TensorBoard events and the batch of a NaN.
        settings: config.train, see TRAINING_SCHEMA.

    Returns:
        The last state. A stopped and resumed run returns bit for bit the same on one machine.

    Raises:
        NotFinite: the loss of a step is NaN or infinite.
    """
    start = checkpoints.latest_step() or 0
    if start:
        state, position = checkpoints.restore(start, state)
        batches.set_state(position)
        _log.info("resuming from step %d of %d", start, settings.steps)
    if start >= settings.steps:
        _log.warning(
            "%s is at step %d already and config.train.steps is %d: nothing to train.",
            *(workdir, start, settings.steps),
        )
        return state

    compiled = compile_step(mesh, step)
    writer = MetricWriter(workdir, resume_step=start, tensorboard=settings.tensorboard)
    progress = tqdm(
        total=settings.steps,
        initial=start,
        unit="step",
        dynamic_ncols=True,
        mininterval=0.5 if sys.stderr.isatty() else 20,
    )
    batches = Prefetched(batches, partial(put_batch, mesh))
    clock = _Throughput()
    began = time.perf_counter()
    previous = None  # (step, batch, metrics) of the step that the devices still work on
    try:
        for now in range(start + 1, settings.steps + 1):
            batch, on_devices = batches.take(settings.steps - now)
            state, metrics = compiled(state, on_devices)
            # Looking one step back keeps the devices busy while the host checks the loss.
            if previous:
                _check_finite(*previous, workdir)
            previous = (now, batch, metrics)
            clock.images += count_images(batch) * jax.process_count()
            progress.update()
            if now == start + 1:
                jax.block_until_ready(metrics)
                _log.info("first step after %.1f s", time.perf_counter() - began)
                clock.restart()

            due = [
                now % every == 0 or now == settings.steps
                for every in (
                    settings.log_every,
                    settings.validate_every,
                    settings.checkpoint_every,
                )
            ]
            if not any(due):
                continue
            _check_finite(*previous, workdir)  # neither a validation nor a checkpoint sees a NaN
            log, check, save = due
            if log:
                numbers = {name: float(value) for name, value in metrics.items()} | clock.read()
                writer.write(now, {f"train/{name}": value for name, value in numbers.items()})
                rate = numbers.get("images_per_second", math.nan)
                progress.set_postfix(loss=f"{numbers['loss']:.3g}", images_per_s=f"{rate:.0f}")
            measured = {}
            if check:
                measured = {f"validation/{name}": value for name, value in validate(state).items()}
                writer.write(now, measured)
            if save:
                checkpoints.save(now, state, batches.get_state(), measured)
            clock.restart()
    finally:
        batches.close()
        progress.close()
        writer.close()
    return state


def count_images(batch: Any) -> int:
    """Images [..., H, W, C] in a batch, over all its parts."""
    return sum(math.prod(part["image"].shape[:-3]) for part in batch.values())


class _Throughput:
    """Images per second since the last restart; nothing before the first."""

    def __init__(self):
        self.images, self._since = 0, None

    def restart(self) -> None:
        self.images, self._since = 0, time.perf_counter()

    def read(self) -> dict[str, float]:
        if self._since is None or not self.images:
            return {}
        return {"images_per_second": self.images / (time.perf_counter() - self._since)}


def _check_finite(step: int, batch: Any, metrics: dict[str, Any], workdir: Path) -> None:
    loss = float(metrics["loss"])
    if math.isfinite(loss):
        return
    path = workdir / f"not_finite_step_{step}.npz"
    leaves = jax.tree_util.tree_flatten_with_path(batch)[0]
    np.savez(path, **{jax.tree_util.keystr(p, simple=True, separator="."): x for p, x in leaves})
    raise NotFinite(
        f"the loss of step {step} is {loss}; its batch is saved as {path}. "
        "Lower the learning rate or clip gradients (config.optimiser.clip_norm), then resume "
        "from the last checkpoint."
    )
