"""Convolutions on blocks of pixels equal plain Flax convolutions, value and gradient."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.models.blocks import (
    conv_to_blocks,
    conv_upsampled,
    from_blocks,
    pool_blocks,
    to_blocks,
)
from jaxgen.models.layers import upsample


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def flax_conv(x, kernel):
    layer = nn.Conv(kernel.shape[-1], kernel.shape[:2], use_bias=False)
    return layer.apply({"params": {"kernel": kernel}}, x)


def assert_same_with_gradient(fast, plain, *arguments):
    weights = random(*jax.eval_shape(plain, *arguments).shape, seed=9)

    def both(f):
        every = tuple(range(len(arguments)))
        loss = jax.grad(lambda *a: jnp.sum(f(*a) * weights), every)
        return jax.jit(lambda *a: (f(*a), loss(*a)))(*arguments)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
        both(fast),
        both(plain),
    )


def test_blocks_hold_the_four_pixels_in_reading_order():
    x = np.arange(16).reshape(1, 4, 4, 1)
    assert to_blocks(x)[0, 1, 0, :, 0].tolist() == [8, 9, 12, 13]
    np.testing.assert_array_equal(from_blocks(to_blocks(x)), x)


def test_pooling_blocks_equals_flax():
    x = random(2, 6, 8, 3)
    assert_same_with_gradient(
        lambda x: pool_blocks(to_blocks(x)), lambda x: nn.max_pool(x, (2, 2), (2, 2)), x
    )


@pytest.mark.parametrize("size", [1, 3, 5])
def test_convolution_to_blocks_equals_flax(size):
    x, kernel = random(2, 6, 8, 3), random(size, size, 3, 5, seed=1)
    assert_same_with_gradient(lambda x, k: from_blocks(conv_to_blocks(x, k)), flax_conv, x, kernel)


@pytest.mark.parametrize("height, width", [(2, 3), (1, 1), (5, 4)])
def test_convolution_of_upsampled_and_skipped_maps_equals_flax(height, width):
    low, skip = random(2, height, width, 3), random(2, 2 * height, 2 * width, 4, seed=1)
    kernel = random(5, 5, 7, 6, seed=2)

    def plain(low, skip, kernel):
        return flax_conv(jnp.concatenate([upsample(low), skip], -1), kernel)

    def fast(low, skip, kernel):
        return from_blocks(conv_upsampled(low, to_blocks(skip), kernel))

    assert_same_with_gradient(fast, plain, low, skip, kernel)


def test_kernel_of_another_size_is_refused():
    with pytest.raises(AssertionError):
        conv_upsampled(jnp.zeros((1, 2, 2, 3)), jnp.zeros((1, 2, 2, 4, 4)), jnp.zeros((3, 3, 7, 6)))
