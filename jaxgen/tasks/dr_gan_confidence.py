"""Which pictures to trust: DR-GAN's confidence, trained on by itself.

In the papers the confidence learns from fused drawings alone, and in a short training it hardly
moves. Here everything else stands still. Some pictures of a set are made blurred or noisy, and what
is fused from them, weighted by confidence, should be what the clean pictures would have given, all
weighted alike. All that can help is to trust the better pictures more. No label is needed, so it
cannot matter which of the people an encoder has learned by heart. Only ratios of confidences count
there; a second term holds their mean at 0.5. Not in the papers.

What moves is the last channel of the encoder's last convolution, and the scale and bias of its
normalisation. All statistics are the running ones, so that training sees what use will see.
"""

from typing import Any

import flax
import jax
import jax.numpy as jnp

from jaxgen.kernels.blur import degrade_some
from jaxgen.kernels.heatmap import masked_mean
from jaxgen.kernels.pixels import scale
from jaxgen.tasks import dr_gan
from jaxgen.training.accumulation import value_and_grad
from jaxgen.training.optimiser import make_optimiser
from jaxgen.training.state import Player, ema_decay_at, new_player, update


@flax.struct.dataclass
class State:
    """Training of the confidence alone."""

    step: jax.Array  # [] int32
    key: jax.Array
    network: Player  # the channel {"kernel" [3, 3, C], "scale" [], "bias" []}; no statistics
    generator: Any  # {"params", "batch_stats"}, read only


def init_state(config, key: jax.Array, generator: Any) -> State:
    """The confidence as the game has left it.

    Args:
        config: of the run.
        key: typed PRNG key.
        generator: variables of a trained generator.
    """
    variables = {"params": channel_of(generator["params"]), "batch_stats": {}}
    player = new_player(variables, _optimiser(config), ema=True)
    return State(jnp.zeros((), jnp.int32), key, player, generator)


def train_step(config, state: State, batch: Any) -> tuple[State, dict[str, jax.Array]]:
    """One step of the confidence.

    Args:
        config: confidence.degraded is the share of pictures made worse.
        state: donated by the compiled step.
        batch: as of `dr_gan.train_step`; n >= 2, so that there is a choice.

    Returns:
        The next state and scalar metrics. "distance" is the mean squared distance between what
        worse and what clean pictures give, as a share of the variance of the clean features;
        "distance_equal" the same where the worse ones are weighted alike.
    """
    section = config.confidence

    def loss_of(channel, faces, key):
        people, count = faces["mask"].shape
        clean = scale(faces["image"]).reshape(-1, *faces["image"].shape[2:])
        worse = degrade_some(key, clean, share=section.degraded)
        found = with_channel(state.generator, channel)
        feature, confidence = dr_gan.encoder_net(config).apply(
            {kind: found[kind]["encoder"] for kind in ("params", "batch_stats")},
            jnp.concatenate([clean, worse]),
            train=False,
        )
        clean, worse = jax.lax.stop_gradient(feature).reshape(2, people, count, -1)
        confidence = confidence.reshape(2, people, count)
        mask, alike = faces["mask"], jnp.ones((people, count))
        wanted, there = dr_gan.fuse(clean, alike, mask), mask.any(-1)
        middle = jnp.where(mask[..., None], clean, 0).sum((0, 1)) / jnp.maximum(mask.sum(), 1)
        variance = masked_mean(jnp.square(clean - middle).sum(-1), mask)

        def distance(weights):
            error = jnp.square(dr_gan.fuse(worse, weights, mask) - wanted).sum(-1)
            return masked_mean(error, there) / jnp.maximum(variance, 1e-12)

        means = {"distance": distance(confidence[1]), "distance_equal": distance(alike)}
        level = masked_mean(confidence.mean(0), mask) - 0.5
        return means["distance"] + jnp.square(level), (means, ())

    (loss, (means, _)), grads = value_and_grad(loss_of, section.train.micro_batches)(
        state.network.params, batch["faces"], jax.random.fold_in(state.key, state.step)
    )
    network, norms = update(
        state.network,
        grads,
        {},
        optimiser=_optimiser(config),
        ema_decay=ema_decay_at(state.step, section.train.ema_decay),
    )
    state = state.replace(step=state.step + 1, network=network)
    return state, {"loss": loss, **means, **norms}


def channel_of(params: Any) -> dict[str, jax.Array]:
    """The part of a generator's params that makes the confidence.

    Returns:
        "kernel" [3, 3, C] of the C channels before the last layer, "scale" [] and "bias" [].
    """
    trunk = params["encoder"]["trunk"]
    conv, norm = (trunk[name] for name in _last_names(trunk))
    return {
        "kernel": conv["kernel"][..., -1],
        "scale": norm["scale"][-1],
        "bias": norm["bias"][-1],
    }


def with_channel(generator: Any, channel: Any) -> Any:
    """A generator's variables with another confidence; the features stay what they are.

    Args:
        generator: {"params", "batch_stats"}.
        channel: of `channel_of`.
    """
    encoder = generator["params"]["encoder"]
    conv_name, norm_name = _last_names(encoder["trunk"])
    conv, norm = encoder["trunk"][conv_name], encoder["trunk"][norm_name]
    trunk = {
        **encoder["trunk"],
        conv_name: {**conv, "kernel": conv["kernel"].at[..., -1].set(channel["kernel"])},
        norm_name: {
            **norm,
            **{name: norm[name].at[-1].set(channel[name]) for name in ("scale", "bias")},
        },
    }
    params = {**generator["params"], "encoder": {**encoder, "trunk": trunk}}
    return {**generator, "params": params}


def _last_names(trunk):
    count = sum(name.startswith("SameConv_") for name in trunk)
    return f"SameConv_{count - 1}", f"BatchNorm_{count - 1}"


def _optimiser(config):
    return make_optimiser(config.confidence.optimiser, config.confidence.train.steps)
