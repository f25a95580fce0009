"""Networks of DR-GAN: encoder, decoder and discriminator of faces, all of 3 x 3 convolutions.

Images are [B, S, S, C] float32 in [-1, 1]. The papers take 96 pixels and halve them four times;
smaller images need fewer halvings, S must be a multiple of 2^halvings. Convolutions have no bias;
batch normalisation (collection "batch_stats") and ELU follow. Strided layers pad as TensorFlow's
"SAME" does, zeros below and on the right, which is how the authors' code has it.

Source: Tran, Yin and Liu, CVPR 2017 (table 1) and TPAMI 2018.
"""

import itertools
from typing import NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from jaxgen.models.batch_norm import BatchNorm
from jaxgen.models.convolution import conv_doubling, convolve, normal_002
from jaxgen.models.layers import elu

# (channels, stride) of the layers of each block; the trunk ends with one more convolution.
_TRUNK = (
    ((32, 1), (64, 1)),  # Conv11, Conv12
    ((64, 2), (64, 1), (128, 1)),
    ((128, 2), (96, 1), (192, 1)),
    ((192, 2), (128, 1), (256, 1)),
    ((256, 2), (160, 1)),  # Conv51, Conv52
)
# The decoder after its first layer; stride 2 doubles height and width. A convolution ends it.
_DECODER = (
    ((160, 1), (256, 1)),  # FConv52, FConv51
    ((256, 2), (128, 1), (192, 1)),
    ((192, 2), (96, 1), (128, 1)),
    ((128, 2), (64, 1), (64, 1)),
    ((64, 2), (32, 1)),  # FConv13, FConv12
)
_LAST = 320  # channels of the map that the decoder starts from
HALVINGS = 4  # of the papers


class Verdict(NamedTuple):
    """What the discriminator says of images."""

    identity: jax.Array  # [B, num_identities] logits, or cosines of an additive-margin head
    real: jax.Array  # [B] logit of a real image; of the identity "fake" in the CVPR form
    pose: jax.Array  # [B, num_poses] logits, or [B, 1] yaw in radians


class Trunk(nn.Module):
    """Convolutions, 14 with four halvings, and an average over the map: images to a feature.

    Attributes:
        features: length of the feature; the layers before have fixed widths.
        width: factor of those widths; 1 for the papers.
        halvings: times that the image is halved; fewer than 4 leave blocks in the middle out.
        spectral: divide each kernel by its largest singular value (not in the papers).
        dtype: of the computation; parameters and features stay float32.
    """

    features: int = 320
    width: float = 1.0
    halvings: int = HALVINGS
    spectral: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: chex.Array, *, train: bool) -> tuple[chex.Array, chex.Array]:
        """Reads images.

        Args:
            images: [B, S, S, C].
            train: True for the statistics of the batch.

        Returns:
            [B, features] float32 twice: the feature, and the same before the last normalisation.
        """
        _check_size(images, self.halvings)
        x = images.astype(self.dtype)
        for channels, stride in itertools.chain(*_TRUNK[: self.halvings], _TRUNK[-1]):
            conv = SameConv(scaled(channels, self.width), stride, dtype=self.dtype)
            x = elu(_batch_norm(self._limit(conv, x, train), train, self.dtype))
        # Linear: an activation here would cut the feature's range on one side.
        conv = SameConv(self.features, dtype=self.dtype)
        raw = self._limit(conv, x, train)
        feature = _batch_norm(raw, train, self.dtype)
        return feature.mean((1, 2), dtype=jnp.float32), raw.mean((1, 2), dtype=jnp.float32)

    def _limit(self, conv, x, train):
        return nn.SpectralNorm(conv)(x, update_stats=train) if self.spectral else conv(x)


