"""The soak study without its hours: a fake training that dies, the slope, the figure."""

import json
import signal

import pytest
from absl import flags

from experiments.studies import records, soak


@pytest.fixture
def fake_training(tmp_path, monkeypatch):
    """A package whose laplace module needs three lives of a second, counted in a file."""
    package = tmp_path / "experiments"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "laplace.py").write_text(
        "import pathlib, sys, time\n"
        "workdir = pathlib.Path(sys.argv[-1].removeprefix('--workdir='))\n"
        "lives = workdir / 'lives'\n"
        "with lives.open('a') as file: file.write('x')\n"
        "(workdir / 'metrics.jsonl').write_text('{\"step\": 1}\\n')\n"
        "if len(lives.read_text()) < 3: time.sleep(60)\n"
        "(workdir / 'report').mkdir()\n"
        "(workdir / 'report' / 'results.json').write_text('{}')\n"
    )
    monkeypatch.setattr(records, "ROOT", tmp_path)
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    monkeypatch.setattr(flags.FLAGS, "every", 0.005)
    return tmp_path / "soak"


def test_a_training_is_started_again_until_it_is_finished(fake_training):
    fake_training.mkdir()
    watch = soak.Watch(fake_training, "killed", [], soak.halves()[1])
    soak.run_killed(watch)
    lines = (fake_training / "kills.jsonl").read_text().splitlines()
    assert [json.loads(line)["signal"] for line in lines] == [signal.SIGTERM, signal.SIGKILL]
    assert (watch.workdir / "lives").read_text() == "xxx"
    samples = [json.loads(s) for s in (fake_training / "memory.jsonl").read_text().splitlines()]
    assert {sample["life"] for sample in samples} >= {0, 1}
    assert all(0 <= sample["megabytes"] < 1000 for sample in samples)
    (watch.workdir / "lives").unlink()
    with pytest.raises(SystemExit, match="failed"):  # of itself, as it finds the report there
        watch.results.unlink()
        (watch.workdir / "lives").write_text("xxx")
        soak.run_killed(watch)


def test_both_runs_have_equally_many_cores(monkeypatch):
    for cores, expected in (
        ({0}, ([0], [0])),
        ({2, 5}, ([2], [5])),
        ({0, 1, 2, 3, 7}, ([0, 1], [2, 3])),
    ):
        monkeypatch.setattr(soak.os, "sched_getaffinity", lambda _, cores=cores: cores)
        assert soak.halves() == expected


def test_the_slope_is_that_of_training_alone():
    """2 MB an hour, among compilation before and figures after."""
    steps = [0] * 20 + list(range(1, 61)) + [60] * 20
    samples = [
        dict(step=step, time=36.0 * place, megabytes=500 + 0.02 * place + 300 * (step in (0, 60)))
        for place, step in enumerate(steps)
    ]
    assert soak.growth(samples) == pytest.approx(2.0)


def test_the_figure_has_a_curve_a_life_and_a_mark_a_kill(tmp_path):
    lives = [("undisturbed", 0), ("killed", 0), ("killed", 1), ("killed", 2)]
    samples = [
        dict(run=run, life=life, time=60.0 * (life + minute), megabytes=500, step=1)
        for run, life in lives
        for minute in (0, 0.5)
    ]
    kills = [dict(run="killed", time=60.0 * t, signal=n) for t, n in ((0.6, 15), (1.6, 9))]
    for name, lines in (("memory", samples), ("kills", kills)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / f"{name}.jsonl").write_text(text)
    above, below = soak.draw(tmp_path).axes
    assert len(above.lines) == 1 and len(below.lines) == 3 + 2
