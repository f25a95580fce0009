"""DRN-C-26, a dilated residual network for segmentation.

Source: Yu, Koltun and Funkhouser, Dilated Residual Networks, CVPR 2017; used with bilinear
up-sampling of its scores by Hoffman et al., CyCADA, ICML 2018.
"""

import chex
import flax.linen as nn
import jax.numpy as jnp

from jaxgen.models.adaptation import choose_features
from jaxgen.models.batch_norm import BatchNorm
from jaxgen.models.convolution import Conv
from jaxgen.models.interpolation import aligned_corners_matrix, along_axes
from jaxgen.models.vgg import he_normal, imagenet_range

# Layers 1 to 8: blocks, channels, stride, dilation, residual. Strides stop at 8 and dilations
# take over; the last two layers undo the gridding that dilation leaves, without a shortcut.
LAYERS = (
    (1, 16, 1, 1, True),
    (1, 32, 2, 1, True),
    (2, 64, 2, 1, True),
    (2, 128, 2, 1, True),
    (2, 256, 1, 2, True),
    (2, 512, 1, 4, True),
    (1, 512, 1, 2, False),
    (1, 512, 1, 1, False),
)


class Drn26(nn.Module):
    """Scores at an eighth of the resolution, up-sampled: 20,623,331 parameters for 19 classes.

    Batch normalisation: collection "batch_stats". Layers carry the names of the released
    network.

    Attributes:
        num_classes: K.
        adapt: which features `features_and_logits` gives: "scores" before up-sampling
            [B, H / 8, W / 8, K], or "last", the 512 channels that they are computed from.
        dtype: of the computation; parameters and logits stay float32.
    """

    num_classes: int
    adapt: str = "scores"
    dtype: jnp.dtype = jnp.float32

    def __call__(self, images: chex.Array, *, train: bool) -> chex.Array:
        """Images [B, H, W, 3] in [-1, 1], of any size -> logits [B, H, W, K] float32."""
        return self.features_and_logits(images, train=train)[1]

    @nn.compact
    def features_and_logits(self, images: chex.Array, *, train: bool):
        """Images [B, H, W, 3] in [-1, 1] -> features, see `adapt`, and logits [B, H, W, K]."""
        chex.assert_rank(images, 4)
        conv = Conv(16, 7, padding=3, use_bias=False, name="conv1", **self._options())
        x = nn.relu(self._norm("bn1", train)(conv(imagenet_range(images))))
        for layer, (blocks, features, stride, dilation, residual) in enumerate(LAYERS, 1):
            for index in range(blocks):
                block = BasicBlock(
                    features,
                    stride=stride if index == 0 else 1,
                    dilation=dilation,
                    residual=residual,
                    dtype=self.dtype,
                    name=f"layer{layer}_{index}",
                )
                x = block(x, train=train)
        scores = Conv(self.num_classes, 1, name="score", **self._options())(x)
        features = choose_features(self.adapt, scores=scores, last=x)
        matrices = map(aligned_corners_matrix, scores.shape[1:3], images.shape[1:3])
        return features, along_axes(scores.astype(jnp.float32), *matrices)

    def _options(self):
        return dict(kernel_init=he_normal, dtype=self.dtype)

    def _norm(self, name, train):
        return BatchNorm(not train, momentum=0.9, dtype=self.dtype, name=name)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions, each normalised, and a shortcut.

    Attributes:
        features: channels out.
        stride: of the first convolution; a 1 x 1 convolution follows with the shortcut.
        dilation: of both.
        residual: False for no shortcut.
        dtype: of the computation; parameters stay float32.
    """

    features: int
    stride: int
    dilation: int
    residual: bool
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: chex.Array, *, train: bool) -> chex.Array:
        """[B, H, W, C] -> [B, H / stride, W / stride, features]."""

        def conv_norm(x, size, stride, conv_name, norm_name):
            conv = Conv(
                self.features,
                size,
                stride=stride,
                padding=self.dilation if size == 3 else 0,
                dilation=self.dilation,
                use_bias=False,
                kernel_init=he_normal,
                dtype=self.dtype,
                name=conv_name,
            )
            norm = BatchNorm(not train, momentum=0.9, dtype=self.dtype, name=norm_name)
            return norm(conv(x))

        y = nn.relu(conv_norm(x, 3, self.stride, "conv1", "bn1"))
        y = conv_norm(y, 3, 1, "conv2", "bn2")
        if self.residual:
            if x.shape[-1] != self.features or self.stride != 1:
                x = conv_norm(x, 1, self.stride, "downsample_conv", "downsample_bn")
            y += x
        return nn.relu(y)
