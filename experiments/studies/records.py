"""Measured numbers, one JSON record a line: docs/results/<system>.jsonl.

A study runs its jobs as commands that a reader can repeat, takes the numbers from the run's
report/results.json and appends them. Jobs whose records are there already are skipped, so a
study can be stopped and started at any time; the runs themselves resume from checkpoints.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import filelock

from jaxgen.data import text_files

ROOT = Path(__file__).resolve().parents[2]


_UNDERSCORES = str.maketrans(", ", "__")


class Job(NamedTuple):
    """One training run of a study."""

    dataset: str
    split: str
    method: str
    variant: str
    seed: int
    steps: int
    arguments: Sequence[str]  # after `python -m experiments.<system>`

    @property
    def name(self) -> str:
        """Folder name of the run."""
        parts = (self.dataset, self.method, self.variant, f"seed{self.seed}", f"{self.steps}steps")
        return "_".join(parts).replace("/", "-").replace("=", "").translate(_UNDERSCORES)


def records_path(system: str) -> Path:
    """Where a system's records are kept."""
    return ROOT / "docs" / "results" / f"{system}.jsonl"


def read(system: str) -> list[dict]:
    """All records of a system."""
    path = records_path(system)
    if not path.exists():
        return []
    records = []
    for number, line in enumerate(text_files.read_text(path).splitlines(), start=1):
        try:
            records.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}, line {number}: not a JSON record ({error})") from None
        if not isinstance(records[-1], dict):
            raise ValueError(f"{path}, line {number}: not a JSON record")
    return records


def append(system: str, records: Sequence[Mapping]) -> None:
    """Appends records in one write, safe beside other studies."""
    path = records_path(system)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A file of its own, out of git: Windows lets nobody write to one that is locked.
    (ROOT / "runs").mkdir(exist_ok=True)
    with filelock.FileLock(ROOT / "runs" / f".{system}.lock"), path.open("a") as file:
        file.write("".join(json.dumps(record) + "\n" for record in records))


def append_once(system: str, study: str, figures: Mapping[str, float], **facts) -> None:
    """Prints figures, and records them unless the study has records.

    Args:
        system: name of the file of records.
        study: module of experiments.studies.
        figures: metric -> value.
        facts: dataset, split, method, variant.
    """
    for name, value in figures.items():
        print(f"{name:>16}: {value:6.2f}")
    if any(row["study"] == study for row in read(system)):
        print("recorded before")
        return
    facts |= dict(seed=0, steps=0, command=f"python -m experiments.studies.{study}")
    append(
        system,
        [dict(study=study, **facts, metric=k, value=round(v, 2)) for k, v in figures.items()],
    )


def is_done(system: str, study: str, job: Job) -> bool:
    """Whether the records of a job exist."""
    wanted = dict(study=study, **{k: getattr(job, k) for k in _KEYS})
    return any(all(r[k] == v for k, v in wanted.items()) for r in read(system))


_KEYS = ("dataset", "split", "method", "variant", "seed", "steps")


def run_once(
    system: str,
    study: str,
    job: Job,
    metrics: Sequence[str],
    workdirs: Path,
    *,
    before: Job | None = None,
    shared: Sequence[str] = (),
    **options,
) -> bool:
    """Runs a job that has no record and that no other process runs; other arguments as of `run`.

    `shared` are stages that are copied from the job `before` if that one has been recorded. While
    another process runs it, the job is left for later: it would train these stages once more.

    So a study may be started several times: on CPU, two processes pinned to one core each are
    faster than one on two cores (`taskset -c 0 python -m ... & taskset -c 1 python -m ...`).

    Returns:
        Whether the job has a record now. Come back to it if not, see `run_until_done`.
    """
    if is_done(system, study, job):
        return True
    workdirs.mkdir(parents=True, exist_ok=True)
    if before and before != job and not is_done(system, study, before):
        with _lock(workdirs, before) as mine:
            if not mine:
                print(f"{study}/{job.name} waits for {before.name} of another process", flush=True)
                return False
    with _lock(workdirs, job) as mine:
        if not mine:
            print(f"another process runs {study}/{job.name}", flush=True)
            return False
        if not is_done(system, study, job):
            print(f"running {study}/{job.name}", flush=True)
            if before and is_done(system, study, before):
                take_over(workdirs / before.name, workdirs / job.name, shared)
            run(system, study, job, metrics, workdirs, **options)
    return is_done(system, study, job)


