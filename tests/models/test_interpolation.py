"""The matrices equal known interpolations."""

import jax
import numpy as np
import pytest
from PIL import Image

from jaxgen.models.interpolation import (
    aligned_corners_matrix,
    along_axes,
    bicubic_matrix,
    half_pixel_matrix,
    transposed_matrix,
)


def random(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_half_pixel_equals_image_resize():
    x = random(2, 3, 4, 5)
    ours = along_axes(x, half_pixel_matrix(3, 12), half_pixel_matrix(4, 9))
    np.testing.assert_allclose(ours, jax.image.resize(x, (2, 12, 9, 5), "linear"), atol=1e-5)


@pytest.mark.parametrize("old, new", [(4, 32), (5, 33), (1, 6), (3, 3)])
def test_aligned_corners_equal_numpy(old, new):
    x = random(old)
    ours = aligned_corners_matrix(old, new) @ x
    np.testing.assert_allclose(
        ours, np.interp(np.linspace(0, old - 1, new), range(old), x), atol=1e-6
    )


@pytest.mark.parametrize("factor", [2, 8])
def test_transposed_equals_adding_up_scaled_kernels(factor):
    x = random(5)
    kernel = 1 - np.abs(np.arange(2 * factor) - (factor - 0.5)) / factor
    grown = np.zeros(6 * factor)
    for i, value in enumerate(x):
        grown[i * factor : (i + 2) * factor] += value * kernel
    ours = transposed_matrix(5, factor, start=3, new=4) @ x
    np.testing.assert_allclose(ours, grown[3:7], atol=1e-6)


def test_more_pixels_than_there_are_is_refused():
    with pytest.raises(ValueError, match="become 12"):
        transposed_matrix(5, 2, start=3, new=10)


def test_bicubic_equals_pillow():
    # Gentle pictures: Pillow rounds, and clips to 0..255, between both directions.
    rows, columns = np.mgrid[:9, :7]
    x = (128 + 60 * np.sin(rows / 2) * np.cos(columns / 2)).astype(np.uint8)
    expected = np.asarray(Image.fromarray(x).resize((28, 36), Image.Resampling.BICUBIC))
    ours = along_axes(
        x[None, ..., None].astype(np.float32), *(bicubic_matrix(n, 4 * n) for n in x.shape)
    )
    np.testing.assert_allclose(ours[0, ..., 0], expected, atol=1.01)


def test_integers_are_refused():
    """Weights between 0 and 1 would become 0."""
    with pytest.raises(AssertionError, match="float"):
        along_axes(
            np.ones((1, 4, 4, 3), np.uint8), half_pixel_matrix(4, 8), half_pixel_matrix(4, 8)
        )
