"""Batch normalisation with a gradient of its own: Flax's, twice as fast on CPU.

Source: Ioffe and Szegedy, Batch Normalization, 2015.
"""

from functools import partial

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax


class BatchNorm(nn.Module):
    """`nn.BatchNorm` over all axes but the last, with the same parameters and statistics.

    Where a batch lies on several devices inside of `jax.jit`, its statistics are those of all.

    Attributes:
        use_running_average: normalise by the statistics that training kept (collection
            "batch_stats") instead of those of the batch.
        momentum: share of the kept statistics that stays at each step.
        epsilon: added to the variance.
        dtype: of the result; statistics and arithmetic stay float32.
    """

    use_running_average: bool
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: chex.Array, counts: chex.Array | None = None) -> chex.Array:
        """[..., C] -> [..., C].

        Args:
            x: [..., C], or [B, ..., C] with counts.
            counts: [B] bool, whose values the statistics are taken over; the others are
                normalised by these too. None counts all. Where none counts, the kept statistics
                stay.
        """
        shape = x.shape[-1:]
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        var = self.variable("batch_stats", "var", jnp.ones, shape)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        if self.use_running_average:
            factor = scale * lax.rsqrt(var.value + self.epsilon)
            return ((x - mean.value) * factor + bias).astype(self.dtype)
        y, batch_mean, batch_var = normalize_batch(
            x, scale, bias, counts=counts, epsilon=self.epsilon
        )
        if not self.is_initializing():
            kept = self.momentum
            if counts is not None:
                kept = jnp.where(counts.any(), kept, 1.0)
            mean.value = kept * mean.value + (1 - kept) * batch_mean
            var.value = kept * var.value + (1 - kept) * batch_var
        return y.astype(self.dtype)


def normalize_batch(
    x: chex.Array,
    scale: chex.Array,
    bias: chex.Array,
    *,
    counts: chex.Array | None = None,
    epsilon: float = 1e-5,
) -> tuple[chex.Array, chex.Array, chex.Array]:
    """Gives each channel the mean `bias` and the standard deviation `scale`.

    Args:
        x: [..., C].
        scale, bias: [C].
        counts: [B] bool, see `BatchNorm`; None counts all.
        epsilon: added to the variance.

    Returns:
        [..., C] float32; mean and variance of the batch, [C] float32, which have no gradient.
    """
    chex.assert_shape((scale, bias), x.shape[-1:])
    if counts is not None:
        chex.assert_shape(counts, x.shape[:1])
        counts = counts.astype(jnp.float32).reshape(-1, *[1] * (x.ndim - 1))
    y, mean, var = _normalize(x, scale, bias, counts, epsilon)
    return y, lax.stop_gradient(mean), lax.stop_gradient(var)


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _normalize(x, scale, bias, counts, epsilon):
    return _forward(x, scale, bias, counts, epsilon)[0]


def _forward(x, scale, bias, counts, epsilon):
    wide, count = x.astype(jnp.float32), _number(x, counts)
    counted = wide if counts is None else wide * counts
    mean = _sum(counted) / count
    # Rounding can take this form of the variance below 0 where a channel is constant.
    var = jnp.maximum(_sum(counted * wide) / count - mean * mean, 0)
    inverse = lax.rsqrt(var + epsilon)
    y = (wide - mean) * (inverse * scale) + bias
    return (y, mean, var), (x, scale, counts, mean, inverse)


def _backward(epsilon, kept, grads):
    x, scale, counts, mean, inverse = kept
    grad, count = grads[0], _number(x, counts)
    normal = (x.astype(jnp.float32) - mean) * inverse
    to_bias, to_scale = _sum(grad), _sum(grad, x.astype(jnp.float32), mean) * inverse
    through = to_bias / count + normal * (to_scale / count)  # the statistics
    if counts is not None:
        through = through * counts
    to_x = (scale * inverse) * (grad - through)
    return to_x.astype(x.dtype), to_scale, to_bias, counts if counts is None else 0 * counts


_normalize.defvjp(_forward, _backward)


def _number(x, counts):
    """Values of a channel that count, at least 1."""
    if counts is None:
        return x.size // x.shape[-1]
    return jnp.maximum(counts.sum(), 1) * (x.size // x.shape[-1] // len(x))


def _sum(x, factor=None, mean=None):
    """Sum of x, or of x * (factor - mean), over all axes but the last.

    x and factor [..., C], mean [C] -> [C].
    """
    given = (x,) if factor is None else (x, factor, mean)
    *_, height, width, channels = (1, 1, *x.shape)

    def on_cpu(x, factor=None, mean=None):
        # The pixels of a row as one: XLA adds long rows by whole vector registers, and the few
        # channels of a pixel one by one. Up to eight rows are added by what makes their values,
        # which then need not be written; the rest is a product with ones.
        together = max(n for n in range(1, 9) if height % n == 0)
        rows = x.reshape(-1, together, width * channels)
        if factor is not None:
            # As long as a row: a division for each value's channel would be most of the work.
            mean = lax.optimization_barrier(jnp.tile(mean, width))
            rows *= factor.reshape(rows.shape) - mean
        added = sum(rows[:, i] for i in range(together))
        ones = jnp.ones(len(added), x.dtype)
        total = jnp.matmul(ones, added, precision=lax.Precision.HIGHEST)
        return total.reshape(width, channels).sum(0)

    def elsewhere(x, factor=None, mean=None):
        values = x if factor is None else x * (factor - mean)
        return values.sum(tuple(range(x.ndim - 1)))

    return lax.platform_dependent(*given, cpu=on_cpu, default=elsewhere)