@contextmanager
def _lock(workdirs: Path, job: Job) -> Iterator[bool]:
    """Holds the lock of a job; False where another process has it. It ends with the process."""
    lock = filelock.FileLock(workdirs / f"{job.name}.lock")
    with suppress(filelock.Timeout):
        lock.acquire(blocking=False)
    try:
        yield lock.is_locked
    finally:
        lock.release()


def run_until_done(attempts: Iterable[Callable[[], bool]]) -> None:
    """Calls each until it returns True, in order, round by round.

    Args:
        attempts: such as `run_once` with its arguments. After a round in which none is done, 10
            seconds pass: another process is at work.
    """
    left = list(attempts)
    while left:
        before, left = len(left), [attempt for attempt in left if not attempt()]
        if len(left) == before:
            time.sleep(10)


def run_all(
    system: str,
    study: str,
    jobs: Iterable[Job],
    metrics: Sequence[str],
    workdirs: Path,
    *,
    only: Callable[[str, str], bool] = lambda study, name: True,
    **options,
) -> None:
    """`run_once` for every job that `only` lets in; returns when all have records.

    Waits for jobs that another process runs, so that what follows may read their records.
    """
    run_until_done(
        partial(run_once, system, study, job, metrics, workdirs, **options)
        for job in jobs
        if only(study, job.name)
    )


def best_settings(
    system: str, study: str, metric: str, *, count: int, largest: bool = False, **facts
) -> dict[str, str]:
    """Settings of the tuning run with the best figure, as its variant "key=value,..." has them.

    Args:
        system: name of the file of records.
        study: the tuning.
        metric: that chooses.
        count: tuning runs that there must be.
        largest: whether the largest figure is the best.
        facts: what records must have beside that, such as method or dataset.

    Raises:
        SystemExit: runs are missing; half a tuning chooses nothing.
    """
    wanted = facts | dict(study=study, metric=metric)
    rows = [row for row in read(system) if all(row[k] == v for k, v in wanted.items())]
    if len(rows) < count:
        raise SystemExit(
            f"{study} has {len(rows)} of {count} runs for {facts or metric}: run it without "
            "--only first"
        )
    row = (max if largest else min)(rows, key=lambda row: row["value"])
    return dict(part.split("=") for part in row["variant"].split(","))


def take_over(before: Path, workdir: Path, stages: Sequence[str]) -> None:
    """Copies finished stages of another run, unless they are there.

    Where that run was made on another machine, or deleted, the stages are trained again.
    """
    for stage in stages:
        if (before / stage).exists() and not (workdir / stage).exists():
            workdir.mkdir(parents=True, exist_ok=True)
            partial = workdir / f".{stage}"
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(before / stage, partial)
            partial.rename(workdir / stage)


def run(
    system: str,
    study: str,
    job: Job,
    metrics: Sequence[str],
    workdirs: Path,
    *,
    length: str = "train.steps",
    others: Sequence[tuple[str, str, str]] = (),
) -> None:
    """Runs a job to its end and records the given metrics.

    Args:
        system: module of experiments.
        study: name of the study.
        job: what to run.
        metrics: keys of report/results.json; those without a value are left out.
        workdirs: folder of all runs of the study.
        length: key of the config that takes job.steps.
        others: (method, metric, key of results.json) of other methods that the run measures too.

    Raises:
        subprocess.CalledProcessError: the run failed; its output is in WORKDIR/log.txt.
    """
    workdir = workdirs / job.name
    workdir.mkdir(parents=True, exist_ok=True)
    arguments = ["-m", f"experiments.{system}", *job.arguments, f"--config.seed={job.seed}"]
    arguments.append(f"--config.{length}={job.steps}")
    with (workdir / "log.txt").open("a") as log:
        subprocess.run(
            [sys.executable, *arguments, f"--workdir={workdir}"],
            check=True,
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"MPLBACKEND": "agg"},
        )
    results = json.loads((workdir / "report" / "results.json").read_text())
    command = shlex.join(["python", *arguments])
    facts = dict(study=study, **{key: getattr(job, key) for key in _KEYS})
    rows = [(job.method, metric, metric) for metric in metrics] + list(others)
    append(
        system,
        [
            facts | dict(method=method, metric=metric, value=results[key], command=command)
            for method, metric, key in rows
            if results[key] is not None
        ],
    )
