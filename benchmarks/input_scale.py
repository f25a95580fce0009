"""An epoch of a million small records: each once, in a repeatable order, in constant memory.

    python -m benchmarks.input_scale                      1,000,000 records, a few CPU minutes
    python -m benchmarks.input_scale --records=100000
    python -m benchmarks.input_scale --overlap            input beside a training step

Writes ArrayRecord files into a temporary folder (removed afterwards), with the record's number as
the one pixel of its image, and reads them as training does, through `pipeline.unlabelled_batches`
(a crop a record) or `array_batches.batches` (--pipeline=arrays), and through `training.prefetch`,
as several processes of a run one after the other. Checks that

  - every record comes exactly once in the epoch of all processes,
  - the seed alone decides the order,
  - a stream that is resumed in the middle goes on with the same batches, while read ahead,

and prints the resident memory of the process on the way. With --overlap it measures instead how
much of the time for reading and sending batches is hidden behind the steps.
"""

import argparse
import math
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

FILES = 64  # ArrayRecord looks up a record more slowly in a large file
BATCH = 250


class Records:
    """Records in ArrayRecord files as a source of `pipeline`; pixel = number of the record."""

    num_points = 0

    def __init__(self, paths):
        import grain

        self._records = grain.sources.ArrayRecordDataSource([str(path) for path in paths])

    def __len__(self):
        return len(self._records)

    def column(self) -> "Column":
        """The images alone, as an array on disk."""
        return Column(self._records)

    def __getitem__(self, position) -> dict:
        pixel = np.frombuffer(self._records[int(position)], np.uint8)
        box = np.array([-0.5, -0.5, 0.5, 0.5], np.float32)
        return {"image": pixel.reshape(1, 1, 3), "box": box, "name": f"record {position}"}


class Column:
    """The pixels of all records, uint8 [N, 1, 1, 3]; chosen rows are read when asked for."""

    def __init__(self, records):
        self._records = records

    def __len__(self):
        return len(self._records)

    def __getitem__(self, rows):
        found = self._records.__getitems__(np.asarray(rows).tolist())
        return np.frombuffer(b"".join(found), np.uint8).reshape(-1, 1, 1, 3)


def write(folder: Path, count: int, *, files: int = FILES) -> list[Path]:
    """Writes the numbers 0 .. count - 1, three bytes each."""
    from array_record.python.array_record_module import ArrayRecordWriter

    paths = [folder / f"numbers-{k:05d}-of-{files:05d}.array_record" for k in range(files)]
    for part, path in zip(np.array_split(np.arange(count), files), paths, strict=True):
        writer = ArrayRecordWriter(str(path), "group_size:1")
        for number in part.tolist():
            writer.write(number.to_bytes(3, "little"))
        writer.close()
    return paths


def numbers(batch) -> np.ndarray:
    """The numbers of the records in a batch."""
    return batch["image"].reshape(-1, 3).astype(np.int64) @ (1, 256, 65536)


def open_stream(source, *, seed: int = 0, batch_size: int = BATCH, process=0, processes=1):
    """Batches as a training step would get them, read ahead."""
    from jaxgen.data import array_batches, pipeline
    from jaxgen.training.batches import ZippedBatches
    from jaxgen.training.prefetch import Prefetched

    share = dict(batch_size=batch_size, seed=seed, process_index=process, process_count=processes)
    if isinstance(source, Column):
        batches = array_batches.batches({"image": source}, **share)
    else:
        batches = pipeline.unlabelled_batches(source, size=1, margin=1.0, **share)
    return Prefetched(ZippedBatches({"faces": batches}), lambda batch: batch)


def take(stream, remaining: int) -> np.ndarray:
    """Numbers of the next batch."""
    return numbers(stream.take(remaining)[0]["faces"])


def read_epoch(source, *, processes: int, batch_size: int = BATCH, watch=lambda seen: None):
    """Reads the shares of all processes to their ends.

    Args:
        source: `Records` or a `Column`; the batches of every process must come out even.
        processes: how many share the records.
        batch_size: records a batch.
        watch: called with the number of records read, after each batch.

    Returns:
        How often each record came; positions in the middle of each process's stream, with the
        numbers of the two batches that follow.
    """
    seen, middles, total = np.zeros(len(source), np.int32), [], 0
    steps = len(source) // (processes * batch_size)
    assert steps * processes * batch_size == len(source), "the batches must come out even"
    for process in range(processes):
        stream = open_stream(source, batch_size=batch_size, process=process, processes=processes)
        state, following = None, []
        for step in range(steps):
            if step == steps // 2:
                state = stream.get_state()
            found = take(stream, steps - step - 1)
            if state is not None and len(following) < 2:
                following.append(found)
            np.add.at(seen, found, 1)
            total += len(found)
            watch(total)
        stream.close()
        middles.append((state, following))
    return seen, middles


def resumes(source, middles, *, batch_size: int = BATCH) -> bool:
    """Whether new streams, set to saved positions, go on with the same batches."""
    for process, (state, following) in enumerate(middles):
        stream = open_stream(source, batch_size=batch_size, process=process, processes=len(middles))
        take(stream, 9)  # it has read ahead of where it is sent
        stream.set_state(state)
        if not all((take(stream, 9) == expected).all() for expected in following):
            return False
        stream.close()
    return True


