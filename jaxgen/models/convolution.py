"""One convolution layer with PyTorch's sizes, in forms that are fast on CPU.

Activations are [B, H, W, C], kernels [size, size, C, D]. `stride`, `padding` and `dilation` mean
what they mean in the papers' PyTorch code: `padding` zeros on every side, and a last row or
column that does not fill a stride is left out. The tests hold every form to the textbook layer.
"""

from functools import partial

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgen.models import conv_cpu
from jaxgen.models.conv_forms import doubled, in_phases, library
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
        dilation: distance between the pixels that a kernel reads; only with stride 1 and sizes
            above 1.
        use_bias: False where a normalisation follows that has its own.
        idle_bias: True where an instance normalisation follows, which takes the bias away again:
            it is there, as published, but has no gradient, which saves reading the maps for it.
        kernel_init: initial values of the kernel; the bias starts at 0.
        dtype: of the computation; parameters stay float32.
    """

    features: int
    size: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    use_bias: bool = True
    idle_bias: bool = False
    kernel_init: nn.initializers.Initializer = xavier_normal
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: chex.Array) -> chex.Array:
        """[B, H, W, C] -> [B, out_size(H), out_size(W), features]."""
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape).astype(self.dtype)
        x = x.astype(self.dtype)
        if self.dilation > 1:
            x = library(x, kernel, self.stride, self.padding, self.dilation)
        else:
            x = convolve(x, kernel, self.stride, self.padding)
        if not self.use_bias:
            return x
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        if self.idle_bias:
            bias = lax.stop_gradient(bias)
        return add_bias(x, bias.astype(self.dtype))


def out_size(size: int, kernel: int, *, stride: int = 1, padding: int = 0) -> int:
    """Pixels along one axis after a convolution; 0 or less if the image is too small for it."""
    return (size + 2 * padding - kernel) // stride + 1


def convolve(x: chex.Array, kernel: chex.Array, stride: int, padding: int) -> chex.Array:
    """Convolution as `nn.Conv` computes it, by the form that suits the shapes.

    Args:
        x: [B, H, W, C].
        kernel: [size, size, C, D].
        stride: 1 or 2.
        padding: zeros on every side.

    Returns:
        [B, out_size(H), out_size(W), D].
    """
    chex.assert_shape(kernel, (None, len(kernel), x.shape[-1], None))
    if len(kernel) == 1:  # a product of what it sees
        x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
        x, stride, padding = x[:, ::stride, ::stride], 1, 0
    return _convolve(x, kernel, stride, padding)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve(x, kernel, stride, padding):
    def on_cpu(x, kernel):
        return conv_cpu.forward(x, kernel, stride, padding)

    def elsewhere(x, kernel):
        return library(x, kernel, stride, padding)

    return lax.platform_dependent(x, kernel, cpu=on_cpu, default=elsewhere)


def _convolve_backward(stride, padding, inputs, grad):
    def on_cpu(x, kernel, grad):
        return conv_cpu.backward(x, kernel, grad, stride, padding)

    def elsewhere(x, kernel, grad):
        return jax.vjp(lambda *a: library(*a, stride, padding), x, kernel)[1](grad)

    return lax.platform_dependent(*inputs, grad, cpu=on_cpu, default=elsewhere)


_convolve.defvjp(
    lambda x, kernel, stride, padding: (_convolve(x, kernel, stride, padding), (x, kernel)),
    _convolve_backward,
)


def conv_doubling(x: chex.Array, kernel: chex.Array) -> chex.Array:
    """Transposed 3 x 3 convolution with stride 2 that doubles height and width.

    Equal to `nn.ConvTranspose(D, (3, 3), strides=(2, 2), padding=((1, 2), (1, 2)))`, which is
    PyTorch's `ConvTranspose2d(C, D, 3, stride=2, padding=1, output_padding=1)` with its kernel
    turned by 180 degrees.

    Args:
        x: [B, H, W, C].
        kernel: [3, 3, C, D].

    Returns:
        [B, 2 H, 2 W, D].
    """
    chex.assert_shape(kernel, (3, 3, x.shape[-1], None))
    return _conv_doubling(x, kernel)


@jax.custom_vjp
def _conv_doubling(x, kernel):
    return lax.platform_dependent(x, kernel, cpu=in_phases, default=doubled)


def _doubling_backward(inputs, grad):
    # A halving convolution is its transpose: from the gradient it makes that of x, and its
    # kernel gradient is ours. XLA's own kernel gradient is 40 times slower on CPU.
    x, kernel = inputs
    turned = kernel[::-1, ::-1].swapaxes(2, 3)
    halved, pull = jax.vjp(lambda k: _convolve(grad, k, 2, 1), turned)
    return halved, pull(x)[0][::-1, ::-1].swapaxes(2, 3)


_conv_doubling.defvjp(
    lambda x, kernel: (_conv_doubling(x, kernel), (x, kernel)), _doubling_backward
)


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
    return _reflect(x, pixels)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _reflect(x, pixels):
    return _mirrored(x, pixels)


def _mirrored(x, pixels):
    return jnp.pad(x, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)), mode="reflect")


def _reflect_backward(pixels, _, grad):
    b, h, w, c = grad.shape
    before = jax.ShapeDtypeStruct((b, h - 2 * pixels, w - 2 * pixels, c), grad.dtype)

    def by_index(x):
        rows, columns = (np.pad(np.arange(n), pixels, mode="reflect") for n in x.shape[1:3])
        return x[:, rows][:, :, columns]

    # The transpose of an indexing is a scatter, which XLA never fuses. On CPU it would otherwise
    # compute the gradient again in each of its readers.
    def on_cpu(grad):
        return jax.linear_transpose(by_index, before)(grad)[0]

    def elsewhere(grad):
        return jax.linear_transpose(lambda x: _mirrored(x, pixels), before)(grad)[0]

    return (lax.platform_dependent(grad, cpu=on_cpu, default=elsewhere),)


_reflect.defvjp(lambda x, pixels: (_reflect(x, pixels), None), _reflect_backward)
