"""Which form of a convolution and of its gradients to use on CPU.

XLA's own forms are as fast as a matrix product for most shapes, and up to 60 times slower for
some: gradients of strided layers, kernels larger than the map, few channels, few images, and
gradients inside of loops. Which form wins where was measured on one core and on two, pairs
of columns on one.

Activations are [B, H, W, C], kernels [size, size, C, D], `padding` zeros on every side.
"""

import chex
import jax

from jaxgen.models import column_pairs, few_channels
from jaxgen.models.conv_forms import by_patches, folded, in_blocks, library, plain
from jaxgen.models.kernel_gradient import by_products, summed_product

# Images below which XLA's gradient to the kernel is slow: they take the place of its channels.
_FEW_IMAGES = 4


def forward(x: chex.Array, kernel: chex.Array, stride: int, padding: int) -> chex.Array:
    """The convolution. [B, H, W, C] -> [B, H', W', D]."""
    if few_channels.suits(x, kernel, stride, padding):
        return few_channels.forward(x, kernel, padding)
    if column_pairs.suits(x, kernel, stride, padding):
        return column_pairs.convolve(x, kernel, padding)
    if len(kernel) > min(x.shape[1:3]) or len(kernel) == 1:
        # XLA runs kernels larger than the map in a plain loop; of 1 x 1 it is one product anyway.
        return by_patches(x, kernel, stride, padding)
    return library(x, kernel, stride, padding)


def backward(x: chex.Array, kernel: chex.Array, grad: chex.Array, stride: int, padding: int):
    """Gradients of the convolution to its input and kernel.

    Args:
        x: [B, H, W, C].
        kernel: [size, size, C, D].
        grad: [B, H', W', D] gradient to the output.
        stride: 1 or 2.
        padding: zeros on every side.

    Returns:
        Gradients shaped like x and kernel.
    """
    # The gradient to the kernel reads both with their axes exchanged. XLA would compute what made
    # them once more, value by value in that order, instead of copying the results.
    x, grad = jax.lax.optimization_barrier((x, grad))
    arguments = x, kernel, grad, stride, padding
    return _to_input(*arguments), _to_kernel(*arguments)


def _to_input(x, kernel, grad, stride, padding):
    size = len(kernel)
    if size == 1:
        return by_patches(grad, kernel.swapaxes(2, 3), 1, 0)
    if few_channels.suits(x, kernel, stride, padding):
        return few_channels.to_input(x, kernel, grad, padding)
    turned, border = kernel[::-1, ::-1].swapaxes(2, 3), size - 1 - padding
    if border >= 0 and column_pairs.suits(grad, turned, stride, border):
        return column_pairs.convolve(grad, turned, border)
    if size > min(grad.shape[1:3]) or (stride == 2 and size == 3):
        return folded(grad, kernel, x.shape[1:3], stride=stride, padding=padding)
    form = in_blocks if _halves(kernel, stride) else plain
    return jax.vjp(lambda x: form(x, kernel, stride, padding), x)[1](grad)[0]


def _to_kernel(x, kernel, grad, stride, padding):
    size, _, c, d = kernel.shape
    if size == 1:
        return summed_product(x.reshape(-1, c), grad.reshape(-1, d)).reshape(kernel.shape)
    few = few_channels.suits(x, kernel, stride, padding)
    if few and few_channels.suits_kernel(kernel, padding):
        return few_channels.to_kernel(x, kernel, grad, padding)
    halves = _halves(kernel, stride)
    if len(x) < _FEW_IMAGES and not halves:
        return by_products(x, grad, size, stride=stride, padding=padding)
    form = in_blocks if halves else plain
    return jax.vjp(lambda kernel: form(x, kernel, stride, padding), kernel)[1](grad)[0]


def _halves(kernel, stride):
    """Whether blocks of 2 x 2 pixels make it a convolution without stride."""
    return stride == 2 and len(kernel) % 2 == 0
