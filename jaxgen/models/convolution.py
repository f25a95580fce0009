"""One convolution layer with PyTorch's sizes, in forms whose gradients are fast on CPU.

Activations are [B, H, W, C], kernels [size, size, C, D]. `stride`, `padding` and `dilation` mean
what they mean in the papers' PyTorch code: `padding` zeros on every side, and a last row or
column that does not fill a stride is left out. The tests hold every form to the textbook layer.
"""

from functools import partial

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from jaxgen.models.layers import add_bias

# Glorot and Bengio, 2010; and the initialisation of the image-translation papers.
xavier_normal = nn.initializers.glorot_normal()
normal_002 = nn.initializers.normal(0.02)


class Conv(nn.Module):
    """Convolution with a square kernel and an optional bias.

    Attributes:
        features: channels out.
        size: side of the kernel.
        stride: 1 or 2.
        padding: zeros on every side of the image.
        dilation: distance between the pixels that a kernel reads.
        use_bias: False where a normalisation follows that has its own.
        kernel_init: initial values of the kernel; the bias starts at 0.
        dtype: of the computation; parameters stay float32.
    """

    features: int
    size: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = xavier_normal
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: chex.Array) -> chex.Array:
        """[B, H, W, C] -> [B, H', W', features]; the sizes follow from `out_size`."""
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape).astype(self.dtype)
        x = x.astype(self.dtype)
        if self.size == 1:
            x = x[:, :: self.stride, :: self.stride]
            # Two axes: with four, XLA's weight gradient on CPU is slower.
            rows = x.reshape(-1, x.shape[-1]) @ kernel[0, 0]
            x = rows.reshape(*x.shape[:-1], self.features)
        elif self.stride == 2:
            x = conv_halving(x, kernel, self.padding)
        else:
            x = _convolve(x, kernel, 1, self.padding, self.dilation)
        if not self.use_bias:
            return x
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return add_bias(x, bias.astype(self.dtype))


def out_size(size: int, kernel: int, *, stride: int = 1, padding: int = 0) -> int:
    """Pixels along one axis after a convolution; 0 or less if the image is too small for it."""
    return (size + 2 * padding - kernel) // stride + 1


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv_halving(x: chex.Array, kernel: chex.Array, padding: int) -> chex.Array:
    """Convolution with stride 2, as `nn.Conv` computes it.

    On CPU the gradient of a strided convolution is slow. It is taken instead of the equal
    convolution without stride over blocks of 2 x 2 pixels.

    Args:
        x: [B, H, W, C].
        kernel: [size, size, C, D].
        padding: zeros on every side.

    Returns:
        [B, out_size(H), out_size(W), D].
    """
    return _convolve(x, kernel, 2, padding)


def _halving_in_blocks(x, kernel, padding):
    batch, *sizes, c = x.shape
    size = len(kernel)
    half = -(-size // 2)  # blocks that a kernel covers
    # A kernel of odd size gets a row and a column of zeros.
    grow = (0, 2 * half - size)
    kernel = jnp.pad(kernel, (grow, grow, (0, 0), (0, 0)))
    # Blocks that some output reads; the end is padded, or cropped where nothing reads it.
    h, w = (out_size(n, size, stride=2, padding=padding) + half - 1 for n in sizes)
    ends = [(padding, 2 * n - old - padding, 0) for n, old in zip((h, w), sizes, strict=True)]
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *ends, (0, 0, 0)])
    x = x.reshape(batch, h, 2, w, 2, c).transpose(0, 1, 3, 2, 4, 5)
    kernel = kernel.reshape(half, 2, half, 2, c, -1).transpose(0, 2, 1, 3, 4, 5)
    return _convolve(x.reshape(batch, h, w, 4 * c), kernel.reshape(half, half, 4 * c, -1), 1, 0)


conv_halving.defvjp(
    lambda x, kernel, padding: (conv_halving(x, kernel, padding), (x, kernel)),
    lambda padding, inputs, grad: jax.vjp(
        lambda x, kernel: _halving_in_blocks(x, kernel, padding), *inputs
    )[1](grad),
)


def conv_doubling(x: chex.Array, kernel: chex.Array) -> chex.Array:
    """Transposed 3 x 3 convolution with stride 2 that doubles height and width.

    Equal to `nn.ConvTranspose(D, (3, 3), strides=(2, 2), padding=((1, 2), (1, 2)))`, which is
    PyTorch's `ConvTranspose2d(C, D, 3, stride=2, padding=1, output_padding=1)` with its kernel
    turned by 180 degrees. Computed as a plain convolution whose outputs are the four pixels of
    a block, so that no zeros between the pixels are multiplied.

    Args:
        x: [B, H, W, C].
        kernel: [3, 3, C, D].

    Returns:
        [B, 2 H, 2 W, D].
    """
    chex.assert_shape(kernel, (3, 3, x.shape[-1], None))
    b, h, w, c = x.shape
    # An even pixel reads the middle of the kernel, an odd one both ends: the pixel before it
    # and the one after. [3, ...] -> [2 pixels read, 2 pixels written, ...]
    none = jnp.zeros_like(kernel[0])
    rows = jnp.stack([jnp.stack([kernel[1], kernel[0]]), jnp.stack([none, kernel[2]])])
    none = jnp.zeros_like(rows[:, :, 0])
    first = jnp.stack([rows[:, :, 1], rows[:, :, 0]], 2)
    second = jnp.stack([none, rows[:, :, 2]], 2)
    blocks = jnp.stack([first, second], 1)  # [y read, x read, y written, x written, C, D]
    blocks = blocks.transpose(0, 1, 4, 2, 3, 5).reshape(2, 2, c, -1)
    x = jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
    x = _convolve(x, blocks, 1, 0).reshape(b, h, w, 2, 2, -1)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(b, 2 * h, 2 * w, -1)


def reflect(x: chex.Array, pixels: int) -> chex.Array:
    """Mirrors a border about the outermost pixels, as PyTorch's ReflectionPad2d does.

    Args:
        x: [B, H, W, C], H and W above `pixels`.
        pixels: width of the border.

    Returns:
        [B, H + 2 pixels, W + 2 pixels, C].
    """
    if min(x.shape[1:3]) <= pixels:
        raise ValueError(f"maps of {x.shape[1]} x {x.shape[2]} have no {pixels} pixels to mirror")
    return jnp.pad(x, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)), mode="reflect")


def _convolve(x, kernel, stride, padding, dilation=1):
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((padding, padding), (padding, padding)),
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
