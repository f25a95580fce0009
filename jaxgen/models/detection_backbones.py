"""Trunks of the face detector: feature maps at strides 4, 8, 16 and 32.

Contract. Images [B, H, W, 3] in [-1, 1], H and W multiples of 32; the result is a list of four
maps [B, H / s, W / s, C], finest first. The light trunk learns from scratch in minutes on a CPU;
the other two start from ImageNet weights, see jaxgen.models.pretrained.
"""

import chex
import flax.linen as nn
import jax.numpy as jnp

from jaxgen.models.batch_norm import BatchNorm
from jaxgen.models.convolution import Conv
from jaxgen.models.layers import max_pool
from jaxgen.models.vgg import STAGES as VGG_STAGES
from jaxgen.models.vgg import he_normal, imagenet_range

STRIDES = (4, 8, 16, 32)
# Channels of the light trunk at width 1, by stride; after each, one residual block.
LIGHT_CHANNELS = (32, 64, 96, 128)
# Bottleneck blocks of ResNet-50 and their inner channels; the outer ones are four times as many.
RESNET50_LAYERS = ((3, 64), (4, 128), (6, 256), (3, 512))


class ConvNormRelu(nn.Module):
    """Convolution, normalisation, ReLU.

    Attributes:
        features: channels out.
        size: side of the kernel.
        stride: 1 or 2.
        norm: "batch", "group" (8 channels a group: for batches of one or two images) or "frozen"
            (batch normalisation that keeps the statistics it came with).
        rectify: False leaves the ReLU out.
        dtype: of the computation; parameters stay float32.
    """

    features: int
    size: int = 3
    stride: int = 1
    norm: str = "batch"
    rectify: bool = True
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: chex.Array, *, train: bool) -> chex.Array:
        """[B, H, W, C] -> [B, H / stride, W / stride, features]."""
        x = Conv(
            self.features,
            self.size,
            stride=self.stride,
            padding=self.size // 2,
            use_bias=False,
            kernel_init=he_normal,
            dtype=self.dtype,
            name="conv",
        )(x)
        x = normalize(self.norm, x, train=train, dtype=self.dtype)
        return nn.relu(x) if self.rectify else x


def normalize(
    norm: str, x: chex.Array, *, train: bool, dtype=jnp.float32, name: str = "norm"
) -> chex.Array:
    """The normalisation of that name inside the calling module, see `ConvNormRelu`."""
    if norm == "group":
        return nn.GroupNorm(num_groups=None, group_size=8, dtype=dtype, name=name)(x)
    if norm not in ("batch", "frozen"):
        raise ValueError(f'norm must be "batch", "group" or "frozen", not {norm!r}')
    running = norm == "frozen" or not train
    return BatchNorm(use_running_average=running, momentum=0.9, dtype=dtype, name=name)(x)


class Light(nn.Module):
    """A small residual trunk.

    The stem takes blocks of 2 x 2 pixels as channels instead of striding: the same reach, and no
    gradient of a strided convolution, which is slow on CPU.

    Attributes:
        width: multiple of LIGHT_CHANNELS, rounded to multiples of 8.
        norm: "batch" or "group".
        dtype: of the computation; parameters stay float32.
    """

    width: float = 1.0
    norm: str = "batch"
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: chex.Array, *, train: bool) -> list[chex.Array]:
        """Images [B, H, W, 3] -> four maps."""
        channels = [max(8, 8 * round(c * self.width / 8)) for c in LIGHT_CHANNELS]
        options = dict(norm=self.norm, dtype=self.dtype)
        x = ConvNormRelu(channels[0], **options, name="stem1")(_blocks(images), train=train)
        x = ConvNormRelu(channels[0], **options, name="stem2")(_blocks(x), train=train)
        maps = []
        for level, features in enumerate(channels):
            if level:
                shrink = ConvNormRelu(features, stride=2, **options, name=f"down{level}")
                x = shrink(x, train=train)
            y = ConvNormRelu(features, **options, name=f"block{level}_1")(x, train=train)
            last = ConvNormRelu(features, **options, rectify=False, name=f"block{level}_2")
            x = nn.relu(x + last(y, train=train))
            maps.append(x)
        return maps


