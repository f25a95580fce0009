"""Kernels from or to images of few channels, on blocks of 2 x 2 pixels.

Three channels leave most of a vector register idle. A block of four pixels, taken as one pixel
with four times the channels, fills it, and a 7 x 7 kernel becomes one of 4 x 4 blocks; see also
blocks.py. Inputs are already padded: [B, H + size - 1, W + size - 1, C] -> [B, H, W, D].
"""

import chex
import jax
import jax.numpy as jnp

from jaxgen.models.blocks import from_blocks, to_blocks
from jaxgen.models.conv_forms import folded, plain

_FEW = 4


def suits(x: chex.Array, kernel: chex.Array, stride: int, padding: int) -> bool:
    """Whether the forms of this file are for this convolution.

    Args:
        x: [B, H, W, C], before padding.
        kernel: [size, size, C, D].
        stride: of the convolution.
        padding: zeros on every side.
    """
    size, _, channels, features = kernel.shape
    out = [n + 2 * padding - size + 1 for n in x.shape[1:3]]
    few = min(channels, features) <= _FEW
    return few and stride == 1 and size >= 3 and size % 2 == 1 and all(n % 2 == 0 for n in out)


def forward(x: chex.Array, kernel: chex.Array) -> chex.Array:
    """The convolution."""
    return (_in_blocks if kernel.shape[2] <= _FEW else _to_few)(x, kernel)


def backward(x: chex.Array, kernel: chex.Array, grad: chex.Array):
    """Gradients to x and kernel."""
    if kernel.shape[2] > _FEW:
        return jax.vjp(_in_blocks, x, kernel)[1](grad)
    sides = [n // 2 for n in x.shape[1:3]]
    to_input = _unblock(folded(_block(grad), _spread(kernel), sides))
    return to_input, jax.vjp(lambda k: plain(x, k, 1, 0), kernel)[1](grad)[0]


def _to_few(x, kernel):
    """One matrix product makes what each block gives to every block that reads it."""
    x, kernel = _block(x), _spread(kernel)
    size, _, c, d = kernel.shape
    b, h, w, _ = x.shape
    parts = x.reshape(-1, c) @ kernel.transpose(2, 0, 1, 3).reshape(c, -1)
    parts = parts.reshape(b, h, w, size, size, d)
    h, w = h - size + 1, w - size + 1
    return _unblock(
        sum(parts[:, i : i + h, j : j + w, i, j] for i in range(size) for j in range(size))
    )


def _in_blocks(x, kernel):
    return _unblock(plain(_block(x), _spread(kernel), 1, 0))


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
