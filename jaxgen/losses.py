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
    """The two sides of a game.

    The discriminator minimises (mean over real + mean over generated items) / 2.
    """

    discriminator: Callable  # (logits of real [R, ...], of generated [G, ...]) -> ([R], [G])
    generator: Callable  # logits of its own items [G, ...] -> [G]


def _per_item(logits: chex.Array) -> chex.Array:
    return logits.reshape(len(logits), -1).mean(1)


def _game(on_real: Callable, on_generated: Callable, generator: Callable) -> AdversarialLoss:
    def discriminator(real, generated):
        return (
            _per_item(on_real(jnp.asarray(real, jnp.float32))),
            _per_item(on_generated(jnp.asarray(generated, jnp.float32))),
        )

    return AdversarialLoss(
        discriminator, lambda logits: _per_item(generator(jnp.asarray(logits, jnp.float32)))
    )


# log(1 + e^-logit) is the cross-entropy of "real", whose slope does not vanish for a
# generator that loses (Goodfellow et al., 2014, section 3).
NON_SATURATING = _game(
    on_real=lambda logits: jax.nn.softplus(-logits),
    on_generated=jax.nn.softplus,
    generator=lambda logits: jax.nn.softplus(-logits),
)

# Labels 1 and 0 (Mao et al., Least Squares GAN, 2017).
LEAST_SQUARES = _game(
    on_real=lambda logits: jnp.square(logits - 1),
    on_generated=jnp.square,
    generator=lambda logits: jnp.square(logits - 1),
)

# Lim and Ye, Geometric GAN, 2017.
HINGE = _game(
    on_real=lambda logits: jax.nn.relu(1 - logits),
    on_generated=lambda logits: jax.nn.relu(1 + logits),
    generator=lambda logits: -logits,
)

# The names that configs use.
ADVERSARIAL = {
    "non_saturating": NON_SATURATING,
    "least_squares": LEAST_SQUARES,
    "hinge": HINGE,
}


def cross_entropy(logits: chex.Array, labels: chex.Array, *, ignore: int = 255) -> chex.Array:
    """Softmax cross-entropy of each item: an image, or the mean over its labelled pixels.

    Args:
        logits: [B, ..., K] float.
        labels: [B, ...] integer classes; `ignore` where there is no label. What is neither gives
            NaN, such as the -1 of images without a label unless `ignore` is -1.
        ignore: the label that does not count. An item without any label has loss 0.

    Returns:
        [B] float32.
    """
    chex.assert_shape(labels, logits.shape[:-1])
    labelled = labels != ignore
    log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32))
    classes = jnp.where(labelled, labels, 0).astype(jnp.int32)
    # A negative place would be counted from the last class.
    classes = jnp.where(classes < 0, logits.shape[-1], classes)
    each = -jnp.take_along_axis(log_probabilities, classes[..., None], -1)[..., 0]
    each, labelled = (x.reshape(len(logits), -1) for x in (each * labelled, labelled))
    return each.sum(1) / jnp.maximum(labelled.sum(1), 1)


def additive_margin(
    cosines: chex.Array, labels: chex.Array, *, scale: float, margin: float
) -> chex.Array:
    """Softmax cross-entropy of scaled cosines whose true class must win by a margin.

    Source: Wang et al., Additive Margin Softmax for Face Verification, 2018, equation 5.

    Args:
        cosines: [B, K] in [-1, 1].
        labels: [B] integer classes.
        scale: factor of the cosines.
        margin: taken from the cosine of the true class.

    Returns:
        [B] float32.
    """
    chex.assert_shape(labels, cosines.shape[:-1])
    harder = cosines - margin * jax.nn.one_hot(labels, cosines.shape[-1])
    # Every number is a class here: the labels of pixels leave 255 out, people have a 255th.
    return cross_entropy(scale * harder, labels, ignore=-1)


def pixel_l1(pred: chex.Array, target: chex.Array) -> chex.Array:
    """Mean absolute difference of each image. [B, H, W, C] twice -> [B] float32."""
    chex.assert_equal_shape([pred, target])
    return jnp.abs(pred.astype(jnp.float32) - target).mean((1, 2, 3))


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
