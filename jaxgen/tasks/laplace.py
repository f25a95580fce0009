"""LaplaceKL face alignment: Robinson et al., Laplace Landmark Localization, ICCV 2019.

A network draws one heatmap per landmark. The heatmap's mean is the landmark; its mean
absolute deviation is how unsure the network is. The loss compares that Laplace with one of
a fixed small scale at the label, so being spread out costs, not only being off. Unlabelled
faces help through a discriminator that sees an image with its heatmaps and tells labels
drawn on labelled images from heatmaps predicted on unlabelled ones.

Contract of the whole file: images arrive as uint8 [B, S, S, 3] crops; points are (x, y) in
crop pixels, pixel centres at integers; heatmaps [B, S, S, K] have one pixel per crop pixel.
"""

from functools import partial
from typing import Any, NamedTuple

import chex
import flax
import jax
import jax.numpy as jnp
from jax import lax

from jaxgen import losses
from jaxgen.kernels import affine
from jaxgen.kernels import heatmap as hm
from jaxgen.models.landmark import LandmarkNet, PatchDiscriminator
from jaxgen.training.accumulation import value_and_grad
from jaxgen.training.errors import CheckpointMismatch
from jaxgen.training.mesh import merge, separate
from jaxgen.training.optimiser import make_optimiser
from jaxgen.training.state import Player, ema_decay_at, new_player, update


@flax.struct.dataclass
class State:
    """All that a training step reads and writes."""

    step: jax.Array  # [] int32, steps done
    key: jax.Array  # typed PRNG key; step i uses fold_in(key, i)
    generator: Player  # the landmark network: it generates heatmaps
    discriminator: Player | None  # None without adversarial training


class Landmarks(NamedTuple):
    """What the network says about a face, in crop pixels."""

    points: jax.Array  # [B, K, 2] float32 (x, y)
    scales: jax.Array  # [B, K, 2] float32 (b_x, b_y): Laplace scales, > 0


# ------------------------------------------------------------------------------- networks


def landmark_net(config) -> LandmarkNet:
    """The heatmap network of a config."""
    model = config.model
    return LandmarkNet(
        num_points=model.num_points,
        width=model.width,
        depth=model.depth,
        norm=model.norm,
        dropout=model.dropout,
        dtype=jnp.dtype(model.dtype),
    )


def discriminator_net(config) -> PatchDiscriminator:
    """The patch discriminator of a config."""
    adversarial = config.adversarial
    return PatchDiscriminator(
        width=adversarial.width,
        depth=adversarial.depth,
        noise=adversarial.noise,
        dtype=jnp.dtype(config.model.dtype),
    )


def standardise(images: jax.Array) -> jax.Array:
    """uint8 [B, S, S, 3] -> float32, each channel of each image with mean 0 and std 1."""
    chex.assert_type(images, jnp.uint8)
    images = images.astype(jnp.float32) / 255
    mean = images.mean((1, 2), keepdims=True)
    return (images - mean) / (images.std((1, 2), keepdims=True) + 1e-3)