class Encoder(nn.Module):
    """G_enc: identity feature and confidence of an image. 2.86 million parameters at width 1.

    Attributes:
        features: length of the identity feature.
        width, halvings, dtype: as of `Trunk`.
        confidence_gain: factor of the confidence's logit. It is a mean over a normalised map, so
            with the papers' 1 a short training leaves all confidences close to each other.
    """

    features: int = 320
    width: float = 1.0
    halvings: int = HALVINGS
    dtype: jnp.dtype = jnp.float32
    confidence_gain: float = 1.0

    @nn.compact
    def __call__(self, images: chex.Array, *, train: bool) -> tuple[chex.Array, chex.Array]:
        """[B, S, S, C] -> feature [B, features], confidence [B] in (0, 1); float32."""
        # The confidence is one more channel of the last convolution (section 3.3).
        trunk = Trunk(self.features + 1, self.width, self.halvings, dtype=self.dtype, name="trunk")
        found, _ = trunk(images, train=train)
        return found[:, :-1], nn.sigmoid(self.confidence_gain * found[:, -1])


class Decoder(nn.Module):
    """G_dec: a face of a given identity feature, pose and noise.

    7.24 million parameters at width 1, 9 poses and 50 noise values.

    Attributes:
        size: side of the images.
        channels: of the images.
        width, halvings, dtype: as of `Trunk`.
        pose_gain: factor of a one-hot pose: features are many and a pose is one, so that with the
            papers' 1 a decoder takes long to listen to it.
        embed_pose: length that a one-number pose (yaw) is brought to by a linear layer and ELU
            before it joins the rest; 0 for one-hot poses, which join as they are.
    """

    size: int = 96
    channels: int = 3
    width: float = 1.0
    halvings: int = HALVINGS
    pose_gain: float = 1.0
    embed_pose: int = 0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, feature: chex.Array, pose: chex.Array, noise: chex.Array, *, train: bool
    ) -> chex.Array:
        """Draws faces.

        Args:
            feature: [B, F].
            pose: [B, P] one-hot class, or [B, 1] yaw / 90 degrees.
            noise: [B, N] in [-1, 1].
            train: True for the statistics of the batch.

        Returns:
            [B, size, size, channels] float32 in (-1, 1).

        Raises:
            ValueError: no decoder draws faces of that size.
        """
        chex.assert_rank([feature, pose, noise], 2)
        if not 1 <= self.halvings <= HALVINGS or self.size % 2**self.halvings:
            raise ValueError(
                f"faces of {self.size} pixels with {self.halvings} halvings: there are 1 to "
                f"{HALVINGS}, and the side must be divisible by 2 for each"
            )
        if self.embed_pose:
            embed = nn.Dense(self.embed_pose, kernel_init=normal_002, dtype=self.dtype)
            pose = elu(embed(pose))
        side, channels = self.size >> self.halvings, scaled(_LAST, self.width)
        code = jnp.concatenate([feature, self.pose_gain * pose, noise], -1).astype(self.dtype)
        x = nn.Dense(side * side * channels, kernel_init=normal_002, dtype=self.dtype)(code)
        x = x.reshape(-1, side, side, channels)
        for channels, stride in itertools.chain(_DECODER[0], *_DECODER[-self.halvings :]):
            layer = SameDoubling if stride == 2 else SameConv
            x = layer(scaled(channels, self.width), dtype=self.dtype)(x)
            x = elu(_batch_norm(x, train, self.dtype))
        return jnp.tanh(SameConv(self.channels, dtype=self.dtype)(x).astype(jnp.float32))


class Discriminator(nn.Module):
    """D: who it is, whether the image is real, and which pose. The trunk has no confidence.

    Call it on real and on synthetic images apart: a joint batch would mix their statistics.

    Attributes:
        num_identities: people of the training set.
        num_poses: outputs for the pose; 1 for the yaw itself.
        features, width, halvings, spectral, dtype: as of `Trunk`.
        head: "softmax", or "additive_margin" for cosines of feature and class vector.
    """

    num_identities: int
    num_poses: int
    features: int = 320
    width: float = 1.0
    halvings: int = HALVINGS
    spectral: bool = False
    head: str = "softmax"
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: chex.Array, *, train: bool) -> Verdict:
        """[B, S, S, C] -> Verdict."""
        trunk = Trunk(
            self.features, self.width, self.halvings, self.spectral, self.dtype, name="trunk"
        )
        feature, raw = trunk(images, train=train)
        identity = IdentityHead(self.num_identities, self.head, name="identity")(feature)
        # Normalised features of a batch of real images and of a batch of synthetic ones have the
        # same mean, and so would have their logits: this head has to look before that.
        real = nn.Dense(1, kernel_init=normal_002, name="real")(raw)
        pose = nn.Dense(self.num_poses, kernel_init=normal_002, name="pose")(feature)
        return Verdict(identity, real[:, 0], pose)


