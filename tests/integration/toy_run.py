"""A run of a linear model through the real loop and command line, in a second: for test_hosts.py.

python tests/integration/toy_run.py --workdir=DIR --config.train.steps=8 [--distributed ...]

TOY_SECONDS_PER_STEP in the environment slows the steps down, so that a test can kill it midway.
"""

import os
import time
from pathlib import Path

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import command_line
from experiments.configs.laplace import default
from jaxgen.data import array_batches
from jaxgen.training import hosts, loop, mesh, whole_sets
from jaxgen.training.batches import ZippedBatches
from jaxgen.training.checkpoint import Checkpoints
from jaxgen.training.state import Player, new_player, update

OPTIMISER = optax.adam(0.1)
RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(40, 2, 2, 1)).astype(np.float32)  # 40 is no multiple of the batch
TARGETS = (IMAGES.reshape(40, 4) @ np.array([1, -2, 3, 0.5], np.float32)).astype(np.float32)
BATCH = 16


@flax.struct.dataclass
class State:
    """As of every system."""

    step: jax.Array
    key: jax.Array
    player: Player


def settings(steps: int, every: int = 2):
    """config.train of the toy."""
    train = default.get_config().train
    train.update(steps=steps, log_every=1, validate_every=every, checkpoint_every=every)
    train.tensorboard = False
    return train


def init(key):
    """A state at step 0."""
    params = {"weights": jax.random.normal(key, (4,))}
    return State(jnp.zeros((), jnp.int32), key, new_player({"params": params}, OPTIMISER, ema=True))


def predict(variables, batch):
    """[B] of images [B, 2, 2, 1]."""
    return batch["image"].reshape(-1, 4) @ variables["params"]["weights"]


def step(state, batch):
    """One step; the loss is noisy by row, so rows must lie where they lie in one process."""
    rows = batch["rows"]
    noise = jax.random.normal(jax.random.fold_in(state.key, state.step), rows["target"].shape)

    def loss(params):
        error = predict({"params": params}, rows) - rows["target"] - 0.1 * noise
        return jnp.square(error).mean()

    value, grads = jax.value_and_grad(loss)(state.player.params)
    player, norms = update(state.player, grads, {}, optimiser=OPTIMISER, ema_decay=0.5)
    return State(state.step + 1, state.key, player), {"loss": value, **norms}


def train(workdir: Path, train_settings, devices=None):
    """Trains on the given devices (default: all of all processes); returns the weights."""
    devices = mesh.data_mesh(devices)
    checkpoints = Checkpoints(workdir / "checkpoints", best_metric="validation/error")
    run = whole_sets.compile_over_sets(devices, predict, batch_size=BATCH)
    pause = float(os.environ.get("TOY_SECONDS_PER_STEP", 0))

    def validate(state):
        error = run(state.player.ema, IMAGES) - TARGETS
        return {"error": float(np.square(error).mean()), "count": len(error)}

    def slowly(rng, batch, own):
        del rng
        time.sleep(pause)
        return {key: value[own] for key, value in batch.items()}

    stream = array_batches.batches(
        {"image": IMAGES, "target": TARGETS},
        batch_size=BATCH // hosts.count(),
        seed=0,
        process_index=hosts.index(),
        process_count=hosts.count(),
        change=lambda rng, batch, own: (time.sleep(pause), {k: v[own] for k, v in batch.items()})[
            1
        ],
    )
    state = loop.train(
        mesh.compile_init(devices, init)(jax.random.key(0)),
        step=step,
        batches=ZippedBatches({"rows": stream}),
        validate=validate,
        mesh=devices,
        checkpoints=checkpoints,
        workdir=workdir,
        settings=train_settings,
    )
    checkpoints.close()
    return hosts.fetch(state.player.params["weights"])


def _train_mode(config, workdir):
    check_gathering()
    train(workdir, config.train)


def check_gathering():
    """Figures of shares of unequal length, and of none, are the same on every process."""
    index, count = hosts.index(), hosts.count()
    for total in (1, 3, 5):
        own = np.arange(index, total, count, dtype=np.int32)
        rows = hosts.gather_in_order({"square": own.astype(np.float32) ** 2}, own)
        np.testing.assert_array_equal(rows["square"], np.arange(total, dtype=np.float32) ** 2)
        lists = hosts.gather_lists({int(n): np.full((n, 2), n, np.float32) for n in own}, width=2)
        assert [len(each) for each in lists] == list(range(total))
        assert all((each == number).all() for number, each in enumerate(lists))
    assert hosts.agree(7 + index) == 7


if __name__ == "__main__":
    command_line.run("laplace", lambda config: None, {"train": _train_mode})
