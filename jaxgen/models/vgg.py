"""VGG16 and VGG19, the image classifiers, as fully convolutional trunks.

Source: Simonyan and Zisserman, Very Deep Convolutional Networks, 2015 (configurations D and E).
"""

import chex
import flax.linen as nn
import jax.numpy as jnp

from jaxgen.models.convolution import Conv
from jaxgen.models.layers import drop_channels, max_pool

# Channels and number of 3 x 3 convolutions of the five stages; a pooling ends each.
STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
STAGES_19 = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))

he_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")

# Statistics of ImageNet, for pixels in [0, 1].
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def imagenet_range(images: chex.Array) -> chex.Array:
    """What networks trained on ImageNet expect. [B, H, W, 3] in [-1, 1] -> standardised."""
    chex.assert_axis_dimension(images, -1, 3)
    return ((images + 1) / 2 - jnp.asarray(_MEAN)) / jnp.asarray(_STD)


class Vgg16(nn.Module):
    """The convolutions of VGG16 and its first two fully connected layers as convolutions.

    134,260,544 parameters. Layers carry their usual names, conv1_1 to conv5_3, fc6 and fc7.

    Attributes:
        dropout: share of channels dropped after fc6 and fc7; rng "dropout" while training.
        dtype: of the computation; parameters stay float32.
    """

    dropout: float = 0.5
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: chex.Array, *, train: bool) -> dict[str, chex.Array]:
        """Runs the trunk.

        Args:
            images: [B, H, W, 3], standardised with `imagenet_range`, at least 193 pixels.
            train: True for dropout.

        Returns:
            "pool3" [B, H / 8, W / 8, 256], "pool4" [B, H / 16, W / 16, 512], rounded up, and
            "fc7" [B, H / 32 - 6, W / 32 - 6, 4096].
        """
        x, maps = images, {}
        for stage, (features, convolutions) in enumerate(STAGES, 1):
            for index in range(1, convolutions + 1):
                x = self._conv_relu(x, features, 3, f"conv{stage}_{index}")
            x = maps[f"pool{stage}"] = _pool(x)
        for name, size in (("fc6", 7), ("fc7", 1)):
            x = self._conv_relu(x, 4096, size, name)
            if train and self.dropout:
                x = drop_channels(self.make_rng("dropout"), x, rate=self.dropout)
        return {"pool3": maps["pool3"], "pool4": maps["pool4"], "fc7": x}

    def _conv_relu(self, x, features, size, name):
        padding = 1 if size == 3 else 0
        options = dict(padding=padding, kernel_init=he_normal, dtype=self.dtype)
        return nn.relu(Conv(features, size, name=name, **options)(x))


class Vgg19Trunk(nn.Module):
    """The convolutions of VGG19, without the pooling behind the last ones.

    20,024,384 parameters. Layers carry their usual names, conv1_1 to conv5_4.

    Attributes:
        dtype: of the computation; parameters stay float32.
    """

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: chex.Array) -> chex.Array:
        """[B, H, W, 3], standardised with `imagenet_range` -> [B, H / 16, W / 16, 512]."""
        x = images
        for stage, (features, convolutions) in enumerate(STAGES_19, 1):
            if stage > 1:
                x = _pool(x)
            for index in range(1, convolutions + 1):
                conv = Conv(
                    features,
                    3,
                    padding=1,
                    kernel_init=he_normal,
                    dtype=self.dtype,
                    name=f"conv{stage}_{index}",
                )
                x = nn.relu(conv(x))
        return x


def _pool(x):
    """2 x 2 maxima; an odd last row or column is a window of its own."""
    h, w = x.shape[1:3]
    # Zeros change no maximum after a rectifier.
    return max_pool(jnp.pad(x, ((0, 0), (0, h % 2), (0, w % 2), (0, 0))))
