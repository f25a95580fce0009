"""What docs/faults.md promises, each fault really done to the shared loop on a toy regression."""

import errno
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import chex
import jax
import pytest

from jaxgen.training import damage as damage_module
from jaxgen.training import stages
from jaxgen.training.checkpoint import Checkpoints, restore_one
from jaxgen.training.errors import CheckpointMismatch, NotFinite, Stopped
from jaxgen.training.logging import counted, read_metrics
from jaxgen.training.mesh import abstract_replicated, data_mesh

from .toy_run import BEST, Batches, init, run

ROOT = Path(__file__).parents[2]
ONE_DEVICE = "--xla_force_host_platform_device_count=1"


def one_device():
    return data_mesh(jax.devices()[:1])


def start(workdir, steps, every, *, before=(), more=(), **toy):
    """The toy as a process of its own, with one device."""
    keys = dict(steps=steps, checkpoint_every=every)
    keys = [f"--config.train.{key}={value}" for key, value in keys.items()]
    command = [sys.executable, str(Path(__file__).with_name("toy_run.py"))]
    return subprocess.Popen(
        [*before, *command, f"--workdir={workdir}", *more, *keys],
        env=os.environ | {"TOY": json.dumps(toy), "PYTHONPATH": str(ROOT), "XLA_FLAGS": ONE_DEVICE},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def losses(workdir):
    lines = read_metrics(workdir / "metrics.jsonl")
    return {line["step"]: line["train/loss"] for line in lines if "train/loss" in line}


def steps_of(workdir):
    return [
        line["step"] for line in read_metrics(workdir / "metrics.jsonl") if "train/loss" in line
    ]


def wait_for_step(process, workdir, step):
    deadline = time.monotonic() + 120
    while max(steps_of(workdir), default=0) < step:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def saved_steps(workdir):
    return sorted(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit())


# ------------------------------------------------------------------------------ signals


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The last state of an undisturbed run of 60 steps, and its losses."""
    workdir = tmp_path_factory.mktemp("straight")
    state = run(workdir, 60, every=10, mesh=one_device())
    return state, losses(workdir)


def test_sigterm_saves_the_step_exits_0_and_resumes_exactly(straight, tmp_path):
    process = start(tmp_path, 60, 50, delay=0.03)
    wait_for_step(process, tmp_path, 7)
    process.terminate()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    last = max(steps_of(tmp_path))
    assert saved_steps(tmp_path) == [last] and last < 50
    (line,) = out.splitlines()
    assert line.startswith(f"stopped by SIGTERM after step {last} of 60, which is saved.")
    assert "Go on with: python " in line and f"--workdir={tmp_path}" in line
    resumed = run(tmp_path, 60, every=50, mesh=one_device())
    chex.assert_trees_all_equal(resumed, straight[0])
    assert losses(tmp_path) == straight[1]


DEFAULT = f"--config={ROOT}/experiments/configs/laplace/default.py"


def seed_of(path):
    return json.loads(path.read_text())["seed"]


def ended(process):
    """Exit code and what was said, when it ends."""
    out, err = process.communicate(timeout=120)
    return process.returncode, out + err


def test_a_forgotten_config_is_that_of_the_run(tmp_path):
    code, _ = ended(start(tmp_path, 4, 2, more=[DEFAULT, "--config.seed=7"]))
    assert code == 0 and seed_of(tmp_path / "config.json") == 7
    old = json.loads((tmp_path / "config.json").read_text())
    del old["evaluate"]  # of a version that did not have it
    (tmp_path / "config.json").write_text(json.dumps(old))
    code, said = ended(start(tmp_path, 6, 2))
    assert code == 0, said
    assert "no --config: that of the run" in said
    assert seed_of(tmp_path / "config.json") == 7 and saved_steps(tmp_path)[-1] == 6
    assert "evaluate" in json.loads((tmp_path / "config.json").read_text())
    # Another one is taken, and the earlier one kept.
    code, said = ended(start(tmp_path, 8, 2, more=[DEFAULT, "--config.seed=9"]))
    assert code == 0 and "config.seed was 7 when this run began, now 9" in said
    assert seed_of(tmp_path / "config.json") == 9
    kept = sorted(path.name for path in tmp_path.glob("config.*.json"))
    assert seed_of(tmp_path / kept[-1]) == 7


def test_another_network_leaves_the_config_as_it_was(tmp_path):
    assert ended(start(tmp_path, 4, 2, more=[DEFAULT, "--config.seed=7"]))[0] == 0
    before = (tmp_path / "config.json").read_bytes()
    code, said = ended(start(tmp_path, 4, 2, more=[DEFAULT, "--config.seed=8"], width=5))
    assert code == 2 and "has shape" in said
    assert (tmp_path / "config.json").read_bytes() == before
    assert not list(tmp_path.glob("config.*.json"))


def test_a_damaged_config_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"seed": 0,')
    code, said = ended(start(tmp_path, 4, 2, more=[DEFAULT]))
    assert code == 2 and f"{tmp_path} is not the --workdir of a run: config.json" in said
    assert "Traceback" not in said


def test_two_trainings_in_one_folder_are_refused(tmp_path):
    first = start(tmp_path, 2000, 1000, more=["--stopped_exit_code=75"], delay=0.03)
    wait_for_step(first, tmp_path, 3)
    code, said = ended(start(tmp_path, 2000, 1000))
    assert code == 2 and f"process {first.pid} of " in said and "trains in" in said
    first.terminate()
    code, said = ended(first)
    assert code == 75 and "stopped by SIGTERM" in said  # a scheduler that starts it again
    # Its lock has gone with it.
    assert ended(start(tmp_path, max(steps_of(tmp_path)) + 1, 1000))[0] == 0


def sent_at(step, *numbers):
    """Options of a run whose process sends itself signals between this step and the next."""

    def validate(state):
        if int(state.step) == step:
            for number in numbers:
                os.kill(os.getpid(), number)
        return {}

    return dict(validate=validate, validate_every=1)


@pytest.fixture
def usual_signals():
    """Handlers as in a terminal; a process in the background starts with SIGINT ignored."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_ctrl_c_is_ignored_where_it_was_ignored_before(tmp_path, usual_signals):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert int(run(tmp_path, 6, every=4, **sent_at(3, signal.SIGINT)).step) == 6
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_ctrl_c_once_saves_and_twice_ends_at_once(tmp_path, usual_signals):
    with pytest.raises(Stopped, match="SIGINT after step 5 of 9") as stopped:
        run(tmp_path, 9, every=4, **sent_at(4, signal.SIGINT))
    assert stopped.value.exit_code == 130
    assert saved_steps(tmp_path) == [4, 5]
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, 9, every=4, **sent_at(6, signal.SIGINT, signal.SIGINT))
    assert saved_steps(tmp_path) == [4, 5]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_stop_where_a_checkpoint_is_due_saves_once(tmp_path, usual_signals):
    with pytest.raises(Stopped, match="after step 4 of 9"):
        run(tmp_path, 9, every=4, **sent_at(3, signal.SIGTERM))
    assert saved_steps(tmp_path) == [4]
    assert int(run(tmp_path, 9, every=4).step) == 9


