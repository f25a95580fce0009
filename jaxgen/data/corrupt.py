"""Records that cannot be read: named, counted, replaced by the next one, up to a limit.

A batch keeps its shape: the place of an unreadable record goes to the one after it in the set,
which is then seen once more in that pass. Which records those are depends on the set alone, so
an order with replacements is repeatable and resumable as any other.
"""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

_REPLACED = "replaced record"  # of an example: position of the unreadable record, or -1
_log = logging.getLogger(__name__)


class Reader:
    """Makes the example of a position, or of the next position that can be read.

    Args:
        load: (position, np.random.Generator) -> example; raises ValueError, naming the record,
            where it cannot be read.
        count: number of positions.
        limit: config.data.max_corrupt, records that may be unreadable; 0 raises at the first.
    """

    def __init__(self, load: Callable[[int, Any], dict], count: int, limit: int):
        self._load, self._count, self.limit = load, count, limit

    def __call__(self, position, rng) -> dict:
        """The example of a position, or of the next one that can be read."""
        position = int(position)
        if self.limit == 0:
            return self._load(position, rng)
        for step in range(min(self.limit + 1, self._count)):
            try:
                example = self._load((position + step) % self._count, rng)
            except ValueError as error:
                last = error
                continue
            return {**example, _REPLACED: np.int64(position if step else -1)}
        raise ValueError(f"{last}; more than config.data.max_corrupt={self.limit} are unreadable")

    def problem(self, position: int) -> str:
        """Why a position cannot be read, naming its record."""
        try:
            self._load(position, np.random.default_rng(0))
        except ValueError as error:
            return str(error)
        return f"record {position} of the set could not be read the first time"


class CountedBatches(Iterator):
    """A Grain iterator over batches of a `Reader`'s examples that counts what was replaced.

    The count is part of the state, so it survives a restart; it counts records, not times.
    With several processes each counts, and is limited, by itself.

    Raises:
        ValueError: more records than the limit cannot be read; the message names the last.
        ChildProcessError: a worker process has died.
    """

    def __init__(self, iterator: Iterator, reader: Reader):
        self._iterator, self._reader = iterator, reader
        self._found: list[int] = []

    def __next__(self) -> dict:
        try:
            batch = dict(next(self._iterator))
        except RuntimeError as error:  # Grain's, when a worker process is gone
            if "Worker process" not in str(error):
                raise
            raise ChildProcessError(
                f"a worker process of the input pipeline has died ({str(error).splitlines()[0]}). "
                "Often the machine was out of memory. To go on, run the same command with fewer "
                "config.data.workers, or 0 for threads: the batches stay the same."
            ) from error
        for position in np.unique(batch.pop(_REPLACED, -1)).tolist():
            if position >= 0 and position not in self._found:
                self._found.append(position)
                self._report(position)
        return batch

    def counts(self) -> dict[str, int]:
        """{"corrupt_records": records left out so far}; {} where none may be."""
        return {"corrupt_records": len(self._found)} if self._reader.limit else {}

    def get_state(self) -> dict:
        """Grain's state, with the positions that were left out if there are any."""
        state = self._iterator.get_state()
        return {"iterator": state, "corrupt": list(self._found)} if self._found else state

    def set_state(self, state: dict) -> None:
        """Goes to a position; the state of a plain Grain iterator will do."""
        self._found = list(state.get("corrupt", []))
        self._iterator.set_state(_position(state["iterator"] if "corrupt" in state else state))

    def _report(self, position):
        problem, limit = self._reader.problem(position), self._reader.limit
        if len(self._found) > limit:
            raise ValueError(
                f"{problem}. That is record {len(self._found)} that cannot be read, more than "
                f"config.data.max_corrupt={limit}."
            )
        _log.warning(
            "left out: %s (%d of at most config.data.max_corrupt=%d)",
            *(problem, len(self._found), limit),
        )


def _position(state):
    """Of a checkpoint of earlier versions: the sum of the positions of all worker processes."""
    workers = state.get("iterators_in_use_states")
    return {"next_index": sum(each["next_index"] for each in workers)} if workers else state