def _blocks(x):
    """Blocks of 2 x 2 pixels as channels. [B, H, W, C] -> [B, H / 2, W / 2, 4 C]."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h // 2, w // 2, 4 * c)


class ResNet50(nn.Module):
    """The trunk of ResNet-50 (He et al., 2016; stride on the 3 x 3): 23,508,032 parameters.

    Layers carry torchvision's names, "layer1_0" for layer1.0.

    Attributes:
        norm: "frozen" keeps ImageNet's statistics, as detectors do whose batches are small.
        dtype: of the computation; parameters stay float32.
    """

    norm: str = "frozen"
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: chex.Array, *, train: bool) -> list[chex.Array]:
        """Images [B, H, W, 3] -> four maps of 256, 512, 1024 and 2048 channels."""
        conv = Conv(
            64,
            7,
            stride=2,
            padding=3,
            use_bias=False,
            kernel_init=he_normal,
            dtype=self.dtype,
            name="conv1",
        )
        x = conv(imagenet_range(images))
        x = nn.relu(normalize(self.norm, x, train=train, dtype=self.dtype, name="bn1"))
        x = nn.max_pool(x, window_shape=(3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        maps = []
        for layer, (blocks, features) in enumerate(RESNET50_LAYERS, 1):
            for index in range(blocks):
                stride = 2 if layer > 1 and index == 0 else 1
                block = Bottleneck(
                    features,
                    stride=stride,
                    norm=self.norm,
                    dtype=self.dtype,
                    name=f"layer{layer}_{index}",
                )
                x = block(x, train=train)
            maps.append(x)
        return maps


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions with a shortcut.

    Attributes:
        features: inner channels; four times as many come out.
        stride: of the 3 x 3.
        norm: as in `ConvNormRelu`.
        dtype: of the computation; parameters stay float32.
    """

    features: int
    stride: int
    norm: str
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: chex.Array, *, train: bool) -> chex.Array:
        """[B, H, W, C] -> [B, H / stride, W / stride, 4 features]."""

        def conv_norm(x, features, size, stride, conv_name, norm_name):
            conv = Conv(
                features,
                size,
                stride=stride,
                padding=size // 2,
                use_bias=False,
                kernel_init=he_normal,
                dtype=self.dtype,
                name=conv_name,
            )
            return normalize(self.norm, conv(x), train=train, dtype=self.dtype, name=norm_name)

        out = 4 * self.features
        y = nn.relu(conv_norm(x, self.features, 1, 1, "conv1", "bn1"))
        y = nn.relu(conv_norm(y, self.features, 3, self.stride, "conv2", "bn2"))
        y = conv_norm(y, out, 1, 1, "conv3", "bn3")
        if x.shape[-1] != out or self.stride != 1:
            x = conv_norm(x, out, 1, self.stride, "downsample_conv", "downsample_bn")
        return nn.relu(x + y)


class Vgg16Maps(nn.Module):
    """The convolutions of VGG16: 14,714,688 parameters, no normalisation.

    Layers carry their usual names, conv1_1 to conv5_3.

    Attributes:
        dtype: of the computation; parameters stay float32.
    """

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: chex.Array, *, train: bool) -> list[chex.Array]:
        """Images [B, H, W, 3] -> four maps of 128, 256, 512 and 512 channels."""
        del train
        x, maps = imagenet_range(images), []
        for stage, (features, convolutions) in enumerate(VGG_STAGES, 1):
            for index in range(1, convolutions + 1):
                options = dict(padding=1, kernel_init=he_normal, dtype=self.dtype)
                x = nn.relu(Conv(features, 3, name=f"conv{stage}_{index}", **options)(x))
            x = max_pool(x)
            if stage > 1:
                maps.append(x)
        return maps


def make_backbone(
    name: str, *, width: float, norm: str, module_name: str, dtype=jnp.float32
) -> nn.Module:
    """The trunk of a name: "light", "resnet50" or "vgg16".

    Args:
        name: which.
        width: of the light trunk.
        norm: "batch", or "group" for batches of one or two pictures: ResNet-50 then keeps the
            statistics of its ImageNet weights. VGG16 has no normalisation.
        module_name: its place in the variables.
        dtype: of the computation.
    """
    options = dict(dtype=dtype, name=module_name)
    if name == "light":
        return Light(width=width, norm=norm, **options)
    if name == "resnet50":
        return ResNet50(norm="frozen" if norm == "group" else norm, **options)
    if name == "vgg16":
        return Vgg16Maps(**options)
    raise ValueError(f'a backbone is "light", "resnet50" or "vgg16", not {name!r}')


def check_size(images: chex.Array) -> None:
    """Raises ValueError where images do not divide into the cells of the coarsest map."""
    h, w = jnp.shape(images)[1:3]
    if h % STRIDES[-1] or w % STRIDES[-1]:
        raise ValueError(f"images of {h} x {w} pixels: both must be multiples of {STRIDES[-1]}")
