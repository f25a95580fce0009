"""Warm starts of the tiny-face GAN: the generator on pixels, the discriminator as a classifier.

The paper trains the generator with the pixel loss first, to keep the game out of bad optima, and
starts the discriminator from ImageNet weights. Without those, a discriminator that has already
learned what a face is serves the same end. It is the rival too: "bicubic + classifier" is this
discriminator on bicubically enlarged crops. For batches see tiny_faces.py.
"""

from typing import Any

import jax

from jaxgen.kernels.heatmap import masked_mean
from jaxgen.models.super_resolution import enlarge
from jaxgen.tasks.tiny_faces import arrange, discriminator_loss, pixel_loss
from jaxgen.tasks.tiny_faces_players import (
    State,
    generate,
    new_discriminator,
    new_generator,
    new_state,
)
from jaxgen.training.accumulation import value_and_grad
from jaxgen.training.optimiser import make_optimiser
from jaxgen.training.state import ema_decay_at, update


def init_generator(config, key: jax.Array) -> State:
    """A state at step 0 with the generator alone, for its warm start."""
    optimiser = _optimiser(config.generator)
    return new_state(key, generator=new_generator(config, key, optimiser))


def init_discriminator(config, key: jax.Array, trunk: Any = None) -> State:
    """A state at step 0 with the discriminator alone, for its warm start.

    Args:
        config: of the run.
        key: typed PRNG key.
        trunk: params of a trained trunk; None for new ones.
    """
    optimiser = _optimiser(config.discriminator)
    player = new_discriminator(config, key, optimiser, trunk)
    return new_state(key, discriminator=player)


def generator_step(config, state: State, batch: Any) -> tuple[State, dict[str, jax.Array]]:
    """One step of the generator on pixels alone, where the true ones are known."""
    key = jax.random.fold_in(state.key, state.step)

    def generator_loss(params, batch, key):
        crops = arrange(config, key, batch)
        images, batch_stats = generate(config, state.generator, params, crops.low)
        return masked_mean(pixel_loss(images, crops.high), crops.paired), (batch_stats, ())

    train = config.generator.train
    (loss, (batch_stats, _)), grads = value_and_grad(generator_loss, train.micro_batches)(
        state.generator.params, batch, key
    )
    generator, norms = update(
        state.generator,
        grads,
        batch_stats,
        optimiser=_optimiser(config.generator),
        ema_decay=ema_decay_at(state.step, train.ema_decay),
    )
    return state.replace(step=state.step + 1, generator=generator), {"loss": loss, **norms}


def discriminator_step(config, state: State, batch: Any) -> tuple[State, dict[str, jax.Array]]:
    """One step of the discriminator as a classifier of real and bicubically enlarged crops.

    What it learns is the baseline "bicubic + classifier" too.
    """
    key = jax.random.fold_in(state.key, state.step)

    def loss_of(params, batch, key):
        key_arrange, *keys = jax.random.split(key, 3)
        crops = arrange(config, key_arrange, batch)
        value, found = discriminator_loss(
            config, state.discriminator, params, crops, enlarge(crops.low), keys, game=False
        )
        return value, (found, ())

    train = config.discriminator.train
    (loss, ((terms, batch_stats), _)), grads = value_and_grad(loss_of, train.micro_batches)(
        state.discriminator.params, batch, key
    )
    discriminator, norms = update(
        state.discriminator,
        grads,
        batch_stats,
        optimiser=_optimiser(config.discriminator),
        ema_decay=ema_decay_at(state.step, train.ema_decay),
    )
    metrics = {"loss": loss, **terms, **norms}
    del metrics["game_accuracy"]  # nobody has learned that yet
    return state.replace(step=state.step + 1, discriminator=discriminator), metrics


def _optimiser(section):
    return make_optimiser(section.optimiser, section.train.steps)
