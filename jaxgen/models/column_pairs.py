"""Convolutions between few channels, 16 at most, on pairs of columns.

So few channels leave a part of a vector register idle. Two neighbours in a row lie side by side in
memory: taken as one pixel with twice the channels, which costs no copy, they fill it. A kernel of
3 x 3 pixels becomes one of 3 x 2 pairs, a quarter of it zeros.
"""

import chex
import jax.numpy as jnp

from jaxgen.models.conv_forms import plain
from jaxgen.models.conv_patches import pad

_MOST, _NARROWEST = 16, 16  # channels; pixels of a row


def suits(x: chex.Array, kernel: chex.Array, stride: int, padding: int) -> bool:
    """Whether this form is for this convolution; arguments as of `few_channels.suits`."""
    size, _, channels, features = kernel.shape
    h, w = x.shape[1:3]
    pairs = size % 2 == 1 and w % 2 == 0 and w >= max(_NARROWEST, size) and h >= size
    return stride == 1 and size >= 3 and pairs and max(channels, features) <= _MOST


def convolve(x: chex.Array, kernel: chex.Array, padding: int) -> chex.Array:
    """The convolution without stride. [B, H, W, C] -> [B, H', W', D]."""
    x = pad(x, padding)
    b, h, w, c = x.shape
    y = plain(x.reshape(b, h, w // 2, 2 * c), _between_pairs(kernel), 1, 0)
    return y.reshape(*y.shape[:2], 2 * y.shape[2], kernel.shape[3])


def _between_pairs(kernel):
    """[size, size, C, D] -> [size, (size + 1) / 2, 2 C, 2 D]."""
    size, _, c, d = kernel.shape
    # What the first and the second pixel of a pair read; the second reads one column further on.
    first, second = (jnp.pad(kernel, ((0, 0), (i, 1 - i), (0, 0), (0, 0))) for i in (0, 1))
    return jnp.stack([first, second], 3).reshape(size, (size + 1) // 2, 2 * c, 2 * d)
