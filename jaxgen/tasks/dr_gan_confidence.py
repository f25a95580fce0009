"""Which pictures to trust: DR-GAN's confidence, trained on by itself.

In the papers the confidence learns from fused drawings alone, and in a short training it hardly
moves. Here everything else stands still. A set of a person's pictures, some of them blurred or
noisy, becomes one feature; that feature should be nearer to another, clean picture of the person
than to those of the other people in the batch. All that can help is to trust the better pictures
more. Only ratios of confidences matter to that, so a second term holds their mean at 0.5. Not in
the papers; the loss is that of contrastive learning (van den Oord et al., 2018), and what it
compares is what recognition compares.

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
        config: confidence.degraded is the share of pictures made worse, confidence.temperature
            what cosines are divided by.
        state: donated by the compiled step.
        batch: as of `dr_gan.train_step`; n >= 3, so that there is a choice.

    Returns:
        The next state and scalar metrics; "accuracy" is the share of sets that are nearest to their
        own person.
    """
    section = config.confidence

    def loss_of(channel, faces, key):
        people, count = faces["mask"].shape
        images = scale(faces["image"])
        worse = degrade_some(key, images.reshape(-1, *images.shape[2:]), share=section.degraded)
        # The first picture of a set is looked for, clean; the others are what it is known by.
        images = images.at[:, 1:].set(worse.reshape(images.shape)[:, 1:])
        found = with_channel(state.generator, channel)
        feature, confidence = dr_gan.encoder_net(config).apply(
            {kind: found[kind]["encoder"] for kind in ("params", "batch_stats")},
            images.reshape(-1, *images.shape[2:]),
            train=False,
        )
        feature = jax.lax.stop_gradient(feature).reshape(people, count, -1)
        confidence, mask = confidence.reshape(people, count), faces["mask"]
        fused = dr_gan.fuse(feature[:, 1:], confidence[:, 1:], mask[:, 1:])
        there = mask[:, 0] & mask[:, 1:].any(-1)
        each, right = contrast(
            fused, feature[:, 0], faces["identity"], there, temperature=section.temperature
        )
        level = masked_mean(confidence, mask) - 0.5
        loss = masked_mean(each, there) + jnp.square(level)
        return loss, (({}, masked_mean(1.0 * right, there)), ())

    (loss, ((statistics, accuracy), _)), grads = value_and_grad(
        loss_of, section.train.micro_batches
    )(state.network.params, batch["faces"], jax.random.fold_in(state.key, state.step))
    network, norms = update(
        state.network,
        grads,
        statistics,
        optimiser=_optimiser(config),
        ema_decay=ema_decay_at(state.step, section.train.ema_decay),
    )
    state = state.replace(step=state.step + 1, network=network)
    return state, {"loss": loss, "accuracy": accuracy, **norms}


def contrast(
    fused: jax.Array, clean: jax.Array, identity: jax.Array, there: jax.Array, *, temperature: float
) -> tuple[jax.Array, jax.Array]:
    """Cross-entropy of finding each person's picture among those of all people of a batch.

    Args:
        fused: [P, F] features of sets.
        clean: [P, F] features of one picture each.
        identity: [P] people; two sets of one person are no contrast to each other.
        there: [P] bool, False for people who lack either.
        temperature: what cosines are divided by.

    Returns:
        [P] losses, and [P] bool, whether a set is nearest to its own person.
    """
    cosines = jnp.einsum("pf,qf->pq", _unit(fused), _unit(clean), precision="highest")
    own = jnp.eye(len(identity), dtype=bool)
    others = (identity[:, None] != identity) & there
    logits = jnp.where(own | others, cosines / temperature, -jnp.inf)
    return -jnp.diag(jax.nn.log_softmax(logits)), logits.argmax(-1) == jnp.arange(len(identity))


def channel_of(params: Any) -> dict[str, jax.Array]:
    """The part of a generator's params that makes the confidence: "kernel", "scale", "bias"."""
    conv, norm = _last_layer(params["encoder"]["trunk"])
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


def _last_layer(trunk):
    return tuple(trunk[name] for name in _last_names(trunk))


def _last_names(trunk):
    count = sum(name.startswith("SameConv_") for name in trunk)
    return f"SameConv_{count - 1}", f"BatchNorm_{count - 1}"


def _unit(features):
    return features / jnp.maximum(jnp.linalg.norm(features, axis=-1, keepdims=True), 1e-12)


def _optimiser(config):
    return make_optimiser(config.confidence.optimiser, config.confidence.train.steps)
