"""Pixel values to floats and back."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.kernels.pixels import scale, unscale


def test_scale_and_back():
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    scaled = scale(jnp.asarray(images))
    assert scaled.min() == -1 and scaled.max() == 1
    np.testing.assert_array_equal(unscale(scaled), images)


def test_what_leaves_the_range_is_clipped_and_floats_are_refused():
    np.testing.assert_array_equal(unscale(jnp.array([-1.5, 0.0, 1.5])), [0, 128, 255])
    with pytest.raises(AssertionError):
        scale(jnp.zeros((2, 2)))
