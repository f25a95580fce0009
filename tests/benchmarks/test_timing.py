"""Contestants in processes of their own: times for each, and an end when one of them ends."""

import json
import time
from functools import partial

import jax
import pytest

from benchmarks import timing


def sleeper(*, seconds):
    """A contestant."""
    return partial(time.sleep, seconds)


def test_every_contestant_has_one_time_a_round():
    contestants = {name: (sleeper, {"seconds": s}) for name, s in (("a", 0.0), ("b", 0.05))}
    seconds = timing.interleaved(contestants, rounds=3, warmup=1)
    assert [len(times) for times in seconds.values()] == [3, 3]
    assert min(seconds["a"]) < 0.05 <= min(seconds["b"])


def test_a_contestant_that_cannot_start_is_named():
    with pytest.raises(RuntimeError, match="broken has ended"):
        timing.interleaved({"broken": (json.loads, {"nothing": 1})}, rounds=1)


def test_one_round_can_be_reported(capsys):
    ratio = timing.report("work", {"ours": [2.0], "peer": [1.0]}, ours="ours", items=4)
    assert ratio == 0.5
    assert "ours is 0.50 times as fast as peer" in capsys.readouterr().out


def test_a_record_names_the_version_of_jax():
    facts = dict(method="jaxgen", variant="batch=2", rounds=3, metric="seconds", value=1.0)
    assert f"batch=2,jax={jax.__version__}" in timing.record("study", "step", **facts)["variant"]