def test_sigkill_loses_at_most_the_interval_and_the_save_in_progress(straight, tmp_path):
    process = start(tmp_path, 60, 10, delay=0.03)
    wait_for_step(process, tmp_path, random.Random(0).randint(21, 45))
    process.kill()
    process.communicate(timeout=60)
    last = max(steps_of(tmp_path))
    kept = max(saved_steps(tmp_path))
    # A save begins when the one before is finished.
    assert last - 20 <= kept <= last
    resumed = run(tmp_path, 60, every=10, mesh=one_device())
    chex.assert_trees_all_equal(resumed, straight[0])
    assert losses(tmp_path) == straight[1]


def test_sigkill_during_a_save_leaves_the_one_before(straight, tmp_path, caplog):
    process = start(tmp_path, 60, 10, kill_in_save=20)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert saved_steps(tmp_path) == [10]
    (half,) = (tmp_path / "checkpoints").glob("20.*")
    resumed = run(tmp_path, 60, every=10, mesh=one_device())
    assert f"removing {half}" in caplog.text and not half.exists()
    chex.assert_trees_all_equal(resumed, straight[0])


def free_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def test_ctrl_c_on_one_process_stops_all_of_them_cleanly(tmp_path, usual_signals):
    """Joined by --distributed; the codes are those of single processes."""
    address = free_address()
    shared = ["--distributed", f"--coordinator={address}", "--num_processes=2"]
    both = [
        start(tmp_path, 2000, 1000, more=[*shared, f"--process_id={i}"], delay=0.05)
        for i in range(2)
    ]
    wait_for_step(both[0], tmp_path, 3)
    both[0].send_signal(signal.SIGINT)
    ends = [ended(process) for process in both]
    assert [code for code, _ in ends] == [130, 0], ends
    assert "lost another process" not in ends[1][1] and "Traceback" not in ends[1][1]
    assert len(saved_steps(tmp_path)) == 1


