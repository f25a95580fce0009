"""What DR-GAN's generator and discriminator want, in both forms of the papers.

CVPR 2017: a synthetic image is one more person, number N. TPAMI 2018: real or fake is a task of its
own. R is the number of images, N of people; poses are classes or yaws (config.pose.form).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgen import losses
from jaxgen.kernels.heatmap import masked_mean
from jaxgen.models.dr_gan import Verdict

MARGIN_SCALE, MARGIN = 30.0, 0.35  # of additive-margin softmax, as in the authors' later code
UNKNOWN_POSE = -1
ACCURACIES = ("identity", "pose", "real", "fake")


class Poses(NamedTuple):
    """Poses in the two ways in which they are used."""

    code: jax.Array  # [R, num_poses] one-hot, or [R, 1] yaw / 90 degrees: for the decoder
    label: jax.Array  # [R] int32 class, or [R] float32 yaw in radians: for the discriminator


def by_class(config) -> bool:
    """Whether poses are classes (the papers) or the yaw itself (the authors' later code)."""
    return config.pose.form == "classes"


def class_loss(logits: jax.Array, labels: jax.Array, *, head: str) -> jax.Array:
    """Cross-entropy of a class, by an identity head or another.

    Args:
        logits: [R, K], or cosines of an additive-margin head.
        labels: [R] int32 classes; of a softmax head -1 is unknown and has loss 0.
        head: "softmax" or "additive_margin".

    Returns:
        [R] float32.
    """
    if head == "additive_margin":
        return losses.additive_margin(logits, labels, scale=MARGIN_SCALE, margin=MARGIN)
    return losses.cross_entropy(logits, labels, ignore=UNKNOWN_POSE)


def identity_loss(config, verdict: Verdict, labels: jax.Array) -> jax.Array:
    """Cross-entropy of the person. Labels [R]; in the CVPR form N is the label "fake". -> [R]."""
    if config.gan.form == "fake_class":
        return class_loss(_with_fake(verdict), labels, head="softmax")
    return class_loss(verdict.identity, labels, head=config.gan.head)


def pose_loss(config, predicted: jax.Array, label: jax.Array) -> jax.Array:
    """Cross-entropy of the class, 0 where unknown; or squared error in radians. -> [R]."""
    if by_class(config):
        return losses.cross_entropy(predicted, label, ignore=UNKNOWN_POSE)
    known = is_known(config, label)
    return jnp.where(known, jnp.square(predicted[:, 0] - jnp.where(known, label, 0)), 0)


def is_known(config, label: jax.Array) -> jax.Array:
    """Whether labels of `Poses` say a pose. [R] -> [R] bool."""
    return (label != UNKNOWN_POSE) if by_class(config) else jnp.isfinite(label)


def reality(config, verdict: Verdict) -> jax.Array:
    """Logit of being real, in both forms. -> [R]."""
    if config.gan.form == "separate":
        return verdict.real
    return jax.nn.logsumexp(verdict.identity, -1) - verdict.real


def generator_terms(config, verdict: Verdict, identity, poses: Poses, weight) -> dict:
    """What the generator wants of the discriminator: the right person, pose, and "real".

    Args:
        config: gan.form is "separate" (TPAMI) or "fake_class" (CVPR), where the loss of the
            identity already says "not fake".
        verdict: of R synthetic images.
        identity: [R] the person that each should show.
        poses: [R] the pose that each should have.
        weight: [R] bool, False where an image does not count.

    Returns:
        Means [] by name.
    """
    terms = {
        "identity": identity_loss(config, verdict, identity),
        "pose": pose_loss(config, verdict.pose, poses.label),
    }
    if config.gan.form == "separate":
        terms["adversarial"] = losses.ADVERSARIAL[config.gan.loss].generator(verdict.real)
    return {name: masked_mean(value, weight) for name, value in terms.items()}


def discriminator_terms(config, on_real, on_fake, identity, pose, weight_real, weight_fake) -> dict:
    """What the discriminator wants: person and pose of real images, and to tell fakes.

    Args:
        config: gan.form as above.
        on_real: Verdict of real images [R].
        on_fake: Verdict of synthetic images [R'].
        identity: [R] true people.
        pose: [R] true poses, as `pose_loss` wants them; its mean is over the known ones.
        weight_real: [R] bool.
        weight_fake: [R'] bool.

    Returns:
        Means [] by name.
    """
    terms = {
        "identity": masked_mean(identity_loss(config, on_real, identity), weight_real),
        "pose": masked_mean(
            pose_loss(config, on_real.pose, pose), weight_real & is_known(config, pose)
        ),
    }
    if config.gan.form == "fake_class":
        fake = jnp.full(len(on_fake.real), on_fake.identity.shape[-1])
        terms["adversarial"] = masked_mean(identity_loss(config, on_fake, fake), weight_fake)
        return terms
    game = losses.ADVERSARIAL[config.gan.loss]
    real, fake = game.discriminator(on_real.real, on_fake.real)
    terms["adversarial"] = masked_mean(real, weight_real) + masked_mean(fake, weight_fake)
    return terms


def accuracies(config, on_real, on_fake, identity, pose, weight_real, weight_fake) -> dict:
    """Shares in [0, 1] that the discriminator gets right; arguments as of discriminator_terms."""
    logits = _with_fake(on_real) if config.gan.form == "fake_class" else on_real.identity
    known = weight_real & is_known(config, pose)
    if by_class(config):
        right_pose = on_real.pose.argmax(-1) == pose
    else:
        right_pose = jnp.abs(on_real.pose[:, 0] - pose) < jnp.deg2rad(7.5)
    # The class "fake" has no loss of its own to choose: `reality` is a difference of logits.
    has_targets = config.gan.loss == "least_squares" and config.gan.form != "fake_class"
    middle = 0.5 if has_targets else 0.0
    return {
        "identity": masked_mean(1.0 * (logits.argmax(-1) == identity), weight_real),
        "pose": masked_mean(1.0 * right_pose, known),
        "real": masked_mean(1.0 * (reality(config, on_real) > middle), weight_real),
        "fake": masked_mean(1.0 * (reality(config, on_fake) < middle), weight_fake),
    }


def _with_fake(verdict):
    return jnp.concatenate([verdict.identity, verdict.real[:, None]], -1)
