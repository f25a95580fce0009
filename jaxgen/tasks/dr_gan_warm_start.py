"""What DR-GAN may start from: a recogniser as its encoder, and a decoder that already draws.

The decoder's own stage needs no discriminator: the recogniser stays as it is, and what is drawn
from its feature of one picture is compared, pixel by pixel, with another picture of the person. It
costs a fifth of a step of the game. Not in the papers, whose networks start from noise.
"""

from typing import Any

import flax
import jax
import jax.numpy as jnp

from jaxgen.kernels.heatmap import masked_mean
from jaxgen.kernels.pixels import scale
from jaxgen.tasks import dr_gan, dr_gan_classifiers, dr_gan_poses
from jaxgen.training.accumulation import value_and_grad
from jaxgen.training.errors import CheckpointMismatch
from jaxgen.training.optimiser import make_optimiser
from jaxgen.training.state import Player, ema_decay_at, new_player, update


@flax.struct.dataclass
class State:
    """Training of the decoder alone."""

    step: jax.Array  # [] int32
    key: jax.Array
    network: Player  # the decoder
    recogniser: Any  # {"params", "batch_stats"}, read only


def init_decoder(config, key: jax.Array, recogniser: Any) -> State:
    """A decoder at step 0.

    Args:
        config: of the run.
        key: typed PRNG key.
        recogniser: variables of `jaxgen.models.dr_gan.Classifier`.
    """
    key_network, key_run = jax.random.split(key)
    inputs = (
        jnp.zeros((1, config.model.features)),
        dr_gan_poses.pose_code(config, jnp.zeros(1)).code,
        jnp.zeros((1, config.model.noise)),
    )
    variables = dr_gan.decoder_net(config).init(key_network, *inputs, train=False)
    player = new_player(variables, _optimiser(config), ema=True)
    return State(jnp.zeros((), jnp.int32), key_run, player, recogniser)


def decoder_step(config, state: State, batch: Any) -> tuple[State, dict[str, jax.Array]]:
    """One step of the decoder towards other pictures of the same people.

    Args:
        config: of the run.
        state: donated by the compiled step.
        batch: as of `dr_gan.train_step`; n >= 2.

    Returns:
        The next state and scalar metrics.
    """
    people = dr_gan.num_identities(state.recogniser["params"])
    recogniser = dr_gan_classifiers.net(config, "recogniser", people)

    def loss_of(params, faces, key):
        images = scale(faces["image"]).reshape(-1, *faces["image"].shape[2:])
        feature, _ = recogniser.apply(state.recogniser, images, train=False)
        key_pose, key_noise = jax.random.split(key)
        wanted = dr_gan_poses.other_pictures(config, key_pose, faces)
        noise = jax.random.uniform(
            key_noise, (len(images), config.model.noise), minval=-1, maxval=1
        )
        drawn, mutated = dr_gan.decoder_net(config).apply(
            {"params": params, "batch_stats": state.network.batch_stats},
            *(feature, wanted.poses.code, noise),
            train=True,
            mutable=["batch_stats"],
        )
        error = jnp.abs(drawn - images[wanted.like]).mean((1, 2, 3))
        return masked_mean(error, wanted.paired), (mutated["batch_stats"], ())

    (loss, (statistics, _)), grads = value_and_grad(loss_of, config.decoder.train.micro_batches)(
        state.network.params, batch["faces"], jax.random.fold_in(state.key, state.step)
    )
    network, norms = update(
        state.network,
        grads,
        statistics,
        optimiser=_optimiser(config),
        ema_decay=ema_decay_at(state.step, config.decoder.train.ema_decay),
    )
    return state.replace(step=state.step + 1, network=network), {"loss": loss, **norms}


def start_from(
    config, state: dr_gan.State, *, recogniser: Any = None, decoder: Any = None
) -> dr_gan.State:
    """The state whose networks begin as trained ones.

    Args:
        config: gan.warm_start says what the recogniser becomes: "encoder", or "both" for encoder
            and discriminator.
        state: of `dr_gan.init_state`.
        recogniser: variables of a recogniser trained on the same people, or None.
        decoder: variables of a decoder, or None.

    Raises:
        CheckpointMismatch: two networks differ in shape.
    """
    generator, discriminator = state.generator, state.discriminator
    fresh = generator.ema
    for kind in ("params", "batch_stats"):
        part = dict(fresh[kind])
        if recogniser is not None:
            before, trained = part["encoder"]["trunk"], recogniser[kind]["trunk"]
            part["encoder"] = {"trunk": jax.tree.map_with_path(_overwrite, before, trained)}
        if decoder is not None:
            part["decoder"] = decoder[kind]
        if recogniser is not None and "identity" in part:
            part["identity"] = recogniser[kind]["identity"]
        fresh = {**fresh, kind: part}
    generator = generator.replace(**jax.tree.map(jnp.copy, fresh), ema=fresh)
    if recogniser is not None and config.gan.warm_start == "both":
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


def _overwrite(path, fresh, trained):
    """`trained` in the place of the first values of `fresh` along the last axis.

    What remains is the confidence, the last channel of the last layer. The scale of its
    normalisation begins at 0: all pictures are trusted alike, at 0.5, until the scale has learnt
    otherwise. A fresh scale would weight pictures by noise, and a kernel of zeros would be divided
    by a deviation of zero.
    """
    if fresh.shape[:-1] != trained.shape[:-1] or fresh.shape[-1] < trained.shape[-1]:
        raise CheckpointMismatch(
            f"the recogniser's layer has shape {trained.shape}, the encoder's {fresh.shape}: give "
            "both the same config.model."
        )
    if path[-1].key == "scale":
        fresh = jnp.zeros_like(fresh)
    return fresh.at[..., : trained.shape[-1]].set(trained)


def _optimiser(config):
    return make_optimiser(config.decoder.optimiser, config.decoder.train.steps)
