"""A LaplaceKL run that is killed every few minutes, beside the same run left alone.

    nice python -m experiments.studies.soak [--minutes=120] [--every=5] [--folder=DIR]
    python -m experiments.studies.soak --minutes=2 --every=0.4 --norecord \
        --training=experiments/configs/laplace/default.py:smoke         # to try it

First a short run measures the speed, which gives the steps of --minutes. Then the same training
runs twice to its end, at the same time, with half of the cores each: undisturbed, and with a
SIGTERM or a SIGKILL in turn about every --every minutes and a new start after each. Both must end
with the same figures to the last digit. The memory of every process is sampled meanwhile and must
not grow. Stop it at any time and start it again (but the undisturbed run is one only if it is not
stopped). Needs Linux. Records: docs/results/soak.jsonl; figure: docs/images/soak_memory.png.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from absl import app, flags

from experiments.studies import records
from jaxgen.training.logging import read_metrics

STUDY = "soak"
METRIC = "nme_inter_ocular"
PACE_STEPS = 60
CHECKPOINTS = 4  # between two kills
RUNS = ("undisturbed", "killed")
_MINUTES = flags.DEFINE_float("minutes", 120, "Length of the undisturbed run, about.")
_EVERY = flags.DEFINE_float("every", 5, "Minutes between two kills, give or take a half.")
_TRAINING = flags.DEFINE_string(
    "training", "experiments/configs/laplace/default.py", "Its config, FILE or FILE:variant."
)
_FOLDER = flags.DEFINE_string("folder", "runs/studies/soak", "Folder of both runs.")
_RECORD = flags.DEFINE_bool("record", True, "Write to docs/; else all stays in --folder.")


class Watch:
    """Starts the training and keeps an eye on the memory of its process.

    Args:
        folder: of the whole soak; receives RUN/ and the samples.
        run: one of RUNS.
        arguments: after `python -m experiments.laplace`.
        cores: numbers of the processor's cores to run on.
    """

    def __init__(self, folder: Path, run: str, arguments: list[str], cores: list[int]):
        self._cores = cores
        self._run, self._samples, self._kills = run, folder / "memory.jsonl", folder / "kills.jsonl"
        self.workdir = folder / run
        self.command = ["-m", "experiments.laplace", *arguments]

    @property
    def results(self) -> Path:
        """What a finished run has written."""
        return self.workdir / "report" / "results.json"

    def kills(self) -> int:
        """How many kills this run has had."""
        return len([line for line in _read(self._kills) if line["run"] == self._run])

    def live(self, seconds: float | None = None, number: int = 0) -> int:
        """One life of the process.

        Args:
            seconds: of training until it gets a signal; None leaves it alone.
            number: of the signal.

        Returns:
            Its exit code, minus the signal for a death by one.
        """
        self.workdir.mkdir(parents=True, exist_ok=True)
        began, sent, life = time.time(), False, self.kills()
        metrics, training = self.workdir / "metrics.jsonl", None  # since when
        with (self.workdir / "log.txt").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, *self.command, f"--workdir={self.workdir}"],
                cwd=records.ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            os.sched_setaffinity(process.pid, self._cores)  # before it has threads
            while process.poll() is None:
                if training is None and metrics.exists() and metrics.stat().st_mtime > began:
                    training = time.time()  # the loop has opened its file
                if seconds and not sent and training and time.time() - training > seconds:
                    sent = True
                    process.send_signal(number)
                    _append(self._kills, dict(run=self._run, time=time.time(), signal=number))
                resident = resident_megabytes(process.pid)
                if resident is not None:
                    sample = dict(run=self._run, life=life, time=time.time(), megabytes=resident)
                    step = max((line["step"] for line in read_metrics(metrics)), default=0)
                    _append(self._samples, sample | dict(step=step))
                time.sleep(min(5.0, _EVERY.value * 6))
        return process.returncode


def resident_megabytes(pid: int) -> float | None:
    """Memory that a process holds; None when it is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    except (FileNotFoundError, ProcessLookupError):
        pass
    return None


def halves() -> tuple[list[int], list[int]]:
    """Cores for each of both runs: equally many, or results may differ in the last digit."""
    cores = sorted(os.sched_getaffinity(0))
    half = len(cores) // 2
    return (cores[:half], cores[half : 2 * half]) if half else (cores, cores)


