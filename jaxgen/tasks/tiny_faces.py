"""Tiny faces with a GAN: Bai et al., Finding Tiny Faces in the Wild, CVPR 2018.

A detector proposes boxes. Each is cut out at low resolution, and a generator enlarges it four
times: first an up-sampling network, then a refinement network. A discriminator with two heads
says whether an image is real or super-resolved, and whether it shows a face. The generator
learns from both heads: its images should look real AND be easy to classify. The face head then
scores the proposals anew. This file holds the generator and the discriminator; the detector has a
file of its own.

Contract. A batch is {"face": crops, "background": crops}, each a dict of

    image uint8 [B, h, h, 3]   the crop at high resolution
    low uint8 [B, l, l, 3]     the same at low resolution, h = 4 l
    paired bool [B]            False: the picture has too few pixels here for a true `image`
    box, face_box float32 [B, 4]   the box that was cut out, and the face in it (any box on
                               backgrounds), in pixels of the picture

Networks see float32 images in [-1, 1]. Pixel losses are the MEAN squared difference over pixels
and channels in that range: the weights of the other terms mean nothing without it.
"""

from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxgen import losses
from jaxgen.kernels import boxes
from jaxgen.kernels.heatmap import masked_mean
from jaxgen.kernels.pixels import scale, unscale
from jaxgen.models.super_resolution import SuperResolved
from jaxgen.tasks.tiny_faces_players import (
    REAL,
    SUPER_RESOLVED,
    State,
    Variables,
    classify,
    generate,
    init_state,
    judge,
    optimisers,
    super_resolve,
)
from jaxgen.training.accumulation import value_and_grad
from jaxgen.training.state import Player, ema_decay_at, update

__all__ = ["State", "Variables", "eval_step", "init_state", "predict", "rescore", "train_step"]


class Rescored(NamedTuple):
    """What the networks make of low-resolution crops."""

    face_probability: jax.Array  # [N] float32 in [0, 1]
    real_probability: jax.Array  # [N] float32 in [0, 1]
    super_resolved: jax.Array  # [N, 4 l, 4 l, 3] uint8
    # [N, 4] from the square around the crop's box to the face's box, for `boxes.decode`.
    offsets: jax.Array | None


class Crops(NamedTuple):
    """A batch, faces and backgrounds in one, as the networks take it."""

    low: jax.Array  # [B, l, l, 3] float32
    high: jax.Array  # [B, h, h, 3] float32
    is_face: jax.Array  # [B] bool
    paired: jax.Array  # [B] bool
    offsets: jax.Array  # [B, 4] float32


# ---------------------------------------------------------------- from crops to judgements


def arrange(config, key: jax.Array, batch: Any) -> Crops:
    """Faces, then backgrounds, as float images; a random half of them is mirrored."""
    parts = batch["face"], batch["background"]
    low, high, paired, box, face_box = (
        jnp.concatenate([part[name] for part in parts])
        for name in ("low", "image", "paired", "box", "face_box")
    )
    is_face = jnp.arange(len(low)) < len(batch["face"]["low"])
    # A crop shows the square around its box and nothing of the box's own shape.
    offsets = boxes.encode(face_box, boxes.square(box))
    mirrored = jax.random.bernoulli(key, config.crops.flip, (len(low),))

    def mirror(images):
        return jnp.where(mirrored[:, None, None, None], images[:, :, ::-1], images)

    sign = jnp.where(mirrored[:, None], jnp.array([-1.0, 1, 1, 1]), 1.0)
    return Crops(scale(mirror(low)), scale(mirror(high)), is_face, paired, offsets * sign)


# --------------------------------------------------------------------------------- losses


def pixel_loss(images: SuperResolved, high: jax.Array) -> jax.Array:
    """Mean squared difference of both images to the true one, summed. -> [B] float32."""
    outputs = [image for image in images if image is not None]
    return sum(jnp.square(image - high).mean((1, 2, 3)) for image in outputs)


def adversarial_loss(config, logits: jax.Array) -> jax.Array:
    """The generator's side of the game on logits of its images. [B] -> [B].

    "saturating" is log(1 - D), as written in the paper; its slope vanishes where the generator
    loses, so "non_saturating", -log D, is the default.
    """
    if config.gan.loss == "saturating":
        return -jax.nn.softplus(logits)
    return losses.ADVERSARIAL[config.gan.loss].generator(logits)


