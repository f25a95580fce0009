"""Matrix products of places and pixels keep all bits on accelerators.

TPUs and GPUs round the factors of a float32 product by default. A CPU does not show that, so these
tests read the program.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.data.synthetic import asset, generate, sample
from jaxgen.data.synthetic.render import render
from jaxgen.kernels import affine, blur, heatmap
from jaxgen.models import interpolation, layers
from jaxgen.tasks import dr_gan

IMAGE = jnp.zeros((8, 8, 3))
MATRIX = interpolation.half_pixel_matrix(8, 16)
MOMENTS = heatmap.Moments(jnp.zeros((1, 4, 2)), jnp.ones((1, 4, 2)))


def similarity(key):
    matrix = affine.random_similarity(key, size=80, rotation=9.0, scale=0.1, shift=0.1)
    image = affine.warp(IMAGE, affine.invert(matrix))
    return affine.transform_points(matrix, jnp.zeros((4, 2))), image


def divergence(logits):
    found = heatmap.batched(heatmap.laplace_moments)(logits)
    return heatmap.batched(heatmap.laplace_kl)(found, MOMENTS)


FUNCTIONS = {
    "affine": lambda: similarity(jax.random.key(0)),
    "gradient of a bias": lambda: jax.grad(lambda b: layers.add_bias(IMAGE, b).sum())(jnp.ones(3)),
    "blur": lambda: blur.blur(IMAGE, jnp.float32(1)),
    "up-sampling": lambda: interpolation.along_axes(IMAGE[None], MATRIX, MATRIX),
    "heatmaps": lambda: divergence(jnp.zeros((1, 8, 8, 4))),
    "fusion": lambda: dr_gan.fuse(jnp.zeros((3, 4)), jnp.ones(3), jnp.ones(3, bool)),
}


def products(jaxpr):
    """All matrix products of a program, those of its parts too."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation
        for part in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
        ):
            inner = getattr(part, "jaxpr", part)
            if hasattr(inner, "eqns"):
                yield from products(inner)


def assert_exact(jaxpr):
    for equation in products(jaxpr.jaxpr):
        precision = equation.params["precision"]
        assert precision == (jax.lax.Precision.HIGHEST,) * 2, equation


def test_the_search_finds_what_loses_bits():
    jaxpr = jax.make_jaxpr(jax.jit(lambda x: jax.vmap(jnp.dot)(x, x)))(jnp.ones((2, 2)))
    with pytest.raises(AssertionError):
        assert_exact(jaxpr)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_kernels(name):
    assert_exact(jax.make_jaxpr(FUNCTIONS[name])())


def test_rendering():
    head = asset.load_head()

    def sampler(number):
        keys = jax.random.split(jax.random.key(number[0]))
        return sample.sample_scene(keys[0], sample.sample_person(keys[1]), wild=0.5)

    numbers = np.zeros((1, 1), np.int32)
    jaxpr = jax.make_jaxpr(lambda n: generate._sample_batch(n, sampler=sampler))(numbers)
    scenes = jax.eval_shape(lambda n: generate._sample_batch(n, sampler=sampler), numbers)
    assert_exact(jaxpr)

    def draw(head, scenes):
        return generate._render_batch(head, scenes, renderer=render, size=16)

    jaxpr = jax.make_jaxpr(draw)(head, scenes)
    assert list(products(jaxpr.jaxpr))
    assert_exact(jaxpr)
