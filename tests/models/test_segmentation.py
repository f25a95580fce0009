"""Sizes and behaviour of the segmentation networks."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.models import segmentation
from jaxgen.models.drn import Drn26
from jaxgen.models.segmentation import CompactSegmenter, Fcn8s
from jaxgen.models.vgg import Vgg16, imagenet_range

from .drawings import convolved, normalised, random_variables


def shapes(module, *shape):
    """Features, logits and variables without computing them."""
    rngs = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    method = getattr(module, "features_and_logits", None)
    output, variables = jax.eval_shape(
        lambda x: module.init_with_output(rngs, x, train=True, method=method),
        jax.ShapeDtypeStruct(shape, jnp.float32),
    )
    return output, variables


def parameter_count(variables):
    return sum(x.size for x in jax.tree.leaves(variables["params"]))


# VGG16 without its classifier: 14,714,688 in convolutions, 4096 (7 x 7 x 512 + 1) in fc6 and
# 4096 x 4097 in fc7; scores: 19 (4097 + 513 + 257).
FCN8S = 14_714_688 + 4096 * (7 * 7 * 512 + 1) + 4096 * 4097 + 19 * (4097 + 513 + 257)


def drn26(classes):
    """Counted from the published table: 9 C D per 3 x 3 kernel, 2 D per normalisation."""

    def block(c, d, shortcut):
        return 9 * c * d + 9 * d * d + 4 * d + shortcut * (c * d + 2 * d)

    count, before = 49 * 3 * 16 + 2 * 16, 16
    for blocks, d in [(1, 16), (1, 32), (2, 64), (2, 128), (2, 256), (2, 512), (1, 512), (1, 512)]:
        count += block(before, d, before != d) + (blocks - 1) * block(d, d, False)
        before = d
    return count + 513 * classes


@pytest.mark.parametrize(
    "net, count",
    [(Fcn8s(19), FCN8S), (Drn26(19), drn26(19)), (CompactSegmenter(19), 274_803)],
)
def test_parameter_counts(net, count):
    (_, logits), variables = shapes(net, 1, 64, 72, 3)
    assert parameter_count(variables) == count
    assert logits.shape == (1, 64, 72, 19) and logits.dtype == jnp.float32


def test_counts_agree_with_the_published_ones():
    # 134.35 and, with 1,000 classes, 21.1 million.
    assert (FCN8S, drn26(19), drn26(1000)) == (134_353_017, 20_623_331, 21_126_584)
    _, variables = shapes(Vgg16(), 1, 224, 224, 3)
    assert parameter_count(variables) == 134_260_544


@pytest.mark.parametrize("height, width", [(32, 45), (33, 64), (129, 100)])
@pytest.mark.parametrize("net", [Fcn8s, Drn26])
def test_logits_have_the_size_of_the_image(net, height, width):
    (_, logits), _ = shapes(net(5), 2, height, width, 3)
    assert logits.shape == (2, height, width, 5)


@pytest.mark.parametrize(
    "net, scores, last",
    [
        # 64 + 2 x 99 = 262 pixels are 9 after five halvings, 3 after fc7, 8 and 18 after two
        # enlargements by 2 that add a margin.
        (Fcn8s, (18, 18, 5), (3, 3, 4096)),
        (Drn26, (8, 8, 5), (8, 8, 512)),
        (CompactSegmenter, (16, 16, 5), (16, 16, 64)),
    ],
)
def test_features_for_a_discriminator(net, scores, last):
    for adapt, shape in (("scores", scores), ("last", last)):
        (features, _), _ = shapes(net(5, adapt=adapt), 1, 64, 64, 3)
        assert features.shape == (1, *shape)
    with pytest.raises(ValueError, match="fc7"):
        shapes(net(5, adapt="fc7"), 1, 64, 64, 3)


def test_drn_equals_the_drawing_in_textbook_layers():
    """Strides, dilations and which layers have a shortcut, from the published table."""
    net, images = Drn26(5), np.random.default_rng(1).uniform(-1, 1, (2, 25, 36, 3))
    variables = random_variables(shapes(net, *images.shape)[1])
    scores = jax.jit(lambda v, x: net.apply(v, x, train=False, method=net.features_and_logits)[0])(
        variables, images.astype(np.float32)
    )
    params, statistics = variables["params"], variables["batch_stats"]
    x = ((images + 1) / 2 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    x = normalised(convolved(x, params["conv1"]["kernel"], padding=3), "bn1", params, statistics)
    x = np.maximum(x, 0)
    strides, dilations = (1, 2, 2, 2, 1, 1, 1, 1), (1, 1, 1, 1, 2, 4, 2, 1)
    for layer, blocks in enumerate((1, 1, 2, 2, 2, 2, 1, 1)):
        for number in range(blocks):
            own = params[f"layer{layer + 1}_{number}"], statistics[f"layer{layer + 1}_{number}"]
            step = dict(dilation=dilations[layer], padding=dilations[layer])
            stride = 1 if number else strides[layer]
            y = convolved(x, own[0]["conv1"]["kernel"], stride=stride, **step)
            y = np.maximum(normalised(y, "bn1", *own), 0)
            y = normalised(convolved(y, own[0]["conv2"]["kernel"], **step), "bn2", *own)
            if layer < 6:  # the last two layers smooth what dilation leaves, without shortcuts
                if "downsample_conv" in own[0]:
                    x = convolved(x, own[0]["downsample_conv"]["kernel"], stride=stride)
                    x = normalised(x, "downsample_bn", *own)
                y = y + x
            x = np.maximum(y, 0)
    expected = convolved(x, params["score"]["kernel"]) + params["score"]["bias"]
    np.testing.assert_allclose(scores, expected, atol=1e-4 * np.abs(expected).max())


def enlarged(x, factor):
    """A transposed convolution with a fixed bilinear kernel, written out. x: [H, W, K]."""
    weights = 1 - np.abs(np.arange(2 * factor) - (factor - 0.5)) / factor
    out = np.zeros(((len(x) + 1) * factor, (x.shape[1] + 1) * factor, x.shape[2]))
    for row, column in np.ndindex(x.shape[:2]):
        y, x0 = factor * row, factor * column
        patch = weights[:, None, None] * weights[None, :, None] * x[row, column]
        out[y : y + 2 * factor, x0 : x0 + 2 * factor] += patch
    return out


def test_fcn8s_adds_its_skips_where_the_released_network_does(monkeypatch):
    """Factors of the skips, and what is cut off each map, for maps that are given."""
    height, width, rng = 45, 70, np.random.default_rng(0)
    # Sides after five halvings that keep the rest, of an image with a margin of 99 pixels.
    sides = [np.ceil((np.array([height, width]) + 198) / 2**n).astype(int) for n in (3, 4, 5)]
    maps = {
        name: rng.normal(size=(1, *side, 2))
        for name, side in zip(("pool3", "pool4"), sides, strict=False)
    }
    maps["fc7"] = rng.normal(size=(1, *(sides[2] - 6), 2))
    maps["pool4"] *= 1e2  # so that all three weigh alike
    maps["pool3"] *= 1e4

    class GivenMaps(nn.Module):
        dropout: float
        dtype: jnp.dtype

        def __call__(self, images, *, train):
            assert images.shape == (1, height + 198, width + 198, 3)
            return maps

    monkeypatch.setattr(segmentation, "Vgg16", GivenMaps)
    net = Fcn8s(3)
    params = random_variables(shapes(net, 1, height, width, 3)[1])["params"]
    images = np.zeros((1, height, width, 3), np.float32)
    logits = jax.jit(lambda p, x: net.apply({"params": p}, x, train=False))(params, images)

    def score(name, factor):
        layer = params[f"score_{name}"]
        return factor * maps[name][0] @ layer["kernel"][0, 0] + layer["bias"]

    x = enlarged(score("fc7", 1), 2)
    x = enlarged(x + score("pool4", 0.01)[5:][: len(x), 5 : 5 + x.shape[1]], 2)
    x = enlarged(x + score("pool3", 0.0001)[9:][: len(x), 9 : 9 + x.shape[1]], 8)
    np.testing.assert_allclose(logits[0], x[31 : 31 + height, 31 : 31 + width], atol=1e-4)


def test_compact_refuses_sizes_that_it_cannot_halve():
    with pytest.raises(ValueError, match="divisible by 8"):
        shapes(CompactSegmenter(5), 1, 64, 60, 3)


def test_imagenet_range_is_zero_at_the_mean_colour():
    mean = 2 * np.array([0.485, 0.456, 0.406]) - 1
    np.testing.assert_allclose(imagenet_range(mean.reshape(1, 1, 1, 3)), 0, atol=1e-6)
    white = imagenet_range(np.ones((1, 1, 1, 3)))[0, 0, 0]
    np.testing.assert_allclose(white, [2.2489, 2.4286, 2.64], atol=1e-3)


@pytest.fixture(scope="module")
def compact():
    net = CompactSegmenter(4, widths=(4, 4, 8, 8))
    images = np.random.default_rng(0).normal(size=(2, 32, 48, 3)).astype(np.float32)
    _, variables = shapes(net, *images.shape)
    # Written by NumPy, which is faster than compiling random numbers.
    rng = np.random.default_rng(1)
    fill = lambda x: rng.uniform(-0.3, 0.6, x.shape) if x.ndim > 1 else np.ones(x.shape)  # noqa: E731
    return net, jax.tree.map(lambda x: fill(x).astype(np.float32), variables), images


def test_compact_keeps_statistics_and_trains_every_parameter(compact):
    net, variables, images = compact

    @jax.jit
    def gradient(params):
        def loss(params):
            state = {**variables, "params": params}
            logits, new = net.apply(state, images, train=True, mutable=["batch_stats"])
            return jnp.square(logits).sum(), new["batch_stats"]

        return jax.grad(loss, has_aux=True)(params)

    grads, statistics = gradient(variables["params"])
    assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(grads))
    same = jax.tree.map(lambda a, b: (a == b).all(), statistics, variables["batch_stats"])
    assert not any(jax.tree.leaves(same))


def test_a_bright_square_moves_the_logits_where_it_is(compact):
    net, variables, images = compact
    apply = jax.jit(lambda x: net.apply(variables, x, train=False))
    bright = np.zeros_like(images)
    bright[:, :8, 40:] = 1
    # Two arrays: JAX may still read the first one after the call has returned.
    moved = np.abs(apply(bright) - apply(np.zeros_like(images))).sum((0, 3))
    assert moved[:8, 40:].mean() > 5 * moved[24:, :8].mean()
