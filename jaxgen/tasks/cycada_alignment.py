"""Stage (4) of CyCADA: features on target images are drawn to those on source images.

A discriminator tells the domains apart by what the task network says; the target network learns
to be taken for the source. It moves only while the discriminator is good enough to teach it
(the accuracy gate). This is ADDA (Tzeng et al., CVPR 2017), from translated images for CyCADA or
from raw source images for ADDA itself. For batches and images see cycada.py.
"""

from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxgen import losses
from jaxgen.kernels.pixels import scale
from jaxgen.models.adaptation import FeatureDiscriminator, ScoreDiscriminator
from jaxgen.tasks.cycada import blank, ignored, task_net
from jaxgen.training.accumulation import value_and_grad
from jaxgen.training.optimiser import make_optimiser
from jaxgen.training.state import Player, ema_decay_at, new_player, update

SOURCE, TARGET = 1, 0  # classes of the discriminator


@flax.struct.dataclass
class State:
    """All that a step reads and writes."""

    step: jax.Array  # [] int32
    key: jax.Array  # typed PRNG key; step i uses fold_in(key, i)
    reference: Any  # frozen variables of the network at the start; None if weights are shared
    network: Player  # becomes the target network
    discriminator: Player
    accuracies: jax.Array  # [window] float32 of the discriminator, last steps, oldest first


def discriminator_net(config) -> FeatureDiscriminator | ScoreDiscriminator:
    """The discriminator of features: per image, or per pixel for segmentation."""
    options = dict(hidden=config.alignment.hidden, dtype=jnp.dtype(config.model.dtype))
    if config.data.task == "segmentation":
        return ScoreDiscriminator(**options)
    return FeatureDiscriminator(**options)


def init_state(config, key: jax.Array, variables: Any) -> State:
    """A state at step 0.

    Args:
        config: see experiments/configs/cycada/default.py.
        key: typed PRNG key.
        variables: {"params", "batch_stats"} of the task network to start from.
    """
    settings = config.alignment
    key_discriminator, key_run = jax.random.split(key)
    features = jax.eval_shape(lambda v: _features(config, v, blank(config)), variables)
    discriminator = discriminator_net(config).init(
        key_discriminator, jnp.zeros(features.shape), train=False
    )
    return State(
        step=jnp.zeros((), jnp.int32),
        key=key_run,
        reference=None if settings.shared else variables,
        network=new_player(variables, _optimiser(config, settings.optimiser), ema=True),
        discriminator=new_player(
            discriminator, _optimiser(config, settings.discriminator_optimiser), ema=False
        ),
        accuracies=jnp.zeros(settings.window),
    )


