"""Classifiers of digits, and of other small images.

Images are [B, H, W, C] float32 in [-1, 1]. Every network has `features_and_logits(images, train=)`
-> ([B, D], [B, num_classes]) for adaptation at the level of features, and returns the logits alone
when it is called. Collections: "params", and "batch_stats" where the docstring says so; training
needs the rng "dropout".

Source: Hoffman et al., CyCADA, ICML 2018, and the code released with it.
"""

import chex
import flax.linen as nn
import jax.numpy as jnp

from jaxgen.models.batch_norm import BatchNorm
from jaxgen.models.convolution import Conv, normal_002, xavier_normal
from jaxgen.models.layers import drop_channels, leaky_relu, max_pool


class LeNet(nn.Module):
    """The network of MNIST <-> USPS: 431,080 parameters for 28 x 28 grey pixels.

    Attributes:
        num_classes: of the logits.
        dropout: share dropped after the second convolution (channels) and before the last
            layer (units).
        dtype: of the computation; parameters, features and logits stay float32.
    """

    num_classes: int = 10
    dropout: float = 0.5
    dtype: jnp.dtype = jnp.float32

    def __call__(self, images: chex.Array, *, train: bool) -> chex.Array:
        """Images [B, H, W, C], 16 pixels and more -> logits [B, num_classes]."""
        return self.features_and_logits(images, train=train)[1]

    @nn.compact
    def features_and_logits(self, images: chex.Array, *, train: bool):
        """Images [B, H, W, C] -> features [B, 500], logits [B, num_classes]."""
        _check_smallest(images, 16)
        x = nn.relu(_pool(Conv(20, 5, dtype=self.dtype)(images)))
        x = Conv(50, 5, dtype=self.dtype)(x)
        if train and self.dropout:
            x = drop_channels(self.make_rng("dropout"), x, rate=self.dropout)
        x = nn.relu(_pool(x))
        features = _dense(500, self.dtype)(x.reshape(x.shape[0], -1))
        x = nn.Dropout(self.dropout, deterministic=not train)(nn.relu(features))
        return _floats(features, _dense(self.num_classes, self.dtype)(x))


class Dtn(nn.Module):
    """The network of SVHN -> MNIST: 3,133,962 parameters for 32 x 32 pixels in colour.

    Batch normalisation: collection "batch_stats".

    Attributes:
        num_classes: of the logits.
        dropout: shares dropped after the three convolutions (channels) and before the last
            layer (units).
        dtype: of the computation; parameters, features and logits stay float32.
    """

    num_classes: int = 10
    dropout: tuple[float, float, float, float] = (0.1, 0.3, 0.5, 0.5)
    dtype: jnp.dtype = jnp.float32

    def __call__(self, images: chex.Array, *, train: bool) -> chex.Array:
        """Images [B, H, W, C] of any size -> logits [B, num_classes]."""
        return self.features_and_logits(images, train=train)[1]

    @nn.compact
    def features_and_logits(self, images: chex.Array, *, train: bool):
        """Images [B, H, W, C] -> features [B, 512], logits [B, num_classes]."""
        _check_smallest(images, 1)
        x = images
        for features, dropout in zip((64, 128, 256), self.dropout, strict=False):
            x = Conv(features, 5, stride=2, padding=2, dtype=self.dtype)(x)
            x = _batch_norm(train, self.dtype)(x)
            if train and dropout:
                x = drop_channels(self.make_rng("dropout"), x, rate=dropout)
            x = nn.relu(x)
        features = _dense(512, self.dtype)(x.reshape(x.shape[0], -1))
        features = _batch_norm(train, self.dtype)(features)
        x = nn.Dropout(self.dropout[-1], deterministic=not train)(nn.relu(features))
        return _floats(features, _dense(self.num_classes, self.dtype)(x))


class SemanticClassifier(nn.Module):
    """The classifier that the released code trains next to the generators: 682,058 parameters.

    It keeps translated images in their class (netCLS of the code; the paper uses a frozen
    source network instead). Batch normalisation: collection "batch_stats".

    Attributes:
        num_classes: of the logits.
        dtype: of the computation; parameters, features and logits stay float32.
    """

    num_classes: int = 10
    dtype: jnp.dtype = jnp.float32

    def __call__(self, images: chex.Array, *, train: bool) -> chex.Array:
        """Images [B, H, W, C], 31 pixels and more -> logits [B, num_classes]."""
        return self.features_and_logits(images, train=train)[1]

    @nn.compact
    def features_and_logits(self, images: chex.Array, *, train: bool):
        """Images [B, H, W, C] -> features [B, 1024], logits [B, num_classes]."""
        _check_smallest(images, 31)
        options = dict(kernel_init=normal_002, dtype=self.dtype)
        x = leaky_relu(Conv(64, 3, stride=2, **options)(images))
        for features in (64, 128, 256):
            x = Conv(features, 3, stride=2, **options)(x)
            x = leaky_relu(_batch_norm(train, self.dtype)(x))
        # No rectifier between the last two layers, as in the code.
        features = nn.Dense(1024, **options)(x.reshape(x.shape[0], -1))
        return _floats(features, nn.Dense(self.num_classes, **options)(features))


def _check_smallest(images, pixels):
    chex.assert_rank(images, 4)
    if min(images.shape[1:3]) < pixels:
        raise ValueError(
            f"images of {images.shape[1]} x {images.shape[2]} vanish inside this network: "
            f"use at least {pixels} x {pixels} pixels"
        )


def _pool(x):
    """2 x 2 maxima; an odd last row or column is left out, as in PyTorch."""
    h, w = x.shape[1:3]
    return max_pool(x[:, : h - h % 2, : w - w % 2])


def _dense(features, dtype):
    return nn.Dense(features, kernel_init=xavier_normal, dtype=dtype)


def _batch_norm(train, dtype):
    return BatchNorm(use_running_average=not train, momentum=0.9, dtype=dtype)


def _floats(*arrays):
    return tuple(x.astype(jnp.float32) for x in arrays)