def plan(folder: Path) -> list[str]:
    """Arguments of both runs, from the speed of a short one; the same after a new start."""
    path = folder / "plan.json"
    if path.exists():
        return json.loads(path.read_text())
    common = [f"--config={_TRAINING.value}", "--config.train.tensorboard=False"]
    schedule = _schedule(PACE_STEPS, PACE_STEPS // 6, PACE_STEPS)
    pace = Watch(folder, "pace", [*common, *schedule], halves()[0])
    if pace.live() != 0:
        raise SystemExit(f"the training does not run: see {pace.workdir / 'log.txt'}")
    config = json.loads((pace.workdir / "config.json").read_text())["train"]
    images = config["batch_size"] + config["unlabelled_batch_size"]
    lines = read_metrics(pace.workdir / "metrics.jsonl")
    rates = [line["train/images_per_second"] for line in lines if "train/loss" in line][1:]
    per_minute = 60 * float(np.median(rates)) / images
    steps = max(PACE_STEPS, round(per_minute * _MINUTES.value))
    interval = max(1, round(per_minute * _EVERY.value / CHECKPOINTS))
    arguments = [*common, *_schedule(steps, interval, max(1, steps // 10))]
    path.write_text(json.dumps(arguments))
    return arguments


def _schedule(steps: int, interval: int, validate_every: int) -> list[str]:
    """Log lines and checkpoints every `interval` steps."""
    values = dict(
        steps=steps, log_every=interval, checkpoint_every=interval, validate_every=validate_every
    )
    return [f"--config.train.{key}={value}" for key, value in values.items()]


def run_undisturbed(watch: Watch) -> None:
    """One life, unless the run is finished."""
    if not watch.results.exists() and watch.live() != 0:
        raise SystemExit(f"the training failed: see {watch.workdir / 'log.txt'}")


def run_killed(watch: Watch) -> None:
    """Lives until the run is finished, each but the last ended by a signal."""
    dice = random.Random(0)
    for _ in range(watch.kills()):  # where an earlier start has stopped
        dice.uniform(0.5, 1.5)
    while not watch.results.exists():
        number = (signal.SIGTERM, signal.SIGKILL)[watch.kills() % 2]
        code = watch.live(dice.uniform(0.5, 1.5) * 60 * _EVERY.value, number)
        print(f"life {watch.kills()} of the killed run ended with exit code {code}", flush=True)
        # A SIGTERM outside of training, as while data are opened, ends the process at once.
        if code not in (0, -signal.SIGKILL, -signal.SIGTERM):
            raise SystemExit(f"the training failed: see {watch.workdir / 'log.txt'}")


def growth(samples: list[dict]) -> float:
    """Slope of the memory over the last two thirds of a training, megabytes an hour.

    Before its first log line and after its last step, programs are compiled and figures drawn.
    """
    end = max(sample["step"] for sample in samples)
    training = [sample for sample in samples if 0 < sample["step"] < end]
    late = training[len(training) // 3 :]
    if len(late) < 2:
        return float("nan")
    hours = np.array([sample["time"] for sample in late]) / 3600
    return float(np.polyfit(hours - hours[0], [sample["megabytes"] for sample in late], 1)[0])


def draw(folder: Path):
    """Memory over time: a curve a life, a mark a kill."""
    from jaxgen.training.figures import COLOURS, INK, label, legend, new_figure

    samples, kills = _read(folder / "memory.jsonl"), _read(folder / "kills.jsonl")
    figure, axes = new_figure(8, 5, rows=2)
    for ax, run in zip(axes[:, 0], RUNS, strict=True):
        mine = [sample for sample in samples if sample["run"] == run]
        began = mine[0]["time"]
        for life in sorted({sample["life"] for sample in mine}):
            each = [sample for sample in mine if sample["life"] == life]
            minutes = [(sample["time"] - began) / 60 for sample in each]
            ax.plot(minutes, [s["megabytes"] for s in each], color=COLOURS[0], linewidth=1.5)
        for place, (number, name) in enumerate(((15, "SIGTERM"), (9, "SIGKILL"))):
            times = [k["time"] for k in kills if k["run"] == run and k["signal"] == number]
            minutes = (np.array(times) - began) / 60
            if len(minutes):
                marks = dict(marker="x|"[place], linestyle="", color=(COLOURS[1], INK)[place])
                ax.plot(minutes, np.zeros(len(minutes)), label=name, clip_on=False, **marks)
        ax.set_ylim(bottom=0)
        label(ax, x="minutes", y="resident memory, MB", title=run)
        if ax.get_legend_handles_labels()[0]:
            legend(ax)
    return figure


def _read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _append(path: Path, line: dict) -> None:
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def main(_):
    """Runs what is not finished yet, compares, draws."""
    folder = Path(_FOLDER.value).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    arguments = plan(folder)
    alone, killed = (
        Watch(folder, run, arguments, cores) for run, cores in zip(RUNS, halves(), strict=True)
    )
    with ThreadPoolExecutor() as pool:
        for future in [pool.submit(run_undisturbed, alone), pool.submit(run_killed, killed)]:
            future.result()
    found = {
        run: json.loads(watch.results.read_text())
        for run, watch in zip(RUNS, (alone, killed), strict=True)
    }
    speeds = {run: numbers.pop("images_per_second") for run, numbers in found.items()}
    same = found["undisturbed"] == found["killed"]
    slope = growth([s for s in _read(folder / "memory.jsonl") if s["run"] == "undisturbed"])
    print(
        f"{METRIC}: {found['undisturbed'][METRIC]} undisturbed, {found['killed'][METRIC]} after "
        f"{killed.kills()} kills; all figures {'are the same' if same else 'DIFFER'}.\n"
        f"memory of the undisturbed run: {slope:+.1f} MB an hour; images/s {speeds}"
    )
    image = folder / "soak_memory.png"
    if _RECORD.value:
        image = records.ROOT / "docs" / "images" / "soak_memory.png"
        facts = dict(study=STUDY, dataset="synthetic_faces", split="test", seed=0)
        facts |= dict(method="laplace_kl_adversarial", steps=found["killed"]["step"])
        facts |= dict(command=" ".join(["python", *alone.command]))
        rows = [("undisturbed", METRIC, found["undisturbed"][METRIC])]
        rows += [("killed", METRIC, found["killed"][METRIC]), ("killed", "kills", killed.kills())]
        rows += [("undisturbed", "memory_growth_mb_per_hour", slope)]
        records.append(STUDY, [facts | dict(variant=v, metric=m, value=x) for v, m, x in rows])
    draw(folder).savefig(image, dpi=110)
    print(f"wrote {image}")
    if not same:
        sys.exit(1)


if __name__ == "__main__":
    os.nice(5)  # long runs leave the machine usable
    app.run(main)
