"""The image pool follows CycleGAN's rule."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.training.image_pool import exchange, new_pool


def numbered(first, count):
    """[count, 1, 1, 1] images that hold their own number."""
    return jnp.arange(first, first + count, dtype=jnp.float32).reshape(-1, 1, 1, 1)


def test_while_it_fills_new_images_pass_through():
    pool = new_pool(5, (1, 1, 1))
    returned, pool = exchange(jax.random.key(0), pool, numbered(1, 3))
    chex.assert_trees_all_equal(returned, numbered(1, 3))
    assert int(pool.count) == 3
    np.testing.assert_array_equal(pool.images.ravel(), [1, 2, 3, 0, 0])


def test_full_pool_returns_half_old_images_and_never_loses_one():
    pool = new_pool(50, (1, 1, 1))
    _, pool = exchange(jax.random.key(0), pool, numbered(1, 50))
    given = numbered(51, 400)  # a batch larger than the pool
    returned, after = jax.jit(exchange)(jax.random.key(1), pool, given)
    returned, kept = np.ravel(returned), np.ravel(after.images)
    old = (returned != np.ravel(given)).mean()
    assert 0.4 < old < 0.6
    # Each image is in the pool, or was returned; an exchanged one is in exactly one place.
    seen = np.concatenate([returned, kept])
    assert set(seen) == set(np.arange(1.0, 451.0))
    assert len(set(kept)) == 50 and int(after.count) == 50


def test_every_place_of_the_pool_can_be_exchanged():
    _, pool = exchange(jax.random.key(0), new_pool(2, (1, 1, 1)), numbered(1, 2))
    returned, _ = jax.jit(exchange)(jax.random.key(1), pool, numbered(3, 40))
    assert {1.0, 2.0} <= set(np.ravel(returned).tolist())


def test_pool_of_size_zero_is_a_wire():
    pool = new_pool(0, (2, 2, 3))
    images = jnp.ones((4, 2, 2, 3))
    returned, after = exchange(jax.random.key(0), pool, images)
    assert returned is images and after is pool
