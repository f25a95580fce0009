"""Networks that translate images between two domains, and the critics of their results.

Images are [B, H, W, C] float32 in [-1, 1]; the critics' logits [B, h, w, 1] judge overlapping
patches. No network keeps statistics: all variables are "params".

Source: Zhu et al., CycleGAN, ICCV 2017, whose networks Hoffman et al., CyCADA, ICML 2018 use.
"""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from jaxgen.models.convolution import Conv, conv_doubling, convolve, normal_002, out_size, reflect
from jaxgen.models.instance_norm import instance_norm
from jaxgen.models.layers import leaky_relu


class ResnetGenerator(nn.Module):
    """Halves twice, transforms in residual blocks, doubles twice.

    11,378,179 parameters with 9 blocks (the released code of CyCADA), 3,117,059 with 2 (the
    paper's digits), for 64 features and images in colour. Biases before an instance normalisation
    are there, as published; it takes them away again, so they are not trained.

    Attributes:
        features: channels at full resolution; four times as many in the residual blocks.
        blocks: residual blocks.
        out_channels: of the images that come out.
        dropout: share of values dropped inside each residual block; the released digit code
            has 0.5. Needs the rng "dropout" while training.
        remat: True keeps only the inputs of the blocks and computes the rest again in the backward
            pass, for large crops: training one generator on 400 x 400 pixels takes 589 instead of
            779 MiB. It saves nothing where the weights are larger than the maps.
        dtype: of the computation; parameters and images stay float32.
    """

    features: int = 64
    blocks: int = 9
    out_channels: int = 3
    dropout: float = 0.0
    remat: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: chex.Array, *, train: bool) -> chex.Array:
        """Translates images.

        Args:
            images: [B, H, W, C] float, H and W divisible by 4, at least 8.
            train: True for dropout.

        Returns:
            [B, H, W, out_channels] float32 in (-1, 1).
        """
        chex.assert_rank(images, 4)
        h, w = images.shape[1:3]
        if h % 4 or w % 4 or min(h, w) < 8:
            raise ValueError(
                f"images of {h} x {w} cannot be halved twice: crop or pad them to a height and "
                "width divisible by 4, at least 8"
            )

        def norm_relu(x):
            return nn.relu(instance_norm(x))

        def conv(features, size, **options):
            return Conv(features, size, kernel_init=normal_002, dtype=self.dtype, **options)

        few = self.features
        x = norm_relu(conv(few, 7, idle_bias=True)(reflect(images, 3)))
        x = norm_relu(conv(2 * few, 3, stride=2, padding=1, idle_bias=True)(x))
        x = norm_relu(conv(4 * few, 3, stride=2, padding=1, idle_bias=True)(x))
        blocks = [BlockWeights(4 * few, name=f"block_{index}")() for index in range(self.blocks)]
        blocks = jax.tree.map(lambda weight: weight.astype(self.dtype), blocks)
        keys = None
        if train and self.dropout:
            keys = jax.random.split(self.make_rng("dropout"), self.blocks)
        x = residual_blocks(x, blocks, keys, dropout=self.dropout, remat=self.remat)
        x = norm_relu(Doubling(2 * few, self.dtype)(x))
        x = norm_relu(Doubling(few, self.dtype)(x))
        return jnp.tanh(conv(self.out_channels, 7)(reflect(x, 3)).astype(jnp.float32))


class BlockWeights(nn.Module):
    """Kernels and biases of a residual block.

    Attributes:
        features: channels in and out.
    """

    features: int

    @nn.compact
    def __call__(self) -> list[dict[str, chex.Array]]:
        """Of its two convolutions: {"kernel", "bias"}."""
        return [ConvWeights(self.features, self.features)() for _ in range(2)]


