"""The fast layers equal the textbook layers, value and gradient."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.models.layers import (
    Conv1x1,
    ConvBlock,
    conv_halving,
    conv_shrinking,
    elu,
    leaky_relu,
    max_pool,
    upsample,
)


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def assert_same_with_gradient(fast, plain, *arguments):
    weights = random(*jax.eval_shape(plain, *arguments).shape, seed=9)

    def both(f):
        every = tuple(range(len(arguments)))
        loss = jax.value_and_grad(lambda *a: jnp.sum(f(*a) * weights), every)
        return jax.jit(lambda *a: (f(*a), loss(*a)))(*arguments)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
        both(fast),
        both(plain),
    )


def test_elu_equals_flax():
    assert_same_with_gradient(elu, nn.elu, 3 * random(4, 5))


def test_second_gradient_of_elu_is_that_of_flax():
    x, weights = 3 * random(20), random(20, seed=1)

    def penalty(f):  # as R1 takes it
        return jax.grad(lambda x: (jax.grad(lambda x: (f(x) * weights).sum())(x) ** 2).sum())

    np.testing.assert_allclose(penalty(elu)(x), penalty(nn.elu)(x), rtol=1e-4, atol=1e-6)


def test_elu_at_its_bend_far_out_and_without_a_number():
    x = jnp.array([0.0, -1e-6, -200.0, 200.0, -jnp.inf, jnp.inf, jnp.nan])
    value, slope = jax.vmap(jax.value_and_grad(elu))(x)
    np.testing.assert_allclose(value, [0, -1e-6, -1, 200, -1, jnp.inf, jnp.nan], rtol=1e-5)
    np.testing.assert_allclose(slope, [1, 1, 0, 1, 0, 1, jnp.nan], atol=1e-5)


def test_max_pool_equals_flax():
    x = random(2, 6, 8, 3)
    assert_same_with_gradient(max_pool, lambda x: nn.max_pool(x, (2, 2), (2, 2)), x)


def test_max_pool_shares_the_gradient_of_equal_values():
    grad = jax.grad(lambda x: max_pool(x).sum())(jnp.zeros((1, 2, 2, 1)))
    np.testing.assert_allclose(grad, 0.25)


def test_max_pool_refuses_odd_sizes():
    with pytest.raises(ValueError, match="5 x 4"):
        max_pool(jnp.zeros((1, 5, 4, 1)))


def test_upsample_equals_image_resize():
    x = random(2, 3, 4, 5)
    assert_same_with_gradient(upsample, lambda x: jax.image.resize(x, (2, 6, 8, 5), "nearest"), x)


@pytest.mark.parametrize(
    "convolve, stride, shape", [(conv_halving, 2, (6, 8)), (conv_shrinking, 1, (5, 4))]
)
def test_convolutions_of_the_discriminator_equal_flax(convolve, stride, shape):
    x, kernel = random(2, *shape, 3), random(4, 4, 3, 5, seed=1)

    def plain(x, kernel):
        layer = nn.Conv(5, (4, 4), strides=stride, padding=1, use_bias=False)
        return layer.apply({"params": {"kernel": kernel}}, x)

    assert_same_with_gradient(convolve, plain, x, kernel)


def test_conv1x1_equals_a_flax_convolution():
    x, kernel, bias = random(2, 3, 4, 5), random(5, 7, seed=1), random(7, seed=2)

    def fast(x, kernel, bias):
        return Conv1x1(7).apply({"params": {"kernel": kernel, "bias": bias}}, x)

    def plain(x, kernel, bias):
        params = {"kernel": kernel[None, None], "bias": bias}
        return nn.Conv(7, (1, 1)).apply({"params": params}, x)

    assert_same_with_gradient(fast, plain, x, kernel, bias)


def test_leaky_relu_keeps_a_fifth_of_negative_values():
    np.testing.assert_allclose(leaky_relu(jnp.array([-1.0, 0.0, 2.0])), [-0.2, 0.0, 2.0])


def test_dropout_drops_whole_channels_and_keeps_the_mean():
    block = ConvBlock(64, 3, dropout=0.5)
    x = random(4, 6, 6, 3)
    variables = block.init(jax.random.key(0), x, train=False)
    plain = block.apply(variables, x, train=False)
    dropped = block.apply(variables, x, train=True, rngs={"dropout": jax.random.key(1)})
    gone = (dropped == 0).all((1, 2))
    assert 0.3 < gone.mean() < 0.7
    np.testing.assert_allclose(
        dropped, np.where(gone[:, None, None], 0, 2 * plain), rtol=1e-5, atol=1e-6
    )


def test_batch_norm_keeps_statistics_and_replaces_the_bias():
    block = ConvBlock(4, 3, norm="batch")
    x = 3 + random(8, 4, 4, 2)
    variables = block.init(jax.random.key(0), x, train=False)
    assert "bias" not in variables["params"]
    y, new = block.apply(variables, x, train=True, mutable=["batch_stats"])
    # The inverse of the rectifier shows what it was given: mean 0, variance 1 per channel.
    normal = np.where(y > 0, y, 5 * y)
    np.testing.assert_allclose(normal.mean((0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(normal.var((0, 1, 2)), 1, atol=1e-2)
    moved = jax.tree.map(lambda a, b: np.any(a != b), new["batch_stats"], variables["batch_stats"])
    assert all(jax.tree.leaves(moved))


def test_unknown_norm_is_refused():
    with pytest.raises(ValueError, match="instance"):
        ConvBlock(4, 3, norm="instance").init(jax.random.key(0), random(1, 4, 4, 2), train=True)
