"""Convolutions on blocks of 2 x 2 pixels: the same sums in an order that fills SIMD lanes.

A full-resolution layer with few channels leaves most of a vector register idle. Taking the
four pixels of a block as one pixel with four times the channels fills it, and 2 x 2
up-sampling disappears, because all pixels of a block then share one input.

"Blocks" are [B, H / 2, W / 2, 4, C]: the pixels of a block in the order (0, 0), (0, 1),
(1, 0), (1, 1) of (y, x). Kernels keep their usual shape [size, size, C, D]: each function
spreads them over a block first, which costs nothing next to the convolution.
"""

import chex
import jax.numpy as jnp
from jax import lax


def to_blocks(x: chex.Array) -> chex.Array:
    """[B, H, W, C] -> blocks [B, H / 2, W / 2, 4, C]."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h // 2, w // 2, 4, c)


def from_blocks(x: chex.Array) -> chex.Array:
    """Blocks [B, h, w, 4, C] -> [B, 2 h, 2 w, C]."""
    b, h, w, _, c = x.shape
    x = x.reshape(b, h, w, 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, 2 * h, 2 * w, c)


def pool_blocks(x: chex.Array) -> chex.Array:
    """2 x 2 max pooling with stride 2. Blocks [B, h, w, 4, C] -> [B, h, w, C]."""
    return x.max(3)


def conv_to_blocks(x: chex.Array, kernel: chex.Array) -> chex.Array:
    """Convolution with zero padding that keeps the size, equal to `to_blocks(conv(x, kernel))`.

    One convolution of stride 2 makes the four pixels of a block at once. Meant for few input
    channels, where it is faster; its gradient to x is not.

    Args:
        x: [B, H, W, C], H and W even.
        kernel: [size, size, C, D].

    Returns:
        Blocks [B, H / 2, W / 2, 4, D].
    """
    size, _, channels, features = kernel.shape
    spread = _shifted(kernel).transpose(2, 3, 4, 0, 1, 5)
    spread = spread.reshape(size + 1, size + 1, channels, 4 * features)
    pad = (size // 2, size // 2)
    return _split(_convolve(x, spread, 2, (pad, pad)), features)


def conv_upsampled(low: chex.Array, skip: chex.Array, kernel: chex.Array) -> chex.Array:
    """5 x 5 convolution of up-sampled maps next to full-resolution ones.

    Equal to `to_blocks(conv(concatenate([upsample(low), from_blocks(skip)], -1), kernel))`
    with a tenth fewer multiplications in wider products and no up-sampled or joined map in
    memory.

    Args:
        low: [B, h, w, C], to be up-sampled.
        skip: blocks [B, h, w, 4, D].
        kernel: [5, 5, C + D, E].

    Returns:
        Blocks [B, h, w, 4, E].
    """
    chex.assert_shape(kernel, (5, 5, low.shape[-1] + skip.shape[-1], None))
    *_, channels, features = kernel.shape
    # Six rows of pixels are three rows of blocks, (y block, y in block, x block, x in block).
    spread = _shifted(kernel).reshape(2, 2, 3, 2, 3, 2, channels, features)
    spread = spread.transpose(2, 4, 3, 5, 6, 0, 1, 7)
    on_low, on_skip = jnp.split(spread, [low.shape[-1]], axis=4)
    # The pixels of an up-sampled block are equal, so their weights add up.
    on_low = on_low.sum((2, 3)).reshape(3, 3, -1, 4 * features)
    on_skip = on_skip.reshape(3, 3, -1, 4 * features)
    skip = skip.reshape(*skip.shape[:3], -1)
    x = jnp.concatenate([low, skip], -1)
    spread = jnp.concatenate([on_low, on_skip], 2)
    return _split(_convolve(x, spread, 1, "SAME"), features)


def _shifted(kernel):
    """The kernel as seen from each pixel of a block. [s, s, C, D] -> [2, 2, s + 1, s + 1, C, D]."""

    def shift(y, x):
        return jnp.pad(kernel, ((y, 1 - y), (x, 1 - x), (0, 0), (0, 0)))

    return jnp.stack([jnp.stack([shift(y, x) for x in (0, 1)]) for y in (0, 1)])


def _convolve(x, kernel, stride, padding):
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _split(x, features):
    return x.reshape(*x.shape[:3], 4, features)
