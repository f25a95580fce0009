"""Building blocks of the networks, in forms that are fast on CPU as well as on accelerators.

Activations are [B, H, W, C]; blocks.py holds the forms that work on blocks of pixels. Each fast
form equals the textbook layer it stands for, value and gradient, with the same parameters; the
tests hold them together.
"""

from collections.abc import Callable

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from jaxgen.models.batch_norm import BatchNorm

Norm = str  # "none" or "batch"

# PyTorch-style uniform initialisation for rectifiers (He et al., 2015).
he_uniform = nn.initializers.variance_scaling(2.0, "fan_in", "uniform")


def leaky_relu(x: chex.Array) -> chex.Array:
    """Keeps positive values and a fifth of negative ones: the rectifier of every network here."""
    return nn.leaky_relu(x, 0.2)


@jax.custom_jvp
def elu(x: chex.Array) -> chex.Array:
    """`nn.elu`: x where it is positive, exp(x) - 1 elsewhere. Any shape.

    Its gradient reads the result, which the next layer keeps anyway, so nothing else is written.
    """
    return jnp.maximum(x, 0) + jnp.expm1(jnp.minimum(x, 0))


@elu.defjvp
def _elu_jvp(inputs, tangents):
    y = elu(*inputs)
    return y, tangents[0] * jnp.minimum(y + 1, 1)


def conv(x: chex.Array, kernel: chex.Array) -> chex.Array:
    """Plain convolution with zero padding that keeps the size, as `nn.Conv` computes it.

    Args:
        x: [B, H, W, C].
        kernel: [size, size, C, D].

    Returns:
        [B, H, W, D].
    """
    return _convolve(x, kernel, 1, "SAME")


@jax.custom_vjp
def conv_halving(x: chex.Array, kernel: chex.Array) -> chex.Array:
    """4 x 4 convolution with stride 2 and one pixel of zeros around, as `nn.Conv` computes it.

    On CPU the gradient of a strided convolution is slow. It is taken instead of the equal
    2 x 2 convolution without stride over blocks of 2 x 2 pixels, which is up to five times
    faster with many channels.

    Args:
        x: [B, H, W, C], H and W even.
        kernel: [4, 4, C, D].

    Returns:
        [B, H / 2, W / 2, D].
    """
    h, w = x.shape[1:3]
    if h % 2 or w % 2:
        raise ValueError(f"conv_halving halves height and width, so {h} x {w} must be even")
    return _convolve(x, kernel, 2, ((1, 1), (1, 1)))


