"""Parameters split over devices: where arrays lie, what is sent, and that nothing else changes."""

from functools import partial
from types import SimpleNamespace

import chex
import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from benchmarks.collectives import traffic
from experiments import command_line
from jaxgen.models.conv_forms import plain
from jaxgen.training import hosts, mesh
from jaxgen.training.accumulation import value_and_grad
from jaxgen.training.batches import ZippedBatches
from jaxgen.training.checkpoint import Checkpoints
from jaxgen.training.loop import train
from jaxgen.training.state import Player, new_player, update

OPTIMISER = optax.adam(0.05)
ABOVE = 60  # elements: the wide layer is split, the narrow one is not
SIZES = {"wide": 4 * 24, "narrow": 24 * 2}


@flax.struct.dataclass
class State:
    step: jax.Array
    frozen: jax.Array  # of no player
    player: Player


def init(key):
    keys = jax.random.split(key)
    params = {
        "wide": jax.random.normal(keys[0], (4, 24)),
        "narrow": jax.random.normal(keys[1], (24, 2)),
    }
    player = new_player({"params": params}, OPTIMISER, ema=True)
    return State(jnp.zeros((), jnp.int32), jnp.ones((8, 8)), player)


def predict(variables, batch):
    hidden = jnp.tanh(batch["image"] @ variables["params"]["wide"])
    return hidden @ variables["params"]["narrow"]


def step(state, batch):
    def loss(params):
        return jnp.square(predict({"params": params}, batch["faces"]) - 1).mean()

    value, grads = jax.value_and_grad(loss)(state.player.params)
    player, norms = update(state.player, grads, {}, optimiser=OPTIMISER, ema_decay=0.5)
    return state.replace(step=state.step + 1, player=player), {"loss": value, **norms}


class Batches:
    """Batch i is drawn with the seed i."""

    def __init__(self):
        self.position = 0

    def __next__(self):
        self.position += 1
        rng = np.random.default_rng(self.position)
        return {"image": rng.normal(size=(8, 1, 1, 4)).astype(np.float32)}

    def get_state(self):
        return {"next": self.position}

    def set_state(self, state):
        self.position = state["next"]


def run(workdir, steps, *, count=8, above=ABOVE, validate=lambda state: {}):
    """The loop over `count` devices."""
    workdir.mkdir(exist_ok=True)
    devices = mesh.data_mesh(jax.devices()[:count])
    checkpoints = Checkpoints(workdir / "checkpoints", best_metric="validation/error")
    settings = SimpleNamespace(
        steps=steps,
        log_every=4,
        validate_every=2,
        checkpoint_every=2,
        tensorboard=False,
        on_nan="stop",
    )
    state = train(
        mesh.compile_init(devices, init, shard_above=above)(jax.random.key(0)),
        step=step,
        batches=ZippedBatches({"faces": Batches()}),
        validate=validate,
        mesh=devices,
        checkpoints=checkpoints,
        workdir=workdir,
        settings=settings,
    )
    checkpoints.close()
    return state


def test_large_arrays_of_players_are_split_along_their_longest_axis():
    shape = partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
    arrays = [shape(s) for s in ((3, 3, 16, 8), (8, 8), (9, 5), (7, 8), (8, 2), (100,), ())]
    state = {"player": Player(arrays, {}, (), None), "pool": shape((64, 64))}
    devices = mesh.data_mesh()
    where = jax.tree.map(lambda s: s.spec, mesh.shard_large(devices, state, above=20))
    split = [P(None, None, "data"), P(None, "data"), P(), P(None, "data"), P(), P(), P()]
    assert where["player"].params == split and where["pool"] == P()
    nothing = mesh.shard_large(devices, state, above=0)
    assert all(sharding.is_fully_replicated for sharding in jax.tree.leaves(nothing))


def test_split_parameters_train_as_whole_ones_on_one_device(tmp_path):
    seen = []

    def validate(state):
        devices = mesh.data_mesh()
        evaluate = mesh.compile_evaluation(devices, predict)
        batch = mesh.put_batch(devices, {"image": np.ones((8, 4), np.float32)})
        seen.append(np.asarray(evaluate(state.player.ema, batch)))
        return {"error": float(state.step)}

    many = run(tmp_path / "many", 4, validate=validate)
    one = run(tmp_path / "one", 4, count=1)
    chex.assert_trees_all_close(jax.device_get(many), jax.device_get(one), rtol=1e-4, atol=1e-6)
    moments = many.player.opt_state[0]
    for tree in (many.player.params, moments.mu, moments.nu, many.player.ema["params"]):
        assert tree["wide"].addressable_shards[0].data.shape == (4, 3)
        assert tree["narrow"].is_fully_replicated
    np.testing.assert_allclose(
        seen[-1], predict(jax.device_get(one.player.ema), {"image": np.ones((8, 4))}), rtol=1e-4
    )


