"""Checkpoints: state and data position in one atomic step directory, best and last kept.

The only module that talks to Orbax.
"""

import logging
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from jaxgen.training.errors import CheckpointMismatch

Tree = Any
_log = logging.getLogger(__name__)


class Checkpoints:
    """Saves and restores (state, data position) under WORKDIR/checkpoints.

    Args:
        directory: made if missing.
        best_metric: name of the validation metric whose lowest value marks the best step.
    """

    def __init__(self, directory: Path, *, best_metric: str, create: bool = True):
        score = _lowest(best_metric)
        # Orbax keeps the end of the sorted list, so descending order keeps the lowest.
        best = policies.BestN(
            get_metric_fn=score, n=1, reverse=True, keep_checkpoints_without_metrics=False
        )
        # Two of the latest: one remains if the machine dies while the other is written.
        keep = policies.AnyPreservationPolicy([policies.LatestN(2), best])
        self._metric = best_metric
        self._manager = ocp.CheckpointManager(
            directory.absolute(),
            item_handlers={
                "state": ocp.StandardCheckpointHandler(),
                "position": ocp.JsonCheckpointHandler(),
            },
            options=ocp.CheckpointManagerOptions(
                preservation_policy=keep,
                best_fn=score,  # without it Orbax drops the metrics
                best_mode="min",
                create=create,
            ),
        )

    def save(self, step: int, state: Tree, position: dict, metrics: dict[str, float]) -> None:
        """Starts saving in the background; the next save or `close` waits for it."""
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state), position=ocp.args.JsonSave(position)
            ),
            metrics=metrics,
            force=True,
        )

    def latest_step(self) -> int | None:
        """The newest complete step, or None."""
        return self._manager.latest_step()

    def best_step(self) -> int | None:
        """The step with the lowest best_metric, the latest if none was measured, or None."""
        measured = {
            step: metrics[self._metric]
            for step in self._manager.all_steps()
            if self._metric in (metrics := self._manager.metrics(step) or {})
        }
        return min(measured, key=measured.get) if measured else self.latest_step()

    def restore(self, step: int, like: Tree) -> tuple[Tree, dict]:
        """Reads a step.

        Args:
            step: one of the saved steps.
            like: tree of arrays or jax.ShapeDtypeStruct with shardings.

        Returns:
            The state, shaped and sharded like `like`, and the data position.

        Raises:
            CheckpointMismatch: a parameter is missing or has another shape.
        """
        abstract = jax.tree.map(_as_stored, like)
        self._check_shapes(step, abstract)
        saved = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(abstract), position=ocp.args.JsonRestore()
            ),
        )
        return saved["state"], saved["position"]

    def close(self) -> None:
        """Waits for the save in progress."""
        self._manager.wait_until_finished()
        self._manager.close()

    def _check_shapes(self, step: int, abstract: Tree) -> None:
        saved = _shapes(self._manager.item_metadata(step)["state"])
        wanted = _shapes(abstract)
        for path in sorted(saved.keys() | wanted.keys()):
            if saved.get(path) != wanted.get(path):
                raise CheckpointMismatch(
                    f"{self._manager.directory}/{step}: {path} has shape "
                    f"{saved.get(path, 'nothing')} in the checkpoint and "
                    f"{wanted.get(path, 'nothing')} in the config's network. Use the config of "
                    "that run (config.json beside checkpoints/) or another --workdir."
                )


def restore_one(directory: Path, like: Tree, *, best_metric: str, which: str) -> tuple[Tree, int]:
    """Reads one state of a finished or running training.

    Args:
        directory: WORKDIR/checkpoints.
        like: tree of jax.ShapeDtypeStruct with shardings.
        best_metric: as in training.
        which: "best" or "latest".

    Returns:
        The state and its step.

    Raises:
        CheckpointMismatch: there is no checkpoint, or it holds another network.
    """
    missing = CheckpointMismatch(
        f"no checkpoint in {directory}: train first (--mode=train) or name the --workdir of a run."
    )
    if not directory.is_dir():
        raise missing
    checkpoints = Checkpoints(directory, best_metric=best_metric, create=False)
    step = checkpoints.best_step() if which == "best" else checkpoints.latest_step()
    if step is None:
        raise missing
    state, _ = checkpoints.restore(step, like)
    checkpoints.close()
    return state, step


def _as_stored(leaf: jax.Array | jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    """Shape, dtype and sharding of a leaf on disk, where a random key is plain integers."""
    stored = jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        stored = jax.eval_shape(jax.random.key_data, stored)
    return stored.update(sharding=leaf.sharding)


def _lowest(name: str):
    return lambda metrics: metrics.get(name, float("inf"))


def _shapes(tree: Tree) -> dict[str, tuple[int, ...]]:
    """Maps a leaf's path to its shape, alike for dataclasses, tuples and Orbax metadata."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        "/".join(str(getattr(k, "name", getattr(k, "key", getattr(k, "idx", k)))) for k in path): (
            tuple(leaf.shape)
        )
        for path, leaf in leaves
        if getattr(leaf, "shape", None) is not None
    }