def test_processes_stop_after_the_same_step(straight, tmp_path):
    """Two processes on loopback; one of them gets the SIGTERM."""
    coordinator = free_address()
    both = [
        start(tmp_path, 60, 50, delay=0.05, process=i, coordinator=coordinator) for i in range(2)
    ]
    wait_for_step(both[0], tmp_path, 3)
    both[1].terminate()
    ends = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    (kept,) = saved_steps(tmp_path)
    assert kept < 50
    for out, _ in ends:
        assert f"stopped by SIGTERM after step {kept} of 60" in out
    # Twice the rows with the same numbers: the same training, but for the order of sums.
    resumed = run(tmp_path, 60, every=50, mesh=one_device())
    chex.assert_trees_all_close(resumed, straight[0], rtol=1e-4)


# ------------------------------------------------------------------------------ checkpoints


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory):
    """A run that has saved steps 2 and 4, the second one better."""
    workdir = tmp_path_factory.mktemp("two")
    run(workdir, 4, validate=lambda state: {"error": 9.0 - int(state.step)}, mesh=one_device())
    return workdir


def _truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _scramble(path):
    path.write_bytes(random.Random(0).randbytes(path.stat().st_size))


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "half a file of numbers": (_truncate, "state/ocdbt.process_0/d/*"),
    "one bit of the numbers": (_flip, "state/ocdbt.process_0/d/*"),
    "no index": (Path.unlink, "state/manifest.ocdbt"),
    "random metadata": (_scramble, "state/_METADATA"),
    "no metadata": (Path.unlink, "state/_METADATA"),
    "random data position": (_scramble, "position/metadata"),
    "random metrics": (_scramble, "metrics/metrics"),
    "half the digests": (_truncate, "digests.json"),
    "half a folder": (shutil.rmtree, "state"),
}


def damage(workdir, kind, step=4):
    how, pattern = DAMAGE[kind]
    paths = (workdir / "checkpoints" / str(step)).glob(pattern)
    how(max(paths, key=lambda path: path.stat().st_size))


def like():
    return abstract_replicated(one_device(), jax.eval_shape(init, jax.random.key(0)))


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_newest_checkpoint_is_named_kept_and_not_used(
    kind, two_checkpoints, tmp_path, caplog
):
    workdir = shutil.copytree(two_checkpoints, tmp_path / "run")
    damage(workdir, kind)
    newest = workdir / "checkpoints" / "4"
    # Who only reads leaves it where it is; best and latest are both step 4.
    for which in ("best", "latest"):
        state, step = restore_one(workdir / "checkpoints", like(), best_metric=BEST, which=which)
        assert step == int(state.step) == 2
    assert newest.is_dir() and f"{newest} is damaged" in caplog.text
    # Training moves it out of the way of the step's next save.
    checkpoints = Checkpoints(workdir / "checkpoints", best_metric=BEST)
    _, position, step = checkpoints.restore_intact("latest", like())
    checkpoints.close()
    assert step == 2 and position == {"numbers": {"next": 2}}
    kept = workdir / "damaged_checkpoints" / "4"
    assert kept.is_dir() and not newest.exists() and f"kept as {kept}" in caplog.text


def test_training_goes_on_past_a_damaged_checkpoint_as_if_it_had_not_been(
    two_checkpoints, tmp_path
):
    workdir = shutil.copytree(two_checkpoints, tmp_path / "run")
    damage(workdir, "one bit of the numbers")
    resumed = run(workdir, 8, mesh=one_device())
    chex.assert_trees_all_equal(resumed, run(tmp_path / "b", 8, mesh=one_device()))
    assert saved_steps(workdir) == [2, 6, 8]  # 2 was measured, so it is the best
    damage(workdir, "half a folder", step=8)
    damage(workdir, "random metrics", step=2)
    assert int(run(workdir, 10, mesh=one_device()).step) == 10