def test_a_run_goes_on_with_other_devices_and_without_a_split(tmp_path):
    straight = run(tmp_path / "straight", 6)
    run(tmp_path / "moved", 2)
    on_two = run(tmp_path / "moved", 4, count=2)
    assert on_two.player.params["wide"].addressable_shards[0].data.size == SIZES["wide"] // 2
    moved = run(tmp_path / "moved", 6, above=0)
    assert moved.player.params["wide"].is_fully_replicated
    chex.assert_trees_all_close(
        jax.device_get(moved), jax.device_get(straight), rtol=1e-4, atol=1e-6
    )


def test_small_arrays_of_many_devices_are_saved_without_compiling(tmp_path, caplog):
    """Slices for each device would be one program for every device and shape."""
    state = {f"kernel_{size}": jnp.ones((3, size, 8)) for size in (1, 8, 16)}
    state["key"] = jax.random.key(3, impl="rbg")
    state = jax.device_put(state, mesh.replicated(mesh.data_mesh()))
    checkpoints = Checkpoints(tmp_path, best_metric="error")
    with jax.log_compiles():
        checkpoints.save(1, state, {}, {})
        checkpoints.wait()
    assert "Compiling" not in caplog.text
    found, _ = checkpoints.restore(1, state)
    checkpoints.close()
    assert found["key"].dtype == state["key"].dtype  # the generator too
    np.testing.assert_array_equal(*(jax.random.key_data(t.pop("key")) for t in (found, state)))
    chex.assert_trees_all_equal(found, state)


def test_parameters_travel_and_activations_do_not():
    devices = mesh.data_mesh()
    state = mesh.compile_init(devices, init, shard_above=ABOVE)(jax.random.key(0))
    batch = {"faces": {"image": np.zeros((512, 4), np.float32)}}
    text = mesh.compile_step(devices, step, state).lower(state, batch).compile().as_text()
    found = traffic(text, 8)
    assert set(found) == {"all-gather", "all-reduce"}
    assert found["all-gather"].payload == 4 * SIZES["wide"]
    # Gradients, and a few sums for loss and norms.
    assert 4 * sum(SIZES.values()) < found["all-reduce"].payload < 4 * sum(SIZES.values()) + 64


def test_activations_of_convolutions_do_not_travel_either():
    def new(key):
        params = {"kernel": jax.random.normal(key, (3, 3, 16, 32))}
        return {"player": new_player({"params": params}, OPTIMISER, ema=False)}

    def convolve_step(state, batch):
        def loss(params, images, key):
            del key
            maps = plain(
                jnp.tanh(plain(images, params["kernel"], 1, 1))[..., :16], params["kernel"], 1, 1
            )
            return jnp.square(maps).mean(), ((), ())

        player = state["player"]
        (value, _), grads = value_and_grad(loss, 1)(player.params, batch["image"], None)
        player, norms = update(player, grads, {}, optimiser=OPTIMISER)
        return {"player": player}, {"loss": value, **norms}

    devices = mesh.data_mesh()
    state = mesh.compile_init(devices, new, shard_above=ABOVE)(jax.random.key(0))
    batch = {"image": np.zeros((8, 8, 8, 16), np.float32)}
    text = mesh.compile_step(devices, convolve_step, state).lower(state, batch).compile().as_text()
    found = traffic(text, 8)
    assert set(found) == {"all-gather", "all-reduce"}
    assert found["all-gather"].payload == 4 * 9 * 16 * 32


def test_copies_for_the_host_are_whole():
    state = mesh.compile_init(mesh.data_mesh(), init, shard_above=ABOVE)(jax.random.key(0))
    chex.assert_trees_all_equal(
        hosts.fetch(state.player.ema), jax.jit(init)(jax.random.key(0)).player.ema
    )


def test_batch_sizes_that_devices_and_parts_cannot_share_are_named():
    devices = mesh.data_mesh()
    mesh.check_divisible(devices, micro_batches=2, **{"train.batch_size": 32})
    with pytest.raises(ValueError, match=r"train.batch_size=24.*8 devices in 2 micro.*16"):
        mesh.check_divisible(devices, micro_batches=2, **{"train.batch_size": 24})


def test_only_training_minds_the_batches_of_training():
    devices = mesh.data_mesh()
    config = ConfigDict({"gan": {"train": {"batch_size": 12}}, "evaluate": {"batch_size": 16}})
    command_line.check_batches(config, devices, training=False)
    with pytest.raises(ValueError, match=r"gan\.train\.batch_size"):
        command_line.check_batches(config, devices, training=True)
    config.evaluate.batch_size = 12
    with pytest.raises(ValueError, match=r"evaluate\.batch_size"):
        command_line.check_batches(config, devices, training=False)


def test_counts_beyond_32_bits_survive_the_way_between_processes(monkeypatch):
    counts = np.array([[3_000_000_000, 0], [7, 2**53 + 1]])
    np.testing.assert_array_equal(hosts.sum_counts(counts), counts)

    def gather(rows):  # of two processes
        assert rows.dtype == np.int32
        return np.concatenate([rows, rows])

    monkeypatch.setattr(hosts, "gather_rows", gather)
    np.testing.assert_array_equal(hosts.sum_counts(counts), 2 * counts)
