"""From sources to batches: crop, augment, shuffle, batch; deterministic and resumable.

Batches are dicts of NumPy arrays with static shapes:

    training, labelled     image uint8 [B, S, S, 3]; points float32 [B, K, 2] in crop pixels, 0
                           where not labelled; mask bool [B, K], True where labelled
    training, unlabelled   image uint8 [B, S, S, 3]
    evaluation             the labelled fields; matrix float32 [B, 2, 3], pixels of the original
                           file -> crop pixels; index int32 [B], position in the source; valid
                           bool [B], False in the rows that fill up the last batch

A labelled point that augmentation or a tight margin moves outside the crop stays labelled: its
place is still known, and a loss on coordinates can use it. NaN labels are masked.

Iterators are Grain's: `get_state()` returns a small JSON-able dict, `set_state()` resumes at
exactly the next batch, and `grain.checkpoint.CheckpointSave` stores it. A position is a number of
batches: a run goes on with any number of threads and worker processes.
"""

from collections.abc import Iterator

import numpy as np
from absl import flags

from jaxgen.data import augment as augmentation
from jaxgen.data import corrupt, crop, global_order


def labelled_example(example, rng, *, size, margin, settings, flip_order) -> dict:
    """One training example: image [S, S, 3] uint8, points [K, 2] float32, mask [K] bool."""
    geometry = augmentation.draw_geometry(rng, settings)
    matrix = crop.crop_matrix(example["box"], size=size, margin=margin, **geometry)
    image = crop.crop_image(example["image"], matrix, size)
    points = crop.transform_points(matrix, example["points"])
    if geometry["flip"]:
        points = points[flip_order]  # a mirrored left eye is a right eye
    return {
        "image": augmentation.change_appearance(rng, settings, image),
        **_points_and_mask(points),
    }


def unlabelled_example(example, rng, *, size, margin, settings) -> dict:
    """One training image: [S, S, 3] uint8."""
    geometry = augmentation.draw_geometry(rng, settings)
    matrix = crop.crop_matrix(example["box"], size=size, margin=margin, **geometry)
    image = crop.crop_image(example["image"], matrix, size)
    return {"image": augmentation.change_appearance(rng, settings, image)}


def evaluation_example(example, *, size, margin) -> dict:
    """One test example: image, points and mask as in training, and the [2, 3] float32 matrix."""
    matrix = crop.crop_matrix(example["box"], size=size, margin=margin)
    points = crop.transform_points(matrix, example["points"])
    return {
        "image": crop.crop_image(example["image"], matrix, size),
        "matrix": crop.compose(matrix, example["source_matrix"]).astype(np.float32),
        **_points_and_mask(points),
    }


def _points_and_mask(points):
    mask = np.isfinite(points).all(-1)
    return {"points": np.where(mask[:, None], points, 0).astype(np.float32), "mask": mask}


def labelled_batches(
    source,
    *,
    batch_size,
    size,
    margin,
    seed,
    augment=augmentation.OFF,
    flip_order=None,
    process_index=0,
    process_count=1,
    num_threads=2,
    num_workers=0,
    max_corrupt=0,
):
    """Endless shuffled training batches.

    Args:
        source: labelled `sources.Source`.
        batch_size: examples per batch of THIS process.
        size: side of the crop in pixels.
        margin: side of the cropped square as a multiple of the box.
        seed: of the order and of the augmentation; resuming needs the same.
        augment: `augment.Settings`.
        flip_order: [K] from `flip_pairs.for_points`; needed where `augment.flip` > 0.
        process_index: whose rows of every batch of the run to read, see `global_order`.
        process_count: number of processes.
        num_threads: threads that read ahead; 0 reads when asked.
        num_workers: processes that read and augment; each keeps its own cache. On few cores
            threads are faster.
        max_corrupt: records that may be unreadable, see `corrupt`.

    Returns:
        A Grain iterator, see the module docstring. A record that cannot be read, beyond
        max_corrupt, stops it with a ValueError that names the record.

    Raises:
        ValueError: a flip without pairs, or fewer examples than processes.
    """
    if augment.flip > 0 and flip_order is None:
        raise ValueError("config.augment.flip needs flip pairs: config.data.flip_pairs")

    def prepare(example, rng):
        return labelled_example(
            example, rng, size=size, margin=margin, settings=augment, flip_order=flip_order
        )

    reader = corrupt.Reader(_named(prepare, source), len(source), max_corrupt)
    shuffled = _shuffled(len(source), batch_size, seed, process_count)
    process = dict(process_index=process_index, process_count=process_count)
    return _endless(shuffled, reader, batch_size, num_threads, num_workers, **process)


