"""Sizes and behaviour of DR-GAN's networks."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.models import dr_gan


def shapes(module, *inputs):
    """Output and variables without computing them."""
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in inputs]
    return jax.eval_shape(
        lambda *x: module.init_with_output(jax.random.key(0), *x, train=True), *arrays
    )


def parameter_count(variables):
    return sum(x.size for x in jax.tree.leaves(variables["params"]))


def random(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


# 9 weights for each pair of neighbours in C-32-64-64-64-128-128-96-192-192-128-256-256-160, scale
# and shift of their 1,760 channels; 9 x 160 weights, scale and shift of each last channel.
def trunk_count(channels, features):
    return 9 * (32 * channels + 266_240) + 2 * 1760 + (9 * 160 + 2) * features


@pytest.mark.parametrize("channels, count", [(1, 2_862_850), (3, 2_863_426)])
def test_encoder_of_the_paper(channels, count):
    (feature, confidence), variables = shapes(dr_gan.Encoder(), (8, 96, 96, channels))
    assert feature.shape == (8, 320) and confidence.shape == (8,)
    assert parameter_count(variables) == count == trunk_count(channels, 321)


def test_gain_is_a_factor_of_the_confidence_logit_alone():
    small = dict(features=4, width=1 / 16, halvings=1)
    one, five = dr_gan.Encoder(**small), dr_gan.Encoder(**small, confidence_gain=5.0)
    images = random(3, 8, 8, 3)
    variables = jax.jit(lambda: one.init(jax.random.key(0), images, train=False))()
    apply = jax.jit(
        lambda net: net.apply(variables, images, train=True, mutable=["batch_stats"])[0],
        static_argnums=0,
    )
    (feature, plain), (same, sure) = apply(one), apply(five)
    np.testing.assert_array_equal(feature, same)
    odds = [np.log(np.asarray(x, np.float64) / (1 - x)) for x in (plain, sure)]
    assert np.abs(odds[0]).max() > 1e-2
    np.testing.assert_allclose(odds[1], 5 * odds[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("channels, count", [(1, 7_238_368), (3, 7_238_944)])
def test_decoder_of_the_paper(channels, count):
    decoder = dr_gan.Decoder(channels=channels)
    image, variables = shapes(decoder, (8, 320), (8, 9), (8, 50))
    assert image.shape == (8, 96, 96, channels)
    first = (320 + 9 + 50) * 6 * 6 * 320 + 6 * 6 * 320
    # Neighbours in 320-160-256-256-128-192-192-96-128-128-64-64-64-32-C.
    assert parameter_count(variables) == count
    assert count == first + 9 * (317_440 + 32 * channels) + 2 * 1760


def test_discriminator_of_the_paper():
    verdict, variables = shapes(dr_gan.Discriminator(10_575, 13), (8, 96, 96, 1))
    assert [x.shape for x in verdict] == [(8, 10_575), (8,), (8, 13)]
    heads = 320 * (10_575 + 1 + 13) + 10_575 + 1 + 13
    assert parameter_count(variables) == trunk_count(1, 320) + heads


@pytest.mark.parametrize("size, halvings", [(64, 4), (48, 3), (6, 1)])
def test_small_networks_fit_other_sizes(size, halvings):
    small = dict(width=1 / 8, halvings=halvings)
    (feature, _), variables = shapes(dr_gan.Encoder(features=24, **small), (2, size, size, 3))
    image, _ = shapes(dr_gan.Decoder(size=size, embed_pose=4, **small), (2, 24), (2, 1), (2, 5))
    assert feature.shape == (2, 24) and image.shape == (2, size, size, 3)
    # Two convolutions at full size, three after each halving.
    layers = [name for name in variables["params"]["trunk"] if name.startswith("SameConv")]
    assert len(layers) == 2 + 3 * halvings


def test_discriminator_can_tell_batches_apart_that_are_normalised_apart():
    """Real and synthetic batches that differ in brightness alone get different mean logits."""
    net = dr_gan.Discriminator(3, 2, 8, 1 / 8, halvings=1)
    dark = np.abs(random(4, 8, 8, 1)) - 1
    variables = jax.jit(lambda: net.init(jax.random.key(0), dark, train=True))()
    apply = jax.jit(lambda x: net.apply(variables, x, train=True, mutable=["batch_stats"])[0])
    one, two = apply(dark), apply(dark**3 + 0.3)
    assert abs(one.real.mean() - two.real.mean()) > 1e-4
    # Whereas the means of what the normalised feature says are those of its bias.
    np.testing.assert_allclose(one.identity.mean(0), two.identity.mean(0), atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 40, 40, 1), (2, 32, 48, 1)])
def test_encoder_refuses_sizes_that_do_not_halve_four_times(shape):
    with pytest.raises(ValueError, match="divisible by 16"):
        shapes(dr_gan.Encoder(), shape)


@pytest.mark.parametrize("size, halvings", [(100, 4), (32, 5), (16, 0)])
def test_decoder_refuses_sizes_that_it_cannot_draw(size, halvings):
    decoder = dr_gan.Decoder(size, halvings=halvings)
    with pytest.raises(ValueError, match=f"faces of {size} pixels with {halvings} halvings"):
        shapes(decoder, (2, 8), (2, 9), (2, 5))


@pytest.mark.parametrize(
    "ours, textbook",
    [
        (dr_gan.SameConv(5), nn.Conv(5, (3, 3), use_bias=False)),
        (dr_gan.SameConv(5, stride=2), nn.Conv(5, (3, 3), strides=2, use_bias=False)),
        (dr_gan.SameDoubling(5), nn.ConvTranspose(5, (3, 3), strides=(2, 2), use_bias=False)),
    ],
)
def test_layers_equal_the_textbook_with_padding_same(ours, textbook):
    x = random(2, 8, 12, 3)
    variables = jax.jit(ours.init)(jax.random.key(0), x)

    @partial(jax.jit, static_argnums=0)
    def value_and_gradients(layer):
        out, pull = jax.vjp(layer.apply, variables, x)
        return out, *pull(jnp.cos(out))

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4),
        value_and_gradients(ours),
        value_and_gradients(textbook),
    )


def test_feature_is_linear_in_its_last_layer():
    """It takes values on both sides of -1, below which ELU would not let it."""
    net, images = dr_gan.Encoder(16, width=1 / 16, halvings=1), random(4, 8, 8, 1)
    variables = jax.jit(lambda: net.init(jax.random.key(0), images, train=True))()
    last = variables["params"]["trunk"]["BatchNorm_4"]
    last["bias"] = last["bias"] - 3.0
    apply = jax.jit(lambda v: net.apply(v, images, train=True, mutable=["batch_stats"]))
    (feature, _), _ = apply(variables)
    np.testing.assert_allclose(feature.mean(0), -3, atol=1e-2)


def test_additive_margin_head_gives_cosines():
    head, feature = dr_gan.IdentityHead(7, "additive_margin"), random(3, 5)
    variables = head.init(jax.random.key(0), feature)
    cosines = head.apply(variables, feature)
    vectors = variables["params"]["kernel"]
    expected = [
        [np.dot(f, v) / np.linalg.norm(f) / np.linalg.norm(v) for v in vectors.T] for f in feature
    ]
    np.testing.assert_allclose(cosines, expected, atol=1e-3)
    np.testing.assert_allclose(head.apply(variables, 10 * feature), cosines, atol=1e-3)
    gradient = jax.jit(jax.grad(lambda x: head.apply(variables, x).sum()))(0 * feature)
    assert np.isfinite(gradient).all()
    with pytest.raises(ValueError, match="not 'arcface'"):
        dr_gan.IdentityHead(7, "arcface").apply(variables, feature)


def test_spectral_normalisation_bounds_the_kernels():
    x = random(1, 4, 4, 3)
    layer = nn.SpectralNorm(dr_gan.SameConv(6))
    variables = jax.jit(lambda: layer.init(jax.random.key(0), x, update_stats=False))()
    renew = jax.jit(lambda v: layer.apply(v, x, update_stats=True, mutable=["batch_stats"])[1])
    for _ in range(30):
        mutated = renew(variables)
        variables = {**variables, **mutated}
    (kernel,) = jax.tree.leaves(variables["params"])
    largest = np.linalg.svd(np.reshape(kernel, (-1, 6)), compute_uv=False)[0]
    plain = dr_gan.SameConv(6).apply({"params": {"kernel": kernel / largest}}, x)
    np.testing.assert_allclose(layer.apply(variables, x, update_stats=False), plain, atol=1e-5)
    # The trunk has one estimate for each of its kernels.
    _, found = shapes(dr_gan.Discriminator(3, 2, 8, 1 / 16, spectral=True), (1, 16, 16, 1))
    estimates = [k for k in found["batch_stats"]["trunk"] if k.startswith("SpectralNorm")]
    assert len(estimates) == 14