def test_damage_is_found_without_digests_too(two_checkpoints, tmp_path, caplog):
    """Checkpoints of earlier versions have none; a folder may be half deleted."""
    workdir = shutil.copytree(two_checkpoints, tmp_path / "run")
    (workdir / "checkpoints" / "4" / "digests.json").unlink()
    for kind in ("no index", "no metadata"):
        damage(workdir, kind)
        state, step = restore_one(workdir / "checkpoints", like(), best_metric=BEST, which="latest")
        assert step == int(state.step) == 2
    assert caplog.text.count("4 is damaged") == 2


def test_an_intact_checkpoint_is_not_set_aside_for_another_reason(
    two_checkpoints, tmp_path, monkeypatch
):
    workdir = shutil.copytree(two_checkpoints, tmp_path / "run")
    checkpoints = Checkpoints(workdir / "checkpoints", best_metric=BEST)

    def fail(*_):
        raise OSError("the network is down")

    monkeypatch.setattr(checkpoints, "restore", fail)
    with pytest.raises(OSError, match="network is down"):
        checkpoints.restore_intact("latest", like())
    monkeypatch.setattr(damage_module, "_digest", _refuse)
    with pytest.raises(PermissionError):
        checkpoints.restore_intact("latest", like())
    checkpoints.close()
    assert saved_steps(workdir) == [2, 4] and not (workdir / "damaged_checkpoints").exists()


def _refuse(path):
    raise PermissionError(errno.EACCES, "Permission denied", str(path))


def test_no_intact_checkpoint_is_an_error_and_no_silent_start(two_checkpoints, tmp_path):
    workdir = shutil.copytree(two_checkpoints, tmp_path / "run")
    for step in (2, 4):
        damage(workdir, "half a file of numbers", step)
    with pytest.raises(CheckpointMismatch, match=r"no checkpoint in .* can be read"):
        run(workdir, 8, mesh=one_device())
    assert sorted(p.name for p in (workdir / "damaged_checkpoints").iterdir()) == ["2", "4"]


def assert_kept_and_said(code, err, place):
    assert code == 2, err
    (message,) = [line for line in err.splitlines() if line.startswith("error:")]
    assert f"the checkpoint of step 4 could not be saved in {place}/checkpoints" in message
    assert "That of step 2 is kept. Make room" in message
    return message


def test_a_save_beyond_the_file_size_limit_keeps_the_one_before_and_says_so(tmp_path):
    run(tmp_path, 2, width=20_000, mesh=one_device())
    process = start(tmp_path, 9, 2, largest_file=64 * 1024, width=20_000)
    _, err = process.communicate(timeout=60)
    assert_kept_and_said(process.returncode, err, tmp_path)
    assert saved_steps(tmp_path) == [2]
    assert int(run(tmp_path, 9, width=20_000, mesh=one_device()).step) == 9


def test_the_message_is_said_where_its_traceback_cannot_be_written(tmp_path):
    run(tmp_path, 2, width=20_000, mesh=one_device())
    (tmp_path / "error.txt").mkdir()
    process = start(tmp_path, 9, 2, largest_file=64 * 1024, width=20_000)
    _, err = process.communicate(timeout=60)
    assert_kept_and_said(process.returncode, err, tmp_path)
    assert "(its traceback could not be written: " in err


def test_a_save_on_a_full_disk_keeps_the_one_before_and_says_so(tmp_path):
    """On a file system of its own that holds one checkpoint and not two."""
    mount = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    disk = f"mount -t tmpfs -o size=400k none {tmp_path}"
    if shutil.which("unshare") is None or subprocess.run([*mount, disk]).returncode:
        pytest.skip("no file system can be mounted here")
    script = f'{disk} && "$@"; code=$?; ls {tmp_path}/checkpoints; exit $code'
    process = start(tmp_path, 9, 2, before=[*mount, script, "sh"], width=20_000)
    out, err = process.communicate(timeout=60)
    assert "No space left on device" in assert_kept_and_said(process.returncode, err, tmp_path)
    assert [name for name in out.split() if name.isdigit()] == ["2"]


