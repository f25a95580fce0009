"""Batches read ahead: same order, exact position, errors in their place, nothing read too far."""

import threading
import time

import jax
import numpy as np
import pytest

from jaxgen.training.batches import ZippedBatches
from jaxgen.training.loop import train
from jaxgen.training.mesh import data_mesh, put_batch
from jaxgen.training.prefetch import Prefetched


class Numbers:
    """Batch i holds the number i, read by whichever thread asks."""

    def __init__(self, bad=None):
        self.position, self.bad, self.threads = 0, bad, set()

    def __next__(self):
        self.position += 1
        self.threads.add(threading.get_ident())
        if self.position == self.bad:
            raise ValueError(f"record {self.position} is broken")
        return {"image": np.full((8, 1, 1, 1), self.position, np.float32)}

    def get_state(self):
        return {"next": self.position}

    def set_state(self, state):
        self.position = state["next"]


def read(ahead, count, *, after=10**9):
    return [float(ahead.take(after)[0]["numbers"]["image"][0, 0, 0, 0]) for _ in range(count)]


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_the_position_is_that_of_the_batch_taken_last(depth):
    numbers = Numbers()
    ahead = Prefetched(ZippedBatches({"numbers": numbers}), lambda batch: batch, depth=depth)
    assert ahead.get_state() == {"numbers": {"next": 0}}
    for step in range(1, 7):
        assert read(ahead, 1) == [step]
        assert ahead.get_state() == {"numbers": {"next": step}}
    for _ in range(1000):
        if numbers.position == 6 + depth:
            break
        time.sleep(0.005)
    ahead.close()
    assert numbers.position == 6 + depth  # it did read ahead
    assert threading.get_ident() not in numbers.threads


def test_a_saved_position_is_gone_back_to_and_what_was_read_ahead_is_dropped():
    ahead = Prefetched(ZippedBatches({"numbers": Numbers(bad=8)}), lambda batch: batch)
    read(ahead, 3)
    saved = ahead.get_state()
    assert read(ahead, 4) == [4, 5, 6, 7]  # batch 8 is being read, and fails
    ahead.set_state(saved)
    assert ahead.get_state() == saved
    assert read(ahead, 2) == [4, 5]
    ahead.close()


def test_no_more_is_read_than_will_be_taken():
    numbers = Numbers()
    ahead = Prefetched(ZippedBatches({"numbers": numbers}), lambda batch: batch, depth=3)
    for remaining in (2, 1, 0):
        ahead.take(remaining)
    ahead.close()
    assert numbers.position == 3


def test_an_error_comes_when_its_batch_is_asked_for():
    ahead = Prefetched(ZippedBatches({"numbers": Numbers(bad=3)}), lambda batch: batch)
    assert read(ahead, 2) == [1, 2]
    with pytest.raises(ValueError, match="record 3 is broken"):
        ahead.take(5)
    assert ahead.get_state() == {"numbers": {"next": 2}}
    ahead.close()


def test_depth_is_checked():
    with pytest.raises(ValueError, match="1 or more"):
        Prefetched(ZippedBatches({}), lambda batch: batch, depth=0)


def test_batches_arrive_on_the_devices_split():
    mesh = data_mesh()
    ahead = Prefetched(
        ZippedBatches({"numbers": Numbers()}), lambda batch: put_batch(mesh, batch), depth=1
    )
    host, on_devices = ahead.take(0)
    array = on_devices["numbers"]["image"]
    assert isinstance(array, jax.Array) and len(array.sharding.device_set) == mesh.size
    np.testing.assert_array_equal(array, host["numbers"]["image"])
    ahead.close()


def test_the_loop_saves_the_position_of_the_batch_trained_on_last(tmp_path):
    """Every checkpoint of a run, with the reader up to two batches ahead of it."""
    from types import SimpleNamespace

    saved = {}

    class Kept:
        def restore_intact(self, which, like):
            return None

        def check(self):
            pass

        def save(self, step, state, position, metrics):
            saved[step] = (int(state), position)

    numbers = Numbers()
    train(
        jax.numpy.zeros((), jax.numpy.int32),
        step=lambda state, batch: (
            state + batch["numbers"]["image"][0, 0, 0, 0].astype(int),
            {"loss": jax.numpy.float32(0)},
        ),
        batches=ZippedBatches({"numbers": numbers}),
        validate=lambda state: {},
        mesh=data_mesh(jax.devices()[:1]),
        checkpoints=Kept(),
        workdir=tmp_path,
        settings=SimpleNamespace(
            steps=6,
            log_every=10,
            validate_every=10,
            checkpoint_every=1,
            tensorboard=False,
            on_nan="stop",
        ),
    )
    sums = {step: step * (step + 1) // 2 for step in range(1, 7)}
    assert saved == {step: (sums[step], {"numbers": {"next": step}}) for step in sums}
    assert numbers.position == 6
