"""CyCADA: Hoffman et al., Cycle-Consistent Adversarial Domain Adaptation, ICML 2018.

A source domain has labels, a target domain has none. Four networks are trained one after the
other. (1) A task network learns the source. (2) Two generators turn images of one domain into
the other's style; cycles keep their content, and the task network of (1) keeps their meaning.
(3) A second task network learns from translated source images, whose labels are known.
(4) Its features on target images are drawn to those on translated images by a discriminator.
This file holds the task network of (1) and (3), and what all stages share; cycada_translation.py
is (2), cycada_alignment.py is (4).

Contract of the three files: images arrive as uint8 [B, H, W, C]; labels are integers [B] for
classification or [B, H, W] for segmentation, `ignored(config)` where unknown. A batch is
{"source": {"image", "label"}, "target": {"image"}}, or its source part alone. Networks see
float32 images in [-1, 1]; source and target batches may differ in size.
"""

from typing import Any

import flax
import jax
import jax.numpy as jnp

from jaxgen import losses
from jaxgen.kernels.pixels import scale
from jaxgen.models import digits, drn, segmentation
from jaxgen.training.accumulation import value_and_grad
from jaxgen.training.optimiser import make_optimiser
from jaxgen.training.state import Player, ema_decay_at, new_player, update

IGNORE = 255  # label of pixels that do not count


@flax.struct.dataclass
class TaskState:
    """Training of a task network on labelled images: stages (1) and (3)."""

    step: jax.Array  # [] int32
    key: jax.Array
    network: Player


# ------------------------------------------------------------------------------- networks


def task_net(config):
    """The classifier or segmentation network of a config."""
    model = config.model
    options = dict(num_classes=model.num_classes, dtype=jnp.dtype(model.dtype))
    classifiers = {"lenet": digits.LeNet, "dtn": digits.Dtn}
    if config.data.task == "classification":
        return classifiers[model.name](**options)
    segmenters = {
        "fcn8s": segmentation.Fcn8s,
        "drn26": drn.Drn26,
        "compact": segmentation.CompactSegmenter,
    }
    # Score maps are aligned before they are enlarged to the size of the image.
    adapt = {"logits": "scores", "features": "last"}[config.alignment.on]
    return segmenters[model.name](adapt=adapt, **options)


# ------------------------------------------------------------- (1), (3) the task network


def init_task(config, key: jax.Array, variables: Any = None) -> TaskState:
    """A task network at step 0.

    Args:
        config: see experiments/configs/cycada/default.py.
        key: typed PRNG key.
        variables: to begin with, such as those with ImageNet weights; None for random ones.
    """
    key_network, key_run = jax.random.split(key)
    if variables is None:
        variables = task_net(config).init(key_network, blank(config), train=False)
    optimiser = make_optimiser(config.task.optimiser, config.task.train.steps)
    network = new_player(variables, optimiser, ema=True)
    return TaskState(jnp.zeros((), jnp.int32), key_run, network)


def task_step(config, state: TaskState, batch: Any) -> tuple[TaskState, dict[str, jax.Array]]:
    """One step on labelled images: softmax cross-entropy."""
    key = jax.random.fold_in(state.key, state.step)

    def task_loss(params, part, key):
        images, labels = scale(part["image"]), part["label"]
        logits, batch_stats = train_apply(task_net(config), state.network, params, images, key)
        loss = losses.cross_entropy(logits, labels, ignore=ignored(config)).mean()
        accuracy = accuracy_of(logits, labels, ignore=ignored(config))
        return loss, ((batch_stats, accuracy), ())

    gradient = value_and_grad(task_loss, config.task.train.micro_batches)
    (loss, ((batch_stats, accuracy), _)), grads = gradient(
        state.network.params, batch["source"], key
    )
    network, norms = update(
        state.network,
        grads,
        batch_stats,
        optimiser=make_optimiser(config.task.optimiser, config.task.train.steps),
        ema_decay=ema_decay_at(state.step, config.task.train.ema_decay),
    )
    state = state.replace(step=state.step + 1, network=network)
    return state, {"loss": loss, "accuracy": accuracy, **norms}


def predict(config, variables: Any, images: jax.Array) -> jax.Array:
    """Logits [B, K] or [B, H, W, K] of uint8 images."""
    return task_net(config).apply(variables, scale(images), train=False)


# --------------------------------------------------------------------- shared by all stages


def blank(config) -> jax.Array:
    """One image of the config's size, for shapes."""
    size = config.data.size
    return jnp.zeros((1, size, size, config.data.channels))


def train_apply(network, player: Player, params: Any, images: jax.Array, key: jax.Array):
    """A network in training: (logits, its new batch statistics).

    Args:
        network: module with rng "dropout" and, perhaps, collection "batch_stats".
        player: holds the statistics.
        params: to differentiate.
        images: [B, H, W, C] float32.
        key: for dropout.
    """
    variables = {"params": params, "batch_stats": player.batch_stats}
    logits, mutated = network.apply(
        variables, images, train=True, rngs={"dropout": key}, mutable=["batch_stats"]
    )
    return logits, mutated.get("batch_stats", {})


def ignored(config) -> int:
    """The label that does not count: 255 of pixels, -1 of images, which may have more classes."""
    return IGNORE if config.data.task == "segmentation" else -1


def accuracy_of(logits: jax.Array, labels: jax.Array, *, ignore: int) -> jax.Array:
    """Share of right images or labelled pixels, in [0, 1]. -> [] float32."""
    labelled = labels != ignore
    return ((logits.argmax(-1) == labels) & labelled).sum() / jnp.maximum(labelled.sum(), 1)
