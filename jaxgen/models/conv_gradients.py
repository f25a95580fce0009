"""Gradients of convolutions in forms that are fast on CPU.

XLA's own gradients of a convolution are as fast as a matrix product for most shapes, and up to
60 times slower for some. `gradients` avoids those; which form wins where was measured on one core.

Activations are [B, H, W, C], kernels [size, size, C, D], `padding` zeros on every side.
"""

import chex
import jax
import jax.numpy as jnp
from jax import lax

# Output pixels of an image up to which everything stays in the cache.
_SMALL = 16 * 16


def gradients(x: chex.Array, kernel: chex.Array, grad: chex.Array, stride: int, padding: int):
    """Gradients of a convolution to its input and kernel.

    Args:
        x: [B, H, W, C].
        kernel: [size, size, C, D].
        grad: [B, H', W', D] gradient to the output.
        stride: 1 or 2.
        padding: zeros on every side.

    Returns:
        Gradients shaped like x and kernel.
    """
    size, sides = len(kernel), grad.shape[1:3]
    small = sides[0] * sides[1] <= _SMALL
    even = size % 2 == 0

    if size > min(sides) or (stride == 1 and small):
        to_input = folded(grad, kernel, x.shape[1:3], stride=stride, padding=padding)
    else:
        form = in_blocks if stride == 2 and even else library
        to_input = jax.vjp(lambda x: form(x, kernel, stride, padding), x)[1](grad)[0]
    form = in_blocks if stride == 2 and (even or not small) else library
    to_kernel = jax.vjp(lambda k: form(x, k, stride, padding), kernel)[1](grad)[0]
    return to_input, to_kernel


def folded(grad, kernel, sides: tuple[int, int], *, stride: int = 1, padding: int = 0):
    """Gradient to the input as one matrix product, whose parts are added where they belong.

    XLA convolves a padded gradient instead, which for small maps is mostly border, and is a plain
    loop where the kernel is larger than the gradient's map.

    Args:
        grad: [B, H', W', D].
        kernel: [size, size, C, D].
        sides: H and W.
        stride: of the convolution.
        padding: of the convolution.

    Returns:
        [B, H, W, C].
    """
    size, _, c, d = kernel.shape
    b, h, w, _ = grad.shape
    parts = grad.reshape(-1, d) @ kernel.transpose(3, 0, 1, 2).reshape(d, -1)
    parts = parts.reshape(b, h, w, size, size, c)
    zero = jnp.zeros((), parts.dtype)

    def place(offset, count, side):
        """Pixels before, after and between, so that a part lies where the kernel read."""
        return offset - padding, side + padding - offset - stride * (count - 1) - 1, stride - 1

    return sum(
        lax.pad(
            parts[:, :, :, i, j],
            zero,
            [(0, 0, 0), place(i, h, sides[0]), place(j, w, sides[1]), (0, 0, 0)],
        )
        for i in range(size)
        for j in range(size)
    )


def by_patches(x, kernel, stride: int, padding: int):
    """The convolution as one matrix product with the patches that the kernel reads."""
    size, _, c, d = kernel.shape
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    h, w = ((n - size) // stride + 1 for n in x.shape[1:3])
    patches = [
        x[:, i : i + stride * (h - 1) + 1 : stride, j : j + stride * (w - 1) + 1 : stride]
        for i in range(size)
        for j in range(size)
    ]
    rows = jnp.stack(patches, 3).reshape(-1, size * size * c)
    return (rows @ kernel.reshape(-1, d)).reshape(len(x), h, w, d)


def in_blocks(x, kernel, stride: int, padding: int):
    """A convolution with stride 2 as one without stride over blocks of 2 x 2 pixels."""
    batch, *sides, c = x.shape
    size = len(kernel)
    half = -(-size // 2)  # blocks that a kernel covers
    # A kernel of odd size gets a row and a column of zeros.
    grow = (0, 2 * half - size)
    kernel = jnp.pad(kernel, (grow, grow, (0, 0), (0, 0)))
    # Blocks that some output reads; the end is padded, or cropped where nothing reads it.
    h, w = ((n + 2 * padding - size) // stride + half for n in sides)
    ends = [(padding, 2 * n - old - padding, 0) for n, old in zip((h, w), sides, strict=True)]
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *ends, (0, 0, 0)])
    x = x.reshape(batch, h, 2, w, 2, c).transpose(0, 1, 3, 2, 4, 5)
    kernel = kernel.reshape(half, 2, half, 2, c, -1).transpose(0, 2, 1, 3, 4, 5)
    return library(x.reshape(batch, h, w, 4 * c), kernel.reshape(half, half, 4 * c, -1), 1, 0)


def library(x, kernel, stride: int, padding: int, dilation: int = 1):
    """The convolution as XLA has it."""
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((padding, padding), (padding, padding)),
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
