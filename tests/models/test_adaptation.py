"""Sizes and behaviour of the discriminators between domains."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.models.adaptation import FeatureDiscriminator, ScoreDiscriminator


def shapes(module, *shape):
    rngs = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    return jax.eval_shape(
        lambda x: module.init_with_output(rngs, x, train=True),
        jax.ShapeDtypeStruct(shape, jnp.float32),
    )


@pytest.mark.parametrize(
    "net, shape, count",
    [
        (FeatureDiscriminator(), (2, 10), 257_002),
        # 19 -> 512 -> 256 -> 2 and 4096 -> 1024 -> 512 -> 2, with biases.
        (ScoreDiscriminator(), (2, 3, 4, 19), 20 * 512 + 513 * 256 + 257 * 2),
        (ScoreDiscriminator(hidden=1024), (2, 3, 4, 4096), 4097 * 1024 + 1025 * 512 + 513 * 2),
    ],
)
def test_sizes_of_the_released_networks(net, shape, count):
    output, variables = shapes(net, *shape)
    assert output.shape == (*shape[:-1], 2)
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == count


def test_every_pixel_is_judged_alone():
    net = ScoreDiscriminator(hidden=8)
    scores = np.random.default_rng(0).normal(size=(1, 2, 3, 4)).astype(np.float32)
    variables = net.init(jax.random.key(0), scores, train=False)
    whole = net.apply(variables, scores, train=False)
    part = net.apply(variables, scores[:, 1:, 2:], train=False)
    np.testing.assert_allclose(whole[:, 1:, 2:], part, atol=1e-6)


def test_inputs_of_the_wrong_kind_are_refused():
    with pytest.raises(AssertionError):
        shapes(FeatureDiscriminator(), 2, 3, 4, 10)
    with pytest.raises(AssertionError):
        shapes(ScoreDiscriminator(), 2, 10)
