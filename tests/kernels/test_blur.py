"""Pictures made worse at random: how many, how much, and that the rest stays as it was."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.kernels.blur import blur, degrade_some


def stripes(count, size=24):
    """Images in [-1, 1] that every blur changes."""
    line = jnp.where(jnp.arange(size) % 4 < 2, -0.5, 0.5)
    return jnp.broadcast_to(line[None, None, :, None], (count, size, size, 3))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_share_holds_and_the_rest_stays(share):
    images = stripes(2000)
    worse = degrade_some(jax.random.key(0), images, share=share)
    changed = (jnp.abs(worse - images) > 1e-6).any((1, 2, 3))
    assert abs(changed.mean() - share) < 0.04
    chex.assert_tree_all_finite(worse)
    assert jnp.abs(worse).max() <= 1


def test_half_of_them_are_blurred_and_half_noisy():
    images = stripes(2000)
    worse = degrade_some(jax.random.key(1), images, share=1.0)
    # Noise alone differs between rows of an image whose rows are equal.
    noisy = (jnp.abs(worse - worse[:, :1]) > 1e-4).any((1, 2, 3))
    assert abs(noisy.mean() - 0.5) < 0.05
    assert (worse[~noisy].std((1, 2, 3)) <= images[0].std() + 1e-6).all()
    assert (worse[noisy].std((1, 2, 3)) >= images[0].std() - 1e-2).all()


def test_another_key_makes_other_pictures_worse():
    images = stripes(64)
    one, other = (degrade_some(jax.random.key(k), images, share=0.5) for k in (0, 1))
    assert (jnp.abs(one - other) > 1e-6).any((1, 2, 3)).sum() > 10


def test_blur_spreads_a_point_as_a_gaussian_does():
    image = jnp.zeros((21, 21, 1)).at[10, 10].set(1)
    spread = blur(image, 1.5)[..., 0]
    x = np.arange(21) - 10
    line = np.exp(-0.5 * (x / 1.5) ** 2)
    line /= line.sum()
    np.testing.assert_allclose(spread, np.outer(line, line), atol=1e-6)
