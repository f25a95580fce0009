"""Several real processes on loopback: as one process, and what happens when one of them dies."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxgen.training import hosts, joining
from jaxgen.training.config import to_json
from jaxgen.training.errors import ConfigError
from jaxgen.training.logging import read_metrics

from . import toy_run
from .conftest import tiny_config, train

ROOT = Path(__file__).parents[2]
TOY = ("tests/integration/toy_run.py",)
PATIENCE = 900  # seconds, on a machine that does other things too


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Processes:
    """Two processes of one run with four virtual devices each; they end with the test.

    They are told by flags who takes part, or find it out as under Slurm.
    """

    def __init__(self, program, *arguments, folder: Path, slurm: bool = False, **environment):
        folder.mkdir(parents=True, exist_ok=True)
        flags = re.sub(r"(device_count)=\d+", r"\1=4", os.environ["XLA_FLAGS"])
        environment = os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": str(ROOT)} | environment
        port = str(free_port())
        join = ["--distributed"]
        if not slurm:
            join += [f"--coordinator=127.0.0.1:{port}", "--num_processes=2", "--process_id={}"]
        self.logs = [folder / f"process_{index}.txt" for index in range(2)]
        self.each = []
        for index, log in enumerate(self.logs):
            if slurm:  # what srun sets
                step = {"JOB_ID": 7, "STEP_NODELIST": "127.0.0.1", "NTASKS": 2}
                step |= {"PROCID": index, "LOCALID": index}
                environment |= {f"SLURM_{name}": str(value) for name, value in step.items()}
                environment["JAX_COORDINATOR_PORT"] = port
            who = [flag.format(index) for flag in join]
            with log.open("w") as out:
                self.each.append(
                    subprocess.Popen(
                        [sys.executable, *program, *arguments, *who],
                        cwd=ROOT,
                        env=environment,
                        stdout=out,
                        stderr=subprocess.STDOUT,
                    )
                )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.each:
            process.kill()
            process.wait()

    def wait(self) -> list[int]:
        """Exit codes of all."""
        end = time.monotonic() + PATIENCE
        return [process.wait(end - time.monotonic()) for process in self.each]

    def said(self) -> str:
        """What all of them have printed."""
        return "\n".join(log.read_text(errors="replace") for log in self.logs)


def records(workdir, names):
    found = [line for line in read_metrics(workdir / "metrics.jsonl") if names[0] in line]
    return np.array([[line[name] for name in ("step", *names)] for line in found])


def test_two_processes_match_one(faces, tmp_path):
    """The LaplaceKL command, with augmentation, against the same run in this process."""
    options = {"adversarial.weight": 0.0}  # compiles in half the time
    options |= {"train.shard_parameters_above": 500}  # so that both processes hold a part
    config = tiny_config(faces, **options)
    alone = train(config, tmp_path / "alone")
    saved = tmp_path / "config.json"
    saved.write_text(to_json(config))
    (tmp_path / "config.py").write_text(
        "from pathlib import Path\n"
        "from jaxgen.training.config import from_json\n"
        f"def get_config(): return from_json(Path({str(saved)!r}).read_text())\n"
    )
    workdir = tmp_path / "run"
    program = ("-m", "experiments.laplace")
    arguments = (f"--config={tmp_path}/config.py", f"--workdir={workdir}")
    with Processes(program, *arguments, folder=tmp_path) as processes:
        assert processes.wait() == [0, 0], processes.said()
        shown = [log.read_text().count("report: ") for log in processes.logs]
    assert shown == [1, 0]
    losses = ("train/loss", "train/gradient_norm")
    for names in (losses, ("validation/nme_inter_ocular", "validation/loss")):
        mine, theirs = records(workdir, names), records(alone, names)
        assert len(mine) == len(theirs) > 1
        np.testing.assert_allclose(mine, theirs, rtol=1e-4)
    mine, theirs = (
        json.loads((folder / "report" / "results.json").read_text()) for folder in (workdir, alone)
    )
    assert mine["faces"] == theirs["faces"] == 6  # 6 faces in two batches of 4: each once
    for name, value in theirs.items():
        if isinstance(value, float) and name != "images_per_second":
            assert mine[name] == pytest.approx(value, rel=2e-3, abs=1e-3), name
    # One writer of everything but the split arrays of checkpoints, which both write.
    assert len(list((workdir / "tensorboard").iterdir())) == 1
    of_second = [path.relative_to(workdir) for path in workdir.rglob("*process_1*")]
    assert of_second and all(path.parts[0] == "checkpoints" for path in of_second)


def test_when_a_process_dies_the_other_ends_and_a_restart_goes_on(tmp_path):
    workdir = tmp_path / "run"

    def start(steps, **options):
        overrides = {"steps": steps, "log_every": 1, "validate_every": 2, "checkpoint_every": 2}
        return Processes(
            TOY,
            f"--workdir={workdir}",
            "--config.train.tensorboard=false",
            *(f"--config.train.{key}={value}" for key, value in overrides.items()),
            folder=tmp_path,
            **options,
        )

    with start(10_000, TOY_SECONDS_PER_STEP="0.1") as processes:
        end = time.monotonic() + PATIENCE
        while not (workdir / "checkpoints" / "4").exists():
            assert time.monotonic() < end and processes.each[0].poll() is None, processes.said()
            time.sleep(0.1)
        processes.each[1].send_signal(signal.SIGKILL)
        died = time.monotonic()
        assert processes.each[0].wait(PATIENCE) != 0
        assert time.monotonic() - died < 60
        said = processes.logs[0].read_text(errors="replace")
        # Ours if the runtime raises, JAX's if it ends the process: the other one is gone.
        assert re.search("has lost another process|another task died", said), said

    newest = max(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit())
    steps = newest + 4
    with start(steps, slurm=True) as processes:
        assert processes.wait() == [0, 0], processes.said()
        assert f"resuming from step {newest} of {steps}" in processes.logs[0].read_text()
    # On another number of processes and devices, too; and all as if nothing had happened.
    resumed = toy_run.train(workdir, toy_run.settings(steps + 3), jax.devices()[:4])
    (tmp_path / "alone").mkdir()
    alone = toy_run.train(tmp_path / "alone", toy_run.settings(steps + 3))
    np.testing.assert_allclose(resumed, alone, rtol=1e-5)
    for name in ("train/loss", "validation/error"):
        mine, theirs = (records(folder, [name]) for folder in (workdir, tmp_path / "alone"))
        np.testing.assert_allclose(mine, theirs, rtol=1e-4)
    counts = records(workdir, ["validation/count"])
    assert (counts[:, 1] == 40).all()


def test_a_run_goes_on_on_another_number_of_devices(tmp_path):
    (tmp_path / "moved").mkdir()
    (tmp_path / "straight").mkdir()
    for steps, count in ((3, 8), (6, 4), (9, 1), (12, 8)):
        settings = toy_run.settings(steps, every=3)
        moved = toy_run.train(tmp_path / "moved", settings, jax.devices()[:count])
    straight = toy_run.train(tmp_path / "straight", toy_run.settings(12, every=3))
    np.testing.assert_allclose(moved, straight, rtol=1e-5)
    losses = [records(tmp_path / run, ["train/loss"]) for run in ("moved", "straight")]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    assert len(losses[0]) == 12


def test_figures_of_one_process_are_its_own():
    toy_run.check_gathering()
    tree = {"a": jax.numpy.ones(2), "b": 3}
    assert hosts.fetch(tree)["a"].tolist() == [1, 1] and hosts.fetch(tree)["b"] == 3
    assert hosts.own_path(Path("a.txt")) == Path("a.txt")


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        ({}, {}, "found no complete TPU pod, Slurm.*should be defined.*--coordinator=HOST:PORT"),
        ({"coordinator": "here"}, {}, "--coordinator=here is not of the form HOST:PORT"),
        ({"num_processes": 2, "process_id": 2}, {}, "--process_id=2 is not one of 0 to 1"),
        ({}, {"JAX_NUM_PROCESSES": "two"}, "JAX_NUM_PROCESSES=two is not a number"),
    ],
)
def test_a_run_that_cannot_start_says_why(monkeypatch, arguments, environment, message):
    for name in ("COORDINATOR_ADDRESS", "NUM_PROCESSES", "PROCESS_ID"):
        monkeypatch.delenv(f"JAX_{name}", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    def initialize(*_, **__):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    with pytest.raises(ConfigError, match=message):
        joining.join(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--distributed"], "--distributed found no complete TPU pod"),
        (["--distributed", "--mode=predict"], "--mode=predict runs in one process"),
        (["--process_id=1"], "--process_id says who takes part in a run with --distributed"),
    ],
)
def test_refusals_are_one_line(arguments, message, tmp_path):
    command = [sys.executable, "-m", "experiments.laplace", f"--workdir={tmp_path}/run", *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 2, result.stderr
    assert message in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_process_that_stays_alone_says_so():
    program = "from jaxgen.training import joining; joining.join(timeout=1)"
    found = {"COORDINATOR_ADDRESS": f"127.0.0.1:{free_port()}", "NUM_PROCESSES": "2"}
    found["PROCESS_ID"] = "0"
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | {f"JAX_{name}": value for name, value in found.items()},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert result.returncode == 2, result.stderr
    assert "process 0 of 2 did not meet the others in time at 127.0.0.1" in result.stderr


def test_hosts_with_different_folders_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(hosts, "count", lambda: 2)
    monkeypatch.setattr(hosts, "index", lambda: 1)  # so the probe of process 0 is nowhere
    monkeypatch.setattr(hosts, "agree", lambda value: value)
    monkeypatch.setattr(hosts, "wait_for_all", lambda what: None)
    with pytest.raises(ConfigError, match="is not the folder of process 0"):
        hosts.check_shared(tmp_path)
