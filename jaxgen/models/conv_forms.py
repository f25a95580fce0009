"""Forms of one and the same convolution; conv_cpu.py says which is fast where.

Activations are [B, H, W, C], kernels [size, size, C, D], `padding` zeros on every side.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from jaxgen.models.conv_patches import patches
from jaxgen.models.kernel_gradient import by_products

# What one convolution of `_correlate` takes: images, and channels if they do not fit a cache.
_TOGETHER, _CACHED = 16, 2**18
# From where on products are faster then: channels, and products of values at one place of a kernel.
_MANY_CHANNELS, _MUCH_WORK = 32, 2**24


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


def doubled(x, kernel):
    """The transposed 3 x 3 convolution with stride 2 as XLA has it, see `conv_doubling`."""
    return lax.conv_transpose(
        x, kernel, (2, 2), ((1, 2), (1, 2)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def in_phases(x, kernel):
    """`doubled` as four convolutions without stride, one for each kind of pixel that comes out.

    Even rows read the middle row of the kernel, odd ones the two others, and so do columns. XLA
    puts zeros between the pixels instead: three quarters of what it multiplies.
    [B, H, W, C] and [3, 3, C, D] -> [B, 2 H, 2 W, D].
    """
    # Of the kernel, and zeros around x.
    even, odd = (slice(1, 2), (0, 0)), (slice(0, 3, 2), (0, 1))

    def pixels(rows, columns):
        (of_kernel, above), (of_row, left) = rows, columns
        return lax.conv_general_dilated(
            x,
            kernel[of_kernel, of_row],
            (1, 1),
            (above, left),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    b, h, w, _ = x.shape
    lines = [jnp.stack([pixels(rows, even), pixels(rows, odd)], 3) for rows in (even, odd)]
    # Without a barrier, everything that reads the result would sort it anew.
    return lax.optimization_barrier(jnp.stack(lines, 2).reshape(b, 2 * h, 2 * w, -1))


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def plain(x, kernel, stride: int, padding: int):
    """As `library`, with gradients written as convolutions in the layout of the forward one.

    XLA only brings them into this layout at the top of a program. In a loop it would run them as
    plain loops.
    """
    return library(x, kernel, stride, padding)


def _plain_backward(stride, padding, inputs, grad):
    x, kernel = inputs
    axes = list(zip(x.shape[1:3], grad.shape[1:3], kernel.shape[:2], strict=True))
    # Pixels at the end of x that no output read, negative where outputs read padding.
    rest = [side - n - stride * (out - 1) + padding for side, out, n in axes]
    to_input = lax.conv_general_dilated(
        grad,
        kernel[::-1, ::-1].swapaxes(2, 3),
        (1, 1),
        [(n - 1 - padding, n - 1 + end) for (_, _, n), end in zip(axes, rest, strict=True)],
        lhs_dilation=(stride, stride),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    if _suits_products(kernel, grad):
        return to_input, by_products(x, grad, len(kernel), stride=stride, padding=padding)
    smaller = all(side <= out for side, out, _ in axes)  # else XLA would exchange them once more
    if stride == 1 and smaller and x.shape[3] > grad.shape[3]:
        # The same with x and the gradient exchanged: the more numerous channels are those that
        # come out, which XLA needs to fill a vector register. The kernel comes out turned.
        ends = [(n - 1 - padding, side - out + padding) for side, out, n in axes]
        turned = _correlate(grad, x, ends)
        return to_input, turned.transpose(1, 2, 3, 0)[::-1, ::-1]
    to_kernel = _correlate(x, grad, [(padding, -end) for end in rest], dilation=stride)
    return to_input, to_kernel.transpose(1, 2, 0, 3)


def _suits_products(kernel, grad):
    images, h, w, _ = grad.shape
    rows, columns, *channels = kernel.shape
    pixels = min(images, _TOGETHER) * h * w
    cached = pixels * max(channels) <= _CACHED
    much = min(channels) >= _MANY_CHANNELS and pixels * math.prod(channels) > _MUCH_WORK
    return rows == columns and much and not cached


def _correlate(a, b, ends, dilation=1):
    """[B, H, W, C] and [B, h, w, D] -> [C, size, size, D]: products summed over shifted maps.

    Channels of a take the place of images, images that of channels, b that of a kernel. XLA reads
    all of b for each few pixels that come out, so it takes a part at a time: it fits a cache.
    """

    def correlate(a, b):
        return lax.conv_general_dilated(
            a.transpose(3, 1, 2, 0),
            b.transpose(1, 2, 0, 3),
            (1, 1),
            ends,
            rhs_dilation=(dilation, dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    def parts(count, size):
        return [slice(start, start + size) for start in range(0, count, size)]

    images, h, w, channels = b.shape
    fits = min(images, _TOGETHER) * h * w * channels <= _CACHED
    return jnp.concatenate(
        [
            sum(correlate(a[i], b[i][..., j]) for i in parts(images, _TOGETHER))
            for j in parts(channels, channels if fits else _TOGETHER)
        ],
        -1,
    )


plain.defvjp(
    lambda x, kernel, stride, padding: (library(x, kernel, stride, padding), (x, kernel)),
    _plain_backward,
)


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
    reads = patches(x, size, stride=stride, padding=padding)
    rows = reads.reshape(-1, size * size * c) @ kernel.reshape(-1, d)
    return rows.reshape(*reads.shape[:3], d)


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
    return plain(x.reshape(batch, h, w, 4 * c), kernel.reshape(half, half, 4 * c, -1), 1, 0)
