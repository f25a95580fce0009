"""Batches in parts: the same gradient, each part's own key and statistics, rows in order."""

from functools import partial

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.collectives import traffic
from jaxgen.training import accumulation, mesh
from jaxgen.training.accumulation import value_and_grad

ROWS = 16


@pytest.fixture
def batch():
    return {"x": np.random.default_rng(0).normal(size=(ROWS, 4)).astype(np.float32)}


PARAMS = {"weights": jnp.arange(8.0).reshape(4, 2) / 8}


def loss(params, batch, key):
    del key
    y = jnp.tanh(batch["x"] @ params["weights"])
    return jnp.square(y).mean(), ({"largest": y.max()}, y)


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_give_the_gradient_of_the_whole_batch(batch, parts):
    key = jax.random.key(0)
    (value, (_, rows)), grads = value_and_grad(loss, 1)(PARAMS, batch, key)
    (found, (means, rows_found)), grads_found = value_and_grad(loss, parts)(PARAMS, batch, key)
    np.testing.assert_allclose(found, value, rtol=1e-6)
    chex.assert_trees_all_close(grads_found, grads, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(rows_found, rows, rtol=1e-6)  # in the order of the batch
    largest = np.asarray(rows).reshape(-1, parts, 2).max((0, 2))
    np.testing.assert_allclose(means["largest"], largest.mean(), rtol=1e-6)


def test_one_part_is_the_plain_gradient_with_the_plain_key(batch):
    def noisy(params, batch, key):
        return loss(params, {"x": batch["x"] + jax.random.normal(key, (ROWS, 4))}, key)

    key = jax.random.key(3)
    found = value_and_grad(noisy, 1)(PARAMS, batch, key)
    chex.assert_trees_all_equal(found, jax.value_and_grad(noisy, has_aux=True)(PARAMS, batch, key))


def test_each_part_has_randomness_of_its_own(batch):
    def draw(params, batch, key):
        return params["weights"].sum(), ((), jax.random.normal(key, (len(batch["x"]),)))

    (_, (_, rows)), _ = value_and_grad(draw, 4)(PARAMS, batch, jax.random.key(0))
    assert len(set(np.asarray(rows).tolist())) == ROWS


def test_running_statistics_move_once_by_the_mean_of_the_parts(batch):
    net = nn.BatchNorm(use_running_average=False, momentum=0.9)
    variables = net.init(jax.random.key(0), batch["x"])

    def statistics(params, batch, key):
        del key
        kept = {"params": params, "batch_stats": variables["batch_stats"]}
        y, mutated = net.apply(kept, batch["x"], mutable=["batch_stats"])
        return y.mean(), (mutated["batch_stats"], ())

    gradient = value_and_grad(statistics, 2)
    (_, (found, _)), _ = gradient(variables["params"], batch, jax.random.key(0))
    parts = batch["x"][0::2], batch["x"][1::2]
    np.testing.assert_allclose(found["mean"], 0.1 * np.mean(parts, (0, 1)), rtol=1e-5)
    within = np.mean([part.var(0) for part in parts], 0)
    np.testing.assert_allclose(found["var"], 0.9 + 0.1 * within, rtol=1e-5)


def test_parts_that_do_not_share_out_are_refused(batch):
    with pytest.raises(ValueError, match=r"batch of 16 .* 3 parts.*micro_batches"):
        value_and_grad(loss, 3)(PARAMS, batch, jax.random.key(0))


@pytest.mark.parametrize("rows, parts, width", [(1, 1, 2), (3, 2, 1), (2, 4, 3), (0, 2, 3)])
def test_joining_undoes_splitting(rows, parts, width):
    x = np.arange(rows * parts * width).reshape(rows * parts, width)
    found = accumulation.split({"x": x}, parts)
    chex.assert_shape(found["x"], (parts, rows, width))
    for part in range(parts):
        np.testing.assert_array_equal(found["x"][part], x[part::parts])
    np.testing.assert_array_equal(accumulation.join(found)["x"], x)


def test_no_row_leaves_its_device(batch):
    """Eight devices, two parts: what is sent is the sum of gradient and loss, nothing else."""
    devices = mesh.data_mesh()

    def step(params, batch):
        (value, (_, rows)), grads = value_and_grad(loss, 2)(params, batch, jax.random.key(0))
        (_, _), more = value_and_grad(lambda p, x, _: (jnp.sum(x * p["weights"][0]), ((), ())), 2)(
            params, rows, jax.random.key(0)
        )
        return jax.tree.map(lambda p, g, m: p - g - m, params, grads, more), value

    compiled = mesh.compile_step(devices, step).lower(PARAMS, batch).compile()
    assert set(traffic(compiled.as_text(), 8)) == {"all-reduce"}


@pytest.mark.parametrize("sizes", [(8, 16), (16, 8), (8, 8), (24, 16)])
def test_merged_batches_come_apart_and_stay_on_their_devices(sizes):
    devices = mesh.data_mesh()
    batches = [np.arange(n * 3).reshape(n, 3) for n in sizes]
    rows = mesh.merge(*batches)
    assert len(rows) == sum(sizes)
    for found, expected in zip(mesh.separate(rows, *sizes), batches, strict=True):
        np.testing.assert_array_equal(found, expected)
    split = mesh.split_batch(devices)
    run = partial(jax.jit, in_shardings=split, out_shardings=split)
    text = run(lambda pair: mesh.separate(2 * mesh.merge(*pair), *sizes))
    assert not traffic(text.lower(batches).compile().as_text(), 8)