def class_loss(logits: jax.Array, is_face: jax.Array) -> jax.Array:
    """Cross-entropy of face and background. [B], [B] -> [B]."""
    return optax.sigmoid_binary_cross_entropy(logits, is_face.astype(jnp.float32))


def box_loss(offsets: jax.Array, wanted: jax.Array) -> jax.Array:
    """Smooth L1 of the four offsets, summed. [B, 4] twice -> [B]."""
    return optax.huber_loss(offsets, wanted).sum(-1)


# ------------------------------------------------------------------------------ one step


def train_step(config, state: State, batch: Any) -> tuple[State, dict[str, jax.Array]]:
    """Updates the generator and the discriminator, which both see the same generated images.

    Args:
        config: gan.weights holds the weight of each of the generator's terms; 0 leaves a term
            out, and the adversarial game or the box head with it. The discriminator learns to
            classify in any case.
        state: donated by the compiled step.
        batch: see the module.

    Returns:
        The next state and scalar metrics; "loss" is the generator's.
    """
    weights = config.gan.weights
    key = jax.random.fold_in(state.key, state.step)
    critic = state.discriminator
    gradient_of = partial(value_and_grad, micro_batches=config.gan.train.micro_batches)
    for_generator, for_discriminator = optimisers(config)

    def generator_loss(params, batch, key):
        key_arrange, key_generator, *_ = jax.random.split(key, 4)
        crops = arrange(config, key_arrange, batch)
        learns = crops.is_face | (config.gan.generator_batch == "all")
        images, batch_stats = generate(config, state.generator, params, crops.low)
        # (1) Pixels, where the true ones are known.
        terms = {"pixel": masked_mean(pixel_loss(images, crops.high), crops.paired & learns)}
        if weights.adversarial or weights.classification or weights.box:
            said, _ = judge(
                config, critic, critic.params, images.final, SUPER_RESOLVED, key_generator
            )
        # (2) The discriminator should take the image for a real one.
        if weights.adversarial:
            terms["adversarial"] = masked_mean(adversarial_loss(config, said.real), learns)
        # (3) It should see what the image shows: this gradient is the point of the paper.
        if weights.classification:
            terms["classification"] = masked_mean(class_loss(said.face, crops.is_face), learns)
        # (4) Optional: it should see where exactly the face is.
        if weights.box:
            terms["box"] = masked_mean(box_loss(said.offsets, crops.offsets), crops.is_face)
        return sum(weights[name] * value for name, value in terms.items()), (
            (terms, batch_stats),
            # Faces and backgrounds, each in the order of the batch.
            jnp.split(images.final, [len(batch["face"]["low"])]),
        )

    (loss, ((terms, batch_stats), fake)), grads = gradient_of(generator_loss)(
        state.generator.params, batch, key
    )
    generator, norms = update(
        state.generator,
        grads,
        batch_stats,
        optimiser=for_generator,
        ema_decay=ema_decay_at(state.step, config.gan.train.ema_decay),
    )
    metrics = {"loss": loss, **terms, **norms}

    # The discriminator: (real, face) is (1, 1), (1, 0), (0, 1) or (0, 0).
    def critic_loss(params, batch_and_fake, key):
        key_arrange, _, *keys = jax.random.split(key, 4)
        batch, fake = batch_and_fake
        crops = arrange(config, key_arrange, batch)
        value, found = discriminator_loss(
            config, critic, params, crops, jnp.concatenate(fake), keys
        )
        return value, (found, ())

    (loss, ((terms, batch_stats), _)), grads = gradient_of(critic_loss)(
        critic.params, (batch, lax.stop_gradient(fake)), key
    )
    discriminator, norms = update(
        critic,
        grads,
        batch_stats,
        optimiser=for_discriminator,
        ema_decay=ema_decay_at(state.step, config.gan.train.ema_decay),
    )
    metrics |= {f"discriminator/{name}": value for name, value in (terms | norms).items()}
    metrics["discriminator/loss"] = loss
    return State(state.step + 1, state.key, generator, discriminator), metrics


