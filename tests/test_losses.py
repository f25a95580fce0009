"""Shared losses: closed forms, who gains from what, missing labels."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen import losses
from jaxgen.losses import ADVERSARIAL, NON_SATURATING, point_l1, point_l2


def three_terms(game, logits):
    """The losses of the same logits taken as real, as generated, and by the generator."""
    return [*game.discriminator(logits, logits), game.generator(logits)]


def test_non_saturating_is_binary_cross_entropy():
    logits = np.random.default_rng(0).normal(0, 3, (4, 3, 3, 1)).astype(np.float32)
    for got, label in zip(three_terms(NON_SATURATING, logits), (1.0, 0.0, 1.0), strict=True):
        expected = optax.sigmoid_binary_cross_entropy(logits, jnp.full(logits.shape, label))
        np.testing.assert_allclose(got, expected.mean((1, 2, 3)), rtol=1e-5)


@pytest.mark.parametrize(
    "name, at_zero, at_two",
    [
        ("non_saturating", (np.log(2),) * 3, (0.126928, 2.126928, 0.126928)),
        ("least_squares", (1, 0, 1), (1, 4, 1)),
        ("hinge", (1, 1, 0), (0, 3, -2)),
    ],
)
def test_adversarial_closed_forms(name, at_zero, at_two):
    got = three_terms(ADVERSARIAL[name], np.array([0.0, 2.0]))
    np.testing.assert_allclose(np.transpose(got), [at_zero, at_two], rtol=1e-5, atol=1e-6)


def test_real_and_generated_batches_may_differ_in_size():
    real, generated = NON_SATURATING.discriminator(jnp.zeros((2, 3, 3, 1)), jnp.zeros((5, 4)))
    assert real.shape == (2,) and generated.shape == (5,)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_players_pull_logits_of_generated_items_in_opposite_directions(name):
    on_real, on_generated, generator = jax.jacobian(
        lambda logit: jnp.concatenate(three_terms(ADVERSARIAL[name], logit[None]))
    )(jnp.float32(0.3))
    assert on_real < 0 < on_generated
    assert generator < 0


@pytest.mark.parametrize("name", ADVERSARIAL)
@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_sure_discriminators_give_finite_losses(name, logit):
    def terms(logit):
        return jnp.concatenate(three_terms(ADVERSARIAL[name], logit[None]))

    assert np.isfinite(terms(jnp.float32(logit))).all()
    assert np.isfinite(jax.jacobian(terms)(jnp.float32(logit))).all()


def test_bfloat16_logits_are_reduced_in_float32():
    logits = jnp.full((1, 300), 1.0, jnp.bfloat16).at[0, 0].set(256.0)
    _, generated = NON_SATURATING.discriminator(logits, logits)
    assert generated.dtype == jnp.float32
    np.testing.assert_allclose(generated, (256 + 299 * np.log1p(np.e)) / 300, rtol=1e-5)


@pytest.mark.parametrize("loss, expected", [(point_l1, [7, 0]), (point_l2, [25, 0])])
@pytest.mark.parametrize("missing", [0.0, np.nan])
def test_point_losses_skip_missing_labels(loss, expected, missing):
    pred = jnp.array([[3.0, -4.0], [9.0, 9.0]])
    target = jnp.array([[0.0, 0.0], [missing, missing]])
    mask = jnp.array([True, False])
    np.testing.assert_allclose(loss(pred, target, mask), expected)
    grad = jax.grad(lambda x: loss(x, target, mask).sum())(pred)
    assert (grad[0] != 0).all() and (grad[1] == 0).all()


def test_point_losses_refuse_shapes_that_would_broadcast():
    with pytest.raises(AssertionError):
        point_l1(jnp.zeros((4, 3, 2)), jnp.zeros((3, 2)), jnp.ones((4, 3), bool))
    with pytest.raises(AssertionError):
        point_l2(jnp.zeros((4, 3, 2)), jnp.zeros((4, 3, 2)), jnp.ones((4, 3, 1), bool))


def test_cross_entropy_of_images_and_of_pixels():
    logits = jnp.log(jnp.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]]))
    chex.assert_trees_all_close(
        losses.cross_entropy(logits, jnp.array([0, 1])), -jnp.log(jnp.array([0.7, 0.8])), rtol=1e-6
    )
    pixels = jnp.broadcast_to(logits[:, None, None], (2, 2, 2, 3))
    labels = jnp.array([[[0, 255], [2, 255]], [[255, 255], [255, 255]]])
    expected = jnp.array([-(np.log(0.7) + np.log(0.1)) / 2, 0.0])
    chex.assert_trees_all_close(losses.cross_entropy(pixels, labels), expected, rtol=1e-6)
    gradient = jax.grad(lambda x: losses.cross_entropy(x, labels).sum())(pixels)
    assert np.all(gradient[1] == 0) and np.all(gradient[0, :, 1] == 0)
    assert np.isfinite(gradient).all() and np.abs(gradient[0, 0, 0]).max() > 0


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_that_is_no_class_gives_nan(label):
    logits = jnp.zeros((2, 3))
    found = losses.cross_entropy(logits, jnp.array([0, label]))
    np.testing.assert_allclose(found, [np.log(3), np.nan], rtol=1e-6)
    found = losses.cross_entropy(logits, jnp.array([0, label]), ignore=label)
    np.testing.assert_allclose(found, [np.log(3), 0], rtol=1e-6)


def test_additive_margin_counts_every_class():
    cosines = jnp.linspace(-1, 1, 300)[None].repeat(2, 0)
    labels = jnp.array([255, 299])
    found = losses.additive_margin(cosines, labels, scale=10.0, margin=0.35)
    logits = 10 * (cosines - 0.35 * jax.nn.one_hot(labels, 300))
    expected = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found[0] > 1


def test_pixel_l1_is_a_mean_over_pixels():
    a, b = jnp.zeros((2, 2, 2, 3)), jnp.ones((2, 2, 2, 3)) * jnp.array([1, -3]).reshape(2, 1, 1, 1)
    chex.assert_trees_all_close(losses.pixel_l1(a, b), jnp.array([1.0, 3.0]))
