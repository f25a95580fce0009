"""Which form of a convolution and of its gradients to use on CPU.

XLA's own forms are as fast as a matrix product for most shapes, and up to 60 times slower for
some: gradients of strided layers, kernels larger than the map, few channels, few images, and
gradients inside of loops. Which form wins where was measured on one core and on two.

Activations are [B, H, W, C], kernels [size, size, C, D], `padding` zeros on every side.
"""

import chex
import jax

from jaxgen.models import few_channels
from jaxgen.models.conv_forms import by_patches, by_rows, folded, in_blocks, library, pad, plain

# Images below which XLA's gradient to the kernel is slow: they take the place of its channels.
_FEW_IMAGES = 4


def forward(x: chex.Array, kernel: chex.Array, stride: int, padding: int) -> chex.Array:
    """The convolution. [B, H, W, C] -> [B, H', W', D]."""
    if few_channels.suits(x, kernel, stride, padding):
        return few_channels.forward(pad(x, padding), kernel)
    if len(kernel) > min(x.shape[1:3]):
        # XLA runs kernels larger than the map in a plain loop.
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
    if few_channels.suits(x, kernel, stride, padding):
        to_input, to_kernel = few_channels.backward(pad(x, padding), kernel, grad)
        h, w = x.shape[1:3]
        return to_input[:, padding : padding + h, padding : padding + w], to_kernel
    size, blocks = len(kernel), stride == 2 and len(kernel) % 2 == 0
    form = in_blocks if blocks else plain
    if size > min(grad.shape[1:3]) or (stride == 2 and size == 3):
        to_input = folded(grad, kernel, x.shape[1:3], stride=stride, padding=padding)
    else:
        to_input = jax.vjp(lambda x: form(x, kernel, stride, padding), x)[1](grad)[0]
    if len(x) < _FEW_IMAGES and not blocks:
        to_kernel = by_rows(x, grad, size, stride=stride, padding=padding)
    else:
        to_kernel = jax.vjp(lambda k: form(x, k, stride, padding), kernel)[1](grad)[0]
    return to_input, to_kernel
