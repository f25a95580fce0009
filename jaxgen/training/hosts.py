"""Several processes, one run: waiting for each other, one writer, figures from all.

JAX's own runtime does the work. With one process every function here does nothing, or what its
name says for that one. All processes must call the same functions in the same order; the
arrays that they exchange are at most 32 bits wide, as JAX's are. How a process joins the others
and leaves them: joining.py.
"""

import itertools
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxgen.training.errors import ConfigError

Tree = Any

# The others may prepare a data set or write a report meanwhile; a dead process is found by its
# heartbeat, not by this.
PATIENCE_MS = 7 * 24 * 3600 * 1000
_meetings = itertools.count()  # no barrier may have the name of another


def count() -> int:
    """Processes of the run. Does not start JAX's backend where there is one."""
    return jax.process_count() if jax.distributed.is_initialized() else 1


def index() -> int:
    """Number of this process, from 0."""
    return jax.process_index() if jax.distributed.is_initialized() else 0


def is_first() -> bool:
    """Whether this is the process that writes."""
    return index() == 0


# ------------------------------------------------------------------------------ waiting


def wait_for_all(what: str) -> None:
    """Returns once every process has come here.

    Args:
        what: name of the place in the program, for errors.
    """
    if count() > 1:
        from orbax.checkpoint import multihost

        name = f"jaxgen/{next(_meetings)}/{what}"
        multihost.get_barrier_sync_fn()(key=name, timeout_ms=PATIENCE_MS)


@contextmanager
def first_alone(what: str) -> Iterator[None]:
    """Runs the body on the first process, and when it is done there, on all others.

    For what is made once and found by whoever comes later, on a disk that hosts share; each host
    makes its own where they do not.
    """
    if not is_first():
        wait_for_all(what)
    yield
    if is_first():
        wait_for_all(what)


def agree(value: int | bool) -> int:
    """The first process's value, on all: what a disk shows may differ for a moment."""
    if count() == 1:
        return int(value)
    return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def check_shared(folder: Path) -> None:
    """Proves that all processes see one folder.

    Raises:
        ConfigError: on the processes that do not see what the first one writes.
    """
    if count() == 1:
        return
    probe = folder / f".shared_{agree(int.from_bytes(os.urandom(3), 'big'))}"
    if is_first():
        probe.touch()
    wait_for_all("shared folder, written")
    seen = probe.exists()
    wait_for_all("shared folder, looked for")
    if is_first():
        probe.unlink(missing_ok=True)
    if not seen:
        raise ConfigError(
            f"--workdir={folder} of process {index()} on {socket.gethostname()} is not the folder "
            "of process 0: checkpoints need one folder that all hosts share, such as NFS or a "
            "mounted bucket."
        )


# ------------------------------------------------------------------------------ arrays


def fetch(tree: Tree) -> Tree:
    """NumPy copies of global arrays, whole, on every process; other leaves as they are."""

    def whole(leaf):
        if not isinstance(leaf, jax.Array):
            return leaf
        if leaf.is_fully_addressable or leaf.is_fully_replicated:
            return np.asarray(leaf)
        return multihost_utils.process_allgather(leaf, tiled=True)

    return jax.tree.map(whole, tree)


def gather_rows(rows: Tree) -> Tree:
    """The rows of all processes, those of process 0 first.

    Args:
        rows: tree of NumPy arrays of one length; lengths may differ between processes.
    """
    if count() == 1:
        return rows
    length = len(jax.tree.leaves(rows)[0])
    most = int(multihost_utils.process_allgather(np.int32(length)).max())
    if most == 0:
        return rows
    # Collectives need one shape: fill up, and drop the filling afterwards.
    filled = jax.tree.map(
        lambda x: np.concatenate([x, np.zeros((most - length, *x.shape[1:]), x.dtype)]), rows
    )
    everything, real = multihost_utils.process_allgather(
        (filled, np.arange(most) < length), tiled=True
    )
    return jax.tree.map(lambda x: np.asarray(x)[np.asarray(real)], everything)


def sum_counts(counts: np.ndarray) -> np.ndarray:
    """The sum of an array of counts over all processes. int64 of any shape, 0 to 2^54 each."""
    # Collectives have 32 bits: halves of 24 leave room in both.
    halves = np.stack([counts >> 24, counts & 0xFFFFFF]).astype(np.int32)
    high, low = gather_rows(halves[None]).sum(0, dtype=np.int64)
    return (high << 24) + low


def gather_in_order(rows: Tree, places: np.ndarray) -> Tree:
    """The rows of all processes, sorted by place.

    Args:
        rows: tree of NumPy arrays [N, ...].
        places: [N] int32, no place twice among all processes.
    """
    rows, places = gather_rows((rows, places))
    order = np.argsort(places, kind="stable")
    return jax.tree.map(lambda x: x[order], rows)


def gather_lists(arrays: Mapping[int, np.ndarray], *, width: int) -> list[np.ndarray]:
    """Arrays of different lengths from all processes, in the order of their numbers.

    Args:
        arrays: number -> [any, width] float32; every number from 0 on belongs to one process.
        width: columns.
    """
    if count() == 1:
        return [arrays[number] for number in sorted(arrays)]
    numbers = np.array(sorted(arrays), np.int32)
    lengths = np.array([len(arrays[number]) for number in numbers], np.int32)
    values = np.concatenate(
        [np.zeros((0, width), np.float32), *(arrays[number] for number in numbers)]
    )
    numbers, lengths = gather_rows((numbers, lengths))
    parts = np.split(gather_rows(values), np.cumsum(lengths)[:-1])
    return [parts[place] for place in np.argsort(numbers, kind="stable")]


# ------------------------------------------------------------------------------ files


def own_path(path: Path) -> Path:
    """A file that every process writes for itself: the first one under the plain name."""
    return path if is_first() else path.with_stem(f"{path.stem}_process_{index()}")
