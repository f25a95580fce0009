"""A generator that enlarges images four times and then refines them.

Images are [B, h, w, 3] float32 in [-1, 1]; both results are [B, 4 h, 4 w, 3].

Source: Bai et al., Finding Tiny Faces in the Wild with Generative Adversarial Network, CVPR 2018,
figure 2 (order of the layers); widths and kernels as in the one public re-implementation.
"""

from typing import NamedTuple

import chex
import flax.linen as nn
import jax.numpy as jnp

from jaxgen.models.convolution import Conv, conv_doubling, normal_002
from jaxgen.models.interpolation import along_axes, bicubic_matrix
from jaxgen.models.layers import Norm, add_bias, he_uniform, leaky_relu, normalize

SCALE = 4  # high resolution over low resolution
FEATURES, WIDE = 64, 256  # channels of the paper, at width 1


class SuperResolved(NamedTuple):
    """What the generator makes of a batch. Both are trained on the pixels."""

    coarse: chex.Array  # [B, 4 h, 4 w, 3], of the up-sampling network
    refined: chex.Array | None  # [B, 4 h, 4 w, 3], of the refinement network; None without one

    @property
    def final(self) -> chex.Array:
        """The image to use."""
        return self.coarse if self.refined is None else self.refined


class Generator(nn.Module):
    """Up-sampling network, then refinement network.

    At width 1 with 8 blocks the up-sampling network has 1,370,304 parameters and the refinement
    network 1,375,936. Convolutions before a batch normalisation have no bias, transposed
    convolutions have one, image convolutions have none. The released code leaves out the
    convolution before the enlargement (36,992 parameters with its normalisation) and puts
    normalisation and rectifier (6 parameters) on the first image: `extra_conv=False,
    coarse_image="normed"`, 1,333,318 parameters.

    Attributes:
        width: share of the paper's channels.
        blocks: residual blocks of each network.
        refine: False leaves the refinement network out.
        first_kernel: side of each network's first kernel: 3 (released code) or 9.
        coarse_kernel: of the convolution to the first image: 1 (released code) or 9.
        refined_kernel: of the convolution to the second image: 3 (released code) or 9.
        norm: "batch" (paper) or "none": then every convolution but the last has a bias, and
            kernels start as suits rectifiers instead of at N(0, 0.02).
        extra_conv: the convolution between the residual blocks and the enlargement.
        coarse_image: "tanh", or "normed" as released.
        global_skip: both networks only add to an image: to the bicubically enlarged one, to the
            first one. Not in the paper. Images may then leave [-1, 1].
        dtype: of the computation; parameters and images stay float32.
    """

    width: float = 1.0
    blocks: int = 8
    refine: bool = True
    first_kernel: int = 3
    coarse_kernel: int = 1
    refined_kernel: int = 3
    norm: Norm = "batch"
    extra_conv: bool = True
    coarse_image: str = "tanh"
    global_skip: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: chex.Array, *, train: bool) -> SuperResolved:
        """Enlarges images.

        Args:
            images: [B, h, w, 3] float.
            train: True to normalise with the statistics of the batch, and to keep them.

        Returns:
            Both images, float32; in [-1, 1] without `global_skip`.
        """
        chex.assert_shape(images, (None, None, None, 3))
        if self.coarse_image not in ("tanh", "normed"):
            raise ValueError(f'coarse_image must be "tanh" or "normed", not {self.coarse_image!r}')
        few, wide = (max(1, round(self.width * n)) for n in (FEATURES, WIDE))
        normed = self.coarse_image == "normed" and not self.global_skip
        shared = dict(
            features=few,
            wide=wide,
            blocks=self.blocks,
            first_kernel=self.first_kernel,
            norm=self.norm,
            dtype=self.dtype,
        )
        upsampler = Upsampler(
            image_kernel=self.coarse_kernel,
            extra_conv=self.extra_conv,
            normed_image=normed,
            name="upsampler",
            **shared,
        )
        coarse = upsampler(images, train=train).astype(jnp.float32)
        if self.global_skip:
            coarse += enlarge(images)
        elif not normed:
            coarse = jnp.tanh(coarse)
        if not self.refine:
            return SuperResolved(coarse, None)
        refiner = Refiner(image_kernel=self.refined_kernel, name="refiner", **shared)
        refined = refiner(coarse, train=train).astype(jnp.float32)
        refined = coarse + refined if self.global_skip else jnp.tanh(refined)
        return SuperResolved(coarse, refined)


