"""Stage (2) of CyCADA: two generators turn images of each domain into the other's style.

Discriminators ask for the style, cycles for the content, a classifier for the meaning. The last
comes in two forms: "frozen", the network of stage (1), as the paper has it; or "joint", a small
classifier that learns along, and is asked only while its own loss is low, as the released code
has it. For batches and images see cycada.py.
"""

from typing import Any

import flax
import jax
import jax.numpy as jnp
from jax import lax

from jaxgen import losses
from jaxgen.kernels.pixels import scale, unscale
from jaxgen.models.cycle_gan import ImageDiscriminator, ResnetGenerator
from jaxgen.models.digits import SemanticClassifier
from jaxgen.tasks.cycada import blank, ignored, task_net, train_apply
from jaxgen.training.accumulation import value_and_grad
from jaxgen.training.image_pool import ImagePool, exchange, new_pool
from jaxgen.training.optimiser import make_optimiser
from jaxgen.training.state import Player, ema_decay_at, new_player, update

DOMAINS = ("target", "source")


@flax.struct.dataclass
class State:
    """All that a step reads and writes. Params are by the domain that they make or judge."""

    step: jax.Array  # [] int32
    key: jax.Array  # typed PRNG key; step i uses fold_in(key, i)
    generators: Player  # params {"target", "source"}: the domain that comes out
    discriminators: Player  # params {"target", "source"}
    judge: Any  # variables of the frozen source network, or None
    classifier: Player | None  # the joint classifier, or None
    classifier_loss: jax.Array  # [] float32, of the last step
    pools: dict[str, ImagePool]  # earlier translations of each domain


def generator_net(config) -> ResnetGenerator:
    """A generator, of either domain."""
    return ResnetGenerator(
        **config.translation.generator,
        out_channels=config.data.channels,
        dtype=jnp.dtype(config.model.dtype),
    )


def discriminator_net(config) -> ImageDiscriminator:
    """A discriminator of real and translated images, of either domain."""
    return ImageDiscriminator(
        **config.translation.discriminator, dtype=jnp.dtype(config.model.dtype)
    )


def classifier_net(config) -> SemanticClassifier:
    """The joint classifier."""
    return SemanticClassifier(
        num_classes=config.model.num_classes, dtype=jnp.dtype(config.model.dtype)
    )


def init_state(config, key: jax.Array, judge: Any = None) -> State:
    """A state at step 0.

    Args:
        config: see experiments/configs/cycada/default.py.
        key: typed PRNG key.
        judge: variables of the source network, needed where translation.semantic.mode is
            "frozen".
    """
    settings, image = config.translation, blank(config)
    key_generators, key_discriminators, key_classifier, key_run = jax.random.split(key, 4)

    def both(net, key, section, *, ema):
        params = {
            name: net.init(jax.random.fold_in(key, number), image, train=False)["params"]
            for number, name in enumerate(DOMAINS)
        }
        return new_player({"params": params}, _optimiser(config, section), ema=ema)

    classifier = None
    if settings.semantic.mode == "joint":
        variables = classifier_net(config).init(key_classifier, image, train=False)
        optimiser = _optimiser(config, settings.semantic.optimiser)
        classifier = new_player(variables, optimiser, ema=False)
    return State(
        step=jnp.zeros((), jnp.int32),
        key=key_run,
        generators=both(generator_net(config), key_generators, settings.optimiser, ema=True),
        discriminators=both(
            discriminator_net(config),
            key_discriminators,
            settings.discriminator_optimiser,
            ema=False,
        ),
        judge=judge if settings.semantic.mode == "frozen" else None,
        classifier=classifier,
        classifier_loss=jnp.array(jnp.inf),
        pools={name: new_pool(settings.pool, image.shape[1:]) for name in DOMAINS},
    )


def translate(config, params: Any, images: jax.Array) -> jax.Array:
    """Images in a generator's style. Params of one generator, uint8 [B, H, W, C] -> the same."""
    return unscale(generator_net(config).apply({"params": params}, scale(images), train=False))


def train_step(config, state: State, batch: Any) -> tuple[State, dict[str, jax.Array]]:
    """Updates generators, then discriminators, then the joint classifier if there is one.

    Args:
        config: translation.weights holds the weight of each term; 0 leaves a term out.
        state: donated by the compiled step.
        batch: {"source": {"image", "label"}, "target": {"image"}}.

    Returns:
        The next state and scalar metrics; "loss" is the generators'.
    """
    settings = config.translation
    key = jax.random.fold_in(state.key, state.step)
    key_generators, key_pools, key_classifier = jax.random.split(key, 3)
    parts = settings.train.micro_batches

    def generator_loss(params, batch, key):
        labels = batch["source"]["label"]
        terms, fake = _generator_terms(config, state, key, params, _floats(batch), labels)
        return sum(settings.weights[name] * value for name, value in terms.items()), (terms, fake)

    (loss, (terms, fake)), grads = value_and_grad(generator_loss, parts)(
        state.generators.params, batch, key_generators
    )
    generators, norms = update(
        state.generators,
        grads,
        {},
        optimiser=_optimiser(config, settings.optimiser),
        ema_decay=ema_decay_at(state.step, settings.train.ema_decay),
    )
    metrics = {"loss": loss, **terms, **norms}

    # Discriminators see translations of this step and of earlier ones.
    shown, pools = {}, {}
    for number, name in enumerate(DOMAINS):
        key_pool = jax.random.fold_in(key_pools, number)
        images = lax.stop_gradient(fake[name])
        shown[name], pools[name] = exchange(key_pool, state.pools[name], images)

    def discriminator_loss(params, batch_and_shown, key):
        del key
        batch, shown = batch_and_shown
        total, accuracies = _discriminator_loss(config, params, _floats(batch), shown)
        return total, (accuracies, ())

    (loss, (accuracies, _)), grads = value_and_grad(discriminator_loss, parts)(
        state.discriminators.params, (batch, shown), key_pools
    )
    optimiser = _optimiser(config, settings.discriminator_optimiser)
    discriminators, norms = update(state.discriminators, grads, {}, optimiser=optimiser)
    metrics |= {"discriminator/loss": loss, **accuracies}
    metrics |= {f"discriminator/{name}": value for name, value in norms.items()}

    state = state.replace(
        step=state.step + 1, generators=generators, discriminators=discriminators, pools=pools
    )
    if state.classifier is not None:
        state, of_classifier = _classifier_step(config, state, key_classifier, batch["source"])
        metrics |= {f"classifier/{name}": value for name, value in of_classifier.items()}
    return state, metrics


