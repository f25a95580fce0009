"""Checkpoints: state and data position in one atomic step directory, best and last kept.

A damaged checkpoint is never used and never deleted: it is named, training moves it to
WORKDIR/damaged_checkpoints, and the one before it is used. The only module that talks to Orbax.
"""

import contextlib
import logging
import math
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies
from orbax.checkpoint import type_handlers

from jaxgen.training import damage, hosts, joining
from jaxgen.training.errors import CheckpointMismatch, CheckpointNotSaved

Tree = Any
_SLICE = 2**20  # bytes: the least that a device writes of an array that others hold as well
_HALF_WRITTEN = ".orbax-checkpoint-tmp"
_log = logging.getLogger(__name__)


class Checkpoints:
    """Saves and restores (state, data position) under WORKDIR/checkpoints.

    Args:
        directory: made if missing.
        best_metric: name of the validation metric whose lowest value marks the best step.
        create: False for who only reads: nothing is made, moved or deleted.
    """

    def __init__(self, directory: Path, *, best_metric: str, create: bool = True):
        directory = directory.absolute()
        if create and hosts.is_first():
            _name_half_written(directory)
        score = _lowest(best_metric)
        # Orbax keeps the end of the sorted list, so descending order keeps the lowest.
        best = policies.BestN(
            get_metric_fn=score, n=1, reverse=True, keep_checkpoints_without_metrics=False
        )
        # Two of the latest: one remains if the machine dies while the other is written.
        keep = policies.AnyPreservationPolicy([policies.LatestN(2), best])
        self._directory, self._metric, self._writes = directory, best_metric, create
        self._damaged: set[int] = set()  # steps that stay where they are but are not used
        self._saving = None  # the step that is being written, or was written last
        self._manager = _Manager(
            directory,
            item_handlers={
                "state": _array_handler(),
                "position": ocp.JsonCheckpointHandler(),
            },
            options=ocp.CheckpointManagerOptions(
                preservation_policy=keep,
                best_fn=score,  # without it Orbax drops the metrics
                best_mode="min",
                create=create,
                cleanup_tmp_directories=create,
                async_options=ocp.AsyncOptions(post_finalization_callback=self._write_digests),
            ),
        )

    def save(self, step: int, state: Tree, position: dict, metrics: dict[str, float]) -> None:
        """Starts saving in the background; the next save, `wait` or `close` waits for it.

        A best_metric that is not finite is warned of and counts as +infinity: never the best.

        Raises:
            CheckpointNotSaved: this step or the one before it could not be written.
        """
        if not math.isfinite(value := metrics.get(self._metric, 0)):
            _log.warning(
                "%s is %s at step %d: it does not count as the best", self._metric, value, step
            )
        self.wait()
        self._saving = step
        with self._explained():
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.PyTreeSave(state), position=ocp.args.JsonSave(position)
                ),
                metrics=metrics,
                force=True,
            )

    def check(self) -> None:
        """Raises CheckpointNotSaved if the save in the background has failed; waits for nothing."""
        if not self._manager.is_saving_in_progress():
            self.wait()

    def wait(self) -> None:
        """Waits for the save in progress; raises CheckpointNotSaved if it failed."""
        with self._explained():
            self._manager.wait_until_finished()

    def latest_step(self) -> int | None:
        """The newest complete step, or None."""
        return max(self._steps(), default=None)

    def best_step(self) -> int | None:
        """The step with the lowest best_metric, the latest if none was finite, or None."""
        score = _lowest(self._metric)
        scores = {step: score(self._manager.metrics(step)) for step in self._steps()}
        measured = {step: value for step, value in scores.items() if math.isfinite(value)}
        return min(measured, key=measured.get) if measured else self.latest_step()

    def restore_intact(self, which: str, like: Tree) -> tuple[Tree, dict, int] | None:
        """Reads the best or the latest step; in place of a damaged one the next best or latest.

        Args:
            which: "best" or "latest".
            like: as of `restore`.

        Returns:
            The state, the data position and the step; None where nothing has been saved.

        Raises:
            CheckpointMismatch: the checkpoint holds another network, or all are damaged.
        """
        self.wait()
        choose = self.best_step if which == "best" else self.latest_step
        some = choose() is not None
        while (step := choose()) is not None:
            reason = self._find_damage(step)
            if reason is None:
                try:
                    return *self.restore(step, like), step
                except CheckpointMismatch:
                    raise
                except jax.errors.JaxRuntimeError:  # as when memory is short
                    raise
                except Exception as error:  # whatever Orbax and TensorStore find in the files
                    if damage.has_digests(self._directory / str(step)):
                        raise  # the files are what was written
                    reason = damage.first_line(error)
            self._set_aside(step, reason)
        if some:
            raise CheckpointMismatch(
                f"no checkpoint in {self._directory} can be read, see the warnings above. Put a "
                "copy of one there, or train again from the start."
            )
        return None

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
        arguments = ocp.checkpoint_utils.construct_restore_args(abstract)
        state = ocp.args.PyTreeRestore(abstract, restore_args=arguments)
        saved = self._manager.restore(
            step, args=ocp.args.Composite(state=state, position=ocp.args.JsonRestore())
        )
        return jax.tree.map(_as_wanted, saved["state"], like), saved["position"]

    def close(self) -> None:
        """Waits for the save in progress; raises CheckpointNotSaved if it failed."""
        with self._explained():
            self._manager.close()

    def _steps(self) -> list[int]:
        return [step for step in self._manager.all_steps() if step not in self._damaged]

    def _write_digests(self) -> None:
        """Called in the background when all is written, before the folder gets its name."""
        for folder in self._directory.glob(f"{self._saving}{_HALF_WRITTEN}*"):
            damage.write_digests(folder)

    def _find_damage(self, step: int) -> str | None:
        """One process reads the files; all must take the same checkpoint."""
        folder = self._directory / str(step)
        reason = damage.find_damage(folder) if hosts.is_first() else None
        return (reason or "process 0 says why") if hosts.agree(reason is not None) else None

    def _set_aside(self, step: int, reason: str) -> None:
        """Makes sure that a damaged checkpoint is not used, and says where it is."""
        path = self._directory / str(step)
        place = "It stays there"
        if self._writes:  # the step will be saved anew, under the same name
            place = f"It is moved to {path.parents[1] / 'damaged_checkpoints'}"
            if hosts.is_first():
                place = f"It is kept as {damage.move_aside(path)}"
            hosts.wait_for_all("the damaged checkpoint is moved")
            self._manager.reload()
        else:
            self._damaged.add(step)
        _log.warning("checkpoint %s is damaged: %s. %s; another is used.", path, reason, place)

    @contextlib.contextmanager
    def _explained(self):
        """Turns whatever goes wrong in saving into one message."""
        try:
            yield
        except Exception as error:  # of Orbax, TensorStore or the disk
            if joining.is_loss(error):
                raise  # another process is gone: nothing is wrong with the disk
            kept = [step for step in self._steps() if (self._directory / str(step)).is_dir()]
            kept = [step for step in kept if step != self._saving]
            before = f"That of step {max(kept)} is kept" if kept else "There is none before it"
            raise CheckpointNotSaved(
                f"the checkpoint of step {self._saving} could not be saved in {self._directory}: "
                f"{damage.first_line(error)}. {before}. Make room or give write access, then run "
                "the same command again to go on."
            ) from error

    def _check_shapes(self, step: int, abstract: Tree) -> None:
        saved = _shapes(self._manager.item_metadata(step)["state"])
        wanted = _shapes(abstract)
        if not saved:
            raise ValueError("the description of its arrays (state/_METADATA) is missing")
        for path in sorted(saved.keys() | wanted.keys()):
            if saved.get(path) != wanted.get(path):
                raise CheckpointMismatch(
                    f"{self._manager.directory}/{step}: {path} has shape "
                    f"{saved.get(path, 'nothing')} in the checkpoint and "
                    f"{wanted.get(path, 'nothing')} in the config's network. Use the config of "
                    "that run (config.json beside checkpoints/) or another --workdir."
                )