class Upsampler(nn.Module):
    """Convolution, residual blocks, convolution, two doublings, image; layers 1 to 13.

    Attributes:
        features: channels at low resolution.
        wide: channels while it enlarges.
        blocks: residual blocks.
        first_kernel: side of the first kernel.
        image_kernel: side of the last kernel.
        extra_conv: False leaves out the convolution before the doublings.
        normed_image: normalisation and rectifier on the image.
        norm: "batch" or "none".
        dtype: of the computation.
    """

    features: int
    wide: int
    blocks: int
    first_kernel: int
    image_kernel: int
    extra_conv: bool
    normed_image: bool
    norm: Norm
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, images: chex.Array, *, train: bool) -> chex.Array:
        """[B, h, w, 3] -> [B, 4 h, 4 w, 3], without any bound."""
        shared = dict(norm=self.norm, dtype=self.dtype)
        x = ConvNorm(self.features, self.first_kernel, **shared)(images, train=train)
        x = residual_blocks(x, self.blocks, train=train, **shared)
        if self.extra_conv:
            x = ConvNorm(self.features, 3, **shared)(x, train=train)
        for _ in range(2):
            x = Doubling(self.wide, **shared)(x, train=train)
        if self.normed_image:
            return ConvNorm(3, self.image_kernel, **shared)(x, train=train)
        return image_conv(self.image_kernel, self.dtype)(x)


class Refiner(nn.Module):
    """Convolution, residual blocks, three convolutions, image; layers 14 to 26.

    Attributes as of `Upsampler`.
    """

    features: int
    wide: int
    blocks: int
    first_kernel: int
    image_kernel: int
    norm: Norm
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, images: chex.Array, *, train: bool) -> chex.Array:
        """[B, H, W, 3] -> the same shape, without any bound."""
        shared = dict(norm=self.norm, dtype=self.dtype)
        x = ConvNorm(self.features, self.first_kernel, **shared)(images, train=train)
        x = residual_blocks(x, self.blocks, train=train, **shared)
        for features in (self.features, self.wide, self.wide):
            x = ConvNorm(features, 3, **shared)(x, train=train)
        return image_conv(self.image_kernel, self.dtype)(x)


class ConvNorm(nn.Module):
    """Convolution that keeps the size, normalisation, rectifier.

    Attributes:
        features: channels out.
        size: side of the kernel, odd.
        norm: "batch" or "none", which has a bias instead.
        dtype: of the computation.
        rectify: "leaky", "relu" or "none".
    """

    features: int
    size: int
    norm: Norm
    dtype: jnp.dtype
    rectify: str = "leaky"

    @nn.compact
    def __call__(self, x: chex.Array, *, train: bool) -> chex.Array:
        """[B, H, W, C] -> [B, H, W, features]."""
        x = Conv(
            self.features,
            self.size,
            padding=self.size // 2,
            use_bias=self.norm == "none",
            kernel_init=first_kernels(self.norm),
            dtype=self.dtype,
        )(x)
        x = normalize(self.norm, x, train=train, dtype=self.dtype)
        return {"leaky": leaky_relu, "relu": nn.relu, "none": lambda x: x}[self.rectify](x)


class ResidualBlock(nn.Module):
    """Two convolutions added to their input, then a rectifier.

    Attributes as of `ConvNorm`; as many channels out as in.
    """

    norm: Norm
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: chex.Array, *, train: bool) -> chex.Array:
        """[B, H, W, C] -> the same shape."""
        conv = dict(features=x.shape[-1], size=3, norm=self.norm, dtype=self.dtype)
        y = ConvNorm(**conv, rectify="relu")(x, train=train)
        return nn.relu(x + ConvNorm(**conv, rectify="none")(y, train=train))


class Doubling(nn.Module):
    """Transposed 3 x 3 convolution with stride 2, normalisation, leaky rectifier.

    Attributes as of `ConvNorm`. Pads as PyTorch's `ConvTranspose2d(3, 2, 1, 1)` does, and has its
    bias, which a batch normalisation takes away again.
    """

    features: int
    norm: Norm
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: chex.Array, *, train: bool) -> chex.Array:
        """[B, H, W, C] -> [B, 2 H, 2 W, features]."""
        shape = (3, 3, x.shape[-1], self.features)
        kernel = self.param("kernel", first_kernels(self.norm), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x = conv_doubling(x.astype(self.dtype), kernel.astype(self.dtype))
        x = add_bias(x, bias.astype(self.dtype))
        return leaky_relu(normalize(self.norm, x, train=train, dtype=self.dtype))


def residual_blocks(x: chex.Array, count: int, *, norm: Norm, dtype, train: bool) -> chex.Array:
    """`count` residual blocks inside the calling module. [B, H, W, C] -> the same shape."""
    for index in range(count):
        x = ResidualBlock(norm, dtype, name=f"block_{index}")(x, train=train)
    return x


def image_conv(size: int, dtype) -> Conv:
    """The convolution to an image: no bias, small first values."""
    return Conv(3, size, padding=size // 2, use_bias=False, kernel_init=normal_002, dtype=dtype)


def first_kernels(norm: Norm) -> nn.initializers.Initializer:
    """N(0, 0.02), as published; it would starve the layers where nothing normalises them."""
    return normal_002 if norm == "batch" else he_uniform


def enlarge(images: chex.Array) -> chex.Array:
    """Four times as large, bicubically, without any network. [B, h, w, C] -> [B, 4 h, 4 w, C]."""
    h, w = images.shape[1:3]
    return along_axes(images, bicubic_matrix(h, SCALE * h), bicubic_matrix(w, SCALE * w))
