"""Segmentation networks: the FCN-8s of the paper, and a compact one for two CPU cores.

Images are [B, H, W, 3] float32 in [-1, 1]; logits [B, H, W, K] float32. As in drn.py and
digits.py, `features_and_logits(images, train=)` gives what a domain discriminator sees, too.

Source: Long, Shelhamer and Darrell, Fully Convolutional Networks, CVPR 2015, in the form that
Hoffman et al., CyCADA, ICML 2018 released. The compact network is ours.
"""

import chex
import flax.linen as nn
import jax.numpy as jnp

from jaxgen.models.adaptation import choose_features
from jaxgen.models.batch_norm import BatchNorm
from jaxgen.models.convolution import Conv
from jaxgen.models.interpolation import along_axes, half_pixel_matrix, transposed_matrix
from jaxgen.models.layers import upsample
from jaxgen.models.vgg import Vgg16, he_normal, imagenet_range


class Fcn8s(nn.Module):
    """VGG16 whose coarse scores are refined by two skips: 134,353,017 parameters, 19 classes.

    Attributes:
        num_classes: K.
        adapt: which features `features_and_logits` gives: "scores", all three sources added,
            at an eighth of the resolution with a margin; or "last", the 4096 channels of fc7.
        dropout: share of channels dropped in the trunk's last two layers; rng "dropout".
        dtype: of the computation; parameters and logits stay float32.
    """

    num_classes: int
    adapt: str = "scores"
    dropout: float = 0.5
    dtype: jnp.dtype = jnp.float32

    def __call__(self, images: chex.Array, *, train: bool) -> chex.Array:
        """Images [B, H, W, 3] in [-1, 1], of any size -> logits [B, H, W, K] float32."""
        return self.features_and_logits(images, train=train)[1]

    @nn.compact
    def features_and_logits(self, images: chex.Array, *, train: bool):
        """Images [B, H, W, 3] in [-1, 1] -> features, see `adapt`, and logits [B, H, W, K]."""
        chex.assert_rank(images, 4)
        # The margin keeps a 7 x 7 window of fc6 inside, whatever the size of the image.
        margin = ((0, 0), (99, 99), (99, 99), (0, 0))
        trunk = Vgg16(self.dropout, self.dtype, name="vgg")
        maps = trunk(jnp.pad(imagenet_range(images), margin), train=train)

        def score(name, scale, kernel_init):
            layer = Conv(self.num_classes, 1, name=name, kernel_init=kernel_init, dtype=self.dtype)
            return layer(scale * maps[name.removeprefix("score_")]).astype(jnp.float32)

        # Skips start at zero; the factors bring their inputs near those of fc7.
        scores = score("score_fc7", 1.0, he_normal)
        for name, scale, offset in (("score_pool4", 0.01, 5), ("score_pool3", 0.0001, 9)):
            scores = _enlarge(scores, 2)
            skip = score(name, scale, nn.initializers.zeros)
            scores += skip[:, offset : offset + scores.shape[1], offset : offset + scores.shape[2]]
        return (
            choose_features(self.adapt, scores=scores, last=maps["fc7"]),
            _enlarge(scores, 8, start=31, size=images.shape[1:3]),
        )


class CompactSegmenter(nn.Module):
    """A small encoder-decoder: three halvings, context by dilation, one skip.

    274,803 parameters for 19 classes; about 0.13 billion multiplications for 128 x 128 pixels.
    Batch normalisation: collection "batch_stats".

    Attributes:
        num_classes: K.
        widths: channels at a half, a quarter and an eighth of the resolution, and of the
            context layer.
        adapt: which features `features_and_logits` gives: "scores" before the last up-sampling
            [B, H / 4, W / 4, K], or "last", the maps [B, H / 4, W / 4, widths[2]] under them.
        dtype: of the computation; parameters and logits stay float32.
    """

    num_classes: int
    widths: tuple[int, int, int, int] = (16, 32, 64, 128)
    adapt: str = "scores"
    dtype: jnp.dtype = jnp.float32

    def __call__(self, images: chex.Array, *, train: bool) -> chex.Array:
        """Images [B, H, W, C], H and W divisible by 8 -> logits [B, H, W, K] float32."""
        return self.features_and_logits(images, train=train)[1]

    @nn.compact
    def features_and_logits(self, images: chex.Array, *, train: bool):
        """Images [B, H, W, C] -> features, see `adapt`, and logits [B, H, W, K]."""
        chex.assert_rank(images, 4)
        h, w = images.shape[1:3]
        if h % 8 or w % 8:
            raise ValueError(
                f"images of {h} x {w} cannot be halved three times: crop or pad them to a height "
                "and width divisible by 8"
            )

        def block(x, features, size=3, stride=1, dilation=1):
            conv = Conv(
                features,
                size,
                stride=stride,
                padding=1 if size == 4 else dilation,
                dilation=dilation,
                use_bias=False,
                kernel_init=he_normal,
                dtype=self.dtype,
            )
            norm = BatchNorm(not train, momentum=0.9, dtype=self.dtype)
            return nn.relu(norm(conv(x)))

        half, quarter, eighth, context = self.widths
        x = block(images, half, size=4, stride=2)
        skip = block(block(x, quarter, stride=2), quarter)
        x = block(block(skip, eighth, stride=2), eighth)
        x = block(block(x, context), eighth, dilation=2)
        x = block(jnp.concatenate([upsample(x), skip], -1), eighth)
        scores = Conv(self.num_classes, 1, kernel_init=he_normal, dtype=self.dtype)(x)
        scores = scores.astype(jnp.float32)
        matrices = (half_pixel_matrix(n // 4, n) for n in (h, w))
        features = choose_features(self.adapt, scores=scores, last=x)
        return features, along_axes(scores, *matrices)


def _enlarge(x, factor, *, start=0, size=None):
    """Fixed bilinear transposed convolution by a factor; all of its output, or a part of it."""
    new = [(n + 1) * factor for n in x.shape[1:3]] if size is None else size
    rows, columns = (
        transposed_matrix(n, factor, start=start, new=kept)
        for n, kept in zip(x.shape[1:3], new, strict=True)
    )
    return along_axes(x, rows, columns)
