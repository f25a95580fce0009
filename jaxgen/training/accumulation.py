"""Gradients of a batch that is worked through in parts, so that a large one fits the memory.

A step of several players takes one gradient after the other, and some of them look at a player
that the same step has already moved. So it is each gradient that is accumulated, by a loop inside
the compiled step, and every player still moves once a step, in its usual order. An optimiser that
gathers gradients over several calls of the step (`optax.MultiSteps`) would move the players at
different times, and would count schedules, averages and image pools in parts instead of in steps.

What a batch of k parts means:

    gradient, loss, metrics     the mean over the parts of what each part gives. That is the
                                gradient of the whole batch where a loss is a mean over examples;
                                where it is a mean over what is labelled, each part has its own
                                count, and so the same weight however much of it is labelled
    batch normalisation         each part is normalised with its own statistics; the running ones
                                move once, by the mean over the parts
    randomness                  each part has a key of its own
    which examples              part i has the rows i, i + k, i + 2 k, ...: from every device the
                                same number, so nothing is sent between devices to form it
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

Tree = Any
# (params, batch, key) -> (value [], (means, rows))
Loss = Callable[[Tree, Tree, jax.Array], tuple[jax.Array, tuple[Tree, Tree]]]


def value_and_grad(loss: Loss, micro_batches: int) -> Callable:
    """`jax.value_and_grad(loss, has_aux=True)` over a batch in `micro_batches` parts.

    Args:
        loss: (params, batch, key) -> (value, (means, rows)). `batch` is a tree of arrays whose
            first axes its parts share out; `means` is a tree of float arrays to average; `rows`
            is a tree of arrays with such a first axis.
        micro_batches: number of parts; 1 is the plain gradient, with the key as it is.

    Returns:
        (params, batch, key) -> ((value, (means, rows of the whole batch)), gradient).
    """

    def plain(params, batch, key):
        found, grads = jax.value_and_grad(loss, has_aux=True)(params, batch, key)
        return found, _whole(grads)

    if micro_batches == 1:
        return plain

    def accumulated(params, batch, key):
        def add_part(total, item):
            part, number = item
            (value, (means, rows)), grads = plain(params, part, jax.random.fold_in(key, number))
            return jax.tree.map(jnp.add, total, (value, means, grads)), rows

        parts = split(batch, micro_batches)
        one = jax.eval_shape(lambda: jax.tree.map(lambda x: x[0], parts))
        (value, (means, _)), grads = jax.eval_shape(plain, params, one, key)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (value, means, grads))
        total, rows = lax.scan(add_part, zeros, (parts, jnp.arange(micro_batches)))
        value, means, grads = jax.tree.map(lambda x: x / micro_batches, total)
        return (value, (means, join(rows))), grads

    return accumulated


def split(batch: Tree, parts: int) -> Tree:
    """Arrays [B, ...] -> [parts, B / parts, ...]; part i has the rows i, i + parts, ...

    Raises:
        ValueError: B is no multiple of the number of parts.
    """

    def each(x):
        if x.shape[0] % parts:
            raise ValueError(
                f"a batch of {x.shape[0]} cannot be worked through in {parts} parts: let "
                f"train.micro_batches divide it."
            )
        return jnp.moveaxis(x.reshape(x.shape[0] // parts, parts, *x.shape[1:]), 1, 0)

    return jax.tree.map(each, batch)


def join(rows: Tree) -> Tree:
    """The inverse of `split`: [parts, B / parts, ...] -> [B, ...]."""

    def each(x):
        return jnp.moveaxis(x, 0, 1).reshape(x.shape[0] * x.shape[1], *x.shape[2:])

    return jax.tree.map(each, rows)


def _whole(grads):
    """Gradients of split parameters, summed over the devices before any of them takes its share.

    Left to itself, the compiler may compute each share from activations that it gathers.
    """
    if jax.sharding.get_abstract_mesh().empty:
        return grads
    return lax.with_sharding_constraint(grads, PartitionSpec())
