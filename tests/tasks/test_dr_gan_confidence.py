"""DR-GAN's stage "confidence": what it compares, what it may move, and that it learns."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.tasks import dr_gan, dr_gan_confidence
from jaxgen.tasks.dr_gan_schema import check_config
from jaxgen.training.errors import ConfigError
from jaxgen.training.state import run_key

from .dr_gan_case import changed, faces, init, tiny


@pytest.fixture(scope="module")
def case():
    """A config for sets of four, and the variables of a generator that is not trained."""
    changes = {"gan.images": 4, "confidence.optimiser.learning_rate": 0.05}
    config = tiny(**changes, **{"confidence.optimiser.schedule": "constant"})
    return config, init(config).generator.ema


def test_contrast_is_the_cross_entropy_of_cosines():
    rng = np.random.default_rng(0)
    fused, clean = rng.normal(size=(2, 5, 3))
    identity = np.arange(5)
    there = np.ones(5, bool)
    loss, right = dr_gan_confidence.contrast(
        *map(jnp.asarray, (fused, clean, identity, there)), temperature=0.1
    )
    cosines = (fused @ clean.T) / np.outer(
        np.linalg.norm(fused, axis=1), np.linalg.norm(clean, axis=1)
    )
    odds = np.exp(cosines / 0.1)
    np.testing.assert_allclose(loss, -np.log(np.diag(odds) / odds.sum(1)), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(right, cosines.argmax(1) == identity)


def test_two_sets_of_one_person_and_people_without_a_picture_are_no_contrast():
    fused = jnp.asarray(np.eye(4), jnp.float32)
    clean = fused[jnp.array([1, 0, 2, 0])]  # the third alone is nearest to its own
    identity = jnp.array([7, 7, 8, 9])
    there = jnp.array([True, True, True, False])
    loss, right = dr_gan_confidence.contrast(fused, clean, identity, there, temperature=1.0)
    # The first: its own picture (cosine 0) and that of the third person (0), nobody else.
    np.testing.assert_allclose(loss[:2], np.log(2), rtol=1e-5)
    np.testing.assert_allclose(loss[2], -np.log(np.e / (np.e + 2)), rtol=1e-5)
    assert right[2] and np.isfinite(loss).all()


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
    batch["faces"]["identity"] = np.arange(6, dtype=np.int32)
    batch["faces"]["mask"][0, 1:] = False  # nothing to fuse: does not count
    for _ in range(3):
        state, metrics = step(state, batch)
        assert all(np.isfinite(value) for value in metrics.values())
    chex.assert_trees_all_equal(state.generator, generator)
    assert changed(state.network.params, dr_gan_confidence.channel_of(generator["params"]))


def test_pictures_made_worse_are_trusted_less():
    """Features that say nothing but whether a picture is noisy: only the noise can be learned."""
    config = tiny(**{"gan.images": 4, "confidence.degraded": 0.5})
    config.confidence.optimiser.update(learning_rate=0.05, schedule="constant")
    generator = init(config).generator.ema
    # The first kernels are so small that an untrained encoder says the same of every picture.
    params = jax.tree.map(lambda x: 15 * x if x.ndim == 4 else x, generator["params"])
    generator = {**generator, "params": params}
    rng = np.random.default_rng(0)
    people, size = 6, config.data.size
    # Flat pictures of different colours; what is made worse is noisy or, flat, as it was.
    colours = rng.integers(40, 216, (people, 1, 1, 1, 3))
    batch = faces(config, people=people)
    batch["identity"] = np.arange(people, dtype=np.int32)
    batch["image"] = np.broadcast_to(colours, (people, 4, size, size, 3)).astype(np.uint8)
    state = dr_gan_confidence.init_state(config, run_key(0), generator)
    step = jax.jit(partial(dr_gan_confidence.train_step, config))
    for _ in range(60):
        state, _ = step(state, {"faces": batch})
    found = dr_gan_confidence.with_channel(generator, state.network.params)
    clean = batch["image"][:, 0]
    noisy = np.clip(clean + rng.normal(0, 50, clean.shape), 0, 255).astype(np.uint8)
    clean, noisy = (
        np.asarray(dr_gan.confidence(config, found, jnp.asarray(x))) for x in (clean, noisy)
    )
    assert (clean > noisy).all() and clean.mean() > noisy.mean() + 0.1
    assert 0.2 < np.r_[clean, noisy].mean() < 0.8


def test_a_stage_without_a_choice_is_refused():
    config = tiny()
    config.stages = "confidence"
    with pytest.raises(ConfigError, match=r"config\.gan\.images of 3 or more"):
        check_config(config)
