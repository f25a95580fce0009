"""Networks of LaplaceKL: an encoder-decoder from image to heatmaps, and a patch critic.

Images are [B, S, S, 3] or [B, H, W, 3] float32, heatmaps [B, H, W, K] at full resolution.

Source: Robinson et al., Laplace Landmark Localization, ICCV 2019. The body of the
encoder-decoder is the recombinator-shaped one whose size agrees with all five parameter
counts of the paper (1,872,428 for 68 landmarks down to 17,408 at width 1/16).
"""

import chex
import flax.linen as nn
import jax.numpy as jnp

from jaxgen.kernels.noise import fast_normal
from jaxgen.models.blocks import (
    conv_to_blocks,
    conv_upsampled,
    from_blocks,
    pool_blocks,
    to_blocks,
)
from jaxgen.models.layers import (
    Conv1x1,
    ConvBlock,
    Norm,
    conv_halving,
    conv_shrinking,
    leaky_relu,
)
from jaxgen.models.layers import conv as plain_conv


class LandmarkNet(nn.Module):
    """Heatmap logits of every landmark, at the resolution of the image.

    Attributes:
        num_points: K.
        width: share of the paper's channels (64 and 128): 1, 1/2, 1/4, 1/8 or 1/16.
        depth: number of halvings, 4 in the paper for 80 pixels. One more suits 128 or 160
            pixels, two more 256 or 320: the coarsest maps should stay near 5 x 5.
        norm: "none" as in the paper, or "batch", which trains several times faster.
        dropout: share of channels dropped after each spatial convolution; the paper has 0.2.
        dtype: of the computation. Parameters and logits are float32. bfloat16 gains on
            accelerators, nothing on CPU.
    """

    num_points: int
    width: float = 1.0
    depth: int = 4
    norm: Norm = "none"
    dropout: float = 0.2
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: chex.Array, *, train: bool) -> chex.Array:
        """Runs the network; rng "dropout" if train, collection "batch_stats" with norm.

        Args:
            images: [B, H, W, 3] float, H and W divisible by 2 ** depth.
            train: True for dropout and batch statistics, False for inference.

        Returns:
            [B, H, W, K] float32 logits without bound: a sharp peak needs 12 and more.
        """
        narrow, wide = channels(self.width)
        check_size(images, self.depth)
        options = dict(norm=self.norm, dropout=self.dropout, dtype=self.dtype)

        def conv(features, size, *inputs, convolve):
            return ConvBlock(features, size, convolve=convolve, **options)(*inputs, train=train)

        def mix(features, x):
            return leaky_relu(Conv1x1(features, dtype=self.dtype)(x))

        # Everything at the resolution of the image stays in blocks of 2 x 2 pixels.
        skips = [conv(narrow, 3, images, convolve=conv_to_blocks)]
        for _ in range(self.depth - 1):
            x = conv(narrow, 3, pool_blocks(skips[-1]), convolve=plain_conv)
            skips.append(to_blocks(x))
        x = conv(narrow, 3, pool_blocks(skips[-1]), convolve=plain_conv)

        x = mix(narrow, conv(narrow, 3, x, convolve=plain_conv))
        for _ in range(self.depth - 1):
            x = mix(narrow, conv(wide, 5, x, skips.pop(), convolve=conv_upsampled))
            x = from_blocks(x)
        x = from_blocks(conv(wide, 5, x, skips.pop(), convolve=conv_upsampled))

        # Three layers between the landmarks of a pixel; the last is linear: logits can grow.
        x = mix(self.num_points, x)
        x = mix(self.num_points, x)
        return Conv1x1(self.num_points, dtype=self.dtype)(x).astype(jnp.float32)


class PatchDiscriminator(nn.Module):
    """Judges patches of heatmaps given the image they belong to.

    Every convolution sees its input with fresh Gaussian noise while training, which keeps the
    critic from winning early (Tulyakov et al., MoCoGAN, 2018).

    Attributes:
        width: share of the channels 64, 128, 256, 512.
        depth: number of halvings; 4 gives 3 x 3 logits for 80 pixels, each of a patch that
            covers the face.
        norm: "batch" or "none", on all but the first and last convolution.
        noise: standard deviation of the noise before each convolution.
        dtype: of the computation; parameters and logits are float32.
    """

    width: float = 1.0
    depth: int = 4
    norm: Norm = "batch"
    noise: float = 0.2
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: chex.Array, heatmaps: chex.Array, *, train: bool) -> chex.Array:
        """Runs the critic; rng "noise" if train, collection "batch_stats" with norm.

        Args:
            images: [B, H, W, 3] float, H and W divisible by 2 ** depth, and 3 times that or more.
            heatmaps: [B, H, W, K] float, in the same range for real and fake ones.
            train: True for noise and batch statistics.

        Returns:
            [B, H / 2 ** depth - 2, W / 2 ** depth - 2, 1] float32 logits: real if positive.

        Raises:
            ValueError: images of another size; no logit would be left of smaller ones.
        """
        chex.assert_equal_shape_prefix([images, heatmaps], 3)
        check_size(images, self.depth)
        if min(images.shape[1:3]) < 3 * 2**self.depth:
            raise ValueError(
                f"images of {images.shape[1]} x {images.shape[2]} vanish inside a discriminator "
                f"with {self.depth} halvings: it needs {3 * 2**self.depth} pixels or more"
            )
        first, _ = channels(self.width)

        def conv(features, x, convolve, **options):
            if train and self.noise:
                x += self.noise * fast_normal(self.make_rng("noise"), x.shape).astype(x.dtype)
            block = ConvBlock(features, 4, convolve=convolve, dtype=self.dtype, **options)
            return block(x, train=train)

        x = jnp.concatenate([images, heatmaps], -1)
        for level in range(self.depth):
            norm = self.norm if level else "none"
            x = conv(first * 2 ** min(level, 3), x, conv_halving, norm=norm)
        x = conv(x.shape[-1], x, conv_shrinking, norm=self.norm)
        return conv(1, x, conv_shrinking, rectify=False).astype(jnp.float32)


def channels(width: float) -> tuple[int, int]:
    """Narrow and wide channel counts, 64 and 128 at width 1."""
    narrow = 64 * width
    if narrow < 1 or narrow != int(narrow):
        raise ValueError(f"width {width} gives {narrow} channels: use 1, 1/2, 1/4, 1/8 or 1/16")
    return int(narrow), int(2 * narrow)


def check_size(images: chex.Array, depth: int) -> None:
    """Raises where an image cannot be halved depth times."""
    chex.assert_rank(images, 4)
    h, w = images.shape[1:3]
    if h % 2**depth or w % 2**depth:
        raise ValueError(
            f"images of {h} x {w} cannot be halved {depth} times: use a height and width "
            f"divisible by {2**depth}, or another depth"
        )
