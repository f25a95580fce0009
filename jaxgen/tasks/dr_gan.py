"""DR-GAN: Tran, Yin and Liu, Representation Learning by Rotating Your Faces, CVPR 2017, TPAMI 2018.

An encoder turns a face into an identity feature and a confidence. A decoder draws the same person
in a wanted pose from that feature, a pose code and noise. A discriminator says who it is, in which
pose, and whether the image is real. Because the pose of what is drawn comes from the code, the
feature has no reason to hold it. Several images of a person give one feature, their mean weighted
by confidence, and the decoder draws from that too: so the confidence learns which images to trust.
What generator and discriminator want, term by term, is in dr_gan_losses.py; which poses are drawn
is in dr_gan_poses.py.

Not in the papers, and off in paper.py: where another picture of the person is at hand, its pose is
the wanted one and the drawing is compared with it, pixel by pixel (gan.weights.pixel). And the
features of real pictures, single and fused, may have to name their person as the recogniser's had
(gan.weights.feature_identity), as later recognisers do without any drawing (Wang et al., Additive
Margin Softmax, 2018).

Contract of the file: images arrive as uint8 [B, S, S, C] aligned faces. A training batch holds sets
of n images of one person each; with n = 1 it is the paper's single-image form. P is the number of
people in a batch, F the length of a feature. Yaw is in degrees, positive when the nose points to
the right of the image.
"""

from functools import partial
from typing import Any, NamedTuple

import chex
import flax
import jax
import jax.numpy as jnp
from jax import lax

from jaxgen.kernels.blur import degrade_some
from jaxgen.kernels.heatmap import masked_mean
from jaxgen.kernels.pixels import scale, unscale
from jaxgen.models import dr_gan as networks
from jaxgen.tasks.dr_gan_losses import (
    ACCURACIES,
    accuracies,
    by_class,
    class_loss,
    discriminator_terms,
    generator_terms,
    reality,
)
from jaxgen.tasks.dr_gan_poses import (
    Wanted,
    has_sets,
    join,
    pose_code,
    real_poses,
    wanted_images,
    without_targets,
)
from jaxgen.training.accumulation import value_and_grad
from jaxgen.training.optimiser import make_optimiser
from jaxgen.training.state import Player, ema_decay_at, new_player, update

_JUDGED = (
    "loss",
    *("gradient_norm", "update_norm", "parameter_norm"),
    *(f"accuracy_{name}" for name in ACCURACIES),
)


@flax.struct.dataclass
class State:
    """All that a training step reads and writes."""

    step: jax.Array  # [] int32, steps done
    key: jax.Array  # typed PRNG key; step i uses fold_in(key, i)
    # Params and statistics {"encoder", "decoder"}; with gan.weights.feature_identity params of
    # "identity" too, the head that names the person of a feature.
    generator: Player
    discriminator: Player  # statistics {"real", "fake"}: of either kind of image
    judged: dict[str, jax.Array]  # the discriminator's metrics when it last moved


class Faces(NamedTuple):
    """What the encoder says of images."""

    feature: jax.Array  # [B, F] float32; compare by cosine
    confidence: jax.Array  # [B] float32 in (0, 1)


# ------------------------------------------------------------------------------- networks


def encoder_net(config) -> networks.Encoder:
    """G_enc of a config."""
    return networks.Encoder(
        features=config.model.features,
        width=config.model.width,
        halvings=config.model.halvings,
        dtype=jnp.dtype(config.model.dtype),
        confidence_gain=config.model.confidence_gain,
    )


def decoder_net(config) -> networks.Decoder:
    """G_dec of a config."""
    return networks.Decoder(
        size=config.data.size,
        channels=config.data.channels,
        width=config.model.width,
        halvings=config.model.halvings,
        pose_gain=config.model.pose_gain,
        embed_pose=0 if by_class(config) else config.model.embed_pose,
        dtype=jnp.dtype(config.model.dtype),
    )


def discriminator_net(config, num_identities: int) -> networks.Discriminator:
    """D of a config, for the people of the training set."""
    return networks.Discriminator(
        num_identities=num_identities,
        num_poses=len(config.pose.classes) if by_class(config) else 1,
        features=config.model.features,
        width=config.model.width,
        halvings=config.model.halvings,
        spectral=config.gan.spectral,
        head=config.gan.head,
        dtype=jnp.dtype(config.model.dtype),
    )


