"""The two players of the tiny-face GAN: networks, state, and how each is applied.

tiny_faces.py is the method; it says what batches and images are.
"""

from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp

from jaxgen.kernels.pixels import scale
from jaxgen.models.face_discriminator import FaceDiscriminator, Judgement
from jaxgen.models.super_resolution import SCALE, Generator, SuperResolved, enlarge
from jaxgen.training.errors import CheckpointMismatch
from jaxgen.training.optimiser import make_optimiser
from jaxgen.training.state import Player, new_player

# The discriminator keeps statistics of batch normalisation for each, because they differ.
REAL, SUPER_RESOLVED = "real", "super_resolved"


@flax.struct.dataclass
class State:
    """All that a training step reads and writes. A warm start has one of the two players."""

    step: jax.Array  # [] int32, steps done
    key: jax.Array  # typed PRNG key; step i uses fold_in(key, i)
    generator: Player | None
    discriminator: Player | None  # batch_stats {"real", "super_resolved"}


class Variables(NamedTuple):
    """Trained networks to use."""

    generator: Any  # {"params", "batch_stats"}; None: crops are enlarged bicubically instead
    discriminator: Any  # the same


# ------------------------------------------------------------------------------- networks


def generator_net(config) -> Generator:
    """The up-sampling and refinement networks of a config."""
    settings = config.generator
    return Generator(
        width=settings.width,
        blocks=settings.blocks,
        refine=settings.refine,
        first_kernel=settings.first_kernel,
        coarse_kernel=settings.coarse_kernel,
        refined_kernel=settings.refined_kernel,
        norm=settings.norm,
        extra_conv=settings.extra_conv,
        coarse_image=settings.coarse_image,
        global_skip=settings.global_skip,
        dtype=jnp.dtype(config.model.dtype),
    )


def discriminator_net(config) -> FaceDiscriminator:
    """The discriminator of a config; it has a box head where boxes are learned."""
    settings = config.discriminator
    return FaceDiscriminator(
        trunk=settings.trunk,
        features=settings.features,
        stages=settings.stages,
        norm=settings.norm,
        dropout=settings.dropout,
        head_std=settings.head_std,
        box_head=config.gan.weights.box > 0,
        dtype=jnp.dtype(config.model.dtype),
    )


def new_state(key: jax.Array, *, generator=None, discriminator=None) -> State:
    """A state at step 0 of the players that are given."""
    return State(jnp.zeros((), jnp.int32), jax.random.fold_in(key, 2), generator, discriminator)


def new_generator(config, key: jax.Array, optimiser) -> Player:
    """A generator with fresh parameters."""
    side = config.crops.high // SCALE
    low = jnp.zeros((1, side, side, 3))
    variables = generator_net(config).init(jax.random.fold_in(key, 0), low, train=False)
    return new_player(variables, optimiser, ema=True)


def new_discriminator(config, key: jax.Array, optimiser, trunk: Any = None) -> Player:
    """A discriminator with fresh parameters, but for those of a trained `trunk`."""
    image = jnp.zeros((1, config.crops.high, config.crops.high, 3))
    net = discriminator_net(config)
    variables = net.init(jax.random.fold_in(key, 1), image, train=False)
    params, stats = dict(variables["params"]), variables.get("batch_stats", {})
    if trunk is not None:
        params["trunk"] = trunk
    both = {REAL: stats, SUPER_RESOLVED: jax.tree.map(jnp.copy, stats)}
    return new_player({"params": params, "batch_stats": both}, optimiser, ema=True)


def init_state(config, key: jax.Array, batch_spec: Any = None, *, trunk: Any = None) -> State:
    """A state at step 0 with both players; `start_from` gives them trained parameters.

    Args:
        config: see experiments/configs/tiny_faces.
        key: typed PRNG key; the run's randomness follows from it.
        batch_spec: unused here: the shapes follow from the config.
        trunk: params of a trained trunk for the discriminator; None for new ones.
    """
    del batch_spec
    for_generator, for_discriminator = optimisers(config)
    return new_state(
        key,
        generator=new_generator(config, key, for_generator),
        discriminator=new_discriminator(config, key, for_discriminator, trunk),
    )


def start_from(state: State, variables: Variables) -> State:
    """The state with the networks of the warm starts.

    Raises:
        CheckpointMismatch: the networks differ in shape.
    """

    def replace(name, player, trained):
        if trained is None:
            return player
        wanted, found = jax.tree.map(jnp.shape, (player.ema, trained))
        if wanted != found:
            raise CheckpointMismatch(
                f"the {name} of the warm start differs from this config's: give both the same "
                f"config.{name}, or another --workdir."
            )
        # Copies: the step donates the state, and no buffer may be donated twice.
        return player.replace(**trained, ema=jax.tree.map(jnp.copy, trained))

    return state.replace(
        generator=replace("generator", state.generator, variables.generator),
        discriminator=replace("discriminator", state.discriminator, variables.discriminator),
    )


def optimisers(config):
    """Of the generator and of the discriminator, in the stage that trains both."""
    steps = config.gan.train.steps
    return (
        make_optimiser(config.gan.optimiser, steps),
        make_optimiser(config.gan.discriminator_optimiser, steps),
    )


def averaged(state: State) -> Variables:
    """The moving averages of a state's networks: what to evaluate with."""
    return Variables(*(p and p.ema for p in (state.generator, state.discriminator)))


# ---------------------------------------------------------------------------- in training


def generate(config, player: Player, params: Any, low: jax.Array) -> tuple[SuperResolved, Any]:
    """The generator in training: (both images, its new batch statistics)."""
    variables = {"params": params, "batch_stats": player.batch_stats}
    images, mutated = generator_net(config).apply(
        variables, low, train=True, mutable=["batch_stats"]
    )
    return images, mutated.get("batch_stats", {})


def judge(
    config,
    player: Player,
    params: Any,
    images: jax.Array,
    kind: str,
    key: jax.Array,
    counts: jax.Array | None = None,
) -> tuple[Judgement, Any]:
    """The discriminator in training: (what it says, its new batch statistics of that kind).

    Args:
        config: of the run.
        player: holds the statistics.
        params: to differentiate.
        images: [B, h, h, 3] float32, all real or all super-resolved.
        kind: REAL or SUPER_RESOLVED: whose statistics to move.
        key: for dropout.
        counts: [B] bool, the images that the statistics are of; None for all.
    """
    variables = {"params": params, "batch_stats": player.batch_stats[kind]}
    said, mutated = discriminator_net(config).apply(
        variables,
        images,
        train=True,
        counts=counts,
        rngs={"dropout": key},
        mutable=["batch_stats"],
    )
    return said, mutated.get("batch_stats", {})


# ---------------------------------------------------------------------------- at work


def super_resolve(config, variables: Variables, low: jax.Array) -> SuperResolved:
    """Both images of low-resolution crops; bicubic ones without a generator.

    Args:
        config: static.
        variables: the generator's are used.
        low: uint8 [B, l, l, 3].
    """
    low = scale(low)
    if variables.generator is None:
        return SuperResolved(enlarge(low), None)
    return generator_net(config).apply(variables.generator, low, train=False)


def classify(config, variables: Variables, images: jax.Array, kind: str) -> Judgement:
    """What the discriminator says of float images that are REAL or SUPER_RESOLVED."""
    found = variables.discriminator
    found = {"params": found["params"], "batch_stats": found["batch_stats"][kind]}
    return discriminator_net(config).apply(found, images, train=False)