class Classifier(nn.Module):
    """A trunk with one head: the recogniser without a generator, or the judge of poses.

    Attributes:
        num_classes: people or poses.
        features, width, halvings, dtype: as of `Trunk`.
        head: as of `Discriminator`.
    """

    num_classes: int
    features: int = 320
    width: float = 1.0
    halvings: int = HALVINGS
    head: str = "softmax"
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: chex.Array, *, train: bool) -> tuple[chex.Array, chex.Array]:
        """[B, S, S, C] -> feature [B, features], logits or cosines [B, num_classes]."""
        trunk = Trunk(self.features, self.width, self.halvings, dtype=self.dtype, name="trunk")
        feature, _ = trunk(images, train=train)
        return feature, IdentityHead(self.num_classes, self.head, name="identity")(feature)


class IdentityHead(nn.Module):
    """Logits of people from a feature, or their cosines with one vector a person.

    Attributes:
        num_classes: people.
        head: "softmax" or "additive_margin" (Wang et al., 2018), which has no bias.
    """

    num_classes: int
    head: str

    @nn.compact
    def __call__(self, feature: chex.Array) -> chex.Array:
        """[B, F] -> [B, num_classes].

        Raises:
            ValueError: there is no such head.
        """
        if self.head not in ("softmax", "additive_margin"):
            raise ValueError(f'head must be "softmax" or "additive_margin", not {self.head!r}')
        if self.head == "softmax":
            return nn.Dense(self.num_classes, kernel_init=normal_002, name="dense")(feature)
        shape = (feature.shape[-1], self.num_classes)
        vectors = self.param("kernel", normal_002, shape)
        return _unit(feature, -1) @ _unit(vectors, 0)


class SameConv(nn.Module):
    """3 x 3 convolution without bias, padded as TensorFlow's "SAME".

    Attributes:
        features: channels out.
        stride: 1 or 2.
        dtype: of the computation.
    """

    features: int
    stride: int = 1
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: chex.Array) -> chex.Array:
        """[B, H, W, C] -> [B, H / stride, W / stride, features]; H and W even for stride 2."""
        kernel = self.param("kernel", normal_002, (3, 3, x.shape[-1], self.features))
        kernel = kernel.astype(self.dtype)
        if self.stride == 1:
            return convolve(x, kernel, 1, 1)
        return convolve(jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0))), kernel, 2, 0)


class SameDoubling(nn.Module):
    """Transposed 3 x 3 convolution with stride 2, equal to `nn.ConvTranspose(padding="SAME")`.

    Attributes:
        features: channels out.
        dtype: of the computation.
    """

    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: chex.Array) -> chex.Array:
        """[B, H, W, C] -> [B, 2 H, 2 W, features]."""
        kernel = self.param("kernel", normal_002, (3, 3, x.shape[-1], self.features))
        # `conv_doubling` centres its kernel one pixel further on, so a row of zeros goes before.
        x = jnp.pad(x, ((0, 0), (1, 0), (1, 0), (0, 0)))
        return conv_doubling(x, kernel.astype(self.dtype))[:, 1:-1, 1:-1]


def scaled(channels: int, width: float) -> int:
    """Channels of a layer at a width, at least 1."""
    return max(1, round(channels * width))


def _batch_norm(x, train, dtype):
    norm = BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5, dtype=dtype)
    return norm(x)


def _unit(x, axis):
    # A sum below the root: the gradient of a norm is not finite at 0.
    return x * lax.rsqrt(jnp.square(x).sum(axis, keepdims=True) + 1e-12)


def _check_size(images, halvings):
    chex.assert_rank(images, 4)
    h, w = images.shape[1:3]
    if h != w or h % 2**halvings:
        raise ValueError(
            f"faces of {h} x {w}: {halvings} halvings need squares with a side divisible by "
            f"{2**halvings}"
        )
