"""The shared loop on a toy regression: resume, NaN, best checkpoint, logs."""

from types import SimpleNamespace

import chex
import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen.training.batches import ZippedBatches
from jaxgen.training.checkpoint import Checkpoints
from jaxgen.training.errors import CheckpointMismatch, NotFinite
from jaxgen.training.logging import read_metrics
from jaxgen.training.loop import train
from jaxgen.training.mesh import compile_init, data_mesh
from jaxgen.training.state import Player, new_player, update

OPTIMISER = optax.adam(0.1)


@flax.struct.dataclass
class State:
    step: jax.Array
    key: jax.Array
    player: Player


class Batches:
    """Batch i holds the number i; NaN from step `bad` on."""

    def __init__(self, bad=10**9):
        self.position, self.bad = 0, bad

    def __next__(self):
        self.position += 1
        image = np.full((8, 4), self.position, np.float32)
        return {"image": image * (np.nan if self.position >= self.bad else 1)}

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
        images = batch["numbers"]["image"] / 10 + noise
        return jnp.square(images @ params["weights"] - 1).mean()

    value, grads = jax.value_and_grad(loss)(state.player.params)
    player, norms = update(state.player, grads, {}, optimiser=OPTIMISER, ema_decay=0.5)
    return State(state.step + 1, state.key, player), {"loss": value, **norms}


def run(workdir, steps, *, bad=10**9, validate=lambda state: {}, width=4, mesh=None, every=2):
    mesh = mesh or data_mesh()
    checkpoints = Checkpoints(workdir / "checkpoints", best_metric="validation/error")
    settings = SimpleNamespace(
        steps=steps,
        log_every=1,
        validate_every=every,
        checkpoint_every=every,
        tensorboard=False,
        on_nan="stop",
        max_rollbacks=1,
    )
    state = compile_init(mesh, lambda key: init(key, width))(jax.random.key(0))
    try:
        state = train(
            state,
            step=step,
            batches=ZippedBatches({"numbers": Batches(bad)}),
            validate=validate,
            mesh=mesh,
            checkpoints=checkpoints,
            workdir=workdir,
            settings=settings,
        )
    finally:
        checkpoints.close()
    return jax.device_get(state.replace(key=jax.random.key_data(state.key)))


def test_stopped_and_resumed_run_is_bit_identical(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    straight = run(tmp_path / "a", 8)
    run(tmp_path / "b", 4)
    resumed = run(tmp_path / "b", 8)
    chex.assert_trees_all_equal(straight, resumed)
    lines = [read_metrics(tmp_path / run / "metrics.jsonl") for run in "ab"]
    losses = [[m["train/loss"] for m in line if "train/loss" in m] for line in lines]
    assert losses[0] == losses[1] and len(losses[0]) == 8


def test_many_devices_match_one(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    many = run(tmp_path / "a", 3)
    one = run(tmp_path / "b", 3, mesh=data_mesh(jax.devices()[:1]))
    chex.assert_trees_all_close(many, one, rtol=1e-5)


def test_nan_stops_with_step_and_batch(tmp_path):
    with pytest.raises(NotFinite, match="step 5"):
        run(tmp_path, 9, bad=5)
    saved = np.load(tmp_path / "not_finite_step_5.npz", allow_pickle=False)
    assert np.isnan(saved["numbers.image"]).all()
    # The newest checkpoint is from before, so training can go on from it.
    assert int(run(tmp_path, 8).step) == 8


def test_best_step_is_kept_and_found(tmp_path):
    errors = {2: 5.0, 4: 1.0, 6: 3.0, 8: 4.0, 10: 2.0}
    run(tmp_path, 10, validate=lambda state: {"error": errors[int(state.step)]})
    checkpoints = Checkpoints(
        tmp_path / "checkpoints", best_metric="validation/error", create=False
    )
    assert checkpoints.best_step() == 4
    assert checkpoints.latest_step() == 10


def test_finished_run_trains_no_further(tmp_path, caplog):
    first = run(tmp_path, 4)
    again = run(tmp_path, 4)
    chex.assert_trees_all_equal(first, again)
    assert "nothing to train" in caplog.text


def test_checkpoint_of_another_width_is_refused(tmp_path):
    run(tmp_path, 2)
    with pytest.raises(CheckpointMismatch, match=r"weights has shape \(4,\).*\(5,\)"):
        run(tmp_path, 4, width=5)
