"""Players: one optimiser step, and the average after it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgen.training.state import ema_decay_at, new_player, update


def test_the_average_follows_the_parameters_and_statistics_of_the_step():
    optimiser = optax.sgd(1.0)
    variables = {"params": {"w": jnp.array(3.0)}, "batch_stats": {"mean": jnp.array(8.0)}}
    player = new_player(variables, optimiser, ema=True)
    step = jax.jit(lambda player, grads, stats: update(
        player, grads, stats, optimiser=optimiser, ema_decay=0.75
    ))  # fmt: skip
    player, norms = step(player, {"w": jnp.array(2.0)}, {"mean": jnp.array(4.0)})
    assert player.params["w"] == 1 and player.batch_stats["mean"] == 4
    # 0.75 of the old, 0.25 of the new.
    assert player.ema["params"]["w"] == 2.5 and player.ema["batch_stats"]["mean"] == 7
    assert norms == {"gradient_norm": 2, "update_norm": 2, "parameter_norm": 1}
    assert new_player(variables, optimiser, ema=False).ema is None


def test_a_short_run_forgets_its_first_values():
    steps = np.array([0, 8, 90, 10_000])
    np.testing.assert_allclose(ema_decay_at(steps, 0.99), [0.1, 0.5, 0.91, 0.99], rtol=1e-6)
