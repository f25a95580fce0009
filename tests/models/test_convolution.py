"""Every form of the convolution layer equals Flax's textbook layer, value and gradient."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.models import column_pairs
from jaxgen.models.conv_forms import library
from jaxgen.models.convolution import Conv, conv_doubling, convolve, out_size, reflect
from jaxgen.models.instance_norm import instance_norm


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


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


@pytest.mark.parametrize(
    "size, stride, padding, dilation, shape",
    [
        (1, 1, 0, 1, (4, 5)),
        (1, 2, 0, 1, (5, 6)),
        (1, 2, 1, 1, (5, 6)),
        (3, 1, 1, 1, (4, 5)),
        (3, 1, 2, 2, (4, 5)),
        (3, 2, 1, 1, (6, 8)),
        (3, 2, 0, 1, (6, 7)),
        (4, 2, 1, 1, (6, 7)),
        (4, 2, 0, 1, (5, 6)),
        (5, 2, 2, 1, (6, 7)),
        # Kernels larger than the map, or than the gradient's map.
        (4, 1, 1, 1, (3, 4)),
        (4, 1, 1, 1, (2, 5)),
        (5, 2, 2, 1, (4, 4)),
        (5, 2, 2, 1, (2, 3)),
        # Larger maps.
        (3, 1, 1, 1, (17, 16)),
        (3, 2, 1, 1, (33, 32)),
        # Kernels from few channels, on blocks where the result is even.
        (3, 1, 1, 1, (4, 6)),
        (7, 1, 0, 1, (8, 10)),
        (7, 1, 0, 1, (8, 9)),
        (5, 1, 2, 1, (4, 6)),
    ],
)
def test_convolution_equals_flax(size, stride, padding, dilation, shape):
    x, kernel, bias = random(2, *shape, 3), random(size, size, 3, 5, seed=1), random(5, seed=2)
    ours = Conv(5, size, stride=stride, padding=padding, dilation=dilation)
    flax = nn.Conv(5, (size, size), stride, padding=padding, kernel_dilation=dilation)

    def run(layer):
        return lambda x, kernel, bias: layer.apply({"params": dict(kernel=kernel, bias=bias)}, x)

    assert_same_with_gradient(run(ours), run(flax), x, kernel, bias)
    if dilation == 1:
        out = jax.eval_shape(run(ours), x, kernel, bias).shape[1:3]
        assert out == tuple(out_size(n, size, stride=stride, padding=padding) for n in shape)


@pytest.mark.parametrize("images", [1, 5, 37])
@pytest.mark.parametrize("size, stride", [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_convolution_of_few_and_of_many_images_equals_flax(images, size, stride):
    x, kernel = random(images, 7, 6, 6), random(size, size, 6, 5, seed=1)

    def plain(x, kernel):
        layer = nn.Conv(5, (size, size), stride, padding=1, use_bias=False)
        return layer.apply({"params": {"kernel": kernel}}, x)

    assert_same_with_gradient(lambda x, k: convolve(x, k, stride, 1), plain, x, kernel)


@pytest.mark.parametrize("channels, features", [(8, 16), (16, 8), (5, 5)])
@pytest.mark.parametrize("size, padding", [(3, 1), (3, 0), (5, 2), (5, 4)])
def test_convolution_on_pairs_of_columns_equals_flax(channels, features, size, padding):
    x, kernel = random(2, 5, 18, channels), random(size, size, channels, features, seed=1)
    assert column_pairs.suits(x, kernel, 1, padding)

    def plain(x, kernel):
        layer = nn.Conv(features, (size, size), padding=padding, use_bias=False)
        return layer.apply({"params": {"kernel": kernel}}, x)

    def second(f):  # the gradient of a gradient's square, as a gradient penalty has it
        penalty = jax.grad(lambda x, k: jnp.sum(f(x, k) ** 2))
        return lambda x, k: jnp.sum(penalty(x, k) ** 2, (1, 2, 3)) / x.size

    def fast(x, kernel):
        return convolve(x, kernel, 1, padding)

    assert_same_with_gradient(fast, plain, x, kernel)
    assert_same_with_gradient(second(fast), second(plain), x / size, kernel / size)


def test_pairs_of_columns_are_for_few_channels_and_wide_even_maps():
    kernel = random(3, 3, 8, 16)
    assert not column_pairs.suits(random(1, 8, 17, 8), kernel, 1, 1)
    assert not column_pairs.suits(random(1, 8, 14, 8), kernel, 1, 1)
    assert not column_pairs.suits(random(1, 2, 18, 8), kernel, 1, 1)
    assert not column_pairs.suits(random(1, 8, 18, 8), kernel, 2, 1)
    assert not column_pairs.suits(random(1, 8, 18, 8), random(3, 3, 8, 17), 1, 1)
    assert not column_pairs.suits(random(1, 8, 18, 8), random(4, 4, 8, 16), 1, 1)


def test_convolution_without_bias_has_none():
    layer = Conv(5, 3, use_bias=False)
    variables = jax.eval_shape(layer.init, jax.random.key(0), random(1, 4, 4, 2))
    assert list(variables["params"]) == ["kernel"]


@pytest.mark.parametrize("size, channels", [(3, 6), (3, 20), (5, 6), (7, 6)])
def test_convolution_to_few_channels_equals_flax(size, channels):
    x = random(2, size + 3, size + 5, channels)
    kernel = random(size, size, channels, 3, seed=1)

    def plain(x, kernel):
        layer = nn.Conv(3, (size, size), padding="VALID", use_bias=False)
        return layer.apply({"params": {"kernel": kernel}}, x)

    assert_same_with_gradient(lambda x, k: convolve(x, k, 1, 0), plain, x, kernel)


@pytest.mark.parametrize("size, padding, channels, features", [(7, 0, 16, 3), (3, 0, 8, 8)])
def test_no_gradient_is_in_a_layout_that_runs_as_plain_loops(size, padding, channels, features):
    if jax.default_backend() != "cpu":
        pytest.skip("the layouts of the CPU backend")
    x, kernel = random(20, 38, 38, channels), random(size, size, channels, features)
    found = jax.jit(jax.grad(lambda x, k: convolve(x, k, 1, padding).sum() ** 2, (0, 1)))
    text = found.lower(x, kernel).compile().as_text()
    layouts = set(re.findall(r"convolution\(.*dim_labels=(\S+?)[, ]", text))
    assert layouts == {"b01f_01io->b01f"}


@pytest.mark.parametrize("stride", [1, 2])
def test_second_derivatives_exist(stride):
    # Gradient penalties need them.
    x, kernel = random(1, 5, 4, 2), random(3, 3, 2, 2, seed=1)

    def norm(convolve):
        value = lambda x: jnp.square(convolve(x, kernel, stride, 1)).sum()  # noqa: E731
        return jax.jit(jax.grad(lambda x: jnp.square(jax.grad(value)(x)).sum()))(x)

    np.testing.assert_allclose(norm(convolve), norm(library), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("features", [5, 17])
@pytest.mark.parametrize("shape", [(3, 4), (1, 1)])
def test_doubling_equals_a_flax_transposed_convolution(shape, features):
    x, kernel = random(2, *shape, 3), random(3, 3, 3, features, seed=1)

    def plain(x, kernel):
        layer = nn.ConvTranspose(features, (3, 3), (2, 2), ((1, 2), (1, 2)), use_bias=False)
        return layer.apply({"params": {"kernel": kernel}}, x)

    assert plain(x, kernel).shape[1:3] == (2 * shape[0], 2 * shape[1])
    assert_same_with_gradient(conv_doubling, plain, x, kernel)


def test_reflection_does_not_repeat_the_edge():
    x = jnp.arange(3.0).reshape(1, 1, 3, 1).repeat(3, 1)
    assert reflect(x, 1)[0, 0, :, 0].tolist() == [1, 0, 1, 2, 1]
    assert reflect(x, 2).shape == (1, 7, 7, 1)
    with pytest.raises(ValueError, match="3 x 3"):
        reflect(x, 3)


def test_instance_norm_equals_flax():
    x = 2 + 3 * random(2, 4, 5, 3)

    def plain(x):
        return nn.InstanceNorm(use_bias=False, use_scale=False, epsilon=1e-5).apply({}, x)

    assert_same_with_gradient(instance_norm, plain, x)


def test_instance_norm_of_a_flat_map_is_zero_with_a_finite_gradient():
    value, pull = jax.vjp(instance_norm, jnp.full((1, 3, 3, 1), 7.0))
    assert (value == 0).all() and np.isfinite(pull(random(1, 3, 3, 1))[0]).all()