# ------------------------------------------------------------------------------ NaN


@pytest.mark.parametrize(
    ("bad", "log_every", "lost"),
    [(6, 1, [6]), (6, 4, [6, 7]), (8, 4, [8]), (1, 1, [1])],
    ids=["seen at once", "seen a step later", "where a checkpoint is due", "first step"],
)
def test_a_rollback_leaves_the_bad_batch_out(bad, log_every, lost, tmp_path, caplog):
    options = dict(every=4, log_every=log_every)
    rolled = run(tmp_path / "a", 9, batches=Batches(nan=[bad]), on_nan="rollback", **options)
    # The steps since the checkpoint are lost, their batches too.
    before = (bad - 1) // 4 * 4
    skipped = [*range(before + 1, bad), *lost]
    clean = run(tmp_path / "b", 9, batches=Batches(skip=skipped), **options)
    chex.assert_trees_all_equal(rolled, clean)
    assert f"loss of step {bad} is nan" in caplog.text
    assert f"Rolled back to step {before} (1 of at most 1 times)" in caplog.text
    assert (tmp_path / "a" / f"not_finite_step_{bad}.npz").exists()
    assert losses(tmp_path / "a") == losses(tmp_path / "b")  # no step twice
    records = read_metrics(tmp_path / "a" / "metrics.jsonl")
    assert [r["step"] for r in records if "train/rollbacks" in r] == [before]
    assert counted(records) == {"rollbacks": 1}


def test_a_nan_gradient_is_found_before_it_is_saved(tmp_path):
    """The loss of the step is finite, its network is not; step 4 would save it."""
    with pytest.raises(NotFinite, match="parameter_norm of step 4 is nan"):
        run(tmp_path, 9, batches=Batches(blank=[4]))
    assert saved_steps(tmp_path) == [2]
    resumed = run(tmp_path, 9, batches=Batches(blank=[4]), on_nan="rollback")
    chex.assert_trees_all_equal(resumed, run(tmp_path / "b", 9, batches=Batches(skip=[3, 4])))


def test_a_rollback_is_repeated_after_a_stop(tmp_path, usual_signals):
    """Killed after the rollback and before the next checkpoint: the same happens again."""
    options = dict(every=4, on_nan="rollback")
    straight = run(tmp_path / "a", 9, batches=Batches(nan=[6]), **options)
    killed = sent_at(6, signal.SIGINT, signal.SIGINT)  # step 6 is first reached after it
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b", 9, batches=Batches(nan=[6]), **options, **killed)
    assert saved_steps(tmp_path / "b") == [0, 4]
    resumed = run(tmp_path / "b", 9, batches=Batches(nan=[6]), **options)
    chex.assert_trees_all_equal(straight, resumed)


def test_rollbacks_have_an_end(tmp_path, caplog):
    with pytest.raises(NotFinite, match="step 5"):
        run(tmp_path, 9, batches=Batches(nan_from=5), on_nan="rollback", max_rollbacks=3, every=4)
    assert caplog.text.count("Rolled back to step 4") == 3
    assert saved_steps(tmp_path) == [0, 4]


def test_a_stage_with_nothing_but_its_first_state_is_not_done(tmp_path):
    with pytest.raises(NotFinite):
        run(tmp_path, 9, batches=Batches(nan_from=1), on_nan="rollback")
    assert saved_steps(tmp_path) == [0] and not stages.is_done(tmp_path, 0)
    run(tmp_path, 2, on_nan="rollback")
    assert stages.is_done(tmp_path, 2) and not stages.is_done(tmp_path, 3)
    assert stages.progress(tmp_path, 3) == "has trained 2 of 3 steps"


# ------------------------------------------------------------------------------ data


def test_records_that_were_left_out_are_logged_and_reported(tmp_path):
    class Counting(Batches):
        def counts(self):
            return {"corrupt_records": self.position // 3}

    run(tmp_path, 4, batches=Counting())
    records = read_metrics(tmp_path / "metrics.jsonl")
    found = [line.get("train/corrupt_records") for line in records if "train/loss" in line]
    assert found == [0, 0, 1, 1]
    assert counted(records) == {"corrupt_records": 1}