def _floats(batch):
    """Images of both domains as networks see them."""
    return {name: scale(batch[name]["image"]) for name in DOMAINS}


def _generator_terms(config, state, key, params, real, labels):
    """Every loss of the generators by name, and the translations."""
    weights = config.translation.weights
    game = losses.ADVERSARIAL[config.translation.loss]
    keys = iter(jax.random.split(key, 7))

    def generate(name, images):
        return generator_net(config).apply(
            {"params": params[name]}, images, train=True, rngs={"dropout": next(keys)}
        )

    fake = {
        "target": generate("target", real["source"]),
        "source": generate("source", real["target"]),
    }
    terms = {}
    # (a) Style: the discriminator takes a translation for a real image.
    for name in DOMAINS:
        scores = _criticise(config, state.discriminators.params[name], fake[name])
        terms[f"adversarial_{name}"] = game.generator(scores).mean()
    # (b) Content: there and back again.
    for name, other in (("source", "target"), ("target", "source")):
        if weights[f"cycle_{name}"]:
            back = generate(name, fake[other])
            terms[f"cycle_{name}"] = losses.pixel_l1(back, real[name]).mean()
    # (c) Meaning: the classifier says the same before and after.
    if config.translation.semantic.mode != "none":
        terms |= _semantic_terms(config, state, next(keys), real, fake, labels)
    # (d) Optional: what has the style already stays as it is.
    for name in DOMAINS:
        if weights[f"identity_{name}"]:
            terms[f"identity_{name}"] = losses.pixel_l1(
                generate(name, real[name]), real[name]
            ).mean()
    return terms, fake


def _semantic_terms(config, state, key, real, fake, labels):
    semantic, ignore = config.translation.semantic, ignored(config)
    is_open = 1.0
    if semantic.mode == "frozen":

        def classify(images):
            return task_net(config).apply(state.judge, images, train=False)
    else:
        is_open = state.classifier_loss <= semantic.gate

        def classify(images):
            # In training mode, as in the released code: statistics of this batch.
            player = state.classifier
            return train_apply(classifier_net(config), player, player.params, images, key)[0]

    believed = {name: lax.stop_gradient(classify(real[name]).argmax(-1)) for name in DOMAINS}
    if semantic.labels == "truth":
        believed["source"] = labels
    believed["source"] = jnp.where(labels == ignore, ignore, believed["source"])
    return {
        f"semantic_{name}": is_open
        * losses.cross_entropy(classify(fake[name]), believed[other], ignore=ignore).mean()
        for name, other in (("target", "source"), ("source", "target"))
    }


def _discriminator_loss(config, params, real, shown):
    """Sum over both domains, and the share of patches that each discriminator gets right."""
    game = losses.ADVERSARIAL[config.translation.loss]
    boundary = 0.5 if config.translation.loss == "least_squares" else 0.0
    total, accuracies = 0.0, {}
    for name in DOMAINS:
        on_real = _criticise(config, params[name], real[name])
        on_fake = _criticise(config, params[name], shown[name])
        loss_real, loss_fake = game.discriminator(on_real, on_fake)
        total += (loss_real.mean() + loss_fake.mean()) / 2
        right = ((on_real > boundary).mean() + (on_fake < boundary).mean()) / 2
        accuracies[f"discriminator/accuracy_{name}"] = right
    return total, accuracies


def _classifier_step(config, state, key, source):
    """One step of the joint classifier on real source images."""

    def task_loss(params, part, key):
        logits, batch_stats = train_apply(
            classifier_net(config), state.classifier, params, scale(part["image"]), key
        )
        loss = losses.cross_entropy(logits, part["label"], ignore=ignored(config)).mean()
        return loss, (batch_stats, ())

    gradient = value_and_grad(task_loss, config.translation.train.micro_batches)
    (loss, (batch_stats, _)), grads = gradient(state.classifier.params, source, key)
    optimiser = _optimiser(config, config.translation.semantic.optimiser)
    classifier, norms = update(state.classifier, grads, batch_stats, optimiser=optimiser)
    state = state.replace(classifier=classifier, classifier_loss=loss)
    return state, {"loss": loss, **norms}


def _criticise(config, params, images):
    return discriminator_net(config).apply({"params": params}, images, train=True)


def _optimiser(config, section):
    return make_optimiser(section, config.translation.train.steps)
