"""Row and column sums of a heatmap's softmax: all that means and scales need.

`marginals` is written for one heatmap and vmapped like everything else. It is the only kernel
that reads whole heatmaps, so how it does that decides the speed of all of them:

- exponentials first, sums, one division per marginal: no normalised heatmap is made;
- the gradient reuses the exponentials and writes the heatmap's gradient in one pass;
- vmap leaves landmarks in the last axis, where images have them: heatmaps are never
  transposed in memory.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap


@jax.custom_vjp
def marginals(logits: chex.Array) -> tuple[chex.Array, chex.Array]:
    """Marginals of the softmax over all cells of a heatmap.

    Args:
        logits: [H, W] float32.

    Returns:
        Probabilities of each x, [W], and of each y, [H]; float32, each sums to 1.
    """
    return _forward(logits)[0]


def _forward(logits):
    weights, columns, rows = _weights_and_sums(logits)
    total = lax.optimization_barrier(columns).sum()
    columns, rows = columns / total, rows / total
    return (columns, rows), (weights, columns, rows, total)


def _backward(residuals, grads):
    """The gradient of a softmax, (grad - mean grad) x probability, one term per marginal."""
    weights, columns, rows, total = residuals
    to_columns, to_rows = (
        (grad - (grad * marginal).sum()) / total
        for grad, marginal in zip(grads, (columns, rows), strict=True)
    )
    # The barrier keeps XLA from computing both vectors anew for every pixel.
    return (_outer_sum_times(weights, *lax.optimization_barrier((to_columns, to_rows))),)


marginals.defvjp(_forward, _backward)


def _landmarks_last(function: Callable) -> Callable:
    """Gives a function of one heatmap a vmap rule that puts the mapped axis last.

    The rule of jax.vmap puts it first, which transposes images [H, W, K] of landmarks. Derivatives
    of the result are those of `function` itself: second ones of `marginals` need them.

    Args:
        function: of arrays with leading axes H and W, W, or H; trailing axes must broadcast.

    Returns:
        The function for one heatmap.
    """
    mapped = custom_vmap(function)

    @mapped.def_vmap
    def rule(axis_size, is_mapped, *args):
        del axis_size
        args = (
            jnp.moveaxis(x, 0, -1) if moved else x[..., None]
            for x, moved in zip(args, is_mapped, strict=True)
        )
        output = jax.tree.map(lambda x: jnp.moveaxis(x, -1, 0), function(*args))
        return output, jax.tree.map(lambda _: True, output)

    # A function with a vmap rule of its own has no reverse mode.
    derived = jax.custom_jvp(lambda *args: mapped(*args))
    derived.defjvp(lambda args, tangents: jax.jvp(function, args, tangents))
    return derived


@_landmarks_last
def _weights_and_sums(logits):
    # Two steps with a barrier between: XLA on CPU spreads a reduction over one axis over the
    # cores, but not the reduction over both axes that it would otherwise make of them.
    peak = lax.optimization_barrier(logits.max(0)).max(0)
    weights = jnp.exp(logits - peak)
    return weights, weights.sum(0), weights.sum(1)


@_landmarks_last
def _outer_sum_times(weights, columns, rows):
    return weights * (columns[None, :] + rows[:, None])
