"""One order of the examples for the whole run; a process reads its rows of every batch.

The order, the passes and every random draw belong to the run and not to a process, so a run sees
the same batches on any number of processes, and goes on from a checkpoint on another number of
them: a position counts whole batches. In every pass over the data, the processes' shares are
disjoint; from pass to pass they change.
"""

import numpy as np


class RowsOfProcess:
    """The rows of one process as a dataset: its part of batch 0, then of batch 1, and so on.

    Args:
        examples: endless random access to examples, such as a repeated `grain.MapDataset`.
        batch_size: rows of ONE process in a batch.
        process_index: which process.
        process_count: number of processes.
    """

    def __init__(self, examples, batch_size: int, process_index: int, process_count: int):
        self._examples, self._batch_size = examples, batch_size
        self._process_index, self._process_count = process_index, process_count

    def __len__(self):
        return len(self._examples) // self._process_count

    def __getitem__(self, place):
        number, row = divmod(int(place), self._batch_size)
        return self._examples[
            rows(number, self._batch_size, self._process_index, self._process_count).start + row
        ]


def rows(number: int, batch_size: int, process_index: int, process_count: int) -> slice:
    """Where the rows of one process in a batch lie in the endless order.

    Args:
        number: of the batch.
        batch_size: rows of ONE process.
        process_index: which process.
        process_count: number of processes.
    """
    start = (number * process_count + process_index) * batch_size
    return slice(start, start + batch_size)


def of_process(examples, batch_size: int, process_index: int, process_count: int):
    """The rows of one process of an endless `grain.MapDataset`, as one.

    Arguments as of `RowsOfProcess`.
    """
    import grain

    if process_count == 1:
        return examples
    return grain.MapDataset.source(
        RowsOfProcess(examples, batch_size, process_index, process_count)
    )


def seed_of_run(seed: int) -> int:
    """Seed of a Grain dataset. Of one seed, the same on all processes."""
    return int(np.random.SeedSequence([seed, 0]).generate_state(1)[0])
