"""Gradients to kernels as products equal those of the textbook convolution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.models import kernel_gradient
from jaxgen.models.conv_forms import library, plain
from jaxgen.models.kernel_gradient import by_products


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def textbook(x, kernel, grad, stride, padding):
    """Of every pixel of the result and what its kernel sees, the product; in NumPy, uncompiled."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], (1, 2))
    windows = windows[:, ::stride, ::stride]
    return np.einsum("nhwcij,nhwd->ijcd", windows, grad, optimize=True)


def pair(images, sides, channels, size, stride, padding):
    """x, a kernel, and a gradient to what they make."""
    x, kernel = random(images, *sides, channels[0]), random(size, size, *channels, seed=1)
    made = jax.eval_shape(lambda x, k: library(x, k, stride, padding), x, kernel)
    return x, kernel, random(*made.shape, seed=2)


@pytest.mark.parametrize("channels", [(3, 4), (4, 3), (2, 20), (20, 2)])
@pytest.mark.parametrize(
    "images, sides, size, stride, padding",
    [
        (1, (8, 9), 3, 1, 1),
        (3, (8, 7), 3, 1, 0),
        (9, (7, 9), 3, 1, 1),  # two groups of four, and one left
        (8, (6, 6), 3, 1, 3),
        (5, (9, 8), 5, 1, 2),
        (4, (8, 8), 2, 1, 0),
        (9, (7, 8), 3, 2, 1),
        (6, (8, 8), 4, 2, 1),
        (13, (33, 40), 3, 1, 1),  # one image for each product
    ],
)
def test_the_gradient_is_that_of_the_convolution(images, sides, channels, size, stride, padding):
    x, kernel, grad = pair(images, sides, channels, size, stride, padding)
    found = jax.jit(lambda x, g: by_products(x, g, size, stride=stride, padding=padding))(x, grad)
    expected = textbook(x, kernel, grad, stride, padding)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("sides, parts", [((320, 64), 4), ((192, 98), 3), ((194, 97), 1)])
def test_large_maps_are_cut_where_their_rows_can_be_shared_out(sides, parts, stride):
    sides = tuple(stride * n for n in sides)
    x, kernel, grad = pair(1, sides, (2, 3), 3, stride, 1)
    assert kernel_gradient._parts(*grad.shape[1:3]) == parts
    found = by_products(x, grad, 3, stride=stride, padding=1)
    np.testing.assert_allclose(found, textbook(x, kernel, grad, stride, 1), rtol=1e-3, atol=5e-3)


def test_many_images_of_low_precision_are_summed_in_float32():
    x, kernel, grad = pair(400, (8, 8), (2, 2), 3, 1, 1)
    x, grad = (np.abs(a).astype(jnp.bfloat16) for a in (x, grad))
    found = by_products(x, grad, 3, stride=1, padding=1)
    assert found.dtype == jnp.bfloat16
    exact = textbook(*(a.astype(np.float32) for a in (x, kernel, grad)), 1, 1)
    np.testing.assert_allclose(found.astype(np.float32), exact, rtol=2**-8)
    rows = x.reshape(-1, 2), grad.reshape(-1, 2)
    found = kernel_gradient.summed_product(*rows)
    assert found.dtype == jnp.bfloat16
    a, b = (each.astype(np.float32) for each in rows)
    np.testing.assert_allclose(found.astype(np.float32), a.T @ b, rtol=2**-8)


@pytest.mark.parametrize("channels, stride", [((32, 64), 1), ((64, 32), 1), ((48, 48), 2)])
def test_layers_of_many_channels_and_pixels_use_it(monkeypatch, channels, stride):
    side = 24 * stride
    x, kernel, grad = pair(17, (side, side), channels, 3, stride, 1)
    used = []

    def spy(*arguments, **options):
        used.append(arguments)
        return by_products(*arguments, **options)

    monkeypatch.setattr("jaxgen.models.conv_forms.by_products", spy)
    pull = jax.vjp(lambda k: plain(x, k, stride, 1), kernel)[1]
    np.testing.assert_allclose(
        pull(grad)[0], textbook(x, kernel, grad, stride, 1), rtol=1e-3, atol=1e-2
    )
    assert len(used) == 1


def test_it_has_a_gradient_of_its_own():
    x, kernel, grad = pair(9, (6, 6), (2, 3), 3, 1, 1)

    def size_of(gradient):
        def size(x, g):
            return jnp.square(gradient(x, g)).sum()

        return jax.jit(jax.grad(size, (0, 1)))(x, grad)

    def of_the_library(x, g):
        return jax.vjp(lambda k: library(x, k, 1, 1), kernel)[1](g)[0]

    found = size_of(lambda x, g: by_products(x, g, 3, stride=1, padding=1))
    expected = size_of(of_the_library)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-2), found, expected
    )


@pytest.mark.parametrize("rows", [1, 7, 16, 40])
@pytest.mark.parametrize("columns", [(3, 5), (5, 3), (4, 4)])
def test_a_product_summed_over_rows_is_the_product(rows, columns):
    a, b = random(rows, columns[0]), random(rows, columns[1], seed=1)
    found = kernel_gradient.summed_product(a, b)
    np.testing.assert_allclose(found, a.T @ b, rtol=1e-4, atol=1e-5)
