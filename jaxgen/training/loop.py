"""The training loop that every system shares: step, log, validate, save, resume.

What it does when something goes wrong is listed in docs/faults.md.
"""

import logging
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from jaxgen.training import hosts
from jaxgen.training.batches import ZippedBatches
from jaxgen.training.checkpoint import Checkpoints
from jaxgen.training.errors import CheckpointNotSaved, NotFinite
from jaxgen.training.logging import MetricWriter
from jaxgen.training.mesh import compile_step, put_batch
from jaxgen.training.prefetch import Prefetched
from jaxgen.training.stopping import StopRequest

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
        step: pure train step; its metrics are scalars and hold "loss". Those whose name ends
            in "parameter_norm", as of `state.update`, show whether a network is still finite.
        batches: what the step reads; its position is saved with the state.
        validate: state -> flat numbers; called every settings.validate_every steps.
        mesh: the devices.
        checkpoints: where to save.
        workdir: for metrics.jsonl, TensorBoard events and the batch of a NaN.
        settings: config.train, see TRAINING_SCHEMA.

    Returns:
        The last state. A stopped and resumed run returns bit for bit the same on one machine.

    Raises:
        NotFinite: the loss of a step or a parameter after it is NaN or infinite, with
            settings.on_nan "stop", or more than settings.max_rollbacks times with "rollback".
        Stopped: SIGTERM or Ctrl-C came; the step is finished and saved.
        CheckpointNotSaved: a checkpoint could not be written; the one before it is kept.
    """
    start = 0
    if found := checkpoints.restore_intact("latest", state):
        state, position, start = found
        batches.set_state(position)
        _log.info("resuming from step %d of %d", start, settings.steps)
    elif settings.on_nan == "rollback":
        checkpoints.save(0, state, batches.get_state(), {})  # something to roll back to
    if start >= settings.steps:
        _log.warning(
            "%s is at step %d already and config.train.steps is %d: nothing to train.",
            *(workdir, start, settings.steps),
        )
        return state

    compiled = compile_step(mesh, step, state)
    clock = _Throughput()
    began = time.perf_counter()
    now, rollbacks = start, 0
    previous = None  # (step, batch, metrics) of the step that the devices still work on
    with (
        _no_save_left_behind(checkpoints),
        StopRequest() as request,
        closing(Prefetched(batches, partial(put_batch, mesh))) as ahead,
        closing(MetricWriter(workdir, resume_step=start, tensorboard=settings.tensorboard)) as log,
        _progress_bar(start, settings.steps) as progress,
    ):
        while now < settings.steps:
            now += 1
            batch, on_devices = ahead.take(settings.steps - now)
            state, metrics = compiled(state, on_devices)
            clock.images += count_images(batch) * hosts.count()
            progress.update()
            if not clock.started:
                jax.block_until_ready(metrics)
                _log.info("first step after %.1f s", time.perf_counter() - began)
                clock.restart()

            stop = request.reached(now)
            write, check, save = (
                now % every == 0 or now == settings.steps
                for every in (
                    settings.log_every,
                    settings.validate_every,
                    settings.checkpoint_every,
                )
            )
            due = write or check or save or stop
            # Looking one step back keeps the devices busy while the host checks the loss. But
            # neither a validation nor a checkpoint sees a NaN.
            unchecked, previous = [previous] if previous else [], (now, batch, metrics)
            try:
                for item in [*unchecked, previous] if due else unchecked:
                    _check_finite(*item, workdir)
            except NotFinite as error:
                rollbacks += 1
                state, now = _roll_back(error, rollbacks, state, checkpoints, log, settings)
                previous, progress.n = None, now
                clock.restart()
                continue
            if not due:
                continue
            checkpoints.check()
            if write:
                numbers = {name: float(value) for name, value in metrics.items()}
                numbers |= clock.read() | ahead.counts()
                log.write(now, {f"train/{name}": value for name, value in numbers.items()})
                rate = numbers.get("images_per_second", math.nan)
                progress.set_postfix(loss=f"{numbers['loss']:.3g}", images_per_s=f"{rate:.0f}")
            measured = {}
            if check:
                measured = {f"validation/{name}": value for name, value in validate(state).items()}
                log.write(now, measured)
            if save or stop:
                checkpoints.save(now, state, ahead.get_state(), measured)
            if stop:
                checkpoints.wait()
                raise request.stopped(f"after step {now} of {settings.steps}, which is saved.")
            clock.restart()
    return state


@contextmanager
def _no_save_left_behind(checkpoints: Checkpoints) -> Iterator[None]:
    """After an error, waits for the save in the background: a new start would remove its files.

    One of several processes does not wait: the save may need a process that is gone.
    """
    try:
        yield
    except Exception:
        if hosts.count() == 1:
            with suppress(CheckpointNotSaved):  # the error that ends the training comes first
                checkpoints.wait()
        raise


def _roll_back(
    error: NotFinite,
    count: int,
    state: State,
    checkpoints: Checkpoints,
    log: MetricWriter,
    settings: Any,
) -> tuple[State, int]:
    """State and step to go on from after a NaN, if settings.on_nan allows for it.

    The data go on where they are, so the batch of the NaN is not met again.
    """
    if settings.on_nan == "stop" or count > settings.max_rollbacks:
        raise error
    state, _, step = checkpoints.restore_intact("latest", state)
    _log.warning(
        "%s\nRolled back to step %d (%d of at most %d times).",
        *(error, step, count, settings.max_rollbacks),
    )
    log.rewind(step)
    log.write(step, {"train/rollbacks": count})
    return state, step


def _progress_bar(start: int, steps: int) -> tqdm:
    quiet = 0.5 if sys.stderr.isatty() else 20  # seconds between two lines
    return tqdm(
        total=steps,
        initial=start,
        unit="step",
        dynamic_ncols=True,
        disable=not hosts.is_first(),
        mininterval=quiet,
    )


def count_images(batch: Any) -> int:
    """Images [..., H, W, C] in a batch, over all its parts."""
    return sum(math.prod(part["image"].shape[:-3]) for part in batch.values())


class _Throughput:
    """Images per second since the last restart; nothing before the first."""

    def __init__(self):
        self.images, self._since = 0, None

    @property
    def started(self) -> bool:
        """Whether a first step is done, compilation included."""
        return self._since is not None

    def restart(self) -> None:
        self.images, self._since = 0, time.perf_counter()

    def read(self) -> dict[str, float]:
        if not self.started or not self.images:
            return {}
        return {"images_per_second": self.images / (time.perf_counter() - self._since)}


def _check_finite(step: int, batch: Any, metrics: dict[str, Any], workdir: Path) -> None:
    """Raises NotFinite where the loss, or a parameter after the step, is none to go on with."""
    watched = {
        name: value
        for name, value in metrics.items()
        if name == "loss" or name.endswith("parameter_norm")
    }
    bad = {name: x for name, x in jax.device_get(watched).items() if not math.isfinite(x)}
    if not bad:
        return
    path = hosts.own_path(workdir / f"not_finite_step_{step}.npz")
    leaves = jax.tree_util.tree_flatten_with_path(batch)[0]
    np.savez(path, **{jax.tree_util.keystr(p, simple=True, separator="."): x for p, x in leaves})
    name = "loss" if "loss" in bad else next(iter(bad))
    raise NotFinite(
        f"the {name} of step {step} is {bad[name]}; its batch is saved as {path}. "
        "Lower the learning rate or clip gradients (config.optimiser.clip_norm), then resume "
        "from the last checkpoint; or let training go on past single bad batches with "
        "config.train.on_nan=rollback."
    )
