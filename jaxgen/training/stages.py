"""Systems that train in stages: one stage through the loop, in a folder of its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxgen.training import checkpoint, hosts, loop
from jaxgen.training.batches import ZippedBatches

State = Any


def is_done(folder: Path) -> bool:
    """Whether the stage of that folder has left a checkpoint."""
    saved = folder / "checkpoints"
    if not saved.is_dir():
        return False
    steps = [int(path.name) for path in saved.iterdir() if path.name.isdigit()]
    return any(step > 0 for step in steps)  # step 0 is what a rollback may begin from


def run(
    folder: Path,
    devices: Mesh,
    *,
    best_metric: str,
    settings: Any,
    state: State,
    step: Callable[[State, Any], tuple[State, dict[str, jax.Array]]],
    batches: ZippedBatches,
    validate: Callable[[State], dict[str, float]],
) -> State:
    """Trains a stage, or goes on with it, or leaves a finished one as it is.

    Args:
        folder: of the stage; receives checkpoints, metrics.jsonl and TensorBoard events.
        devices: the mesh.
        best_metric: name, with "validation/", whose lowest value marks the best checkpoint.
        settings: the stage's `train` section.
        state: at step 0, on the mesh. Not donated.
        step: as of `loop.train`.
        batches: as of `loop.train`.
        validate: as of `loop.train`.

    Returns:
        The last state.
    """
    if hosts.is_first():
        folder.mkdir(parents=True, exist_ok=True)
    hosts.wait_for_all(f"start of {folder.name}")
    checkpoints = checkpoint.Checkpoints(folder / "checkpoints", best_metric=best_metric)
    state = loop.train(
        jax.tree.map(jnp.copy, state),  # no buffer twice: the step donates all of them
        step=step,
        batches=batches,
        validate=validate,
        mesh=devices,
        checkpoints=checkpoints,
        workdir=folder,
        settings=settings,
    )
    checkpoints.close()
    hosts.wait_for_all(f"end of {folder.name}")  # and all of its files are there
    return state
