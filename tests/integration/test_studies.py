"""Study records: skip what is done, refuse nothing silently, tables with mean and deviation."""

import json
import runpy
import subprocess
import sys

import filelock
import pytest

from experiments.studies import records, tables

JOB = records.Job("helen", "test", "laplace_kl", "width=1/8,labels=0.1", 0, 10, ["--mode=train"])


@pytest.fixture
def docs(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "ROOT", tmp_path)
    return tmp_path


def record(seed, value, method="laplace_kl"):
    return {
        "study": "s",
        "dataset": "helen",
        "split": "test",
        "method": method,
        "variant": "width=1/8",
        "seed": seed,
        "steps": 10,
        "metric": "nme_inter_ocular",
        "value": value,
        "command": "python -m experiments.laplace",
    }


def test_job_is_run_once_and_recorded_with_its_command(docs, monkeypatch):
    # The child process writes the results that a real run would write.
    child = docs / "experiments"
    child.mkdir()
    (child / "__init__.py").touch()
    (child / "fake.py").write_text(
        "import json, pathlib, sys\n"
        "workdir = pathlib.Path(sys.argv[-1].removeprefix('--workdir='))\n"
        "(workdir / 'report').mkdir()\n"
        "results = json.dumps({'nme': 3.5, 'other': 1, 'ap_height_96_inf': None})\n"
        "(workdir / 'report' / 'results.json').write_text(results)\n"
    )
    assert not records.is_done("fake", "study", JOB)
    # Nothing to measure, such as no face of that height: no number, and no record.
    records.run("fake", "study", JOB, ["nme", "ap_height_96_inf"], docs / "runs")
    assert records.is_done("fake", "study", JOB)
    assert not records.is_done("fake", "study", JOB._replace(seed=1))
    (row,) = records.read("fake")
    assert row["value"] == 3.5 and row["metric"] == "nme"
    assert row["command"].endswith("--config.seed=0 --config.train.steps=10")
    assert str(docs) not in json.dumps(row)
    assert sys.executable not in row["command"]


def test_job_of_another_process_is_left_alone(docs, monkeypatch):
    started = []
    monkeypatch.setattr(records, "run", lambda *args, **options: started.append(args))
    (docs / "runs").mkdir()
    with filelock.FileLock(docs / "runs" / f"{JOB.name}.lock"):
        records.run_once("fake", "study", JOB, ["nme"], docs / "runs")
        assert not started
    records.run_once("fake", "study", JOB, ["nme"], docs / "runs")
    assert len(started) == 1


