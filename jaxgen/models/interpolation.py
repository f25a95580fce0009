"""Bilinear and bicubic up-sampling of maps as two products with small constant matrices.

`jax.image.resize` is slow on CPU and knows one convention; papers use several. Each function
here that is named after a convention gives the [out, in] matrix of one axis.
"""

import chex
import jax.numpy as jnp
import numpy as np


def along_axes(x: chex.Array, rows: np.ndarray, columns: np.ndarray) -> chex.Array:
    """Applies one matrix to the rows and one to the columns.

    Args:
        x: [B, H, W, C] float.
        rows: [out height, H].
        columns: [out width, W].

    Returns:
        [B, out height, out width, C], of x's dtype.
    """
    chex.assert_type(x, float)  # integers would round the matrices to 0 and 1
    # Of values, not of learned weights: accelerators must not round them to fewer bits.
    x = jnp.einsum("oh,bhwc->bowc", jnp.asarray(rows, x.dtype), x, precision="highest")
    return jnp.einsum("pw,bowc->bopc", jnp.asarray(columns, x.dtype), x, precision="highest")


def half_pixel_matrix(old: int, new: int) -> np.ndarray:
    """Pixels are areas: centres at (i + 1/2) / size. `jax.image.resize` when it enlarges."""
    return _linear((np.arange(new) + 0.5) * old / new - 0.5, old)


def bicubic_matrix(old: int, new: int) -> np.ndarray:
    """Pixels are areas, as in `half_pixel_matrix`, joined by Keys' cubic with a = -1/2.

    Equal to Pillow's `BICUBIC` when it enlarges: at the border the weights are shared by the
    pixels that there are.
    """
    position = (np.arange(new) + 0.5) * old / new - 0.5
    x = np.abs(position[:, None] - np.arange(old))
    near = (1.5 * x - 2.5) * x**2 + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    weight = np.where(x < 1, near, np.where(x < 2, far, 0))
    return (weight / weight.sum(1, keepdims=True)).astype(np.float32)


def aligned_corners_matrix(old: int, new: int) -> np.ndarray:
    """The outermost pixels stay where they are: PyTorch's `align_corners=True`."""
    return _linear(np.linspace(0, old - 1, new), old)


def transposed_matrix(old: int, factor: int, *, start: int, new: int) -> np.ndarray:
    """A transposed convolution with a fixed bilinear kernel, and a crop of what it makes.

    Equal to PyTorch's `conv_transpose2d` with a kernel of 2 x factor pixels and stride
    `factor`, whose output grows beyond the input and is 0 towards its ends.

    Args:
        old: pixels in.
        factor: pixels out per pixel in, even.
        start: pixels cut off at the front.
        new: pixels kept from there.
    """
    grown = (old + 1) * factor
    if start + new > grown:
        raise ValueError(f"{old} pixels become {grown}: no {new} of them after the first {start}")
    centre = factor * np.arange(old) + factor - 0.5
    distance = np.abs(np.arange(start, start + new)[:, None] - centre) / factor
    return np.maximum(1 - distance, 0).astype(np.float32)


def _linear(position, old):
    position = np.clip(position, 0, old - 1)
    return np.maximum(1 - np.abs(position[:, None] - np.arange(old)), 0).astype(np.float32)
