"""Fast noise has the moments, the independence and the reproducibility that it promises."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxgen.kernels.noise import fast_normal

SHAPE = (64, 40, 100)
sample = jax.jit(lambda seed: fast_normal(jax.random.key(seed), SHAPE))


@pytest.fixture(scope="module")
def noise():
    return np.asarray(sample(0), np.float64)


def test_moments_are_those_of_a_normal_distribution(noise):
    # Standard errors for 256,000 numbers: 0.002, 0.003, 0.005 and 0.01.
    np.testing.assert_allclose(noise.mean(), 0, atol=0.01)
    np.testing.assert_allclose((noise**2).mean(), 1, atol=0.015)
    np.testing.assert_allclose((noise**3).mean(), 0, atol=0.025)
    np.testing.assert_allclose((noise**4).mean(), 2.7, atol=0.05)
    assert 3 < np.abs(noise).max() < 3.5


def test_quantiles_are_close_to_normal(noise):
    for quantile, expected in ((0.025, -1.96), (0.16, -0.994), (0.5, 0), (0.84, 0.994)):
        np.testing.assert_allclose(np.quantile(noise, quantile), expected, atol=0.03)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("lag", [1, 2, 16])
def test_neighbours_are_independent(noise, axis, lag):
    moved = np.roll(noise, lag, axis)
    for power in (1, 2):
        correlation = np.corrcoef(noise.ravel() ** power, moved.ravel() ** power)[0, 1]
        assert abs(correlation) < 0.01  # five standard errors


def test_keys_give_independent_noise_and_a_key_the_same(noise):
    np.testing.assert_array_equal(noise, sample(0))
    for seed in (1, 2, 3):
        assert abs(np.corrcoef(noise.ravel(), np.ravel(sample(seed)))[0, 1]) < 0.01


def test_sharding_changes_nothing(noise):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    split = NamedSharding(mesh, PartitionSpec("data"))
    sharded = jax.jit(lambda: fast_normal(jax.random.key(0), SHAPE), out_shardings=split)()
    np.testing.assert_array_equal(sharded, noise.astype(np.float32))