def identity_head(config, num_identities: int) -> networks.IdentityHead:
    """What names the person of a feature, as the recogniser's head."""
    return networks.IdentityHead(num_identities, config.recogniser.head)


def num_identities(params: Any) -> int:
    """People that a discriminator or recogniser with these params knows."""
    return jax.tree.leaves(params["identity"])[0].shape[-1]


def init_state(config, key: jax.Array, num_identities: int) -> State:
    """A state at step 0.

    Args:
        config: see experiments/configs/dr_gan/default.py.
        key: typed PRNG key; the run's randomness follows from it.
        num_identities: people of the training set.
    """
    key_encoder, key_decoder, key_discriminator, key_run = jax.random.split(key, 4)
    image = jnp.zeros((1, config.data.size, config.data.size, config.data.channels))
    feature = jnp.zeros((1, config.model.features))
    code = pose_code(config, jnp.zeros(1)).code
    noise = jnp.zeros((1, config.model.noise))
    parts = {
        "encoder": encoder_net(config).init(key_encoder, image, train=False),
        "decoder": decoder_net(config).init(key_decoder, feature, code, noise, train=False),
    }
    generator = {
        kind: {name: part[kind] for name, part in parts.items()}
        for kind in ("params", "batch_stats")
    }
    if config.gan.weights.feature_identity:
        head = identity_head(config, num_identities)
        # Derived, not split off: the others stay what they are without the head.
        key_head = jax.random.fold_in(key_discriminator, 1)
        generator["params"]["identity"] = head.init(key_head, feature)["params"]
    judge = discriminator_net(config, num_identities).init(key_discriminator, image, train=False)
    judge = {**judge, "batch_stats": {kind: judge["batch_stats"] for kind in ("real", "fake")}}
    settings = config.gan
    return State(
        step=jnp.zeros((), jnp.int32),
        key=key_run,
        generator=new_player(generator, _optimiser(config, settings.optimiser), ema=True),
        discriminator=new_player(
            judge, _optimiser(config, settings.discriminator_optimiser), ema=False
        ),
        judged={name: jnp.zeros(()) for name in _JUDGED},
    )


# -------------------------------------------------------------------------------- fusion


def fuse(features: jax.Array, confidences: jax.Array, mask: jax.Array) -> jax.Array:
    """One feature of several images: their mean weighted by confidence (section 3.3).

    Args:
        features: [..., n, F].
        confidences: [..., n] >= 0.
        mask: [..., n] bool, False for images that are not there.

    Returns:
        [..., F] float32: 0 where no image is there, which is similar to nobody.
    """
    chex.assert_equal_shape([confidences, mask])
    weights = jnp.where(mask, confidences, 0)
    # The sum first, so that one image gives its own feature whatever its confidence is.
    weights = weights / jnp.maximum(weights.sum(-1, keepdims=True), 1e-12)
    features = jnp.where(mask[..., None], features, 0)
    return jnp.einsum("...n,...nf->...f", weights, features, precision="highest")


def drop_images(key: jax.Array, mask: jax.Array, *, rate: float) -> jax.Array:
    """Takes a random share of the images out of each set, and leaves at least one.

    Args:
        key: PRNG key.
        mask: [P, n] bool, True for images that are there.
        rate: share that is dropped, in [0, 1).

    Returns:
        [P, n] bool.
    """
    luck = jnp.where(mask, jax.random.uniform(key, mask.shape), -1.0)
    luckiest = luck == luck.max(-1, keepdims=True)
    return mask & ((luck >= rate) | luckiest)


# ------------------------------------------------------------------------------ one step


