"""Blur whose strength a compiled step may choose, and images made worse at random."""

import chex
import jax
import jax.numpy as jnp

from jaxgen.kernels.noise import fast_normal

# Of `degrade_some` at its worst: a strength of 0.5 in data/degradations.py, which tests use.
_SIGMA = 0.04  # of the blur, as a share of the side
_NOISE = 50 / 127.5  # standard deviation, of values in [-1, 1]


def blur(image: chex.Array, sigma: chex.Array) -> chex.Array:
    """Gaussian blur; what lies beyond the border weighs nothing.

    Args:
        image: [H, W, C].
        sigma: [] standard deviation in pixels; 0 leaves the image alone.

    Returns:
        [H, W, C].
    """
    chex.assert_rank(image, 3)
    rows, columns = (_blur_matrix(n, sigma) for n in image.shape[:2])
    return jnp.einsum("ij,jkc,lk->ilc", rows, image, columns, precision="highest")


def _blur_matrix(size, sigma):
    distance = jnp.arange(size)[:, None] - jnp.arange(size)
    weight = jnp.exp(-0.5 * (distance / jnp.maximum(sigma, 1e-2)) ** 2)
    return weight / weight.sum(1, keepdims=True)


def degrade_some(key: chex.PRNGKey, images: chex.Array, *, share: float) -> chex.Array:
    """Makes a random share of images blurred or noisy, one of the two, each by its own strength.

    Args:
        key: PRNG key.
        images: [B, S, S, C] float32 in [-1, 1].
        share: mean share of the images, in [0, 1].

    Returns:
        [B, S, S, C] float32 in [-1, 1].
    """
    key_luck, key_strength, key_noise = jax.random.split(key, 3)
    luck = jax.random.uniform(key_luck, images.shape[:1])
    strength = jax.random.uniform(key_strength, images.shape[:1], minval=0.25)
    sigma = jnp.where(luck < share / 2, strength * _SIGMA * images.shape[1], 0)
    noise = jnp.where((luck >= share / 2) & (luck < share), strength * _NOISE, 0)
    worse = jax.vmap(blur)(images, sigma)
    worse += noise[:, None, None, None] * fast_normal(key_noise, images.shape)
    return jnp.clip(worse, -1, 1)
