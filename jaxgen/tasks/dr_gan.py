"""DR-GAN: Tran, Yin and Liu, Representation Learning by Rotating Your Faces, CVPR 2017, TPAMI 2018.

An encoder turns a face into an identity feature and a confidence. A decoder draws the same person
in a wanted pose from that feature, a pose code and noise. A discriminator says who it is, in which
pose, and whether the image is real. Because the pose of what is drawn comes from the code, the
feature has no reason to hold it. Several images of a person give one feature, their mean weighted
by confidence, and the decoder draws from that too: so the confidence learns which images to trust.

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

from jaxgen import losses
from jaxgen.kernels.heatmap import masked_mean
from jaxgen.kernels.pixels import scale, unscale
from jaxgen.models import dr_gan as networks
from jaxgen.training.accumulation import value_and_grad
from jaxgen.training.errors import CheckpointMismatch
from jaxgen.training.optimiser import make_optimiser
from jaxgen.training.state import Player, ema_decay_at, new_player, update

MARGIN_SCALE, MARGIN = 30.0, 0.35  # of additive-margin softmax, as in the authors' later code
UNKNOWN_POSE = -1
ACCURACIES = ("identity", "pose", "real", "fake")
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
    generator: Player  # params and statistics {"encoder", "decoder"}
    discriminator: Player  # statistics {"real", "fake"}: of either kind of image
    judged: dict[str, jax.Array]  # the discriminator's metrics when it last moved


class Faces(NamedTuple):
    """What the encoder says of images."""

    feature: jax.Array  # [B, F] float32; compare by cosine
    confidence: jax.Array  # [B] float32 in (0, 1)


class Poses(NamedTuple):
    """Poses in the two ways in which they are used."""

    code: jax.Array  # [R, num_poses] one-hot, or [R, 1] yaw / 90 degrees: for the decoder
    label: jax.Array  # [R] int32 class, or [R] float32 yaw in radians: for the discriminator


# ------------------------------------------------------------------------------- networks


def encoder_net(config) -> networks.Encoder:
    """G_enc of a config."""
    return networks.Encoder(
        features=config.model.features,
        width=config.model.width,
        halvings=config.model.halvings,
        dtype=jnp.dtype(config.model.dtype),
    )


def decoder_net(config) -> networks.Decoder:
    """G_dec of a config."""
    return networks.Decoder(
        size=config.data.size,
        channels=config.data.channels,
        width=config.model.width,
        halvings=config.model.halvings,
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


def num_identities(params: Any) -> int:
    """People that a discriminator or recogniser with these params knows."""
    return jax.tree.leaves(params["identity"])[0].shape[-1]


def by_class(config) -> bool:
    """Whether poses are classes (the papers) or the yaw itself (the authors' later code)."""
    return config.pose.form == "classes"


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


def start_from(config, state: State, recogniser: Any) -> State:
    """The state whose encoder, and perhaps discriminator, begin as a trained recogniser.

    Args:
        config: gan.warm_start is "none", "encoder", or "both" for encoder and discriminator.
        state: of `init_state`.
        recogniser: variables of `jaxgen.models.dr_gan.Classifier`, trained on the same people.

    Raises:
        CheckpointMismatch: the two networks differ in shape.
    """
    if config.gan.warm_start == "none":
        return state
    generator, discriminator = state.generator, state.discriminator
    fresh = generator.ema
    for kind in ("params", "batch_stats"):
        # The confidence, the last channel of the last layer, keeps its fresh values.
        trunk = jax.tree.map(_overwrite, fresh[kind]["encoder"]["trunk"], recogniser[kind]["trunk"])
        fresh = {**fresh, kind: {**fresh[kind], "encoder": {"trunk": trunk}}}
    generator = generator.replace(**jax.tree.map(jnp.copy, fresh), ema=fresh)
    if config.gan.warm_start == "both":
        params = {**discriminator.params, **recogniser["params"]}
        same = jax.tree.map(jnp.shape, (params, discriminator.params))
        if same[0] != same[1]:
            raise CheckpointMismatch(
                "config.gan.warm_start='both': recogniser and discriminator differ. Give "
                "config.recogniser.head and config.gan.head the same value, and leave "
                "config.gan.spectral off."
            )
        stats = {kind: {**recogniser["batch_stats"]} for kind in ("real", "fake")}
        discriminator = discriminator.replace(params=params, batch_stats=stats)
    return state.replace(generator=generator, discriminator=discriminator)


def _overwrite(fresh, trained):
    """`trained` in the place of the first values of `fresh` along the last axis."""
    if fresh.shape[:-1] != trained.shape[:-1] or fresh.shape[-1] < trained.shape[-1]:
        raise CheckpointMismatch(
            f"the recogniser's layer has shape {trained.shape}, the encoder's {fresh.shape}: give "
            "both the same config.model."
        )
    return fresh.at[..., : trained.shape[-1]].set(trained)


# --------------------------------------------------------------------- poses and fusion


def pose_code(config, yaw: jax.Array) -> Poses:
    """Poses of wanted yaws.

    Args:
        config: pose.classes lists the yaws of the classes; the nearest one is taken.
        yaw: [R] degrees.
    """
    if not by_class(config):
        return Poses(yaw[:, None] / 90, jnp.deg2rad(yaw))
    classes = jnp.asarray(config.pose.classes, jnp.float32)
    nearest = jnp.abs(yaw[:, None] - classes).argmin(-1)
    return Poses(jax.nn.one_hot(nearest, len(classes)), nearest)


def draw_poses(config, key: jax.Array, shape: tuple[int, ...]) -> Poses:
    """Random target poses: every class alike; a yaw within pose.limit, often near frontal.

    Args:
        config: of the run.
        key: PRNG key.
        shape: [P, n'], flattened in the result.
    """
    if by_class(config):
        label = jax.random.randint(key, shape, 0, len(config.pose.classes)).reshape(-1)
        return Poses(jax.nn.one_hot(label, len(config.pose.classes)), label)
    # As the authors' code has it: the first of each set near frontal, the others anywhere.
    first, others = jax.random.split(key)
    yaw = jax.random.uniform(others, shape, minval=-1, maxval=1) * config.pose.limit
    near = jnp.clip(45 * jax.random.normal(first, shape[:1]), -config.pose.limit, config.pose.limit)
    return pose_code(config, yaw.at[:, 0].set(near).reshape(-1))


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
    return jnp.einsum("...n,...nf->...f", weights, jnp.where(mask[..., None], features, 0))


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


# --------------------------------------------------------------------------------- losses


def identity_loss(config, verdict: networks.Verdict, labels: jax.Array) -> jax.Array:
    """Cross-entropy of the person. Labels [R]; in the CVPR form N is the label "fake". -> [R]."""
    if config.gan.form == "fake_class":
        return losses.cross_entropy(_with_fake(verdict), labels, ignore=-1)
    if config.gan.head == "additive_margin":
        return losses.additive_margin(verdict.identity, labels, scale=MARGIN_SCALE, margin=MARGIN)
    return losses.cross_entropy(verdict.identity, labels, ignore=-1)


def pose_loss(config, predicted: jax.Array, label: jax.Array) -> jax.Array:
    """Cross-entropy of the class, 0 where unknown; or squared error in radians. -> [R]."""
    if by_class(config):
        return losses.cross_entropy(predicted, label, ignore=UNKNOWN_POSE)
    known = jnp.isfinite(label)
    return jnp.where(known, jnp.square(predicted[:, 0] - jnp.where(known, label, 0)), 0)


def reality(config, verdict: networks.Verdict) -> jax.Array:
    """Logit of being real, in both forms. -> [R]."""
    if config.gan.form == "separate":
        return verdict.real
    return jax.nn.logsumexp(verdict.identity, -1) - verdict.real


def generator_terms(config, verdict: networks.Verdict, identity, poses: Poses, weight) -> dict:
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
        pose: [R] true poses, as `pose_loss` wants them.
        weight_real: [R] bool.
        weight_fake: [R'] bool.

    Returns:
        Means [] by name.
    """
    terms = {
        "identity": masked_mean(identity_loss(config, on_real, identity), weight_real),
        "pose": masked_mean(pose_loss(config, on_real.pose, pose), weight_real),
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
    known = weight_real
    if by_class(config):
        right_pose, known = on_real.pose.argmax(-1) == pose, known & (pose != UNKNOWN_POSE)
    else:
        right_pose = jnp.abs(on_real.pose[:, 0] - pose) < jnp.deg2rad(7.5)
        known = known & jnp.isfinite(pose)
    middle = 0.5 if config.gan.loss == "least_squares" else 0.0
    return {
        "identity": masked_mean(1.0 * (logits.argmax(-1) == identity), weight_real),
        "pose": masked_mean(1.0 * right_pose, known),
        "real": masked_mean(1.0 * (reality(config, on_real) > middle), weight_real),
        "fake": masked_mean(1.0 * (reality(config, on_fake) < middle), weight_fake),
    }


def _with_fake(verdict):
    return jnp.concatenate([verdict.identity, verdict.real[:, None]], -1)


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
        """Images and people, and the people and masks of what is drawn from them."""
        count = faces["mask"].shape[1]
        images = scale(faces["image"]).reshape(-1, *faces["image"].shape[2:])
        identity, there = faces["identity"].repeat(count), faces["mask"].reshape(-1)
        # Synthetic images: one of each image, and one of each set if it has several.
        wanted = identity, there
        if count > 1:
            wanted = (
                jnp.concatenate([identity, faces["identity"]]),
                jnp.concatenate([there, faces["mask"].any(-1)]),
            )
        return images, identity, there, wanted

    def generator_loss(params, faces, key):
        images, _, _, wanted = read(faces)
        fake, poses, statistics = synthesise(
            config, key, params, state.generator.batch_stats, images, faces["mask"]
        )
        verdict, _ = criticise(state.discriminator.params, fake, "fake")
        terms = generator_terms(config, verdict, wanted[0], poses, wanted[1])
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
        images, identity, there, wanted = read(faces)
        fake = jnp.concatenate([drawn.reshape(-1, *drawn.shape[2:]), of_sets])
        pose = faces["pose"] if by_class(config) else jnp.deg2rad(faces["yaw"])
        # Apart, so that each kind of image is normalised by its own statistics.
        on_real, of_real = criticise(params, images, "real")
        on_fake, of_fake = criticise(params, fake, "fake")
        facts = on_real, on_fake, identity, pose.reshape(-1), there, wanted[1]
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


def synthesise(config, key, params, statistics, images, mask):
    """Each image's person, and each set's, in random poses.

    Args:
        config: of the run.
        key: PRNG key for poses, noise and dropped images.
        params: {"encoder", "decoder"}.
        statistics: the same, of batch normalisation.
        images: [P n, S, S, C] float32 in [-1, 1].
        mask: [P, n] bool.

    Returns:
        Images [R, S, S, C], their Poses, new statistics; R = P n, and P more if n > 1.
    """
    people, count = mask.shape
    key_pose, key_noise, key_drop = jax.random.split(key, 3)
    (feature, confidence), encoder = encoder_net(config).apply(
        {"params": params["encoder"], "batch_stats": statistics["encoder"]},
        images,
        train=True,
        mutable=["batch_stats"],
    )
    if count > 1:
        kept = drop_images(key_drop, mask, rate=config.gan.drop_images)
        sets = feature.reshape(people, count, -1)
        fused = fuse(sets, confidence.reshape(people, count), kept)
        feature = jnp.concatenate([feature, fused])
    poses = draw_poses(config, key_pose, (people, count))
    if count > 1:
        of_sets = draw_poses(config, jax.random.fold_in(key_pose, 1), (people, 1))
        poses = jax.tree.map(lambda *each: jnp.concatenate(each), poses, of_sets)
    noise = jax.random.uniform(key_noise, (len(feature), config.model.noise), minval=-1, maxval=1)
    fake, decoder = decoder_net(config).apply(
        {"params": params["decoder"], "batch_stats": statistics["decoder"]},
        feature,
        poses.code,
        noise,
        train=True,
        mutable=["batch_stats"],
    )
    new = {"encoder": encoder["batch_stats"], "decoder": decoder["batch_stats"]}
    return fake, poses, new


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
