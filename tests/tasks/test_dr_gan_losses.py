"""DR-GAN in numbers: fusion, poses, both forms of the losses."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgen.models.dr_gan import Verdict
from jaxgen.tasks import dr_gan, dr_gan_poses
from jaxgen.tasks import dr_gan_losses as terms

from .dr_gan_case import PEOPLE, tiny

# ------------------------------------------------------------------------------- fusion


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6))
def test_fusion_is_a_weighted_mean_that_forgets_order_and_absent_images(seed, count):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, 4)).astype(np.float32)
    weights = rng.uniform(0.01, 1, count).astype(np.float32)
    mask = rng.random(count) < 0.7
    mask[rng.integers(count)] = True
    expected = (weights * mask) @ features / (weights * mask).sum()
    absent_changed = np.where(mask[:, None], features, np.nan)
    order = rng.permutation(count)
    for rows, f in ((slice(None), features), (slice(None), absent_changed), (order, features)):
        found = dr_gan.fuse(f[rows], weights[rows], mask[rows])
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_fusing_one_image_keeps_its_feature_and_none_gives_zero():
    feature = jnp.arange(3.0)[None]
    for confidence in (1e-6, 0.5, 1.0):
        found = dr_gan.fuse(feature, jnp.array([confidence]), jnp.array([True]))
        np.testing.assert_allclose(found, feature[0], rtol=1e-4)
    nobody = dr_gan.fuse(feature, jnp.ones(1), jnp.array([False]))
    np.testing.assert_array_equal(nobody, 0)


def test_dropping_keeps_present_images_only_and_at_least_one():
    mask = jnp.array([[True, True, True], [False, True, False]] * 50)
    kept = dr_gan.drop_images(jax.random.key(0), mask, rate=0.5)
    assert kept.any(-1).all() and not (kept & ~mask).any()
    assert 0.4 < float(kept[::2].mean()) < 0.7
    np.testing.assert_array_equal(dr_gan.drop_images(jax.random.key(0), mask, rate=0.0), mask)


# -------------------------------------------------------------------------------- poses


def test_poses_by_class_and_by_yaw():
    config = tiny()
    found = dr_gan_poses.pose_code(config, jnp.array([-50.0, 10.0, 90.0]))
    np.testing.assert_array_equal(found.label, [0, 1, 2])
    np.testing.assert_array_equal(found.code, np.eye(3))
    drawn = dr_gan_poses.draw_poses(config, jax.random.key(0), (100, 3))
    assert np.bincount(drawn.label).min() > 60
    config = tiny(**{"pose.form": "yaw"})
    drawn = dr_gan_poses.draw_poses(config, jax.random.key(0), (400, 2))
    np.testing.assert_allclose(np.rad2deg(drawn.label), 90 * drawn.code[:, 0], rtol=1e-4)
    assert np.abs(drawn.code).max() <= 0.5 + 1e-6  # the limit of 45 degrees
    # The second of each set is spread evenly.
    second = np.abs(np.rad2deg(drawn.label)).reshape(400, 2)[:, 1]
    assert abs(second.mean() - 22.5) < 2


# ------------------------------------------------------------------------------- losses


def verdict(rows, seed=0):
    rng = np.random.default_rng(seed)
    return Verdict(
        *(jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((rows, PEOPLE), rows, (rows, 3)))
    )


def log_softmax(x):
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def test_tpami_form_has_three_tasks():
    config, real, fake = tiny(), verdict(4), verdict(4, seed=1)
    labels, pose, every = jnp.array([0, 1, 2, 3]), jnp.array([0, 1, 2, -1]), jnp.ones(4, bool)
    found = terms.discriminator_terms(config, real, fake, labels, pose, every, every)
    identity = -np.mean([log_softmax(np.asarray(real.identity))[i, i] for i in range(4)])
    # The fourth image has no known pose; the mean is over the others.
    poses = -np.mean([log_softmax(np.asarray(real.pose))[i, i] for i in range(3)])
    game = np.mean(np.log1p(np.exp(-real.real))) + np.mean(np.log1p(np.exp(fake.real)))
    np.testing.assert_allclose(found["identity"], identity, rtol=1e-5)
    np.testing.assert_allclose(found["pose"], poses, rtol=1e-5)
    np.testing.assert_allclose(found["adversarial"], game, rtol=1e-5)
    poses = terms.Poses(None, jnp.array([0, 0, 1, 2]))
    found = terms.generator_terms(config, fake, labels, poses, every)
    np.testing.assert_allclose(
        found["adversarial"], np.mean(np.log1p(np.exp(-fake.real))), rtol=1e-5
    )
    assert set(found) == {"identity", "pose", "adversarial"}


def test_without_any_known_pose_the_pose_costs_nothing():
    real, fake, every = verdict(2), verdict(2, seed=1), jnp.ones(2, bool)
    for form, unknown in (("classes", jnp.array([-1, -1])), ("yaw", jnp.full(2, np.nan))):
        config = tiny(**{"pose.form": form})

        def pose_term(pose, config=config, unknown=unknown):
            judged = real._replace(pose=pose)
            found = terms.discriminator_terms(
                config, judged, fake, jnp.array([0, 1]), unknown, every, every
            )
            return found["pose"]

        value, slope = jax.value_and_grad(pose_term)(real.pose)
        assert value == 0 and (slope == 0).all()


def test_yaw_of_unknown_pose_is_left_out_of_the_mean():
    config, real = tiny(**{"pose.form": "yaw"}), verdict(2)
    yaw, every = jnp.array([0.5, np.nan]), jnp.ones(2, bool)
    found = terms.discriminator_terms(config, real, real, jnp.array([0, 1]), yaw, every, every)
    np.testing.assert_allclose(found["pose"], (real.pose[0, 0] - 0.5) ** 2, rtol=1e-5)


def test_cvpr_form_calls_fakes_one_more_person():
    config, real, fake = tiny(**{"gan.form": "fake_class"}), verdict(3), verdict(3, seed=1)
    labels, every = jnp.array([4, 0, 1]), jnp.ones(3, bool)
    joined = [log_softmax(np.c_[v.identity, v.real]) for v in (real, fake)]
    found = terms.discriminator_terms(config, real, fake, labels, labels, every, every)
    rows = np.arange(3)
    np.testing.assert_allclose(found["identity"], -joined[0][rows, labels].mean(), rtol=1e-5)
    np.testing.assert_allclose(found["adversarial"], -joined[1][:, PEOPLE].mean(), rtol=1e-5)
    found = terms.generator_terms(config, fake, labels, terms.Poses(None, labels % 3), every)
    assert set(found) == {"identity", "pose"}
    np.testing.assert_allclose(found["identity"], -joined[1][rows, labels].mean(), rtol=1e-5)
    chances = np.exp(joined[0][:, PEOPLE])
    np.testing.assert_allclose(jax.nn.sigmoid(terms.reality(config, real)), 1 - chances, rtol=1e-5)


def test_absent_images_do_not_count():
    config, one, two = tiny(), verdict(2), verdict(2, seed=1)
    labels, half, every = jnp.array([1, 2]), jnp.array([True, False]), jnp.ones(2, bool)
    first = jax.tree.map(lambda x: x[:1], (one, two))
    expected = terms.discriminator_terms(
        config, *first, labels[:1], labels[:1], every[:1], every[:1]
    )
    found = terms.discriminator_terms(config, one, two, labels, labels, half, half)
    chex.assert_trees_all_close(found, expected, rtol=1e-6)
    right = terms.accuracies(config, one, two, labels, labels, half, half)
    expected = terms.accuracies(config, *first, labels[:1], labels[:1], every[:1], every[:1])
    chex.assert_trees_all_close(right, expected)
    found = terms.generator_terms(config, one, labels, terms.Poses(None, labels), half)
    poses = terms.Poses(None, labels[:1])
    expected = terms.generator_terms(config, first[0], labels[:1], poses, every[:1])
    chex.assert_trees_all_close(found, expected, rtol=1e-6)


def test_least_squares_draws_its_line_at_one_half():
    config = tiny(**{"gan.loss": "least_squares"})
    labels, every = jnp.array([1, 2]), jnp.ones(2, bool)
    real = verdict(2)._replace(real=jnp.array([0.4, 0.6]))  # the first is taken for a fake
    fake = verdict(2)._replace(real=jnp.array([0.4, 0.3]))
    found = terms.accuracies(config, real, fake, labels, labels, every, every)
    assert (found["real"], found["fake"]) == (0.5, 1)
    # The class "fake" has no such targets: what is more likely than not is taken for it.
    config = tiny(**{"gan.loss": "least_squares", "gan.form": "fake_class"})
    sure = jax.nn.logsumexp(real.identity, -1) - jnp.array([0.25, -0.25])  # of "fake"
    found = terms.accuracies(config, *[real._replace(real=sure)] * 2, labels, labels, every, every)
    assert (found["real"], found["fake"]) == (0.5, 0.5)


def test_additive_margin_asks_for_more():
    config = tiny(**{"gan.head": "additive_margin"})
    cosines = Verdict(jnp.array([[0.9, 0.5]]), None, None)
    found = terms.identity_loss(config, cosines, jnp.array([0]))
    logits = 30 * np.array([0.9 - 0.35, 0.5])
    np.testing.assert_allclose(found, -log_softmax(logits)[:1], rtol=1e-4)


@pytest.mark.parametrize("head", ["softmax", "additive_margin"])
def test_no_number_of_a_person_is_left_out(head):
    config = tiny(**{"gan.head": head})
    logits = jnp.zeros((2, 300)).at[:, 0].set(0.5)
    found = terms.identity_loss(config, Verdict(logits, None, None), jnp.array([255, 256]))
    assert found[0] > 1
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)