def test_a_lock_ends_with_its_process(docs, monkeypatch):
    monkeypatch.setattr(records, "run", lambda *args, **options: finish(args[2]))
    (docs / "runs").mkdir()
    hold = (
        "import filelock, sys, time\n"
        "lock = filelock.FileLock(sys.argv[1])\n"
        "lock.acquire()\n"
        "print('held', flush=True)\n"
        "time.sleep(60)\n"
    )
    lock = str(docs / "runs" / f"{JOB.name}.lock")
    other = subprocess.Popen([sys.executable, "-c", hold, lock], stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline().strip() == b"held"
        assert not records.run_once("fake", "study", JOB, ["nme"], docs / "runs")
    finally:
        other.kill()
        other.communicate()
    assert records.run_once("fake", "study", JOB, ["nme"], docs / "runs")


def test_records_are_appended_while_nobody_else_does(docs, monkeypatch):
    records.append("fake", [record(0, 1.0)])
    held = []

    class Watched(filelock.FileLock):
        def __exit__(self, *error):
            held.append(len(records.read("fake")))  # written when the lock is let go
            super().__exit__(*error)

    monkeypatch.setattr(records.filelock, "FileLock", Watched)
    records.append("fake", [record(1, 2.0), record(2, 3.0)])
    assert held == [3] and [row["seed"] for row in records.read("fake")] == [0, 1, 2]
    assert [path.name for path in (docs / "docs" / "results").iterdir()] == ["fake.jsonl"]


def test_studies_need_nothing_that_windows_lacks(monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    assert runpy.run_path(records.__file__)["append"]


def finish(job, system="fake"):
    facts = {key: getattr(job, key) for key in records._KEYS}
    records.append(system, [dict(study="study", metric="nme", value=1.0, **facts)])


def test_all_jobs_are_run_and_those_of_others_are_waited_for(docs, monkeypatch):
    jobs, order = [JOB._replace(seed=seed) for seed in range(3)], []

    def run(system, study, job, metrics, workdirs):
        order.append(job.seed)
        finish(job)

    monkeypatch.setattr(records, "run", run)
    (docs / "runs").mkdir()
    with filelock.FileLock(docs / "runs" / f"{jobs[1].name}.lock"):
        monkeypatch.setattr(records.time, "sleep", lambda _: finish(jobs[1]))
        records.run_all("fake", "study", jobs, ["nme"], docs / "runs")
    assert order == [0, 2] and all(records.is_done("fake", "study", job) for job in jobs)
    records.run_all(
        "fake", "other", jobs, ["nme"], docs / "runs", only=lambda study, name: study == "study"
    )
    assert order == [0, 2]


def test_stages_are_copied_by_the_process_that_runs_the_job(docs, monkeypatch):
    first, second = JOB, JOB._replace(seed=1)
    workdirs = docs / "runs"
    (workdirs / first.name / "source").mkdir(parents=True)
    monkeypatch.setattr(records, "run", lambda *args, **options: None)
    start = dict(before=first, shared=["source"])
    records.run_once("fake", "study", second, ["nme"], workdirs, **start)
    assert not (workdirs / second.name / "source").exists()  # the first may still be running
    finish(first)
    with filelock.FileLock(workdirs / f"{second.name}.lock"):
        records.run_once("fake", "study", second, ["nme"], workdirs, **start)
        assert not (workdirs / second.name / "source").exists()
    records.run_once("fake", "study", second, ["nme"], workdirs, **start)
    assert (workdirs / second.name / "source").exists()


def test_a_job_waits_for_the_process_that_makes_its_stages(docs, monkeypatch, capsys):
    first, second = JOB, JOB._replace(seed=1)
    workdirs, order, began = docs / "runs", [], []
    start = dict(before=first, shared=["source"])

    def run(system, study, job, metrics, workdirs):
        order.append(job.seed)
        began.append((workdirs / job.name / "source").exists())
        finish(job)

    monkeypatch.setattr(records, "run", run)
    (workdirs / first.name / "source").mkdir(parents=True)

    def attempt(job):
        return lambda: records.run_once("fake", "study", job, ["nme"], workdirs, **start)

    with filelock.FileLock(workdirs / f"{first.name}.lock") as lock:
        assert not attempt(second)() and not order
        assert f"waits for {first.name}" in capsys.readouterr().out

        def the_other_process_ends(seconds):
            finish(first)
            lock.release()

        monkeypatch.setattr(records.time, "sleep", the_other_process_ends)
        records.run_until_done([attempt(first), attempt(second)])
    assert order == [1] and began == [True]


def test_the_job_that_lends_its_stages_waits_for_nobody(docs, monkeypatch):
    order = []
    monkeypatch.setattr(records, "run", lambda *args: (order.append(args[2]), finish(args[2])))
    start = dict(before=JOB, shared=["source"])
    assert records.run_once("fake", "study", JOB, ["nme"], docs / "runs", **start)
    # One whose lender was not asked for trains everything itself.
    start = dict(before=JOB._replace(seed=7), shared=["source"])
    assert records.run_once("fake", "study", JOB._replace(seed=1), [], docs / "runs", **start)
    assert [job.seed for job in order] == [0, 1]


def test_the_best_settings_are_those_of_a_whole_tuning(docs):
    rows = [record(0, value) | dict(variant=f"width=1/8,rate={value}") for value in (4.0, 3.0)]
    records.append("laplace", [*rows, record(0, 1.0, "soft_argmax_l2")])
    choice = dict(metric="nme_inter_ocular", method="laplace_kl")
    assert records.best_settings("laplace", "s", count=2, **choice)["rate"] == "3.0"
    assert records.best_settings("laplace", "s", count=2, largest=True, **choice)["rate"] == "4.0"
    with pytest.raises(SystemExit, match="2 of 3 runs"):
        records.best_settings("laplace", "s", count=3, **choice)


def test_failed_job_leaves_no_record(docs):
    with pytest.raises(Exception, match="returned non-zero"):
        records.run("missing", "study", JOB, ["nme"], docs / "runs")
    assert records.read("missing") == []


def test_table_shows_mean_and_deviation(docs):
    records.append("laplace", [record(0, 4.0), record(1, 6.0), record(0, 9.0, "soft_argmax_l2")])
    tables.main("laplace")
    text = (docs / "docs" / "results" / "laplace.md").read_text()
    assert "| laplace_kl | 2 | 5.00 ± 1.41 |" in text
    assert "| soft_argmax_l2 | 1 | 9.00 (1 seed) |" in text
    assert (docs / "docs" / "images" / "laplace_results.png").stat().st_size > 1000
