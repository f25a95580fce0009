"""Sizes and behaviour of the digit classifiers."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.models.digits import Dtn, LeNet, SemanticClassifier

from .drawings import convolved, normalised, random_variables


def shapes(module, shape, method=None):
    """Variables and output without computing them."""
    rngs = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    return jax.eval_shape(
        lambda x: module.init_with_output(rngs, x, train=True, method=method),
        jax.ShapeDtypeStruct(shape, jnp.float32),
    )


def parameter_count(variables):
    return sum(x.size for x in jax.tree.leaves(variables["params"]))


@pytest.mark.parametrize(
    "net, shape, features, count",
    [
        (LeNet(), (2, 28, 28, 1), 500, 431_080),
        (Dtn(), (2, 32, 32, 3), 512, 3_133_962),
        (SemanticClassifier(), (2, 32, 32, 3), 1024, 682_058),
    ],
)
def test_parameter_counts_of_the_released_networks(net, shape, features, count):
    output, variables = shapes(net, shape)
    assert output.shape == (2, 10) and parameter_count(variables) == count
    (both, logits), same = shapes(net, shape, method=net.features_and_logits)
    assert both.shape == (2, features) and logits.shape == (2, 10)
    assert jax.tree.structure(same) == jax.tree.structure(variables)


@pytest.mark.parametrize(
    "net, size",
    [(LeNet, 16), (LeNet, 32), (LeNet, 31), (Dtn, 28), (Dtn, 9), (SemanticClassifier, 47)],
)
def test_any_size_and_number_of_classes(net, size):
    output, _ = shapes(net(num_classes=7), (3, size, size + 1, 2))
    assert output.shape == (3, 7)


@pytest.mark.parametrize("net, smallest", [(LeNet, 16), (SemanticClassifier, 31)])
def test_images_that_vanish_are_refused(net, smallest):
    shapes(net(), (1, smallest, smallest, 1))
    with pytest.raises(ValueError, match=f"at least {smallest}"):
        shapes(net(), (1, smallest - 1, 40, 1))


@pytest.mark.parametrize("net, size", [(LeNet(), 16), (Dtn(), 8)])
def test_features_lead_to_the_logits_and_dropout_needs_its_key(net, size):
    images = np.random.default_rng(0).normal(size=(4, size, size, 1)).astype(np.float32)
    variables = jax.jit(lambda: net.init(jax.random.key(0), images, train=False))()
    both = jax.jit(partial(net.apply, train=False, method=net.features_and_logits))
    features, logits = both(variables, images)
    apply = jax.jit(partial(net.apply, train=False))
    np.testing.assert_array_equal(apply(variables, images), logits)
    last = max(name for name in variables["params"] if name.startswith("Dense"))
    dense = variables["params"][last]
    by_hand = np.maximum(features, 0) @ dense["kernel"] + dense["bias"]
    np.testing.assert_allclose(logits, by_hand, atol=1e-5)

    @jax.jit
    def train(seed):
        rngs = {"dropout": jax.random.key(seed)}
        return net.apply(variables, images, train=True, rngs=rngs, mutable=["batch_stats"])[0]

    assert (train(1) == train(1)).all() and (train(1) != train(2)).any()


def test_lenet_equals_its_drawing_in_pixels():
    # One 5 x 5 kernel of ones at a time: the maximum over 2 x 2 sums of 5 x 5 pixels.
    net = LeNet()
    images = np.random.default_rng(1).normal(size=(1, 16, 16, 1)).astype(np.float32)
    params = jax.jit(lambda: net.init(jax.random.key(0), images, train=False))()["params"]
    x = images[0, :, :, 0]
    first = params["Conv_0"]["kernel"][:, :, 0]
    windows = np.lib.stride_tricks.sliding_window_view(x, (5, 5))
    x = np.einsum("hwij,ijd->hwd", windows, first).reshape(6, 2, 6, 2, 20).max((1, 3))
    windows = np.lib.stride_tricks.sliding_window_view(np.maximum(x, 0), (5, 5), (0, 1))
    x = np.einsum("hwcij,ijcd->hwd", windows, params["Conv_1"]["kernel"]).max((0, 1))
    features = np.maximum(x, 0) @ params["Dense_0"]["kernel"]
    logits = np.maximum(features, 0) @ params["Dense_1"]["kernel"]
    found = jax.jit(partial(net.apply, train=False))({"params": params}, images)
    np.testing.assert_allclose(found[0], logits, atol=1e-4)


def dense(x, layer):
    return x @ layer["kernel"] + layer["bias"]


def applied(net, variables, images):
    return jax.jit(lambda v, x: net.apply(v, x, train=False))(variables, images)


def test_dtn_equals_the_drawing_in_textbook_layers():
    net, images = Dtn(), np.random.default_rng(1).normal(size=(3, 21, 21, 1)).astype(np.float32)
    variables = random_variables(shapes(net, images.shape)[1])
    params, statistics = variables["params"], variables["batch_stats"]
    x = images
    for k in range(3):
        x = convolved(x, params[f"Conv_{k}"]["kernel"], stride=2, padding=2)
        x = x + params[f"Conv_{k}"]["bias"]
        x = np.maximum(normalised(x, f"BatchNorm_{k}", params, statistics), 0)
    x = dense(x.reshape(len(x), -1), params["Dense_0"])
    x = np.maximum(normalised(x, "BatchNorm_3", params, statistics), 0)
    expected = dense(x, params["Dense_1"])
    found = applied(net, variables, images)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_the_classifier_beside_the_generators_equals_the_drawing():
    net = SemanticClassifier()
    images = np.random.default_rng(1).normal(size=(3, 32, 32, 3)).astype(np.float32)
    variables = random_variables(shapes(net, images.shape)[1])
    params, statistics = variables["params"], variables["batch_stats"]
    x = images
    for k in range(4):
        x = convolved(x, params[f"Conv_{k}"]["kernel"], stride=2) + params[f"Conv_{k}"]["bias"]
        if k:
            x = normalised(x, f"BatchNorm_{k - 1}", params, statistics)
        x = np.where(x > 0, x, 0.2 * x)
    expected = dense(dense(x.reshape(len(x), -1), params["Dense_0"]), params["Dense_1"])
    found = applied(net, variables, images)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