def unlabelled_batches(
    source,
    *,
    batch_size,
    size,
    margin,
    seed,
    augment=augmentation.OFF,
    process_index=0,
    process_count=1,
    num_threads=2,
    num_workers=0,
    max_corrupt=0,
):
    """Endless shuffled batches of images; arguments as in `labelled_batches`.

    A labelled source will do too: its labels are not read.
    """

    def prepare(example, rng):
        return unlabelled_example(example, rng, size=size, margin=margin, settings=augment)

    reader = corrupt.Reader(_named(prepare, source), len(source), max_corrupt)
    shuffled = _shuffled(len(source), batch_size, seed, process_count)
    process = dict(process_index=process_index, process_count=process_count)
    return _endless(shuffled, reader, batch_size, num_threads, num_workers, **process)


def evaluation_batches(
    source, *, batch_size, size, margin, process_index=0, process_count=1, num_threads=2
):
    """Every example of this process's share once, in order; the last batch is filled up.

    All processes get the same number of batches, so that collective steps never wait in vain.
    Arguments as in `labelled_batches`.

    Returns:
        An iterable of batches with a length.
    """
    import grain

    share = -(-len(source) // process_count)  # of the largest process
    num_batches = -(-share // batch_size)
    load_example = _named(
        lambda item, _: evaluation_example(item, size=size, margin=margin), source
    )

    def load(row):
        index = row * process_count + process_index
        valid = index < len(source)
        index = index if valid else len(source) - 1
        example = load_example(index, None)
        return {**example, "index": np.int32(index), "valid": np.bool_(valid)}

    rows = grain.MapDataset.range(num_batches * batch_size).map(load).batch(batch_size)
    return _Batches(rows.to_iter_dataset(_read_options(num_threads)), num_batches)


class _Batches:
    """A Grain dataset that knows its length; every loop over it starts anew."""

    def __init__(self, dataset, length):
        self._dataset, self._length = dataset, length

    def __len__(self):
        return self._length

    def __iter__(self):
        return iter(self._dataset)


def _shuffled(count, batch_size, seed, process_count):
    import grain

    if count < process_count:
        raise ValueError(f"{count} examples cannot feed {process_count} processes")
    if batch_size < 1:
        raise ValueError(
            f"the batch of a process holds {batch_size} examples; it needs one or more"
        )
    return grain.MapDataset.range(count).seed(global_order.seed_of_run(seed)).shuffle()


def _endless(
    shuffled, reader, batch_size, num_threads, num_workers, *, process_index, process_count
):
    import grain

    examples = shuffled.repeat().random_map(reader)
    examples = global_order.of_process(examples, batch_size, process_index, process_count)
    batches, ahead = examples.batch(batch_size, drop_remainder=True), _read_options(num_threads)
    if not num_workers:
        return corrupt.CountedBatches(iter(batches.to_iter_dataset(ahead)), reader)
    # Grain's workers read absl flags; outside of absl's app.run nobody has parsed them.
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    workers = grain.MultiprocessingOptions(num_workers=num_workers)
    return corrupt.CountedBatches(_WorkersBatches(batches, ahead, workers), reader)


class _WorkersBatches(Iterator):
    """Batches that worker processes read, with the position of an iterator without workers.

    Grain's own holds a position for each worker, so it is of no use to another number of them.

    Args:
        batches: endless `grain.MapDataset` of batches.
        ahead: `grain.ReadOptions` of each worker.
        workers: `grain.MultiprocessingOptions`.
    """

    def __init__(self, batches, ahead, workers):
        self._batches, self._ahead, self._workers = batches, ahead, workers
        self._start(0)

    def __next__(self) -> dict:
        batch = next(self._iterator)
        self._next += 1
        return batch

    def get_state(self) -> dict:
        return {"next_index": self._next}

    def set_state(self, state: dict) -> None:
        """Goes to a position, with new worker processes."""
        self._iterator.close()
        self._start(state["next_index"])

    def _start(self, number):
        # A slice reads nothing of what it leaves out, and keeps the draws of the rest.
        dataset = self._batches[number:].to_iter_dataset(self._ahead)
        self._iterator, self._next = iter(dataset.mp_prefetch(self._workers)), number


def _read_options(num_threads):
    import grain

    # Elements are whole batches here: a few ready ahead hide a slow one without much memory.
    return grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=4 if num_threads else 0)


def _named(prepare, source):
    """(position, rng) -> prepared example of the source; an error says which file it was."""

    def load(position, rng):
        example = source[position]
        try:
            return prepare(example, rng)
        except ValueError as error:
            raise ValueError(f"{example['name']}: {error}") from error

    return load
