"""Sizes, shapes and behaviour of the LaplaceKL networks."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.models.landmark import LandmarkNet, PatchDiscriminator


def parameter_count(variables):
    return sum(x.size for x in jax.tree.leaves(variables["params"]))


def shapes(module, *inputs):
    """Variables and output without computing them."""
    rngs = {"params": jax.random.key(0), "dropout": jax.random.key(1), "noise": jax.random.key(2)}
    inputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in inputs]
    output, variables = jax.eval_shape(
        lambda *x: module.init_with_output(rngs, *x, train=True), *inputs
    )
    return output, variables


# The paper prints 1.8724, 0.4781, 0.1281, 0.0398 and 0.0174 million.
@pytest.mark.parametrize(
    "width, count",
    [(1, 1_872_428), (1 / 2, 478_092), (1 / 4, 128_060), (1 / 8, 39_828), (1 / 16, 17_408)],
)
def test_parameter_counts_of_the_paper(width, count):
    output, variables = shapes(LandmarkNet(68, width=width), (2, 80, 80, 3))
    assert parameter_count(variables) == count
    assert output.shape == (2, 80, 80, 68)


@pytest.mark.parametrize(
    "points, size, depth", [(5, (128, 128), 4), (98, (256, 256), 6), (1, (48, 80), 4)]
)
def test_any_landmark_count_and_size(points, size, depth):
    net = LandmarkNet(points, width=1 / 8, depth=depth)
    output, _ = shapes(net, (1, *size, 3))
    assert output.shape == (1, *size, points)


def test_batch_norm_adds_a_scale_and_an_offset_and_drops_the_bias():
    # 6 convolutions of 8 and 4 of 16 channels: one parameter more for each channel.
    _, variables = shapes(LandmarkNet(68, width=1 / 8, norm="batch"), (1, 80, 80, 3))
    assert parameter_count(variables) == 39_828 + 6 * 8 + 4 * 16
    assert len(variables["batch_stats"]) == 10


def test_sizes_and_widths_that_cannot_work_are_refused():
    with pytest.raises(ValueError, match="divisible by 16"):
        shapes(LandmarkNet(68, width=1 / 8), (1, 80, 72, 3))
    with pytest.raises(ValueError, match="1/8"):
        shapes(LandmarkNet(68, width=1 / 3), (1, 80, 80, 3))
    # A mean over no logits would be NaN.
    with pytest.raises(ValueError, match="48 pixels or more"):
        shapes(PatchDiscriminator(), (1, 64, 32, 3), (1, 64, 32, 68))


@pytest.fixture(scope="module")
def small():
    net = LandmarkNet(5, width=1 / 16)
    images = np.random.default_rng(0).normal(size=(2, 32, 48, 3)).astype(np.float32)
    variables = jax.jit(lambda: net.init(jax.random.key(0), images, train=False))()
    return net, variables, images


def test_inference_is_deterministic_and_per_image(small):
    net, variables, images = small
    apply = jax.jit(lambda x: net.apply(variables, x, train=False))
    both, one = apply(images), apply(images[1:])
    assert both.shape == (2, 32, 48, 5) and both.dtype == jnp.float32
    np.testing.assert_allclose(both[1:], one, atol=1e-5)


def test_logits_have_no_bound(small):
    net, variables, images = small
    last = max(k for k in variables["params"] if k.startswith("Conv1x1"))
    params = dict(variables["params"])
    params[last] = jax.tree.map(lambda x: 100 * x, params[last])
    apply = jax.jit(partial(net.apply, train=False))
    before = apply(variables, images)
    after = apply({"params": params}, images)
    np.testing.assert_allclose(after, 100 * before, rtol=1e-4, atol=1e-3)


def test_dropout_needs_its_key_and_changes_the_output(small):
    net, variables, images = small
    apply = jax.jit(lambda key: net.apply(variables, images, train=True, rngs={"dropout": key}))
    first, again, other = (apply(jax.random.key(seed)) for seed in (1, 1, 2))
    assert (first == again).all() and (first != other).any()


def test_network_equals_the_drawing_in_textbook_layers(small):
    net, variables, images = small
    params = variables["params"]

    def block(name, x):
        return nn.leaky_relu(plain(name, x), 0.2)

    def plain(name, x):
        kernel, bias = params[name]["kernel"], params[name]["bias"]
        if kernel.ndim == 2:
            return x @ kernel + bias
        layer = nn.Conv(kernel.shape[-1], kernel.shape[:2])
        return layer.apply({"params": {"kernel": kernel, "bias": bias}}, x)

    @jax.jit
    def drawing(x):
        skips = []
        for level in range(5):
            x = block(f"ConvBlock_{level}", x)
            skips.append(x)
            x = nn.max_pool(x, (2, 2), (2, 2))
        x = block("Conv1x1_0", block("ConvBlock_5", skips.pop()))
        for level in range(4):
            skip = skips.pop()
            x = jax.image.resize(x, (*skip.shape[:3], x.shape[-1]), "nearest")
            x = block(f"ConvBlock_{6 + level}", jnp.concatenate([x, skip], -1))
            x = block(f"Conv1x1_{1 + level}", x)
        return plain("Conv1x1_6", block("Conv1x1_5", x))

    apply = jax.jit(partial(net.apply, train=False))
    np.testing.assert_allclose(apply(variables, images), drawing(images), atol=1e-4)


def test_every_parameter_is_trained(small):
    net, variables, images = small

    def loss(params):
        return jnp.square(net.apply({"params": params}, images, train=False)).sum()

    grads = jax.jit(jax.grad(loss))(variables["params"])
    assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(grads))


def test_bfloat16_computes_close_to_float32(small):
    net, variables, images = small
    half = net.clone(dtype=jnp.bfloat16)
    apply = jax.jit(lambda n: n.apply(variables, images, train=False), static_argnums=0)
    full, low = apply(net), apply(half)
    assert low.dtype == jnp.float32
    assert 0 < np.abs(full - low).max() < 0.05 * np.abs(full).max()


def test_discriminator_of_the_paper_gives_3_x_3_logits():
    # 16 weights for each pair of channels 71-64-128-256-512-512-1, the biases of the first and
    # last layer, scale and offset for 128 + 256 + 512 + 512 channels.
    output, variables = shapes(PatchDiscriminator(), (2, 80, 80, 3), (2, 80, 80, 68))
    assert output.shape == (2, 3, 3, 1)
    assert parameter_count(variables) == 7_027_712 + 64 + 1 + 2 * 1408
    # The default config's: 1/8 width, a layer less, on averages of 2 x 2 pixels.
    net = PatchDiscriminator(width=1 / 8, depth=3)
    _, variables = shapes(net, (2, 40, 40, 3), (2, 40, 40, 68))
    assert parameter_count(variables) == 36_393


def test_compact_discriminator_sees_image_and_heatmaps_through_noise():
    net = PatchDiscriminator(width=1 / 16, depth=3, norm="none")
    rng = np.random.default_rng(1)
    images = rng.normal(size=(2, 32, 32, 3)).astype(np.float32)
    heatmaps = rng.uniform(size=(2, 32, 32, 4)).astype(np.float32)
    variables = jax.jit(lambda: net.init(jax.random.key(0), images, heatmaps, train=False))()
    plain = jax.jit(partial(net.apply, train=False))(variables, images, heatmaps)
    assert plain.shape == (2, 2, 2, 1)
    grad = jax.grad(lambda *x: net.apply(variables, *x, train=False).sum(), (0, 1))
    grads = jax.jit(grad)(images, heatmaps)
    assert all(np.abs(g).max() > 0 for g in grads)
    rngs = {"noise": jax.random.key(1)}
    noisy = jax.jit(partial(net.apply, train=True))(variables, images, heatmaps, rngs=rngs)
    assert (noisy != plain).all()
