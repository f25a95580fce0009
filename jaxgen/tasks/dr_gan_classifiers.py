"""The networks beside DR-GAN that train without a generator.

The recogniser is the encoder of the same size with identity labels alone: the baseline that the
generator has to beat, and its warm start. The judge reads poses; it never meets the generator, so
it can say whether synthetic faces have the pose that was asked for. For images see dr_gan.py.
"""

from typing import Any

import flax
import jax
import jax.numpy as jnp

from jaxgen.kernels.blur import degrade_some
from jaxgen.kernels.heatmap import masked_mean
from jaxgen.kernels.pixels import scale
from jaxgen.models.dr_gan import Classifier
from jaxgen.tasks import dr_gan, dr_gan_losses
from jaxgen.training.accumulation import value_and_grad
from jaxgen.training.optimiser import make_optimiser
from jaxgen.training.state import Player, ema_decay_at, new_player, update

LABELS = {"recogniser": "identity", "judge": "pose"}


@flax.struct.dataclass
class State:
    """Training of one classifier."""

    step: jax.Array  # [] int32
    key: jax.Array
    network: Player


def net(config, part: str, num_classes: int) -> Classifier:
    """A classifier.

    Args:
        config: of the run.
        part: "recogniser" or "judge", the section of the config.
        num_classes: people or poses.
    """
    if part == "judge":
        features = max(8, round(config.model.features * config.judge.width))
        width, head = config.judge.width, "softmax"
    else:
        features, width = config.model.features, config.model.width
        head = config.recogniser.head
    return Classifier(
        num_classes,
        features=features,
        width=width,
        halvings=config.model.halvings,
        head=head,
        dtype=jnp.dtype(config.model.dtype),
    )


def init_state(config, part: str, key: jax.Array, num_classes: int) -> State:
    """A classifier at step 0; arguments as of `net`."""
    image = jnp.zeros((1, config.data.size, config.data.size, config.data.channels))
    key_network, key_run = jax.random.split(key)
    variables = net(config, part, num_classes).init(key_network, image, train=False)
    optimiser = make_optimiser(config[part].optimiser, config[part].train.steps)
    return State(jnp.zeros((), jnp.int32), key_run, new_player(variables, optimiser, ema=True))


def train_step(config, part: str, state: State, batch: Any) -> tuple[State, dict]:
    """One step of a classifier.

    Args:
        config: of the run.
        part: "recogniser" or "judge".
        state: donated by the compiled step.
        batch: {"faces": {"image" uint8 [B, S, S, C], "identity" and "pose" [B] int32}}; faces of
            pose -1 do not count for the judge.

    Returns:
        The next state and scalar metrics.
    """
    section = config[part]
    network = net(config, part, dr_gan.num_identities(state.network.params))

    def loss_of(params, faces, key):
        variables = {"params": params, "batch_stats": state.network.batch_stats}
        images, labels = scale(faces["image"]), faces[LABELS[part]]
        if part == "recogniser" and section.degraded:
            images = degrade_some(key, images, share=section.degraded)
        (_, logits), mutated = network.apply(variables, images, train=True, mutable=["batch_stats"])
        each = dr_gan_losses.class_loss(logits, labels, head=network.head)
        known = labels != dr_gan_losses.UNKNOWN_POSE  # everybody is
        accuracy = masked_mean(1.0 * (logits.argmax(-1) == labels), known)
        return masked_mean(each, known), ((mutated["batch_stats"], accuracy), ())

    gradient = value_and_grad(loss_of, section.train.micro_batches)
    (loss, ((batch_stats, accuracy), _)), grads = gradient(
        state.network.params, batch["faces"], jax.random.fold_in(state.key, state.step)
    )
    network, norms = update(
        state.network,
        grads,
        batch_stats,
        optimiser=make_optimiser(section.optimiser, section.train.steps),
        ema_decay=ema_decay_at(state.step, section.train.ema_decay),
    )
    state = state.replace(step=state.step + 1, network=network)
    return state, {"loss": loss, "accuracy": accuracy, **norms}


def encode(config, variables: Any, images: jax.Array) -> dr_gan.Faces:
    """The recogniser's features, averaged over mirror images as DR-GAN's; all trusted alike.

    Args:
        config: of the run.
        variables: {"params", "batch_stats"} of the recogniser.
        images: uint8 [B, S, S, C].
    """
    network = net(config, "recogniser", dr_gan.num_identities(variables["params"]))
    images = scale(images)
    both = jnp.concatenate([images, images[:, :, ::-1]])
    feature, _ = network.apply(variables, both, train=False)
    feature = feature.reshape(2, images.shape[0], -1).mean(0)
    return dr_gan.Faces(feature, jnp.ones(images.shape[0]))


def poses(config, variables: Any, images: jax.Array) -> jax.Array:
    """The judge's probability of each pose class. uint8 [B, S, S, C] -> [B, num_poses]."""
    network = net(config, "judge", dr_gan.num_identities(variables["params"]))
    _, logits = network.apply(variables, scale(images), train=False)
    return jax.nn.softmax(logits)