def _conv_halving_in_blocks(x, kernel):
    b, h, w, c = x.shape
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    x = x.reshape(b, h // 2 + 1, 2, w // 2 + 1, 2, c).transpose(0, 1, 3, 2, 4, 5)
    x = x.reshape(b, h // 2 + 1, w // 2 + 1, 4 * c)
    kernel = kernel.reshape(2, 2, 2, 2, c, -1).transpose(0, 2, 1, 3, 4, 5)
    return _convolve(x, kernel.reshape(2, 2, 4 * c, -1), 1, "VALID")


conv_halving.defvjp(
    lambda x, kernel: (conv_halving(x, kernel), (x, kernel)),
    lambda inputs, grad: jax.vjp(_conv_halving_in_blocks, *inputs)[1](grad),
)


def conv_shrinking(x: chex.Array, kernel: chex.Array) -> chex.Array:
    """4 x 4 convolution with one pixel of zeros around. [B, H, W, C] -> [B, H - 1, W - 1, D]."""
    return _convolve(x, kernel, 1, ((1, 1), (1, 1)))


def _convolve(x, kernel, stride, padding):
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def max_pool(x: chex.Array) -> chex.Array:
    """2 x 2 max pooling with stride 2, equal to `nn.max_pool`.

    Pairwise maxima over a reshape: the gradient of `nn.max_pool` scatters, which is several
    times slower on CPU. Where values of a window are equal, the gradient is shared.

    Args:
        x: [B, H, W, C], H and W even.

    Returns:
        [B, H / 2, W / 2, C].
    """
    b, h, w, c = x.shape
    if h % 2 or w % 2:
        raise ValueError(f"max_pool halves height and width, so {h} x {w} must be even")
    x = x.reshape(b, h // 2, 2, w // 2, 2, c)
    x = jnp.maximum(x[:, :, 0], x[:, :, 1])
    return jnp.maximum(x[:, :, :, 0], x[:, :, :, 1])


def upsample(x: chex.Array) -> chex.Array:
    """Nearest-neighbour up-sampling by 2, equal to `jax.image.resize(..., "nearest")`.

    Args:
        x: [B, H, W, C].

    Returns:
        [B, 2 H, 2 W, C].
    """
    b, h, w, c = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c))
    return x.reshape(b, 2 * h, 2 * w, c)


class Conv1x1(nn.Module):
    """1 x 1 convolution as one matrix product, equal to `nn.Dense` and to a 1 x 1 `nn.Conv`.

    Attributes:
        features: channels out.
        dtype: of the computation; parameters stay float32.
    """

    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: chex.Array) -> chex.Array:
        """[..., C] -> [..., features]."""
        kernel = self.param("kernel", he_uniform, (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        # Two axes: with four, XLA's weight gradient on CPU is slower.
        rows = x.astype(self.dtype).reshape(-1, x.shape[-1]) @ kernel.astype(self.dtype)
        return add_bias(rows.reshape(*x.shape[:-1], self.features), bias.astype(self.dtype))


@jax.custom_vjp
def add_bias(x: chex.Array, bias: chex.Array) -> chex.Array:
    """Adds a bias to each pixel. x: [..., C]; bias: [C] -> [..., C].

    Its gradient sums the pixels as a product with ones, which on CPU is three times faster
    than XLA's sum over all axes but the last.
    """
    return x + bias


def _add_bias_backward(_, grad):
    pixels = grad.reshape(-1, grad.shape[-1])
    # Two rows of ones, because a product with one row is as slow as the sum. It is a sum: no bit
    # may get lost in it on accelerators.
    ones = jnp.ones((2, len(pixels)), grad.dtype)
    return grad, jnp.matmul(ones, pixels, precision="highest")[0]


add_bias.defvjp(lambda x, bias: (x + bias, None), _add_bias_backward)


class ConvBlock(nn.Module):
    """Convolution, normalisation, leaky ReLU, dropout, in this order.

    Attributes:
        features: channels out.
        size: side of the square kernel.
        norm: "none", or "batch" for batch normalisation (statistics of the whole batch, kept
            in the collection "batch_stats"; replaces the bias).
        dropout: share of channels set to 0 per image while training, from the rng "dropout".
            Whole channels, because neighbouring pixels would give a dropped one away.
        convolve: how, with a kernel [size, size, C, features]: `conv`, another function of this
            file or of blocks.py.
        rectify: False leaves the leaky ReLU out, for a last layer.
        dtype: of the computation; parameters stay float32.
    """

    features: int
    size: int
    norm: Norm = "none"
    dropout: float = 0.0
    convolve: Callable = conv
    rectify: bool = True
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, *inputs: chex.Array, train: bool, counts: chex.Array | None = None
    ) -> chex.Array:
        """Inputs [B, ..., C1], [B, ..., C2], ... of `convolve` -> [B, ..., features].

        `counts` [B] bool says whose statistics the normalisation takes, None those of all.
        """
        channels = sum(x.shape[-1] for x in inputs)
        kernel = self.param("kernel", he_uniform, (self.size, self.size, channels, self.features))
        x = self.convolve(*(each.astype(self.dtype) for each in inputs), kernel.astype(self.dtype))
        if self.norm == "none":
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            x = add_bias(x, bias.astype(self.dtype))
        x = normalize(self.norm, x, train=train, dtype=self.dtype, counts=counts)
        if self.rectify:
            x = leaky_relu(x)
        if train and self.dropout:
            x = drop_channels(self.make_rng("dropout"), x, rate=self.dropout)
        return x


def drop_channels(key: chex.PRNGKey, x: chex.Array, *, rate: float) -> chex.Array:
    """Sets a random share of the channels of each image to 0 and scales the others up.

    Equal to `nn.Dropout` with the pixels as broadcast dimensions, but one factor per image and
    channel instead of a mask of the whole map.

    Args:
        key: PRNG key.
        x: [B, ..., C].
        rate: share that is dropped, in [0, 1).

    Returns:
        [B, ..., C].
    """
    shape = (x.shape[0], *(1,) * (x.ndim - 2), x.shape[-1])
    kept = jax.random.bernoulli(key, 1 - rate, shape)
    return x * (kept / (1 - rate)).astype(x.dtype)


def normalize(
    norm: Norm, x: chex.Array, *, train: bool, dtype=jnp.float32, counts: chex.Array | None = None
) -> chex.Array:
    """Applies the normalisation of that name inside the calling module; counts as of BatchNorm."""
    if norm == "none":
        return x
    if norm == "batch":
        return BatchNorm(use_running_average=not train, momentum=0.9, dtype=dtype)(x, counts)
    raise ValueError(f'norm must be "none" or "batch", not {norm!r}')
