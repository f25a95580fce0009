"""A discriminator that says of an image whether it is real and whether it shows a face.

Images are [B, H, W, 3] float32 in [-1, 1]. Sigmoids are the loss's matter: heads give logits.

Source: Bai et al., Finding Tiny Faces in the Wild with Generative Adversarial Network, CVPR 2018
(VGG19 with two parallel fully connected heads); the box head is that of Bai et al., SOD-MTGAN,
ECCV 2018.
"""

from functools import partial
from typing import NamedTuple

import chex
import flax.linen as nn
import jax.numpy as jnp

from jaxgen.models.convolution import convolve
from jaxgen.models.layers import ConvBlock, Norm, max_pool
from jaxgen.models.vgg import Vgg19Trunk, imagenet_range


class Judgement(NamedTuple):
    """What the discriminator says of each image."""

    real: chex.Array  # [B] logit: a real image rather than a super-resolved one
    face: chex.Array  # [B] logit: a face rather than background
    offsets: chex.Array | None  # [B, 4] (tx, ty, tw, th) from the crop to the face's box


class FaceDiscriminator(nn.Module):
    """A trunk of convolutions and parallel fully connected heads.

    With "vgg19" at 128 pixels the trunk has 20,024,384 parameters and the two heads 65,538.

    Attributes:
        trunk: "vgg19", whose images are standardised as for ImageNet, or "compact".
        features: channels of the compact trunk's first stage; each further stage has twice as
            many.
        stages: of the compact trunk; each has two convolutions and ends with a pooling.
        norm: of the compact trunk, "batch" or "none".
        dropout: share of the trunk's outputs that the heads do not see while training; rng
            "dropout".
        head_std: of the heads' first weights; 0.1 in the paper.
        box_head: whether there are offsets.
        dtype: of the computation; parameters and logits stay float32.
    """

    trunk: str = "vgg19"
    features: int = 16
    stages: int = 4
    norm: Norm = "batch"
    dropout: float = 0.0
    head_std: float = 0.1
    box_head: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, images: chex.Array, *, train: bool, counts: chex.Array | None = None
    ) -> Judgement:
        """Judges images.

        Args:
            images: [B, H, W, 3] float, sides divisible by 16 (compact: by 2 ** stages).
            train: True for dropout, and to normalise with the statistics of the batch.
            counts: [B] bool, the images that these statistics are of; None for all.

        Returns:
            Logits, float32.
        """
        chex.assert_shape(images, (None, None, None, 3))
        x = self._features(images, train=train, counts=counts)
        x = x.reshape(x.shape[0], -1).astype(jnp.float32)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)

        def head(name, count):
            kernel_init = nn.initializers.normal(self.head_std)
            return nn.Dense(count, kernel_init=kernel_init, name=name)(x)

        offsets = head("box", 4) if self.box_head else None
        return Judgement(head("real", 1)[:, 0], head("face", 1)[:, 0], offsets)

    def _features(self, images, *, train, counts):
        if self.trunk == "vgg19":
            return Vgg19Trunk(dtype=self.dtype, name="trunk")(imagenet_range(images))
        if self.trunk == "compact":
            trunk = CompactTrunk(self.features, self.stages, self.norm, self.dtype, name="trunk")
            return trunk(images, train=train, counts=counts)
        raise ValueError(f'trunk must be "vgg19" or "compact", not {self.trunk!r}')


class CompactTrunk(nn.Module):
    """Stages of two 3 x 3 convolutions and a pooling, for small images and machines.

    Attributes:
        features: channels of the first stage.
        stages: number of halvings.
        norm: "batch" or "none".
        dtype: of the computation; parameters stay float32.
    """

    features: int
    stages: int
    norm: Norm
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, x: chex.Array, *, train: bool, counts: chex.Array | None = None
    ) -> chex.Array:
        """[B, H, W, C] -> [B, H / 2^stages, W / 2^stages, features 2^(stages - 1)]."""
        keeping_size = partial(convolve, stride=1, padding=1)
        block = partial(ConvBlock, convolve=keeping_size, norm=self.norm, dtype=self.dtype)
        for stage in range(self.stages):
            for _ in range(2):
                x = block(self.features * 2**stage, 3)(x, train=train, counts=counts)
            x = max_pool(x)
        return x
