"""Random numbers by the handful: one draw per scene, spent piece by piece.

Dozens of separate `jax.random` calls compile slowly (each one unrolls its generator); one long
row of uniform numbers does not.
"""

import jax.numpy as jnp
from jax import random
from jax.scipy.special import ndtri


class Dice:
    """Hands out the numbers of one key in order; a trace-time object, never an argument."""

    def __init__(self, key, count):
        self._row = random.uniform(key, (count,), minval=1e-6, maxval=1 - 1e-6)
        self._used = 0

    def uniform(self, shape=(), low=0.0, high=1.0):
        """Uniform in [low, high)."""
        size = 1
        for side in shape:
            size *= side
        taken = self._row[self._used : self._used + size]
        self._used += size
        if len(taken) < size:
            raise ValueError(f"Dice holds {len(self._row)} numbers, {self._used} are asked for")
        return low + (high - low) * taken.reshape(shape)

    def normal(self, shape=(), limit=2.5):
        """Standard normal, cut at +-limit."""
        return jnp.clip(ndtri(self.uniform(shape)), -limit, limit)

    def chance(self, probability):
        """True with a probability: [] bool."""
        return self.uniform() < probability

    def pick(self, probabilities):
        """Index drawn with the given probabilities: [] int32."""
        limits = jnp.cumsum(jnp.asarray(probabilities))
        return (self.uniform() * limits[-1] > limits).sum()

    def bits(self):
        """Data of a PRNG key, [2] uint32."""
        return (self.uniform((2,)) * 2**24).astype(jnp.uint32)
