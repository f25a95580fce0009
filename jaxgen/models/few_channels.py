"""Kernels from or to images of few channels, on blocks of 2 x 2 pixels.

Three channels leave most of a vector register idle. A block of four pixels, taken as one pixel
with four times the channels, fills it, and a 7 x 7 kernel becomes one of 4 x 4 blocks; see also
blocks.py. Activations are [B, H, W, C], kernels [size, size, C, D].
"""

import chex
import jax
import jax.numpy as jnp

from jaxgen.models.blocks import from_blocks, to_blocks
from jaxgen.models.conv_forms import folded, plain
from jaxgen.models.conv_patches import pad, patches
from jaxgen.models.kernel_gradient import summed_product

_FEW, _MANY = 4, 16


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


def forward(x: chex.Array, kernel: chex.Array, padding: int) -> chex.Array:
    """The convolution. [B, H, W, C] -> [B, H', W', D]."""
    return (_in_blocks if kernel.shape[2] <= _FEW else _to_few)(pad(x, padding), kernel)


def to_input(x: chex.Array, kernel: chex.Array, grad: chex.Array, padding: int) -> chex.Array:
    """Gradient to x from [B, H', W', D]."""
    if kernel.shape[2] > _FEW:
        return jax.vjp(lambda x: _in_blocks(pad(x, padding), kernel), x)[1](grad)[0]
    h, w = x.shape[1:3]
    blocks = (h + 2 * padding) // 2, (w + 2 * padding) // 2
    to_padded = _unblock(folded(_block(grad), _spread(kernel), blocks))
    return to_padded[:, padding : padding + h, padding : padding + w]


def suits_kernel(kernel: chex.Array, padding: int) -> bool:
    """Whether `to_kernel` is for it, too: kernels to few channels, small ones from many only."""
    size, _, channels, _ = kernel.shape
    return channels > (_FEW if size > 3 else _MANY) and padding < size


def to_kernel(x: chex.Array, kernel: chex.Array, grad: chex.Array, padding: int) -> chex.Array:
    """Gradient to the kernel from [B, H', W', D]."""
    size, _, c, d = kernel.shape
    if size > 3:
        return jax.vjp(lambda kernel: _in_blocks(pad(x, padding), kernel), kernel)[1](grad)[0]
    # One product of every pixel with the gradients that it has a part in.
    reads = patches(grad, size, padding=size - 1 - padding)
    found = summed_product(x.reshape(-1, c), reads.reshape(-1, size * size * d))
    return found.reshape(c, size, size, d).transpose(1, 2, 0, 3)[::-1, ::-1]


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
