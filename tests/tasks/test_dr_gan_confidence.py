"""DR-GAN's stage "confidence": what it compares, what it may move, and that it learns."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.kernels.blur import blur
from jaxgen.kernels.pixels import scale, unscale
from jaxgen.tasks import dr_gan, dr_gan_confidence
from jaxgen.tasks.dr_gan_schema import check_config
from jaxgen.training.errors import ConfigError
from jaxgen.training.state import run_key

from .dr_gan_case import changed, faces, init, tiny


@pytest.fixture(scope="module")
def case():
    """A config for sets of four, and the variables of a generator that is not trained."""
    config = tiny(**{"gan.images": 4, "confidence.optimiser.schedule": "constant"})
    return config, init(config).generator.ema


def test_another_channel_changes_the_confidence_and_no_feature(case):
    config, generator = case
    images = jnp.asarray(faces(config)["image"][:, 0])
    channel = dr_gan_confidence.channel_of(generator["params"])
    assert channel["kernel"].shape[:2] == (3, 3) and channel["scale"].shape == ()
    same = dr_gan_confidence.with_channel(generator, channel)
    chex.assert_trees_all_equal(same, generator)
    moved = jax.tree.map(lambda x: x + 1.0, channel)
    encode = jax.jit(partial(dr_gan.encode, config))
    before, after = (
        encode(v, images) for v in (generator, dr_gan_confidence.with_channel(generator, moved))
    )
    np.testing.assert_array_equal(before.feature, after.feature)
    assert changed(before.confidence, after.confidence)


def test_steps_move_the_channel_alone(case):
    config, generator = case
    state = dr_gan_confidence.init_state(config, run_key(0), generator)
    step = jax.jit(partial(dr_gan_confidence.train_step, config))
    batch = {"faces": faces(config, people=6)}
    batch["faces"]["mask"][0, 1:] = False  # one picture: nothing to weigh
    batch["faces"]["mask"][1] = False  # none: does not count
    for _ in range(3):
        state, metrics = step(state, batch)
        assert all(np.isfinite(value) for value in metrics.values())
    chex.assert_trees_all_equal(state.generator, generator)
    assert changed(state.network.params, dr_gan_confidence.channel_of(generator["params"]))


def test_without_worse_pictures_equal_weights_are_perfect(case):
    config, generator = case
    config = config.copy_and_resolve_references()
    config.confidence.degraded = 0.0
    state = dr_gan_confidence.init_state(config, run_key(0), generator)
    # Confidences that differ: an untrained encoder says nearly the same of every picture.
    params = jax.tree.map(lambda x: 15 * x if x.ndim == 4 else x, generator["params"])
    state = state.replace(generator={**generator, "params": params})
    kernel = 15 * state.network.params["kernel"]
    moved = {**state.network.params, "kernel": kernel, "scale": jnp.asarray(1.0)}
    state = state.replace(network=state.network.replace(params=moved))
    _, metrics = jax.jit(partial(dr_gan_confidence.train_step, config))(
        state, {"faces": faces(config)}
    )
    np.testing.assert_allclose(metrics["distance_equal"], 0, atol=1e-6)
    assert metrics["distance"] > 1e-5  # other weights are not
    # Their level is held at one half: weights say the same with any level.
    pictures = faces(config)["image"]
    variables = dr_gan_confidence.with_channel(state.generator, moved)
    found = jax.jit(partial(dr_gan.encode, config))(
        variables, pictures.reshape(-1, *pictures.shape[2:])
    )
    level = np.square(found.confidence.mean() - 0.5)
    # `encode` averages over mirrored pictures, the step does not.
    np.testing.assert_allclose(metrics["loss"], metrics["distance"] + level, rtol=0.1)


def test_pictures_made_worse_are_trusted_less():
    config = tiny(**{"gan.images": 4, "confidence.degraded": 0.5})
    config.confidence.optimiser.update(learning_rate=0.05, schedule="constant")
    generator = init(config).generator.ema
    # The first kernels are so small that an untrained encoder says the same of every picture.
    params = jax.tree.map(lambda x: 15 * x if x.ndim == 4 else x, generator["params"])
    generator = {**generator, "params": params}
    batch = faces(config, people=6)  # random pixels: blurred, they say nothing
    state = dr_gan_confidence.init_state(config, run_key(0), generator)
    step = jax.jit(partial(dr_gan_confidence.train_step, config))
    distances = []
    for _ in range(80):
        state, metrics = step(state, {"faces": batch})
        distances.append([metrics["distance"], metrics["distance_equal"]])
    learned, equal = np.mean(distances[-20:], 0)
    assert learned < 0.9 * equal
    found = dr_gan_confidence.with_channel(generator, state.network.params)
    clean = scale(jnp.asarray(batch["image"][:, 0]))
    blurred = jax.vmap(blur, (0, None))(clean, 0.5)
    trust = np.array([dr_gan.confidence(config, found, unscale(x)) for x in (clean, blurred)])
    assert trust[0].mean() > trust[1].mean() + 0.1 and 0.2 < trust.mean() < 0.8


def test_a_stage_without_a_choice_is_refused():
    config = tiny()
    config.gan.weights.pixel, config.gan.images = 0.0, 1
    config.stages = "confidence"
    with pytest.raises(ConfigError, match=r"config\.gan\.images of 2 or more"):
        check_config(config)
