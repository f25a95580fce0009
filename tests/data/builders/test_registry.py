"""Preparing a set: once, however many runs ask for it at the same time."""

import logging
import threading
from types import SimpleNamespace

import pytest

from jaxgen.data.builders import registry


@pytest.fixture
def slow(tmp_path):
    """A builder that writes when it is told to, and counts."""
    state = SimpleNamespace(writes=0, began=threading.Event(), go_on=threading.Event())
    folder = tmp_path / "faces" / "1.0.0"

    def write():
        state.writes += 1
        state.began.set()
        assert state.go_on.wait(30)
        folder.mkdir(parents=True)

    state.builder = SimpleNamespace(
        name="faces",
        data_path=folder,
        download_and_prepare=write,
        info=SimpleNamespace(splits={"train": ()}),
    )
    return state


def test_a_second_run_waits_for_the_first_and_writes_nothing(slow, caplog):
    caplog.set_level(logging.INFO)
    runs = [threading.Thread(target=registry.prepare, args=(slow.builder,)) for _ in range(2)]
    runs[0].start()
    assert slow.began.wait(30)
    runs[1].start()
    runs[1].join(0.5)
    assert runs[1].is_alive()
    assert "another run prepares faces" in caplog.text
    slow.go_on.set()
    for run in runs:
        run.join(30)
    assert slow.builder.data_path.exists() and slow.writes == 1


def test_a_run_that_failed_leaves_the_set_to_the_next(slow):
    def broken():
        raise OSError("disk full")

    good, slow.builder.download_and_prepare = slow.builder.download_and_prepare, broken
    with pytest.raises(OSError, match="disk full"):
        registry.prepare(slow.builder)
    slow.builder.download_and_prepare = good
    slow.go_on.set()
    registry.prepare(slow.builder)
    assert slow.writes == 1
