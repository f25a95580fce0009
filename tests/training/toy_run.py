"""A regression of four weights that trains through the shared loop, in-process or as a command.

    python tests/training/toy_run.py --workdir=DIR --config.train.steps=9 ...

The command is `experiments.command_line` with this task in place of a system's.
"""

import dataclasses
import json
import os
import resource
import signal
import time
from types import SimpleNamespace

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import command_line
from jaxgen.training.batches import ZippedBatches
from jaxgen.training.checkpoint import Checkpoints
from jaxgen.training.loop import train
from jaxgen.training.mesh import compile_init, data_mesh
from jaxgen.training.state import Player, new_player, update

OPTIMISER = optax.adam(0.1)
BEST = "validation/error"


@flax.struct.dataclass
class State:
    step: jax.Array
    key: jax.Array
    player: Player


@dataclasses.dataclass
class Batches:
    """Batch i holds the number i, but for what is asked to go wrong."""

    nan: tuple = ()  # batches of NaN
    nan_from: int = 10**9  # this one and all later
    blank: tuple = ()  # batches of zeros, whose loss is finite and whose gradient is NaN
    skip: tuple = ()  # batches that do not exist
    delay: float = 0.0  # seconds per batch
    position: int = 0

    def __next__(self):
        time.sleep(self.delay)
        self.position += 1
        while self.position in self.skip:
            self.position += 1
        value = 0 if self.position in self.blank else self.position
        if self.position in self.nan or self.position >= self.nan_from:
            value = np.nan
        return {"image": np.full((8, 4), value, np.float32)}

    def get_state(self):
        return {"next": self.position}

    def set_state(self, state):
        self.position = state["next"]


def init(key, width=4):
    params = {"weights": jax.random.normal(key, (width,))}
    return State(jnp.zeros((), jnp.int32), key, new_player({"params": params}, OPTIMISER, ema=True))


def step(state, batch):
    noise = jax.random.normal(jax.random.fold_in(state.key, state.step), (4,))

    def loss(params):
        numbers = batch["numbers"]["image"] / 10
        edge = jnp.sqrt(numbers.mean() + 0 * params["weights"][0])  # 0 * infinity at a blank batch
        return jnp.square((numbers + noise) @ params["weights"][:4] - 1).mean() + edge

    value, grads = jax.value_and_grad(loss)(state.player.params)
    player, norms = update(state.player, grads, {}, optimiser=OPTIMISER, ema_decay=0.5)
    return State(state.step + 1, state.key, player), {"loss": value, **norms}


def settings(steps, **options):
    """What config.train holds."""
    every = options.pop("every", 2)
    defaults = dict(log_every=1, validate_every=every, checkpoint_every=every, tensorboard=False)
    defaults |= dict(on_nan="stop", max_rollbacks=1)
    return SimpleNamespace(steps=steps, **{**defaults, **options})


def run(workdir, steps, *, batches=None, validate=lambda state: {}, width=4, mesh=None, **options):
    """Trains to `steps`; returns the state as NumPy arrays."""
    workdir.mkdir(exist_ok=True)
    mesh = mesh or data_mesh()
    checkpoints = Checkpoints(workdir / "checkpoints", best_metric=BEST)
    state = compile_init(mesh, lambda key: init(key, width))(jax.random.key(0))
    try:
        state = train(
            state,
            step=step,
            batches=ZippedBatches({"numbers": batches or Batches()}),
            validate=validate,
            mesh=mesh,
            checkpoints=checkpoints,
            workdir=workdir,
            settings=settings(steps, **options),
        )
    finally:
        checkpoints.close()
    return jax.device_get(state.replace(key=jax.random.key_data(state.key)))


def main():
    options = json.loads(os.environ.get("TOY", "{}"))
    if "process" in options:
        jax.distributed.initialize(
            options["coordinator"], num_processes=2, process_id=options["process"]
        )
    if "largest_file" in options:
        limit = options["largest_file"]
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if "kill_in_save" in options:
        from jaxgen.training import damage

        write_digests = damage.write_digests

        def write_or_die(folder):
            if folder.name.startswith(f"{options['kill_in_save']}."):
                os.kill(os.getpid(), signal.SIGKILL)
            write_digests(folder)

        damage.write_digests = write_or_die

    def mode(config, workdir):
        chosen = config.train
        run(
            workdir,
            chosen.steps,
            batches=Batches(delay=options.get("delay", 0.0)),
            width=options.get("width", 4),
            every=chosen.checkpoint_every,
        )

    command_line.run("laplace", lambda config: None, {"train": mode})


if __name__ == "__main__":
    main()