def resident() -> float:
    """Memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def measure_epoch(count: int, processes: int, *, arrays: bool) -> None:
    """Writes, reads, checks, prints."""
    with tempfile.TemporaryDirectory(prefix="jaxgen-input-") as folder:
        source = Records(write(Path(folder), count))
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
        source = source.column() if arrays else source
        print(f"{len(source):,} records in {FILES} files, {size / 1e6:.0f} MB", flush=True)
        began, points = time.perf_counter(), []
        marks = iter([count // 100, *(count * k // 10 for k in range(1, 11)), math.inf])
        due = next(marks)

        def watch(seen):
            nonlocal due
            if seen >= due:
                due = next(marks)
                rate = seen / (time.perf_counter() - began)
                points.append((seen, resident()))
                print(f"{seen:>9,} records  {points[-1][1]:7.1f} MB  {rate:7.0f} records/s",
                      flush=True)  # fmt: skip

        seen, middles = read_epoch(source, processes=processes, watch=watch)
        print(f"each record once over {processes} processes: {bool((seen == 1).all())}")
        print(f"resumed in the middle with the same batches: {resumes(source, middles)}")
        first = [take(open_stream(source, seed=seed), 0) for seed in (0, 0, 1)]
        print(f"same seed, same order: {bool((first[0] == first[1]).all())}; another seed, "
              f"another order: {bool((first[0] != first[2]).any())}")  # fmt: skip
        (_, early), (_, late) = points[0], points[-1]
        print(f"resident memory grew by {late - early:.1f} MB after the first hundredth")


# ------------------------------------------------------------------ overlap with the step


class _Slow:
    """Batches that take a fixed amount of work to make, of the size of real ones."""

    def __init__(self, milliseconds):
        self._milliseconds, self._position = milliseconds, 0

    def __next__(self):
        self._position += 1
        until = time.thread_time() + self._milliseconds / 1000
        while time.thread_time() < until:
            np.sort(np.random.default_rng(self._position).random(20_000))  # without Python's lock
        return {"image": np.zeros((16, 80, 80, 3), np.uint8)}

    def get_state(self):
        return {"next": self._position}


def measure_overlap(steps: int, milliseconds: float, rounds: int, *, waits: bool) -> None:
    """Input alone, steps alone, and both: one after the other, and read ahead.

    Args:
        steps: of each run.
        milliseconds: work for one batch.
        rounds: of all kinds; medians are printed.
        waits: the step takes as long as a batch without using this machine's cores, as one on
            an accelerator does. Otherwise it computes on the devices that JAX finds.
    """
    import jax
    import jax.numpy as jnp

    from jaxgen.training.batches import ZippedBatches
    from jaxgen.training.mesh import compile_step, data_mesh, put_batch
    from jaxgen.training.prefetch import Prefetched

    mesh = data_mesh(jax.devices()[:1])
    state = jnp.eye(384) + 0.01

    def pass_time(x):
        time.sleep(milliseconds / 1000)
        return x

    def step(state, batch):
        if waits:
            shape = jax.ShapeDtypeStruct(state.shape, state.dtype)
            state = jax.pure_callback(pass_time, shape, state)
        else:
            state = jax.lax.fori_loop(0, 60, lambda _, x: x @ x / jnp.linalg.norm(x @ x), state)
        return state, {"loss": state[0, 0] + batch["a"]["image"].astype(jnp.float32).mean()}

    compiled = compile_step(mesh, step)

    def run(depth, *, read=True, work=True):
        nonlocal state
        batches = ZippedBatches({"a": _Slow(milliseconds if read else 0)})
        put = lambda batch: put_batch(mesh, batch)  # noqa: E731
        ahead = Prefetched(batches, put, depth=depth) if depth else None
        waited, previous, began = 0.0, None, time.perf_counter()
        for number in range(steps):
            asked = time.perf_counter()
            batch = ahead.take(steps - number - 1)[1] if ahead else put(next(batches))
            waited += time.perf_counter() - asked
            if work:
                state, metrics = compiled(state, batch)
                if depth is None:  # nothing at the same time
                    jax.block_until_ready(metrics)
                if previous is not None:
                    float(previous["loss"])  # as the loop does, one step back
                previous = metrics
        jax.block_until_ready(state)
        if ahead:
            ahead.close()
        return time.perf_counter() - began, waited

    run(None)  # compiles
    kinds = {
        "input alone": dict(depth=None, work=False),
        "steps alone": dict(depth=None, read=False),
        "one after the other": dict(depth=None),
        "loop, nothing read ahead": dict(depth=0),
        "loop, read ahead by 1": dict(depth=1),
        "loop, read ahead by 2": dict(depth=2),
    }
    measured = {name: [] for name in kinds}
    for _ in range(rounds):
        for name, options in kinds.items():
            measured[name].append(run(**options))
    per_step = {
        name: [1000 * statistics.median(column) / steps for column in zip(*times, strict=True)]
        for name, times in measured.items()
    }
    read, work = per_step["input alone"][0], per_step["steps alone"][0]
    print("| | ms a step | ms waiting for a batch | input hidden behind the step |")
    print("|---|---:|---:|---:|")
    for name, (total, waited) in per_step.items():
        hidden = (read + work - total) / min(read, work)
        both = name not in ("input alone", "steps alone")
        shown = f"{100 * min(max(hidden, 0), 1):.0f} %" if both else ""
        print(f"| {name} | {total:.1f} | {waited:.1f} | {shown} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--pipeline", choices=("faces", "arrays"), default="faces")
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--overlap", action="store_true", help="input beside a training step")
    parser.add_argument(
        "--compute", action="store_true", help="the step computes, else time passes as elsewhere"
    )
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--milliseconds", type=float, default=20, help="work for one batch")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    if args.overlap:
        measure_overlap(args.steps, args.milliseconds, args.rounds, waits=not args.compute)
    else:
        measure_epoch(args.records, args.processes, arrays=args.pipeline == "arrays")


if __name__ == "__main__":
    main()
