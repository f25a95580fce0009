"""A pool of generated images: discriminators learn from older ones too.

Shrivastava et al., Learning from Simulated and Unsupervised Images, 2017, section 2.3; the rule is
that of CycleGAN (Zhu et al., 2017). The pool is plain state: it goes in and comes out.
"""

import chex
import flax
import jax
import jax.numpy as jnp
from jax import lax


@flax.struct.dataclass
class ImagePool:
    """Up to P images."""

    images: jax.Array  # [P, H, W, C]
    count: jax.Array  # [] int32, how many are filled


def new_pool(size: int, shape: tuple[int, int, int], dtype=jnp.float32) -> ImagePool:
    """An empty pool of `size` images of `shape` (H, W, C); size 0 keeps nothing."""
    return ImagePool(jnp.zeros((size, *shape), dtype), jnp.zeros((), jnp.int32))


def exchange(key: chex.PRNGKey, pool: ImagePool, images: chex.Array) -> tuple[jax.Array, ImagePool]:
    """Gives every new image to the pool, and returns new or older ones in their place.

    One image after the other: while the pool fills, the new image is kept and returned. Then, with
    probability 1/2, a random kept image is returned and the new one takes its place; else the new
    one is returned and not kept.

    Args:
        key: PRNG key.
        pool: of images of the same shape.
        images: [B, H, W, C] generated images; B may exceed the pool's size.

    Returns:
        [B, H, W, C] images for the discriminator, and the next pool.
    """
    size = len(pool.images)
    if size == 0:
        return images, pool
    chex.assert_equal_shape_suffix([pool.images, images], 3)

    def one(pool, item):
        key, image = item
        key_swap, key_place = jax.random.split(key)
        filling = pool.count < size
        swap = ~filling & jax.random.bernoulli(key_swap)
        place = jnp.where(filling, pool.count, jax.random.randint(key_place, (), 0, size))
        kept = pool.images[place]
        stored = jnp.where(filling | swap, image.astype(kept.dtype), kept)
        pool = ImagePool(
            lax.dynamic_update_index_in_dim(pool.images, stored, place, 0), pool.count + filling
        )
        return pool, jnp.where(swap, kept.astype(image.dtype), image)

    pool, returned = lax.scan(one, pool, (jax.random.split(key, len(images)), images))
    return returned, pool
