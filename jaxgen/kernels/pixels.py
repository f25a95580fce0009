"""Pixel values of images as networks want them."""

import chex
import jax
import jax.numpy as jnp


def scale(images: jax.Array) -> jax.Array:
    """uint8 -> float32 in [-1, 1]."""
    chex.assert_type(images, jnp.uint8)
    return images.astype(jnp.float32) / 127.5 - 1


def unscale(images: jax.Array) -> jax.Array:
    """Inverse of `scale`, rounded to uint8; what lies outside [-1, 1] is clipped."""
    return jnp.round((jnp.clip(images, -1, 1) + 1) * 127.5).astype(jnp.uint8)
