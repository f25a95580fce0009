"""Losses that several systems share. They return one value per item; the train step reduces.

Adversarial losses take the logits of a discriminator, [B, ...] (one per image or one per
patch), and return [B] float32: the mean over the patches of each image. Real and generated
batches may differ in size.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp


class AdversarialLoss(NamedTuple):
    """The three terms of a two-player game, each [B, ...] logits -> [B].

    A discriminator minimises (mean of `on_real` + mean of `on_generated`) / 2, a generator the
    mean of `generator`.
    """

    on_real: Callable  # discriminator, logits of real items
    on_generated: Callable  # discriminator, logits of generated items
    generator: Callable  # generator, logits of its own items


def _per_item(loss: Callable) -> Callable:
    def on_logits(logits: chex.Array) -> chex.Array:
        values = loss(jnp.asarray(logits, jnp.float32))
        return values.reshape(len(values), -1).mean(1)

    return on_logits


# log(1 + e^-logit) is the cross-entropy of "real", whose slope does not vanish for a
# generator that loses (Goodfellow et al., 2014, section 3).
NON_SATURATING = AdversarialLoss(
    on_real=_per_item(lambda x: jax.nn.softplus(-x)),
    on_generated=_per_item(jax.nn.softplus),
    generator=_per_item(lambda x: jax.nn.softplus(-x)),
)

# Mao et al., Least Squares GAN, 2017, with labels 1 and 0.
LEAST_SQUARES = AdversarialLoss(
    on_real=_per_item(lambda x: jnp.square(x - 1)),
    on_generated=_per_item(jnp.square),
    generator=_per_item(lambda x: jnp.square(x - 1)),
)

# Lim and Ye, Geometric GAN, 2017.
HINGE = AdversarialLoss(
    on_real=_per_item(lambda x: jax.nn.relu(1 - x)),
    on_generated=_per_item(lambda x: jax.nn.relu(1 + x)),
    generator=_per_item(lambda x: -x),
)

# The names that configs use.
ADVERSARIAL = {
    "non_saturating": NON_SATURATING,
    "least_squares": LEAST_SQUARES,
    "hinge": HINGE,
}


def point_l1(pred: chex.Array, target: chex.Array, mask: chex.Array) -> chex.Array:
    """|dx| + |dy| of each point, 0 where there is no label.

    Args:
        pred: [..., 2] float, pixels.
        target: [..., 2] float, pixels; anything, NaN too, where `mask` is False.
        mask: [...] bool, True where there is a label.

    Returns:
        [...] float32, pixels.
    """
    return jnp.abs(_offset(pred, target, mask)).sum(-1)


def point_l2(pred: chex.Array, target: chex.Array, mask: chex.Array) -> chex.Array:
    """dx^2 + dy^2 of each point, 0 where there is no label.

    Args:
        pred: [..., 2] float, pixels.
        target: [..., 2] float, pixels; anything, NaN too, where `mask` is False.
        mask: [...] bool, True where there is a label.

    Returns:
        [...] float32, squared pixels.
    """
    return jnp.square(_offset(pred, target, mask)).sum(-1)


def _offset(pred, target, mask):
    chex.assert_equal_shape([pred, target])
    chex.assert_shape(mask, pred.shape[:-1])
    # Select before subtracting: 0 * NaN is NaN, in the gradient too.
    target = jnp.where(mask[..., None], target, 0)
    return jnp.where(mask[..., None], pred.astype(jnp.float32) - target, 0)
