"""Large kernels from or to images of few channels, on blocks of 2 x 2 pixels.

Three channels leave most of a vector register idle. A block of four pixels, taken as one pixel
with four times the channels, fills it, and a 7 x 7 kernel becomes one of 4 x 4 blocks; see also
blocks.py. Inputs are already padded: [B, H + size - 1, W + size - 1, C] -> [B, H, W, D].
"""

import chex
import jax
import jax.numpy as jnp

from jaxgen.models.blocks import from_blocks, to_blocks
from jaxgen.models.conv_gradients import folded, library

_FEW = 4


def form_for(x: chex.Array, kernel: chex.Array, padding: int):
    """Which function of this file suits a convolution without stride, or None.

    Args:
        x: [B, H, W, C], before padding.
        kernel: [size, size, C, D].
        padding: zeros on every side.
    """
    size, _, channels, features = kernel.shape
    out = [n + 2 * padding - size + 1 for n in x.shape[1:3]]
    if size < 5 or size % 2 == 0 or any(n % 2 for n in out):
        return None
    if channels <= _FEW:
        return conv_from_few
    return conv_to_few if features <= _FEW else None


@jax.custom_vjp
def conv_from_few(x: chex.Array, kernel: chex.Array) -> chex.Array:
    """From few channels to many. Kernels of odd size; H and W even."""
    return _unblock(library(_block(x), _spread(kernel), 1, 0))


def _from_few_backward(inputs, grad):
    x, kernel = inputs
    sides = [n // 2 for n in x.shape[1:3]]
    to_input = _unblock(folded(_block(grad), _spread(kernel), sides))
    return to_input, jax.vjp(lambda k: library(x, k, 1, 0), kernel)[1](grad)[0]


conv_from_few.defvjp(lambda x, k: (conv_from_few(x, k), (x, k)), _from_few_backward)


@jax.custom_vjp
def conv_to_few(x: chex.Array, kernel: chex.Array) -> chex.Array:
    """From many channels to few. Kernels of odd size; H and W even.

    One matrix product makes what each block gives to every block that reads it.
    """
    x, kernel = _block(x), _spread(kernel)
    size, _, c, d = kernel.shape
    b, h, w, _ = x.shape
    parts = x.reshape(-1, c) @ kernel.transpose(2, 0, 1, 3).reshape(c, -1)
    parts = parts.reshape(b, h, w, size, size, d)
    h, w = h - size + 1, w - size + 1
    return _unblock(
        sum(parts[:, i : i + h, j : j + w, i, j] for i in range(size) for j in range(size))
    )


def _to_few_backward(inputs, grad):
    return jax.vjp(lambda x, k: library(_block(x), _spread(k), 1, 0), *inputs)[1](_block(grad))


conv_to_few.defvjp(lambda x, k: (conv_to_few(x, k), (x, k)), _to_few_backward)


def _block(x):
    blocks = to_blocks(x)
    return blocks.reshape(*blocks.shape[:3], -1)


def _unblock(x):
    return from_blocks(x.reshape(*x.shape[:3], 4, -1))


def _spread(kernel):
    """The kernel between blocks: [s, s, C, D] -> [(s + 1) / 2, (s + 1) / 2, 4 C, 4 D]."""
    half = (len(kernel) + 1) // 2

    def shift(y, x):  # as the pixel (y, x) of a block sees it
        return jnp.pad(kernel, ((y, 1 - y), (x, 1 - x), (0, 0), (0, 0)))

    seen = jnp.stack([jnp.stack([shift(y, x) for x in (0, 1)]) for y in (0, 1)])
    channels, features = kernel.shape[2:]
    seen = seen.reshape(2, 2, half, 2, half, 2, channels, features)
    seen = seen.transpose(2, 4, 3, 5, 6, 0, 1, 7)
    return seen.reshape(half, half, 4 * channels, 4 * features)
