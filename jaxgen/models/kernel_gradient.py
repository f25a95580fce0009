"""Gradients to kernels as matrix products, a few images at a time, on CPU.

XLA's own form is a convolution whose kernel is a whole map: it copies both arrays into another
order, and where they do not fit a cache, each core reads them over and over. Here the rows of one
or a few images are put beside each other in such a way that one product makes all places of the
kernel, while they lie in a cache.

Activations are [B, H, W, C], kernels [size, size, C, D], `padding` zeros on every side.
"""

import math
from functools import partial

import chex
import jax.numpy as jnp
from jax import lax

from jaxgen.models.conv_patches import pad, patches

# Products at a time, for as many cores; pixels that each should and may sum over.
_PRODUCTS, _ENOUGH, _MOST = 4, 2048, 8192
_ROW_GROUPS = 16
_LEAST_ROWS = 8  # of a part of a map: it is read with all rows that a kernel covers


def by_products(x: chex.Array, grad: chex.Array, size: int, *, stride: int, padding: int):
    """The gradient to the kernel of a convolution.

    Args:
        x: [B, H, W, C].
        grad: [B, H', W', D] gradient to the output.
        size: of the kernel.
        stride: of the convolution.
        padding: of the convolution.

    Returns:
        [size, size, C, D].
    """
    if stride == 1 and padding < size and x.shape[3] > grad.shape[3]:
        # Both exchanged, and the kernel turned: what follows is for C <= D.
        turned = by_products(grad, x, size, stride=1, padding=size - 1 - padding)
        return turned[::-1, ::-1].swapaxes(2, 3)
    parts = _parts(*grad.shape[1:3])
    if parts > 1:
        x, grad = _cut(pad(x, padding), grad, size, stride, parts)
        padding = 0
    images, h, w, d = grad.shape
    c = x.shape[3]
    # Few channels beside many: their patches are less to write than columns and rows are.
    of_patches = stride > 1 or 8 * c <= d

    def products(x, grad, groups):
        if of_patches:
            left, right = patches(x, size, stride=stride, padding=padding), grad
        else:
            left, right = _columns(pad(x, padding), size), _rows(grad, size)
        # Without a barrier the product would gather them itself, value by value.
        left, right = lax.optimization_barrier((left, right))
        return _products(left, right, groups)

    each = max(1, min(_ENOUGH // (h * w), images // _PRODUCTS))  # images of a product
    together = _PRODUCTS * each
    steps, rest = divmod(images, together)

    def add(total, start):
        part = (lax.dynamic_slice_in_dim(a, start, together) for a in (x, grad))
        return total + products(*part, _PRODUCTS), None

    shape = (size * size * c, d) if of_patches else (size * c, size * d)
    found = jnp.zeros((_PRODUCTS, *shape), _total_type(x))
    if steps:
        found, _ = lax.scan(add, found, together * jnp.arange(steps))
    found = found.sum(0)
    if rest:
        found += products(x[-rest:], grad[-rest:], rest if each == 1 else 1).sum(0)
    found = found.astype(x.dtype)
    if of_patches:
        return found.reshape(size, size, c, d)
    return found.reshape(size, c, size, d).transpose(2, 0, 1, 3)


def summed_product(a: chex.Array, b: chex.Array) -> chex.Array:
    """The transpose of a times b, for many rows. [K, M] and [K, N] -> [M, N].

    XLA's product is several times slower where it sums over many rows. One over some of them after
    another is not.
    """
    return _products(a, b, math.gcd(len(a), _ROW_GROUPS)).sum(0).astype(a.dtype)


def _products(a, b, groups):
    """`summed_product` of each of so many groups of rows. [..., M], [..., N] -> [groups, M, N]."""
    a, b = (each.reshape(groups, -1, each.shape[-1]) for each in (a, b))
    multiply = partial(jnp.einsum, "gkm,gkn->gmn", preferred_element_type=_total_type(a))
    # XLA transposes the first one: that should be the smaller.
    if a.shape[2] <= b.shape[2]:
        return multiply(a, b)
    return multiply(b, a).swapaxes(1, 2)


def _total_type(a):
    """Parts are summed in float32 at least, whatever the images are."""
    return jnp.promote_types(a.dtype, jnp.float32)


def _parts(h, w):
    """Into how many parts of as many rows to cut maps; 1 where none has few enough pixels."""
    counts = range(-(-h * w // _MOST), h // _LEAST_ROWS + 1)
    return next((count for count in counts if h % count == 0), 1)


def _cut(x, grad, size, stride, parts):
    """Maps in parts of as many rows, as if they were images of their own; x has been padded."""
    b, h, w, d = grad.shape
    rows = h // parts
    read = stride * (rows - 1) + size
    starts = range(0, stride * h, stride * rows)
    x = jnp.stack([x[:, start : start + read] for start in starts], 1)
    return x.reshape(-1, *x.shape[2:]), grad.reshape(b * parts, rows, w, d)


def _columns(x, size):
    """Every column beside those that a kernel reads with it. -> [B, H, W - size + 1, size * C]."""
    w = x.shape[2] - size + 1
    return jnp.concatenate([x[:, :, j : j + w] for j in range(size)], -1)


def _rows(grad, size):
    """The gradient moved down by every row of a kernel. -> [B, H + size - 1, W, size * D]."""
    moved = [jnp.pad(grad, ((0, 0), (i, size - 1 - i), (0, 0), (0, 0))) for i in range(size)]
    return jnp.concatenate(moved, -1)