def critic_inputs(config, images: jax.Array, heatmaps: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Images and heatmaps averaged over adversarial.pool x pool pixels (paper: 1)."""
    pool = config.adversarial.pool

    def average(x):
        b, h, w, c = x.shape
        return x.reshape(b, h // pool, pool, w // pool, pool, c).mean((2, 4))

    return average(images), average(heatmaps)


def init_state(config, key: jax.Array, batch_spec: Any = None) -> State:
    """A state at step 0.

    Args:
        config: see experiments/configs/laplace/default.py.
        key: typed PRNG key; the run's randomness follows from it.
        batch_spec: unused here: the shapes follow from the config.

    Returns:
        A state whose players hold fresh parameters.
    """
    del batch_spec
    key_generator, key_discriminator, key_run = jax.random.split(key, 3)
    size, count = config.data.crop_size, config.model.num_points
    image = jnp.zeros((1, size, size, 3))
    variables = landmark_net(config).init(key_generator, image, train=False)
    optimiser = make_optimiser(config.optimiser, config.train.steps)
    generator = new_player(variables, optimiser, ema=True)
    discriminator = None
    if config.adversarial.weight > 0:
        heatmaps = jnp.zeros((1, size, size, count))
        variables = discriminator_net(config).init(
            key_discriminator, *critic_inputs(config, image, heatmaps), train=False
        )
        optimiser = make_optimiser(config.adversarial.optimiser, config.train.steps)
        discriminator = new_player(variables, optimiser, ema=False)
    return State(jnp.zeros((), jnp.int32), key_run, generator, discriminator)


def start_from(state: State, variables: Any) -> State:
    """The state with the landmark network of another run: to go on on other faces.

    Args:
        state: of `init_state`.
        variables: {"params", "batch_stats"} of the trained network.

    Raises:
        CheckpointMismatch: the two networks differ in shape.
    """
    wanted, found = jax.tree.map(jnp.shape, (state.generator.ema, variables))
    if wanted != found:
        raise CheckpointMismatch(
            "the network of config.model.pretrained differs from this config's: give both the "
            "same config.model (num_points, width, depth, norm)."
        )
    # Copies: the step donates the state, and no buffer may be donated twice.
    average = jax.tree.map(jnp.copy, variables)
    return state.replace(generator=state.generator.replace(**variables, ema=average))


# --------------------------------------------------------------------------------- losses


def moments_of(config, logits: jax.Array) -> hm.Moments:
    """Heatmaps [B, S, S, K] -> Moments [B, K, 2]: Gaussian for the Gaussian loss, else Laplace."""
    family = hm.gaussian_moments if config.loss.name == "gaussian_kl" else hm.laplace_moments
    return hm.batched(partial(family, temperature=config.loss.temperature))(logits)


def supervised_loss(config, logits: jax.Array, points: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean loss over the labelled landmarks (section 3 of the paper).

    Args:
        config: loss.name chooses the loss; loss.target_scale is the label's scale, pixels.
        logits: [B, S, S, K] heatmaps.
        points: [B, K, 2] labels; anything where the mask is False.
        mask: [B, K] bool, True where there is a label.

    Returns:
        [] float32.
    """
    points = jnp.where(mask[..., None], points, 0)  # a NaN must not reach the arithmetic
    pred = moments_of(config, logits)
    target = hm.Moments(points, jnp.full_like(points, config.loss.target_scale))
    per_landmark = {
        "laplace_kl": lambda: hm.batched(hm.laplace_kl)(pred, target),
        "laplace_kl_reverse": lambda: hm.batched(hm.laplace_kl)(target, pred),
        "gaussian_kl": lambda: hm.batched(hm.gaussian_kl)(pred, target),
        "laplace_nll": lambda: hm.batched(hm.laplace_nll)(pred, points),
        # Soft-argmax losses see the mean only: the baselines of the paper.
        "soft_argmax_l1": lambda: jnp.abs(pred.mean - points).sum(-1),
        "soft_argmax_l2": lambda: jnp.square(pred.mean - points).sum(-1),
    }[config.loss.name]()
    return hm.masked_mean(per_landmark, mask)


def real_heatmaps(config, points: jax.Array, mask: jax.Array, size: int) -> jax.Array:
    """What the discriminator is told is real: labels drawn as Laplace bumps of peak 1.

    Drawn where the label is, between pixels too; an unlabelled landmark is an empty map.
    """
    points = jnp.where(mask[..., None], points, 0)
    target = hm.Moments(points, jnp.full_like(points, config.loss.target_scale))
    maps = hm.batched(partial(hm.render_laplace, shape=(size, size)))(target)
    peak = maps.max((1, 2), keepdims=True)
    return jnp.where(mask[:, None, None, :], maps / peak, 0)


def fake_heatmaps(config, logits: jax.Array) -> jax.Array:
    """Predicted distributions with peak 1: the same space as the real maps, not raw logits."""
    logits = logits.astype(jnp.float32) / config.loss.temperature
    return jnp.exp(logits - logits.max((1, 2), keepdims=True))


def leave_out_unlabelled(heatmaps: jax.Array, mask: jax.Array) -> jax.Array:
    """Fake maps with the gaps of the real ones, so that an empty map gives nothing away.

    Args:
        heatmaps: [U, S, S, K] of unlabelled faces.
        mask: [B, K] bool of labelled ones; used again from the first where U is larger.
    """
    mask = jnp.resize(mask, (len(heatmaps), mask.shape[1]))
    return jnp.where(mask[:, None, None, :], heatmaps, 0)


def equivariance_loss(config, key: jax.Array, images: jax.Array, mean: jax.Array, apply) -> Any:
    """ELT of Honari et al. 2018: turning the image should turn the predicted points.

    Args:
        config: equivariance.{rotation, scale, shift} bound the random similarity.
        key: PRNG key.
        images: [B, S, S, 3] float32.
        mean: [B, K, 2] points predicted on `images`.
        apply: images -> (logits, batch_stats).

    Returns:
        [] float32, mean squared distance in pixels^2 over points that stay in the picture.
    """
    size = images.shape[1]
    keys = jax.random.split(key, len(images))
    draw = partial(affine.random_similarity, size=size, **config.equivariance.transform)
    matrices = jax.vmap(draw)(keys)  # input pixel -> output pixel
    warped = jax.vmap(affine.warp)(images, jax.vmap(affine.invert)(matrices))
    expected = jax.vmap(affine.transform_points)(matrices, mean)
    inside = ((expected >= 0) & (expected <= size - 1)).all(-1)
    logits, _ = apply(warped)
    distance = jnp.square(moments_of(config, logits).mean - expected).sum(-1)
    return hm.masked_mean(distance, inside)


# ------------------------------------------------------------------------------ one step


def train_step(config, state: State, batch: Any) -> tuple[State, dict[str, jax.Array]]:
    """Updates the landmark network, and the discriminator if there is one.

    Args:
        config: static.
        state: donated by the compiled step.
        batch: {"labelled": {"image" uint8 [B, S, S, 3], "points" [B, K, 2] crop pixels,
            "mask" bool [B, K]}} and, for adversarial or equivariance training,
            {"unlabelled": {"image" uint8 [U, S, S, 3]}}; B and U are independent.

    Returns:
        The next state and scalar metrics; "loss" is the landmark network's.
    """
    key = jax.random.fold_in(state.key, state.step)
    net, critic = landmark_net(config), discriminator_net(config)

    def generate(params, images, key):
        variables = {"params": params, "batch_stats": state.generator.batch_stats}
        rngs = {"dropout": key}
        return net.apply(variables, images, train=True, rngs=rngs, mutable=["batch_stats"])

    def criticise(params, images, heatmaps, key):
        variables = {"params": params, "batch_stats": state.discriminator.batch_stats}
        rngs = {"noise": key}
        inputs = critic_inputs(config, images, heatmaps)
        return critic.apply(variables, *inputs, train=True, rngs=rngs, mutable=["batch_stats"])

    adversarial = losses.ADVERSARIAL[config.adversarial.loss]

    def landmark_loss(params, batch, key):
        key_dropout, key_warp, key_warped_dropout, _, key_fake = jax.random.split(key, 5)
        labelled = batch["labelled"]
        faces = [standardise(batch[kind]["image"]) for kind in sorted(batch)]  # labelled first
        # One forward pass over labelled and unlabelled faces serves every term.
        images = merge(*faces)
        logits, mutated = generate(params, images, key_dropout)
        on_labelled, *on_unlabelled = separate(logits, *map(len, faces))
        # (1) labelled faces: compare distributions.
        supervised = supervised_loss(config, on_labelled, labelled["points"], labelled["mask"])
        total, terms, fake = supervised, {"supervised": supervised}, ()
        # (2) unlabelled faces: heatmaps that the discriminator takes for labels.
        if state.discriminator is not None:
            fake = fake_heatmaps(config, *on_unlabelled)
            fake = leave_out_unlabelled(fake, labelled["mask"])
            scores, _ = criticise(state.discriminator.params, faces[-1], fake, key_fake)
            terms["adversarial"] = adversarial.generator(scores).mean()
            total += config.adversarial.weight * terms["adversarial"]
        # (3) all faces: points move with the picture.
        if config.equivariance.weight > 0:
            mean = moments_of(config, logits).mean
            apply = partial(generate, params, key=key_warped_dropout)
            terms["equivariance"] = equivariance_loss(config, key_warp, images, mean, apply)
            total += config.equivariance.weight * terms["equivariance"]
        return total, ((terms, mutated.get("batch_stats", {})), fake)

    gradient_of = partial(value_and_grad, micro_batches=config.train.micro_batches)
    (loss, ((terms, batch_stats), fake)), grads = gradient_of(landmark_loss)(
        state.generator.params, batch, key
    )
    generator, norms = update(
        state.generator,
        grads,
        batch_stats,
        optimiser=make_optimiser(config.optimiser, config.train.steps),
        ema_decay=ema_decay_at(state.step, config.train.ema_decay),
    )
    metrics = {"loss": loss, **terms, **norms}
    if state.discriminator is None:
        return state.replace(step=state.step + 1, generator=generator), metrics

    # (4) the discriminator: labels on labelled faces are real, predictions are fake.
    def critic_loss(params, batch_and_fake, key):
        batch, fake = batch_and_fake
        *_, key_real, key_fake = jax.random.split(key, 5)
        labelled, unlabelled = (
            standardise(batch[name]["image"]) for name in ("labelled", "unlabelled")
        )
        points, mask = batch["labelled"]["points"], batch["labelled"]["mask"]
        real = real_heatmaps(config, points, mask, labelled.shape[1])
        on_fake, _ = criticise(params, unlabelled, fake, key_fake)
        on_real, mutated = criticise(params, labelled, real, key_real)
        loss_real, loss_fake = adversarial.discriminator(on_real, on_fake)
        boundary = 0.5 if config.adversarial.loss == "least_squares" else 0.0
        accuracy = ((on_real > boundary).mean() + (on_fake < boundary).mean()) / 2
        loss = (loss_real.mean() + loss_fake.mean()) / 2
        return loss, ((mutated.get("batch_stats", {}), accuracy), ())

    (loss, ((batch_stats, accuracy), _)), grads = gradient_of(critic_loss)(
        state.discriminator.params, (batch, lax.stop_gradient(fake)), key
    )
    discriminator, norms = update(
        state.discriminator,
        grads,
        batch_stats,
        optimiser=make_optimiser(config.adversarial.optimiser, config.train.steps),
    )
    metrics |= {"discriminator/loss": loss, "discriminator/accuracy": accuracy}
    metrics |= {f"discriminator/{name}": value for name, value in norms.items()}
    return State(state.step + 1, state.key, generator, discriminator), metrics


# ----------------------------------------------------------------------------- evaluation


def predict(config, variables: Any, images: jax.Array) -> Landmarks:
    """Landmarks of face crops.

    Args:
        config: static.
        variables: {"params", "batch_stats"} of the landmark network.
        images: uint8 [B, S, S, 3].

    Returns:
        Landmarks in crop pixels; scales are Laplace scales whatever the training loss was.
    """
    return _read(config, heatmaps(config, variables, images))


def heatmaps(config, variables: Any, images: jax.Array) -> jax.Array:
    """Logits [B, S, S, K] of face crops uint8 [B, S, S, 3]."""
    return landmark_net(config).apply(variables, standardise(images), train=False)


def _read(config, logits: jax.Array) -> Landmarks:
    return Landmarks(
        *hm.batched(partial(hm.laplace_moments, temperature=config.loss.temperature))(logits)
    )


def eval_step(config, variables: Any, batch: Any) -> dict[str, jax.Array]:
    """Per-example arrays of a labelled batch.

    Returns:
        {"points", "scales": [B, K, 2] crop pixels, "loss": [B] supervised loss}.
    """
    logits = heatmaps(config, variables, batch["image"])
    points, scales = _read(config, logits)
    each = jax.vmap(lambda *item: supervised_loss(config, *jax.tree.map(lambda x: x[None], item)))
    loss = each(logits, batch["points"], batch["mask"])
    return {"points": points, "scales": scales, "loss": loss}