def discriminator_loss(
    config, player: Player, params: Any, crops: Crops, fake: jax.Array, keys, *, game: bool = True
):
    """Cross-entropies of the heads over the four groups: real or not, face or not.

    Args:
        config: of the run; gan.discriminator_adversarial weighs "real or not", 1 the others.
        player: holds the statistics.
        params: to differentiate.
        crops: the real side is their `high`, where it is paired.
        fake: [B, h, h, 3] float32, the same crops super-resolved.
        keys: two PRNG keys, for dropout.
        game: False leaves the head of real and super-resolved out.

    Returns:
        The loss [], and (terms and accuracies by name, batch statistics of both kinds).
    """
    # Crops that are merely enlarged count for nothing below, and nor do they as real images in
    # batch normalisation.
    on_real, stats_real = judge(config, player, params, crops.high, REAL, keys[0], crops.paired)
    on_fake, stats_fake = judge(config, player, params, fake, SUPER_RESOLVED, keys[1])
    everything = jnp.ones_like(crops.paired)

    def both(real_values, fake_values, fake_mask=everything):
        real_mask = crops.paired & fake_mask
        return (masked_mean(real_values, real_mask) + masked_mean(fake_values, fake_mask)) / 2

    is_face = crops.is_face
    terms = {
        "classification": both(class_loss(on_real.face, is_face), class_loss(on_fake.face, is_face))
    }
    if game and config.gan.weights.adversarial:
        rivals = losses.ADVERSARIAL["non_saturating"].discriminator(on_real.real, on_fake.real)
        terms["adversarial"] = both(*rivals)
    if config.gan.weights.box:
        errors = [box_loss(said.offsets, crops.offsets) for said in (on_real, on_fake)]
        terms["box"] = both(*errors, fake_mask=is_face)
    accuracies = {
        "face_accuracy_real": masked_mean((on_real.face > 0) == is_face, crops.paired),
        "face_accuracy_super_resolved": masked_mean((on_fake.face > 0) == is_face, everything),
        "game_accuracy": both(on_real.real > 0, on_fake.real < 0),
    }
    batch_stats = {REAL: stats_real, SUPER_RESOLVED: stats_fake}
    weights = {"adversarial": config.gan.discriminator_adversarial}
    loss = sum(weights.get(name, 1.0) * value for name, value in terms.items())
    return loss, (terms | accuracies, batch_stats)


# ----------------------------------------------------------------------------- evaluation


def rescore(config, variables: Variables, low: jax.Array) -> Rescored:
    """Enlarges crops and scores them anew.

    Args:
        config: static.
        variables: of both networks.
        low: uint8 [N, l, l, 3] crops, see jaxgen.data.face_pairs.
    """
    images = super_resolve(config, variables, low).final
    said = classify(config, variables, images, SUPER_RESOLVED)
    face, real = jax.nn.sigmoid(said.face), jax.nn.sigmoid(said.real)
    return Rescored(face, real, unscale(images), said.offsets)


predict = rescore  # the name that every system has


def eval_step(config, variables: Variables, batch: Any) -> dict[str, jax.Array]:
    """Per-example arrays of crops.

    Args:
        config: static.
        variables: of both networks, or of one, with None for the other.
        batch: {"low" uint8 [B, l, l, 3], "image" uint8 [B, h, h, 3]}.

    Returns:
        {"psnr_coarse", "psnr_final" [B] dB against `image`, as uint8} and, with a discriminator,
        {"face_real", "face_super_resolved" [B] logits}.
    """
    images = super_resolve(config, variables, batch["low"])
    high = batch["image"]
    found = {
        "psnr_coarse": psnr(unscale(images.coarse), high),
        "psnr_final": psnr(unscale(images.final), high),
    }
    if variables.discriminator is None:
        return found
    return found | {
        "face_real": classify(config, variables, scale(high), REAL).face,
        "face_super_resolved": classify(config, variables, images.final, SUPER_RESOLVED).face,
    }


def psnr(images: jax.Array, truth: jax.Array) -> jax.Array:
    """Peak signal-to-noise ratio of each image. uint8 [B, H, W, C] twice -> [B] dB.

    At most 100 dB, where images are equal.
    """
    chex.assert_type([images, truth], jnp.uint8)
    chex.assert_equal_shape([images, truth])
    error = jnp.square(images.astype(jnp.float32) - truth.astype(jnp.float32)).mean((1, 2, 3))
    return jnp.minimum(10 * jnp.log10(255**2 / jnp.maximum(error, 1e-12)), 100)
