"""Sizes and behaviour of the translators and their critics."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.models.cycle_gan import ImageDiscriminator, ResnetGenerator


def shapes(module, *shape):
    """Output and variables without computing them."""
    rngs = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    return jax.eval_shape(
        lambda x: module.init_with_output(rngs, x, train=True),
        jax.ShapeDtypeStruct(shape, jnp.float32),
    )


def parameter_count(variables):
    return sum(x.size for x in jax.tree.leaves(variables["params"]))


def random(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("blocks, count", [(9, 11_378_179), (2, 3_117_059)])
@pytest.mark.parametrize("remat", [False, True])
def test_generators_of_code_and_paper(blocks, count, remat):
    output, variables = shapes(ResnetGenerator(blocks=blocks, remat=remat), 2, 32, 28, 3)
    assert output.shape == (2, 32, 28, 3)
    assert parameter_count(variables) == count


def test_channels_may_differ_between_the_domains():
    output, _ = shapes(ResnetGenerator(features=4, blocks=0, out_channels=1), 2, 8, 8, 3)
    assert output.shape == (2, 8, 8, 1)


@pytest.mark.parametrize("size", [(30, 32), (32, 31), (4, 4)])
def test_generator_refuses_sizes_that_it_cannot_halve_twice(size):
    with pytest.raises(ValueError, match="divisible by 4"):
        shapes(ResnetGenerator(), 1, *size, 3)


@pytest.fixture(scope="module")
def small():
    net, images = ResnetGenerator(features=4, blocks=2, dropout=0.5), random(2, 8, 12, 3)
    variables = jax.jit(lambda: net.init(jax.random.key(0), images, train=False))()
    # Larger than the initial values: an error must not hide behind small weights.
    variables = jax.tree.map(lambda x: 10 * x + 0.1, variables)
    return net, variables, images


def test_generator_equals_the_drawing_in_textbook_layers(small):
    net, variables, images = small
    params = variables["params"]

    def mirrored(x, n):
        return jnp.pad(x, ((0, 0), (n, n), (n, n), (0, 0)), mode="reflect")

    def conv(layer, x, stride=1, padding=0):
        size, _, _, features = layer["kernel"].shape
        return nn.Conv(features, (size, size), stride, padding).apply({"params": layer}, x)

    def double(layer, x):
        up = nn.ConvTranspose(layer["kernel"].shape[-1], (3, 3), (2, 2), ((1, 2), (1, 2)))
        return up.apply({"params": layer}, x)

    def norm(x):
        return nn.InstanceNorm(use_bias=False, use_scale=False, epsilon=1e-5).apply({}, x)

    @jax.jit
    def drawing(images):
        x = nn.relu(norm(conv(params["Conv_0"], mirrored(images, 3))))
        x = nn.relu(norm(conv(params["Conv_1"], x, 2, 1)))
        x = nn.relu(norm(conv(params["Conv_2"], x, 2, 1)))
        for index in range(2):
            block = params[f"block_{index}"]
            y = nn.relu(norm(conv(block["ConvWeights_0"], mirrored(x, 1))))
            x = x + norm(conv(block["ConvWeights_1"], mirrored(y, 1)))
        x = nn.relu(norm(double(params["Doubling_0"], x)))
        x = nn.relu(norm(double(params["Doubling_1"], x)))
        return jnp.tanh(conv(params["Conv_3"], mirrored(x, 3)))

    apply = jax.jit(partial(net.apply, train=False))
    np.testing.assert_allclose(apply(variables, images), drawing(images), atol=1e-4)


def test_recomputing_blocks_saves_memory_and_changes_nothing():
    net, images = ResnetGenerator(features=4, blocks=6, dropout=0.5), random(8, 64, 64, 3)
    rng = np.random.default_rng(1)
    variables = jax.tree.map(
        lambda x: rng.normal(0, 0.3, x.shape).astype(np.float32), shapes(net, *images.shape)[1]
    )

    def compiled(net):
        def loss(variables):
            rngs = {"dropout": jax.random.key(3, impl="rbg")}
            return net.apply(variables, images, train=True, rngs=rngs).mean()

        return jax.jit(jax.value_and_grad(loss)).lower(variables).compile()

    kept, recomputed = compiled(net), compiled(net.clone(remat=True))
    sizes = [f.memory_analysis().temp_size_in_bytes for f in (kept, recomputed)]
    assert sizes[1] < 0.9 * sizes[0]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-5),
        kept(variables),
        recomputed(variables),
    )


def test_dropout_works_in_training_only(small):
    net, variables, images = small
    apply = jax.jit(lambda k: net.apply(variables, images, train=True, rngs={"dropout": k}))
    first, again, other = (apply(jax.random.key(seed)) for seed in (1, 1, 2))
    assert (first == again).all() and (first != other).any()


def test_new_weights_are_small_normal_numbers():
    net = ResnetGenerator(features=16, blocks=0)
    params = jax.jit(lambda: net.init(jax.random.key(0), random(1, 8, 8, 3), train=False))()
    kernel = np.asarray(params["params"]["Conv_2"]["kernel"])
    assert abs(kernel.std() - 0.02) < 0.001 and abs(kernel.mean()) < 0.001
    assert (np.asarray(params["params"]["Conv_2"]["bias"]) == 0).all()


@pytest.mark.parametrize(
    "options, size, out, count",
    [
        (dict(), 32, 2, 2_764_737),
        (dict(), 28, 1, 2_764_737),
        (dict(), 70, 6, 2_764_737),
        # Six layers: 16 weights for each pair of 3-64-128-256-512-512-1, and biases.
        (dict(layers=4, halvings=3), 32, 1, 16 * 434_880 + 1473),
    ],
)
def test_discriminators_of_code_and_paper(options, size, out, count):
    output, variables = shapes(ImageDiscriminator(**options), 2, size, size, 3)
    assert output.shape == (2, out, out, 1)
    assert parameter_count(variables) == count


def test_discriminator_refuses_images_that_vanish():
    with pytest.raises(ValueError, match="16 x 32 vanish"):
        shapes(ImageDiscriminator(), 1, 16, 32, 3)


def test_discriminator_equals_the_drawing_in_textbook_layers():
    net, x = ImageDiscriminator(features=4), random(2, 28, 32, 3)
    variables = jax.jit(lambda: net.init(jax.random.key(0), x, train=True))()
    variables = jax.tree.map(lambda p: 10 * p + 0.1, variables)
    logits = jax.jit(partial(net.apply, train=True))(variables, x)
    norm = nn.InstanceNorm(use_bias=False, use_scale=False, epsilon=1e-5)
    for index, stride in enumerate([2, 2, 2, 1, 1]):
        layer = variables["params"][f"Conv_{index}"]
        x = nn.Conv(layer["kernel"].shape[-1], (4, 4), stride, 1).apply({"params": layer}, x)
        if 0 < index < 4:
            x = norm.apply({}, x)
        if index < 4:
            x = nn.leaky_relu(x, 0.2)
    np.testing.assert_allclose(logits, x, atol=1e-3)
