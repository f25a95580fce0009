"""Pixels and points move together under the affine kernels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from jaxgen.kernels.affine import invert, random_similarity, similarity, transform_points, warp
from jaxgen.kernels.heatmap import Moments, render_gaussian, soft_argmax

CENTER = (23.5, 19.5)


@jax.jit
def move(point, angle, scale, shift):
    """A smooth spot and its point, both moved; where the spot is then, by its centroid."""
    matrix = similarity(angle, scale, shift, center=CENTER)
    image = render_gaussian(Moments(point, jnp.full(2, 1.8)), (40, 48))[..., None]
    warped = warp(image, invert(matrix))[..., 0]
    return transform_points(matrix, point), soft_argmax(jnp.log(warped + 1e-12))


@settings(max_examples=40, deadline=None)
@given(
    point=st.tuples(st.floats(17, 30), st.floats(14, 26)),
    angle=st.floats(-0.8, 0.8),
    scale=st.floats(0.75, 1.3),
    shift=st.tuples(*[st.floats(-4, 4)] * 2),
)
def test_pixels_and_points_move_together(point, angle, scale, shift):
    expected, found = move(jnp.array(point), angle, scale, jnp.array(shift))
    np.testing.assert_allclose(found, expected, atol=0.05)


def test_identity_changes_nothing():
    image = np.random.default_rng(0).normal(size=(5, 7, 3)).astype(np.float32)
    eye = jnp.array([[1.0, 0, 0], [0, 1, 0]])
    np.testing.assert_allclose(warp(image, eye), image, atol=1e-6)
    np.testing.assert_allclose(transform_points(eye, image[..., :2]), image[..., :2])


def test_whole_shift_repeats_the_border():
    image = np.arange(12.0, dtype=np.float32).reshape(3, 4, 1)
    got = warp(image, jnp.array([[1.0, 0, 2], [0, 1, 0]]))  # output x reads input x + 2
    np.testing.assert_allclose(got, image[:, [2, 3, 3, 3]], atol=1e-6)


def test_half_shift_averages_neighbours():
    image = np.random.default_rng(1).normal(size=(3, 6, 2)).astype(np.float32)
    got = warp(image, jnp.array([[1.0, 0, 0.5], [0, 1, 0]]))
    np.testing.assert_allclose(got[:, :-1], (image[:, :-1] + image[:, 1:]) / 2, atol=1e-6)


def test_flip_matrix_mirrors_the_image():
    image = np.random.default_rng(2).normal(size=(4, 6, 2)).astype(np.float32)
    got = warp(image, jnp.array([[-1.0, 0, 5], [0, 1, 0]]))
    np.testing.assert_allclose(got, image[:, ::-1], atol=1e-6)


def test_quarter_turn_is_exact_and_clockwise_on_the_screen():
    image = np.random.default_rng(3).normal(size=(5, 5, 1)).astype(np.float32)
    matrix = similarity(jnp.pi / 2, 1.0, (0.0, 0.0), center=(2.0, 2.0))
    np.testing.assert_allclose(warp(image, invert(matrix)), np.rot90(image, -1), atol=1e-5)
    np.testing.assert_allclose(transform_points(matrix, jnp.array([4.0, 2.0])), [2, 4], atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(angle=st.floats(-3, 3), scale=st.floats(0.3, 3), shift=st.tuples(*[st.floats(-50, 50)] * 2))
def test_inverse_brings_points_back(angle, scale, shift):
    matrix = similarity(angle, scale, shift, center=CENTER)
    points = np.random.default_rng(4).uniform(0, 80, (3, 5, 2)).astype(np.float32)
    back = transform_points(invert(matrix), transform_points(matrix, points))
    np.testing.assert_allclose(back, points, atol=1e-3)


def test_vmap_over_images_equals_a_loop():
    rng = np.random.default_rng(5)
    images = rng.normal(size=(3, 6, 5, 2)).astype(np.float32)
    matrices = np.stack(
        [similarity(a, 1.1, (0.3, -0.2), center=(2.0, 2.5)) for a in (0.1, 0.5, -0.7)]
    )
    got = jax.jit(jax.vmap(warp))(images, matrices)
    for image, matrix, each in zip(images, matrices, got, strict=True):
        np.testing.assert_allclose(each, warp(image, matrix), atol=1e-6)


def test_gradients_of_image_and_matrix():
    image = jnp.asarray(np.random.default_rng(6).normal(size=(5, 6, 1)), jnp.float32)
    matrix = similarity(0.2, 0.7, (0.1, 0.2), center=(2.5, 2.0))
    check_grads(jax.jit(warp), (image, matrix), 1, ["rev"], atol=1e-2, rtol=1e-2, eps=1e-3)


def test_random_similarities_fill_their_ranges():
    keys = jax.random.split(jax.random.key(0), 500)
    draw = jax.vmap(lambda key: random_similarity(key, size=81, rotation=30, scale=0.2, shift=0.1))
    matrices = np.asarray(draw(keys))
    angle = np.degrees(np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0]))
    scale = np.hypot(matrices[:, 1, 0], matrices[:, 0, 0])
    moved = matrices @ np.array([40, 40, 1]) - 40  # the centre moves by the shift alone
    for values, low, high in ((angle, -30, 30), (scale, 1 / 1.2, 1.2), (moved, -8.1, 8.1)):
        assert low <= values.min() < 0.95 * low + 0.05 * high
        assert high >= values.max() > 0.95 * high + 0.05 * low


def test_batches_are_refused():
    with pytest.raises(AssertionError):
        warp(jnp.zeros((2, 5, 6, 1)), jnp.zeros((2, 3)))
    with pytest.raises(AssertionError):
        transform_points(jnp.zeros((4, 2, 3)), jnp.zeros((4, 2)))