def train_step(config, state: State, batch: Any) -> tuple[State, dict[str, jax.Array]]:
    """Updates the generator and, where its schedule says so, the discriminator.

    Args:
        config: gan.schedule: the discriminator moves every `every` steps, and every `slow_every`
            steps while its mean accuracy was above `threshold` when it last moved.
        state: donated by the compiled step.
        batch: {"faces": {"image" uint8 [P, n, S, S, C], "identity" [P] int32, "pose" [P, n] int32
            class or -1, "yaw" [P, n] float32 degrees or NaN, "mask" [P, n] bool}}.

    Returns:
        The next state and scalar metrics; "loss" is the generator's.
    """
    settings, faces = config.gan, batch["faces"]
    key = jax.random.fold_in(state.key, state.step)
    gradient_of = partial(value_and_grad, micro_batches=settings.train.micro_batches)
    judge = discriminator_net(config, num_identities(state.discriminator.params))

    def criticise(params, images, kind):
        variables = {"params": params, "batch_stats": state.discriminator.batch_stats[kind]}
        return judge.apply(variables, images, train=True, mutable=["batch_stats"])

    def read(faces):
        """Images, people and which of them are there; and which drawings are of somebody."""
        images = scale(faces["image"]).reshape(-1, *faces["image"].shape[2:])
        count = faces["mask"].shape[1]
        identity, there = faces["identity"].repeat(count), faces["mask"].reshape(-1)
        drawn = join(there, faces["mask"].any(-1)) if has_sets(config, count) else there
        return images, identity, there, drawn

    def generator_loss(params, faces, key):
        images, *_ = read(faces)
        key_wanted, key_drawing = jax.random.split(key)
        wanted = wanted_images(config, key_wanted, faces)
        fake, feature, statistics = synthesise(
            config, key_drawing, params, state.generator.batch_stats, images, faces["mask"], wanted
        )
        verdict, _ = criticise(state.discriminator.params, fake, "fake")
        terms = generator_terms(config, verdict, wanted.identity, wanted.poses, wanted.there)
        if settings.weights.pixel:
            error = jnp.abs(fake - images[wanted.like]).mean((1, 2, 3))
            terms["pixel"] = masked_mean(error, wanted.paired)
        if settings.weights.feature_identity:
            head = identity_head(config, num_identities(params))
            logits = head.apply({"params": params["identity"]}, feature)
            named = class_loss(logits, wanted.identity, head=head.head)
            terms["feature_identity"] = masked_mean(named, wanted.there)
        total = sum(settings.weights[name] * value for name, value in terms.items())
        people, count = faces["mask"].shape
        drawn, of_sets = jnp.split(fake, [people * count])
        drawn = drawn.reshape(people, count, *fake.shape[1:])
        return total, ((terms, statistics), (drawn, of_sets))

    (loss, ((terms, statistics), fake)), grads = gradient_of(generator_loss)(
        state.generator.params, faces, key
    )
    generator, norms = update(
        state.generator,
        grads,
        statistics,
        optimiser=_optimiser(config, settings.optimiser),
        ema_decay=ema_decay_at(state.step, settings.train.ema_decay),
    )
    fake = lax.stop_gradient(fake)

    def discriminator_loss(params, faces_and_fake, key):
        del key
        faces, (drawn, of_sets) = faces_and_fake
        images, identity, there, drawn_there = read(faces)
        fake = join(drawn.reshape(-1, *drawn.shape[2:]), of_sets)
        # Apart, so that each kind of image is normalised by its own statistics.
        on_real, of_real = criticise(params, images, "real")
        on_fake, of_fake = criticise(params, fake, "fake")
        facts = on_real, on_fake, identity, real_poses(config, faces).label, there, drawn_there
        parts = discriminator_terms(config, *facts)
        total = sum(settings.weights[name] * value for name, value in parts.items())
        if settings.r1:
            total += settings.r1 / 2 * _real_gradient(config, criticise, params, images)
        statistics = {"real": of_real["batch_stats"], "fake": of_fake["batch_stats"]}
        return total, ((statistics, accuracies(config, *facts)), ())

    def move(player):
        (value, ((statistics, right), _)), grads = gradient_of(discriminator_loss)(
            player.params, (faces, fake), key
        )
        optimiser = _optimiser(config, settings.discriminator_optimiser)
        player, norms = update(player, grads, statistics, optimiser=optimiser)
        right = {f"accuracy_{name}": share for name, share in right.items()}
        return player, {"loss": value, **norms, **right}

    accuracy = sum(state.judged[f"accuracy_{name}"] for name in ACCURACIES) / len(ACCURACIES)
    schedule = settings.schedule
    every = jnp.where(accuracy > schedule.threshold, schedule.slow_every, schedule.every)
    discriminator, judged = lax.cond(
        state.step % every == 0, move, lambda player: (player, state.judged), state.discriminator
    )
    metrics = {"loss": loss, **terms, **norms}
    metrics |= {f"discriminator/{name}": value for name, value in judged.items()}
    return State(state.step + 1, state.key, generator, discriminator, judged), metrics


