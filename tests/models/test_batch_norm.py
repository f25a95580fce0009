"""Batch normalisation against Flax's, and what its statistics may and may not do."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.models.batch_norm import BatchNorm, normalize_batch
from jaxgen.training.mesh import data_mesh, split_batch


def random(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(1, 2, shape).astype(np.float32))


def both(train=True):
    options = dict(use_running_average=not train, momentum=0.9, epsilon=1e-5)
    return BatchNorm(**options), nn.BatchNorm(**options)


@pytest.mark.parametrize("shape", [(6, 5), (4, 3, 5), (4, 6, 7, 5), (1, 1, 1, 3), (2, 2, 3, 4, 5)])
@pytest.mark.parametrize("train", [True, False])
def test_equals_flax_in_value_statistics_and_gradient(shape, train):
    x, towards = random(*shape), random(*shape, seed=1)
    start = nn.BatchNorm(use_running_average=False).init(jax.random.key(0), x)
    start = jax.tree.map(lambda a: a + 0.1 * random(*a.shape, seed=2) ** 2, start)

    def run(net):
        def loss(params, x):
            variables = {"params": params, "batch_stats": start["batch_stats"]}
            y, new = net.apply(variables, x, mutable=["batch_stats"])
            return (y * towards).sum(), (y, new)

        return jax.jit(jax.grad(loss, (0, 1), has_aux=True))(start["params"], x)

    ours, flax = map(run, both(train))
    chex.assert_trees_all_close(ours, flax, rtol=2e-4, atol=2e-4)


def test_variables_are_named_and_start_as_those_of_flax():
    x = random(4, 3, 3, 2)
    ours, flax = (net.init(jax.random.key(0), x) for net in both())
    chex.assert_trees_all_equal(ours, flax)


def test_examples_that_do_not_count_are_normalised_by_the_others():
    x, towards = random(5, 3, 3, 2), random(5, 3, 3, 2, seed=1)
    counts = jnp.array([True, False, True, True, False])
    net = BatchNorm(use_running_average=False)
    variables = net.init(jax.random.key(0), x)

    def ours(x):
        y, new = net.apply(variables, x, counts, mutable=["batch_stats"])
        return (y * towards).sum(), (y, new["batch_stats"])

    def plain(x):
        some = x[counts]
        mean, var = some.mean((0, 1, 2)), some.var((0, 1, 2))
        y = (x - mean) / jnp.sqrt(var + 1e-5)
        return (y * towards).sum(), (y, {"mean": 0.1 * mean, "var": 0.9 + 0.1 * var})

    found, expected = (jax.jit(jax.grad(loss, has_aux=True))(x) for loss in (ours, plain))
    chex.assert_trees_all_close(found, expected, rtol=2e-4, atol=2e-4)
    _, new = net.apply(variables, x, jnp.zeros(5, bool), mutable=["batch_stats"])
    chex.assert_trees_all_equal(new["batch_stats"], variables["batch_stats"])


def test_second_derivatives_equal_flax():
    x = random(3, 4, 4, 2)
    variables = both()[0].init(jax.random.key(0), x)

    def penalty(net, x):
        def loss(x):
            return (net.apply(variables, x, mutable=["batch_stats"])[0] ** 3).sum()

        return jnp.square(jax.grad(loss)(x)).sum()

    gradient = jax.jit(jax.grad(penalty, 1), static_argnums=0)
    ours, flax = (gradient(net, x) for net in both())
    np.testing.assert_allclose(ours, flax, rtol=1e-3, atol=1e-3 * np.abs(flax).max())


def test_a_constant_channel_stays_finite():
    x = jnp.full((4, 8, 8, 3), 1e4)

    def loss(x):
        return normalize_batch(x, jnp.ones(3), jnp.zeros(3))[0].sum()

    y, mean, var = normalize_batch(x, jnp.ones(3), jnp.zeros(3))
    chex.assert_tree_all_finite((y, mean, var, jax.grad(loss)(x)))
    assert (var >= 0).all()


def test_statistics_have_no_gradient():
    def loss(x):
        _, mean, var = normalize_batch(x, jnp.ones(2), jnp.zeros(2))
        return mean.sum() + var.sum()

    np.testing.assert_array_equal(jax.grad(loss)(random(4, 3, 3, 2)), 0)


def test_half_precision_input_has_statistics_in_float32():
    x = random(8, 16, 16, 4)
    net = BatchNorm(use_running_average=False, dtype=jnp.bfloat16)
    variables = net.init(jax.random.key(0), x)
    y, new = net.apply(variables, x.astype(jnp.bfloat16), mutable=["batch_stats"])
    assert y.dtype == jnp.bfloat16
    chex.assert_trees_all_equal_dtypes(new["batch_stats"], variables["batch_stats"])
    np.testing.assert_allclose(new["batch_stats"]["mean"], 0.1 * x.mean((0, 1, 2)), rtol=1e-2)


def test_statistics_are_those_of_the_batch_over_all_devices():
    x = random(2 * jax.device_count(), 4, 4, 3)
    spread = jax.device_put(x, split_batch(data_mesh()))

    def step(x):
        def loss(x):
            y, mean, var = normalize_batch(x, jnp.ones(3), jnp.zeros(3))
            return (y**3).sum(), (mean, var)

        return jax.grad(loss, has_aux=True)(x)

    chex.assert_trees_all_close(jax.jit(step)(spread), jax.jit(step)(x), rtol=1e-4, atol=1e-4)


def test_scale_of_another_length_is_refused():
    with pytest.raises(AssertionError):
        normalize_batch(random(2, 3), jnp.ones(4), jnp.zeros(4))
