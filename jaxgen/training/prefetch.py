"""Batches read and sent to the devices while they work on the ones before.

A thread reads ahead of training, so the position that belongs in a checkpoint is not where the
reader stands: each batch carries the position behind it, and the one last taken counts.
"""

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from jaxgen.training.batches import ZippedBatches

Batch = Any
DEPTH = 2  # batches ready on the devices: the next one, and one more for a slow read


class Prefetched:
    """Reads `depth` batches ahead of the one that is asked for.

    An error in reading comes out of `take` when its batch is asked for, not before.

    Args:
        batches: what to read; from now on only through this object.
        put: sends a batch to the devices.
        depth: batches to hold ready, 1 or more.
    """

    def __init__(
        self, batches: ZippedBatches, put: Callable[[Batch], Batch], *, depth: int = DEPTH
    ):
        if depth < 1:
            raise ValueError(f"depth is 1 or more, got {depth}")
        self._batches, self._put, self._depth = batches, put, depth
        # One thread: batches are read in their order.
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="jaxgen-prefetch")
        self._ahead = deque()
        self._position, self._counts = batches.get_state(), {}

    def take(self, remaining: int) -> tuple[Batch, Batch]:
        """The next batch, on the host and on the devices.

        Args:
            remaining: how many will be asked for after it. No more than these are read, so that
                the iterators stand behind the last batch when training ends.
        """
        self._read(1)
        batch, on_devices, self._position, self._counts = self._ahead.popleft().result()
        self._read(min(self._depth, remaining))
        return batch, on_devices

    def get_state(self) -> dict[str, Any]:
        """Positions of all iterators after the last batch that was taken."""
        return self._position

    def counts(self) -> dict[str, int]:
        """What the iterators had counted when they read the last batch that was taken."""
        return self._counts

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes to saved positions; what was read ahead is dropped."""
        self._drop()
        self._batches.set_state(state)
        self._position = state

    def close(self) -> None:
        """Stops reading, after the batch that is being read."""
        self._drop()
        self._reader.shutdown()

    def _read(self, wanted: int) -> None:
        """Has so many batches ready or on their way."""
        while len(self._ahead) < wanted:
            self._ahead.append(self._reader.submit(self._read_one))

    def _read_one(self) -> tuple[Batch, Batch, dict[str, Any], dict[str, int]]:
        batch = next(self._batches)
        return batch, self._put(batch), self._batches.get_state(), self._batches.counts()

    def _drop(self) -> None:
        for future in self._ahead:
            if not future.cancel():
                future.exception()  # waits; an error of a batch that nobody took is none
        self._ahead.clear()