def synthesise(config, key, params, statistics, images, mask, wanted: Wanted):
    """Draws what is wanted.

    Args:
        config: of the run.
        key: PRNG key for noise and dropped images.
        params: {"encoder", "decoder"}; others are not used.
        statistics: the same, of batch normalisation.
        images: [P n, S, S, C] float32 in [-1, 1].
        mask: [P, n] bool.
        wanted: of `wanted_images`.

    Returns:
        Images [R, S, S, C], the features [R, F] that they are drawn from, and new statistics.
    """
    people, count = mask.shape
    key_noise, key_drop, key_worse = jax.random.split(key, 3)
    if config.gan.degraded:
        images = degrade_some(key_worse, images, share=config.gan.degraded)
    (feature, confidence), encoder = encoder_net(config).apply(
        {"params": params["encoder"], "batch_stats": statistics["encoder"]},
        images,
        train=True,
        mutable=["batch_stats"],
    )
    if has_sets(config, count):
        others = without_targets(mask, wanted)
        kept = drop_images(key_drop, others, rate=config.gan.drop_images)
        sets = feature.reshape(people, count, -1)
        feature = join(feature, fuse(sets, confidence.reshape(people, count), kept))
    noise = jax.random.uniform(key_noise, (len(feature), config.model.noise), minval=-1, maxval=1)
    fake, decoder = decoder_net(config).apply(
        {"params": params["decoder"], "batch_stats": statistics["decoder"]},
        feature,
        wanted.poses.code,
        noise,
        train=True,
        mutable=["batch_stats"],
    )
    statistics = {"encoder": encoder["batch_stats"], "decoder": decoder["batch_stats"]}
    return fake, feature, statistics


def _real_gradient(config, criticise, params, images):
    """Mean squared slope of "real" at real images (R1: Mescheder et al., 2018)."""
    slope = jax.grad(lambda x: reality(config, criticise(params, x, "real")[0]).sum())(images)
    return jnp.square(slope).sum((1, 2, 3)).mean()


def _optimiser(config, section):
    return make_optimiser(section, config.gan.train.steps)


# ------------------------------------------------------------------------------- use


def encode(config, variables: Any, images: jax.Array) -> Faces:
    """Features and confidences: means over an image and its mirror image (the authors' test).

    Args:
        config: of the run.
        variables: {"params", "batch_stats"} of the generator.
        images: uint8 [B, S, S, C].
    """
    images = scale(images)
    both = jnp.concatenate([images, images[:, :, ::-1]])
    found = encoder_net(config).apply(_part(variables, "encoder"), both, train=False)
    return Faces(
        *jax.tree.map(lambda x: x.reshape(2, images.shape[0], *x.shape[1:]).mean(0), found)
    )


def confidence(config, variables: Any, images: jax.Array) -> jax.Array:
    """How far to trust each image, in (0, 1). uint8 [B, S, S, C] -> [B]."""
    return encode(config, variables, images).confidence


def rotate(config, variables: Any, features: jax.Array, yaw: jax.Array) -> jax.Array:
    """The faces of features at wanted yaws, without noise.

    Args:
        config: of the run.
        variables: {"params", "batch_stats"} of the generator.
        features: [B, F] of `encode` or `fuse`.
        yaw: [B] degrees; with classes the nearest class is drawn.

    Returns:
        uint8 [B, S, S, C].
    """
    noise = jnp.zeros((features.shape[0], config.model.noise))
    code = pose_code(config, jnp.asarray(yaw, jnp.float32)).code
    faces = decoder_net(config).apply(
        _part(variables, "decoder"), features, code, noise, train=False
    )
    return unscale(faces)


def predict(config, variables: Any, images: jax.Array) -> Faces:
    """What `encode` gives; the name that all systems share."""
    return encode(config, variables, images)


def eval_step(config, variables: Any, batch: Any) -> dict[str, jax.Array]:
    """Per-example arrays of a batch {"image"}: {"feature" [B, F], "confidence" [B]}."""
    return encode(config, variables, batch["image"])._asdict()


def _part(variables, name):
    return {kind: variables[kind][name] for kind in ("params", "batch_stats")}
