"""Discriminators that tell the source domain from the target by what a task network says.

Logits [..., 2]: class 1 is the source, class 0 the target.

Source: Hoffman et al., CyCADA, ICML 2018; Tzeng et al., ADDA, CVPR 2017.
"""

import chex
import flax.linen as nn
import jax.numpy as jnp

from jaxgen.models.convolution import xavier_normal
from jaxgen.models.layers import Conv1x1, drop_channels


class FeatureDiscriminator(nn.Module):
    """Three layers over the logits or features of a classifier: 257,002 parameters for 10 logits.

    Attributes:
        hidden: units of both hidden layers.
        dtype: of the computation; parameters and logits stay float32.
    """

    hidden: int = 500
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, features: chex.Array, *, train: bool) -> chex.Array:
        """[B, D] -> [B, 2] logits, the same whatever `train` is."""
        del train
        chex.assert_rank(features, 2)
        options = dict(kernel_init=xavier_normal, dtype=self.dtype)
        x = nn.relu(nn.Dense(self.hidden, **options)(features))
        x = nn.relu(nn.Dense(self.hidden, **options)(x))
        return nn.Dense(2, **options)(x).astype(jnp.float32)


class ScoreDiscriminator(nn.Module):
    """The same for every pixel of a segmentation network's score maps or features.

    Attributes:
        hidden: channels of the first layer, twice those of the second; the released code has
            512 over scores and 1,024 over features.
        dropout: share of channels dropped after both layers; rng "dropout" while training.
        dtype: of the computation; parameters and logits stay float32.
    """

    hidden: int = 512
    dropout: float = 0.5
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, scores: chex.Array, *, train: bool) -> chex.Array:
        """[B, H, W, D] -> [B, H, W, 2] logits."""
        chex.assert_rank(scores, 4)
        x = scores
        for features in (self.hidden, self.hidden // 2):
            x = Conv1x1(features, self.dtype)(x)
            if train and self.dropout:
                x = drop_channels(self.make_rng("dropout"), x, rate=self.dropout)
            x = nn.relu(x)
        return Conv1x1(2, self.dtype)(x).astype(jnp.float32)


def choose_features(adapt: str, *, scores: chex.Array, last: chex.Array) -> chex.Array:
    """What a segmentation network shows a discriminator: "scores", or the "last" maps under them.

    Raises:
        ValueError: for another name.
    """
    maps = {"scores": scores, "last": last}
    if adapt not in maps:
        raise ValueError(f'adapt must be "scores" or "last", not {adapt!r}')
    return maps[adapt]
