"""Several resumable batch iterators read in step, as one."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any


class ZippedBatches:
    """Reads one batch of every iterator per step: {name: batch}.

    Args:
        iterators: name -> iterator with get_state() and set_state(state), as Grain's have.
    """

    def __init__(self, iterators: Mapping[str, Iterator]):
        self._iterators = dict(iterators)

    def __iter__(self):
        return self

    def __next__(self) -> dict[str, Any]:
        return {name: next(iterator) for name, iterator in self._iterators.items()}

    def counts(self) -> dict[str, int]:
        """What the iterators have counted, summed; Grain's own count nothing."""
        total = Counter()
        for iterator in self._iterators.values():
            total.update(getattr(iterator, "counts", dict)())
        return dict(total)

    def get_state(self) -> dict[str, Any]:
        """Positions of all iterators, after the last batch that was read."""
        return {name: iterator.get_state() for name, iterator in self._iterators.items()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes to saved positions.

        Raises:
            ValueError: the positions belong to other iterators.
        """
        if state.keys() != self._iterators.keys():
            raise ValueError(
                f"the checkpoint holds positions of {sorted(state)}, this config reads "
                f"{sorted(self._iterators)}: use the config of that run or another --workdir."
            )
        for name, iterator in self._iterators.items():
            iterator.set_state(state[name])
