"""The generator: published sizes, its options, and what its skip connection promises."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.models.super_resolution import Generator, enlarge


def variables_of(net, side=8):
    """Shapes of a generator's variables, without running it."""
    image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    return jax.eval_shape(lambda x: net.init(jax.random.key(0), x, train=False), image)


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_published_number_of_parameters():
    # 3x3 convolutions 3-64 and, 16 times, 64-64, without bias; transposed ones 64-256-256 with
    # bias; 256-3 without; scale and shift of every normalisation.
    conv = 3 * 64 * 9 + 128 + 16 * (64 * 64 * 9 + 128)
    doublings = (64 + 256) * 256 * 9 + 2 * (256 + 512)
    released = variables_of(Generator(extra_conv=False, coarse_image="normed"))["params"]
    assert count(released["upsampler"]) == conv + doublings + 256 * 3 + 6 == 1_333_318
    params = variables_of(Generator())["params"]
    assert count(params["upsampler"]) == 1_333_318 - 6 + 36_992
    wide = 64 * 64 * 9 + 128 + (64 + 256) * 256 * 9 + 2 * 512
    assert count(params["refiner"]) == conv + wide + 256 * 3 * 9 == 1_375_936
    without = variables_of(Generator(norm="none"))
    assert "batch_stats" not in without
    # A bias for scale and shift; the transposed convolutions had theirs already.
    assert count(without["params"]["refiner"]) == 1_375_936 - 18 * 64 - 2 * 256


@pytest.mark.parametrize("sides", [(32, 32), (12, 20)])
def test_both_images_are_four_times_as_large(sides):
    net = Generator(width=1 / 16, blocks=1, first_kernel=9, coarse_kernel=9)
    image = jax.ShapeDtypeStruct((8, *sides, 3), jnp.float32)
    found = jax.eval_shape(lambda x: net.init_with_output(jax.random.key(0), x, train=False), image)
    coarse, refined = found[0]
    assert coarse.shape == refined.shape == (8, 4 * sides[0], 4 * sides[1], 3)
    assert found[0].final is refined


def test_without_refinement_the_first_image_is_final():
    net = Generator(width=1 / 16, blocks=1, refine=False, norm="none")
    x = np.random.default_rng(0).uniform(-1, 1, (2, 8, 8, 3)).astype(np.float32)
    (found, params) = jax.jit(partial(net.init_with_output, train=False))(jax.random.key(0), x)
    assert found.refined is None and found.final is found.coarse
    assert set(params["params"]) == {"upsampler"}
    assert float(jnp.abs(found.coarse).max()) < 1


def test_skip_adds_to_the_enlarged_image():
    net = Generator(width=1 / 16, blocks=1, norm="none", global_skip=True)
    x = np.random.default_rng(0).uniform(-1, 1, (2, 8, 8, 3)).astype(np.float32)
    variables = jax.eval_shape(partial(net.init, train=False), jax.random.key(0), x)
    silent = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), variables)
    coarse, refined = jax.jit(partial(net.apply, train=False))(silent, x)
    chex.assert_trees_all_close(coarse, enlarge(x), atol=1e-6)
    chex.assert_trees_all_equal(coarse, refined)


def test_unknown_first_image_is_refused():
    with pytest.raises(ValueError, match="coarse_image"):
        variables_of(Generator(coarse_image="sigmoid"))
