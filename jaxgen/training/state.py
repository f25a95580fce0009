"""One network in training: parameters, statistics, optimiser state, moving average."""

from typing import Any

import flax
import jax
import optax

Tree = Any


@flax.struct.dataclass
class Player:
    """A network that is being trained; adversarial systems have several.

    Attributes:
        params: trainable parameters.
        batch_stats: running statistics of batch normalisation ({} without it).
        opt_state: optimiser state.
        ema: moving average of {"params", "batch_stats"}: the variables to evaluate with.
            None where no average is kept.
    """

    params: Tree
    batch_stats: Tree
    opt_state: optax.OptState
    ema: Tree = None


def run_key(seed: int) -> jax.Array:
    """The key that all randomness of a run follows from.

    The "rbg" generator instead of JAX's default: programs that draw much noise compile in half
    the time with it, and it is the fast one on TPU. Its numbers depend on the platform.
    """
    return jax.random.key(seed, impl="rbg")


def new_player(variables: Tree, optimiser: optax.GradientTransformation, *, ema: bool) -> Player:
    """A player at step 0 from a module's initial variables."""
    params, batch_stats = variables["params"], variables.get("batch_stats", {})
    average = {"params": params, "batch_stats": batch_stats} if ema else None
    return Player(params, batch_stats, optimiser.init(params), average)


def update(
    player: Player,
    grads: Tree,
    batch_stats: Tree,
    *,
    optimiser: optax.GradientTransformation,
    ema_decay: jax.Array | float = 0.0,
) -> tuple[Player, dict[str, jax.Array]]:
    """One optimiser step, new statistics, and the moving average after it.

    Args:
        player: the player before the step.
        grads: gradients, shaped like `player.params`.
        batch_stats: statistics that the forward pass returned.
        optimiser: what made `player.opt_state`.
        ema_decay: weight of the old average, in [0, 1).

    Returns:
        The player after the step, and the L2 norms of gradient, update and parameters.
    """
    updates, opt_state = optimiser.update(grads, player.opt_state, player.params)
    params = optax.apply_updates(player.params, updates)
    average = player.ema
    if average is not None:
        now = {"params": params, "batch_stats": batch_stats}
        average = jax.tree.map(lambda old, new: new + ema_decay * (old - new), average, now)
    norms = {
        "gradient_norm": optax.tree.norm(grads),
        "update_norm": optax.tree.norm(updates),
        "parameter_norm": optax.tree.norm(params),
    }
    return Player(params, batch_stats, opt_state, average), norms


def ema_decay_at(step: jax.Array, decay: float) -> jax.Array:
    """Decay that grows with the step, so that a short run forgets its initial values."""
    return jax.numpy.minimum(decay, (1.0 + step) / (10.0 + step))