def train_step(config, state: State, batch: Any) -> tuple[State, dict[str, jax.Array]]:
    """Updates the discriminator and, where the gate is open, the target network.

    Args:
        config: alignment.gate is the discriminator's accuracy, as a mean over alignment.window
            steps, above which the network moves; before alignment.warmup_steps it never does.
        state: donated by the compiled step.
        batch: {"source": {"image", "label"}, "target": {"image"}}; the source images are
            translated ones, or raw ones for ADDA.

    Returns:
        The next state and scalar metrics; "loss" is the network's, "gate" is 1 if it moved.
    """
    settings = config.alignment
    key = jax.random.fold_in(state.key, state.step)
    key_network, key_discriminator = jax.random.split(key)
    parts = settings.train.micro_batches

    # (1) The discriminator, on features that do not learn from it.
    held = {"params": state.network.params, "batch_stats": state.network.batch_stats}

    def discriminator_loss(params, batch, key):
        source, target = scale(batch["source"]["image"]), scale(batch["target"]["image"])
        on_source = _features(config, held if settings.shared else state.reference, source)
        on_target = _features(config, held, target)
        # Two calls, because a batch of both would let dropout mix them.
        logits_source = _discriminate(config, params, on_source, key)
        logits_target = _discriminate(config, params, on_target, key)
        right = (logits_source.argmax(-1) == SOURCE).mean() + (
            logits_target.argmax(-1) == TARGET
        ).mean()
        loss = _domain_loss(logits_source, SOURCE) + _domain_loss(logits_target, TARGET)
        return loss / 2, (right / 2, ())

    (critic_loss, (accuracy, _)), grads = value_and_grad(discriminator_loss, parts)(
        state.discriminator.params, batch, key_discriminator
    )
    discriminator, critic_norms = update(
        state.discriminator,
        grads,
        {},
        optimiser=_optimiser(config, settings.discriminator_optimiser),
    )
    accuracies = jnp.append(state.accuracies[1:], accuracy)

    # (2) The network: target images that the discriminator takes for the source.
    def network_loss(params, batch, key):
        key_network, key_discriminator = jax.random.split(key)
        source, target = scale(batch["source"]["image"]), scale(batch["target"]["image"])
        features, batch_stats = _train_features(config, state.network, params, target, key_network)
        logits = _discriminate(config, discriminator.params, features, key_discriminator)
        terms = {"adversarial": _domain_loss(logits, SOURCE)}
        total = settings.weight * terms["adversarial"]
        if settings.task_weight:
            # Keeps a network with shared weights good at its task.
            variables = {"params": params, "batch_stats": state.network.batch_stats}
            logits = task_net(config).apply(variables, source, train=False)
            labels = batch["source"]["label"]
            each = losses.cross_entropy(logits, labels, ignore=ignored(config))
            terms["task"] = each.mean()
            total += settings.task_weight * terms["task"]
        return total, ((terms, batch_stats), ())

    def move(network):
        (loss, ((terms, batch_stats), _)), grads = value_and_grad(network_loss, parts)(
            network.params, batch, key_network
        )
        network, norms = update(
            network,
            grads,
            batch_stats,
            optimiser=_optimiser(config, settings.optimiser),
            ema_decay=ema_decay_at(state.step, settings.train.ema_decay),
        )
        return network, {"loss": loss, **terms, **norms}

    def stay(network):
        loss, ((terms, _), _) = network_loss(network.params, batch, key_network)
        norms = {"gradient_norm": 0.0, "update_norm": 0.0}
        norms["parameter_norm"] = optax.tree.norm(network.params)
        return network, {"loss": loss, **terms, **norms}

    is_open = (accuracies.mean() > settings.gate) & (state.step >= settings.warmup_steps)
    network, metrics = lax.cond(is_open, move, stay, state.network)
    metrics |= {
        "gate": is_open.astype(jnp.float32),
        "discriminator/loss": critic_loss,
        "discriminator/accuracy": accuracy,
    }
    metrics |= {f"discriminator/{name}": value for name, value in critic_norms.items()}
    state = state.replace(
        step=state.step + 1, network=network, discriminator=discriminator, accuracies=accuracies
    )
    return state, metrics


def _features(config, variables, images):
    """What the discriminator sees, without dropout and with kept statistics."""
    net = task_net(config)
    return _chosen(config, net.apply(variables, images, train=False, method="features_and_logits"))


def _train_features(config, player, params, images, key):
    """The same with dropout and batch statistics: (features, new statistics)."""
    found, mutated = task_net(config).apply(
        {"params": params, "batch_stats": player.batch_stats},
        images,
        train=True,
        rngs={"dropout": key},
        mutable=["batch_stats"],
        method="features_and_logits",
    )
    return _chosen(config, found), mutated.get("batch_stats", {})


def _chosen(config, features_and_logits):
    """The logits of a classifier if config.alignment.on says so, else the network's features."""
    features, logits = features_and_logits
    is_classifier = config.data.task == "classification"
    return logits if is_classifier and config.alignment.on == "logits" else features


def _discriminate(config, params, features, key):
    return discriminator_net(config).apply(
        {"params": params}, features, train=True, rngs={"dropout": key}
    )


def _domain_loss(logits, domain):
    return losses.cross_entropy(logits, jnp.full(logits.shape[:-1], domain)).mean()


def _optimiser(config, section):
    return make_optimiser(section, config.alignment.train.steps)