def restore_one(directory: Path, like: Tree, *, best_metric: str, which: str) -> tuple[Tree, int]:
    """Reads one state of a finished or running training, past damaged checkpoints.

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
    found = checkpoints.restore_intact(which, like)
    if found is None:
        raise missing
    checkpoints.close()
    state, _, step = found
    return state, step


def _array_handler() -> ocp.PyTreeCheckpointHandler:
    """Writes arrays; small ones that every device holds are written by one of them.

    As installed, Orbax lets each device write a slice of every array, however small. That takes
    one compiled program for every device and shape: seconds before the first checkpoint.
    """
    handler = type_handlers.ArrayHandler(min_slice_bytes_for_replica_parallel=_SLICE)
    registry = type_handlers.create_type_handler_registry((jax.Array, handler))
    return ocp.PyTreeCheckpointHandler(type_handler_registry=registry)


class _Manager(ocp.CheckpointManager):
    """Orbax's manager; it opens where the metrics of a checkpoint cannot be read, too."""

    def metrics(self, step: int) -> dict[str, float] | None:
        try:
            found = super().metrics(step) or {}
            if not isinstance(found, dict) or not all(map(_is_number, found.values())):
                raise ValueError("they are no numbers by name")
            return found
        except (ValueError, OSError, RecursionError) as error:
            _log.warning(
                "the metrics of checkpoint %s are damaged, it counts as not measured: %s",
                *(self.directory / str(step), damage.first_line(error)),
            )
            return None


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _name_half_written(directory: Path) -> None:
    """Says which saves were cut off; Orbax removes their folders."""
    for path in sorted(directory.glob(f"*{_HALF_WRITTEN}*")):
        _log.warning(
            "removing %s: its saving was cut off. The checkpoint before it is whole.", path
        )


def _as_stored(leaf: jax.Array | jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    """Shape, dtype and sharding of a leaf on disk, where a random key is plain integers."""
    stored = jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        stored = jax.eval_shape(jax.random.key_data, stored)
    return stored.update(sharding=leaf.sharding)


def _as_wanted(stored: jax.Array, leaf: jax.Array | jax.ShapeDtypeStruct) -> jax.Array:
    """The inverse of `_as_stored`: a random key from its integers, all else as it is."""
    if not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return stored
    generators = []  # a ShapeDtypeStruct does not say its own, a traced key does
    jax.eval_shape(lambda key: generators.append(jax.random.key_impl(key)), leaf)
    return jax.random.wrap_key_data(stored, impl=generators[0])


def _lowest(name: str):
    """metrics -> score of a checkpoint, the lowest is the best; NaN would leave no order."""

    def score(metrics):
        value = (metrics or {}).get(name, math.inf)
        return value if math.isfinite(value) else math.inf

    return score


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