class ConvWeights(nn.Module):
    """Kernel and bias of a 3 x 3 convolution.

    Attributes:
        channels: in.
        features: channels out.
    """

    channels: int
    features: int

    @nn.compact
    def __call__(self) -> dict[str, chex.Array]:
        """{"kernel": [3, 3, channels, features], "bias": [features]}."""
        kernel = self.param("kernel", normal_002, (3, 3, self.channels, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return {"kernel": kernel, "bias": bias}


def residual_blocks(x, blocks, keys, *, dropout: float, remat: bool) -> chex.Array:
    """Applies residual blocks one after the other.

    Args:
        x: [B, H, W, C].
        blocks: what each `BlockWeights` gives.
        keys: [number of blocks] PRNG keys for dropout, or None for none.
        dropout: share of values dropped between the two convolutions of a block.
        remat: recompute the blocks in the backward pass.

    Returns:
        [B, H, W, C].
    """

    def apply(x, weights, key):
        first, second = weights
        y = nn.relu(_mirrored_conv(x, first))
        if key is not None:
            kept = jax.random.bernoulli(key, 1 - dropout, y.shape)
            y = jnp.where(kept, y / (1 - dropout), 0)
        return x + _mirrored_conv(y, second)

    if not remat or not blocks:
        for index, weights in enumerate(blocks):
            x = apply(x, weights, None if keys is None else keys[index])
        return x
    # In a loop, because XLA's CPU backend finds recomputed values equal to the first ones where
    # it sees both, and keeps those after all.
    stacked = jax.tree.map(lambda *each: jnp.stack(each), *blocks)
    step = jax.checkpoint(lambda x, item: (apply(x, *item), None))
    return lax.scan(step, x, (stacked, keys))[0]


def _mirrored_conv(x, weights):
    x = convolve(reflect(x, 1), weights["kernel"], 1, 0)
    return instance_norm(x + lax.stop_gradient(weights["bias"]))


class Doubling(nn.Module):
    """Transposed 3 x 3 convolution with stride 2, before an instance normalisation.

    Attributes:
        features: channels out.
        dtype: of the computation; parameters stay float32.
    """

    features: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: chex.Array) -> chex.Array:
        """[B, H, W, C] -> [B, 2 H, 2 W, features]."""
        kernel = self.param("kernel", normal_002, (3, 3, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x = conv_doubling(x.astype(self.dtype), kernel.astype(self.dtype))
        return x + lax.stop_gradient(bias.astype(self.dtype))


class ImageDiscriminator(nn.Module):
    """Judges overlapping patches of an image: real ones should get high logits.

    With 3 layers 2,764,737 parameters for images in colour; each logit sees 70 x 70 pixels, so
    at 28 or 32 pixels all of the image. The six layers of the paper's digits are `layers=4,
    halvings=3`.

    Attributes:
        features: channels of the first layer; each further layer has twice as many, up to 8
            times.
        layers: 4 x 4 convolutions before the last two.
        halvings: how many of all convolutions have stride 2, from the first on; 0 for as many as
            `layers`.
        dtype: of the computation; parameters and logits stay float32.
    """

    features: int = 64
    layers: int = 3
    halvings: int = 0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: chex.Array, *, train: bool) -> chex.Array:
        """Judges images.

        Args:
            images: [B, H, W, C] float, large enough for all layers.
            train: every network takes it; this one does the same in both cases.

        Returns:
            [B, h, w, 1] float32 logits; 2 x 2 of them for 32 x 32 pixels and 3 layers.
        """
        del train
        chex.assert_rank(images, 4)
        halvings = self.halvings or self.layers
        widths = [self.features * min(2**level, 8) for level in range(self.layers + 1)] + [1]
        strides = [2 if level < halvings else 1 for level in range(len(widths))]
        for n in images.shape[1:3]:
            for stride in strides:
                n = out_size(n, 4, stride=stride, padding=1) if n > 0 else 0
            if n < 1:
                raise ValueError(
                    f"images of {images.shape[1]} x {images.shape[2]} vanish inside a "
                    f"discriminator of {len(widths)} layers with {halvings} halvings: use larger "
                    "images, or fewer layers or halvings"
                )
        x = images
        for level, (features, stride) in enumerate(zip(widths, strides, strict=True)):
            normed = 0 < level <= self.layers
            conv = Conv(
                features,
                4,
                stride=stride,
                padding=1,
                idle_bias=normed,
                kernel_init=normal_002,
                dtype=self.dtype,
            )
            x = conv(x)
            if normed:
                x = instance_norm(x)
            if level <= self.layers:
                x = leaky_relu(x)
        return x.astype(jnp.float32)
