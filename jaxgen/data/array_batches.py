"""Batches of arrays that lie in memory: shuffled without end, or every row once.

A set of digits is small and its batches are wanted thousands of times a minute, so only row
numbers are shuffled and each batch is one gather. Batches are dicts of NumPy arrays with the keys
of the arrays and static shapes [batch_size, ...].

Endless batches are a Grain iterator over batch numbers: `get_state()` returns a small JSON-able
dict, `set_state()` resumes at exactly the next batch. Each pass over the rows has an order of its
own, and a batch may hold the end of one pass and the beginning of the next.
"""

import functools
from collections.abc import Iterator, Mapping

import numpy as np

from jaxgen.data import global_order

_MANY = 2**48  # batches: more than any training asks for


def batches(
    arrays: Mapping[str, np.ndarray],
    *,
    batch_size,
    seed,
    process_index=0,
    process_count=1,
    change=None,
):
    """Endless shuffled batches.

    Args:
        arrays: equally long arrays, [N, ...] each.
        batch_size: rows per batch of THIS process.
        seed: of the order; resuming needs the same.
        process_index: whose rows of every batch of the run to read, see `global_order`.
        process_count: number of processes.
        change: (np.random.Generator, batch of all processes, slice of own rows) -> batch of the
            own rows, such as random crops. The generator depends on the seed and the batch's
            number alone: it must draw for all rows, so that no process changes another's draws
            and resuming repeats them.

    Returns:
        A Grain iterator, see the module docstring.

    Raises:
        ValueError: the arrays differ in length, or there are fewer rows than processes.
    """
    import grain

    count = _length(arrays)
    if count < process_count or count == 0:
        raise ValueError(f"{count} examples cannot feed {process_count} processes")
    _check_batch_size(batch_size)
    process = (process_index, process_count)
    source = _ShuffledBatches(arrays, count, batch_size, seed, process, change)
    options = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    return iter(grain.MapDataset.source(source).to_iter_dataset(options))


def evaluation_batches(
    arrays: Mapping[str, np.ndarray], *, batch_size, process_index=0, process_count=1
):
    """Every row of this process's share once, in order; the last batch is filled up.

    All processes get the same number of batches, so that collective steps never wait in vain.
    Arguments as in `batches`.

    Returns:
        An iterable of batches with a length. They also hold index int32 [B], the row, and valid
        bool [B], False in the rows that fill up.
    """
    _check_batch_size(batch_size)
    return _OrderedBatches(arrays, _length(arrays), batch_size, process_index, process_count)


class _ShuffledBatches:
    """Random access to endless shuffled batches; batch i depends on i and the seed alone."""

    def __init__(self, arrays, count, batch_size, seed, process, change):
        self._arrays, self._count, self._process = dict(arrays), count, process
        self._batch_size, self._seed, self._change = batch_size, (seed, 0), change
        # Neighbouring batches share a pass; two are in use where one ends within a batch.
        self._order = functools.lru_cache(maxsize=2)(self._draw_order)

    def __len__(self):
        return _MANY

    def __getitem__(self, number):
        number, (process_index, process_count) = int(number), self._process
        if self._change is None:
            own = global_order.rows(number, self._batch_size, process_index, process_count)
            return self._gather(own)
        whole = self._gather(global_order.rows(number, self._batch_size * process_count, 0, 1))
        own = global_order.rows(0, self._batch_size, process_index, process_count)
        # One number more than for the order: the two never draw alike.
        return self._change(np.random.default_rng([*self._seed, number, 1]), whole, own)

    def _gather(self, places):
        turns, places = np.divmod(np.arange(places.start, places.stop), self._count)
        rows = np.concatenate([self._order(t)[places[turns == t]] for t in np.unique(turns)])
        return {key: value[rows] for key, value in self._arrays.items()}

    def _draw_order(self, turn):
        return np.random.default_rng([*self._seed, int(turn)]).permutation(self._count)


class _OrderedBatches:
    """Batches in order, with a length; every loop over them starts anew."""

    def __init__(self, arrays, count, batch_size, process_index, process_count):
        self._arrays, self._count, self._batch_size = dict(arrays), count, batch_size
        self._process_index, self._process_count = process_index, process_count
        share = -(-count // process_count)  # of the largest process
        self._num_batches = -(-share // batch_size)

    def __len__(self):
        return self._num_batches

    def __iter__(self) -> Iterator[dict]:
        for number in range(self._num_batches):
            first = number * self._batch_size
            index = np.arange(first, first + self._batch_size) * self._process_count
            index += self._process_index
            valid = index < self._count
            index = np.minimum(index, self._count - 1)
            batch = {key: value[index] for key, value in self._arrays.items()}
            yield {**batch, "index": index.astype(np.int32), "valid": valid}


def _check_batch_size(batch_size) -> None:
    if batch_size < 1:
        raise ValueError(
            f"the batch of a process holds {batch_size} examples; it needs one or more"
        )


def _length(arrays) -> int:
    lengths = {key: len(value) for key, value in arrays.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"arrays of one length are needed, got {lengths}")
    return next(iter(lengths.values()))
