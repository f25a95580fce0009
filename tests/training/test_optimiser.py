"""Learning-rate schedules and the optimisers against their definitions."""

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxgen.training.optimiser import learning_rate, make_optimiser


def section(**changes):
    base = dict(name="adam", learning_rate=0.1, schedule="constant", warmup_steps=0)
    return ConfigDict(base | dict(weight_decay=0.0, b1=0.9, clip_norm=0.0) | changes)


@pytest.mark.parametrize(
    ("schedule", "points"),
    [
        ("constant", {0: 0.1, 99: 0.1}),
        ("cosine", {0: 0.1, 50: 0.05, 100: 0.0}),
        ("step", {65: 0.1, 67: 0.01}),
        ("half", {49: 0.1, 51: 0.01}),
        ("linear", {0: 0.1, 50: 0.1, 75: 0.05, 100: 0.0}),
    ],
)
def test_schedule(schedule, points):
    rate = learning_rate(section(schedule=schedule), 100)
    for step, value in points.items():
        np.testing.assert_allclose(rate(step), value, atol=1e-6)


@pytest.mark.parametrize(
    ("schedule", "points"),
    [
        ("cosine", {55: 0.05, 100: 0.0}),
        ("step", {65: 0.1, 67: 0.01}),
        ("half", {49: 0.1, 51: 0.01}),
        ("linear", {49: 0.1, 75: 0.05, 100: 0.0}),
    ],
)
def test_warm_up_moves_no_later_event(schedule, points):
    rate = learning_rate(section(schedule=schedule, warmup_steps=10), 100)
    for step, value in ({5: 0.05, 10: 0.1} | points).items():
        np.testing.assert_allclose(rate(step), value, atol=1e-6)


def test_a_warm_up_beyond_the_half_ends_in_time():
    rate = learning_rate(section(schedule="linear", warmup_steps=60), 100)
    found = [rate(step) for step in (30, 60, 80, 100)]
    np.testing.assert_allclose(found, [0.05, 0.1, 0.05, 0.0], atol=1e-6)


@pytest.mark.parametrize(("name", "update"), [("adam", -0.1), ("adamw", -0.05)])
def test_decay_is_part_of_adams_gradient_and_beside_adamws(name, update):
    optimiser = make_optimiser(section(name=name, weight_decay=0.25), 10)
    params = jnp.array(2.0)
    found, _ = optimiser.update(jnp.array(0.0), optimiser.init(params), params)
    # Adam's first step is the sign of the gradient; AdamW's decay is 0.25 * 2.
    np.testing.assert_allclose(found, update, rtol=1e-5)


def test_sgd_has_momentum_and_l2():
    optimiser = make_optimiser(section(name="sgd", weight_decay=0.5, b1=0.5), 10)
    params = jnp.array(2.0)
    state = optimiser.init(params)
    first, state = optimiser.update(jnp.array(1.0), state, params)
    second, _ = optimiser.update(jnp.array(1.0), state, params)
    # Gradient 1 + 0.5 * 2; then the same plus half of the first.
    np.testing.assert_allclose([first, second], [-0.2, -0.3], rtol=1e-6)
