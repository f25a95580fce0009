"""Systems that train in stages: one stage through the loop, in a folder of its own."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxgen.data import text_files
from jaxgen.training import checkpoint, damage, hosts, loop
from jaxgen.training.batches import ZippedBatches
from jaxgen.training.errors import ConfigError
from jaxgen.training.files import write_atomically

State = Any


BEGAN_FROM = "began_from.json"


def trained_steps(folder: Path) -> int:
    """Steps of the last checkpoint of the stage of that folder; 0 where there is none."""
    saved = folder / "checkpoints"
    if not saved.is_dir():
        return 0
    return max((int(path.name) for path in saved.iterdir() if path.name.isdigit()), default=0)


def is_done(folder: Path, steps: int) -> bool:
    """Whether the stage of that folder has trained for as many steps."""
    return trained_steps(folder) >= max(1, steps)


def progress(folder: Path, steps: int) -> str:
    """What a stage that is not done lacks, for messages."""
    trained = trained_steps(folder)
    return (
        f"has trained {trained} of {steps} steps" if trained else f"has no checkpoint in {folder}"
    )


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
    began_from: Mapping[str, int | str] = MappingProxyType({}),
) -> State:
    """Trains a stage, or goes on with it, or leaves a finished one as it is.

    Args:
        folder: of the stage; receives checkpoints, metrics.jsonl and TensorBoard events.
        devices: the mesh.
        best_metric: name, with "validation/", whose lowest value marks the best checkpoint.
        settings: the stage's `train` section.
        state: at step 0, on the mesh. Not donated; where the caller keeps no reference to it, its
            memory is free while the stage trains.
        step: as of `loop.train`.
        batches: as of `loop.train`.
        validate: as of `loop.train`.
        began_from: stages whose networks this one starts from or asks -> their steps; or, of
            stages that train nothing, a string that changes with what they have made.

    Returns:
        The last state.

    Raises:
        ConfigError: the stage's checkpoints began from other networks of those stages.
    """
    beginning = {
        name: {"step": step, "fingerprint": fingerprint(folder.parent / name, step)}
        for name, step in began_from.items()
    }
    _check_beginning(folder, beginning)
    if hosts.is_first() and not trained_steps(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / BEGAN_FROM, json.dumps(beginning).encode())
    hosts.wait_for_all(f"start of {folder.name}")
    checkpoints = checkpoint.Checkpoints(folder / "checkpoints", best_metric=best_metric)
    state = jax.tree.map(jnp.copy, state)  # no buffer twice: the step donates all of them
    state = loop.train(
        state,
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


def fingerprint(folder: Path, step: int | str) -> int | None:
    """Tells the checkpoint of a stage from one of the same step that was trained otherwise.

    None where there is no such checkpoint any more.
    """
    return damage.fingerprint(folder / "checkpoints" / str(step))


def _check_beginning(folder: Path, beginning: Mapping[str, Mapping]) -> None:
    """A stage that began from a network which has been trained further since is out of date."""
    path = folder / BEGAN_FROM
    if not trained_steps(folder) or not path.exists():
        return
    before = text_files.read_json(path)
    for stage, now in beginning.items():
        if stage not in before:
            continue
        then = before[stage]
        then = then if isinstance(then, dict) else {"step": then}  # of earlier versions
        marks = {then.get("fingerprint"), now["fingerprint"]} - {None}
        if str(then["step"]) == str(now["step"]) and len(marks) < 2:
            continue
        if isinstance(now["step"], str):
            changed = f"learned from other {stage} than {folder.parent / stage} holds now"
        elif then["step"] != now["step"]:
            changed = f"began from step {then['step']} of {stage!r}, which is now at {now['step']}"
        else:
            changed = f"began from another {stage!r}, which has been trained anew since"
        raise ConfigError(
            f"stage {folder.name!r} {changed}: delete {folder} to train it again, or use another "
            "--workdir."
        )
