"""One mesh axis, "data": parameters on every device, the batch split over them.

Inside jit the batch is global, so batch statistics and losses mean the same on 1 device
and on 256; the compiler adds the collectives. Large arrays of the players may be split over the
devices too ("fully sharded data parallel", ZeRO): only where they lie changes, not what is
computed.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxgen.training.state import Player

Tree = Any


def data_mesh(devices: list[jax.Device] | None = None) -> Mesh:
    """A mesh with the axis "data" over `devices` (default: all of all processes)."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), ("data",), (AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds all of it."""
    return NamedSharding(mesh, P())


def split_batch(mesh: Mesh) -> NamedSharding:
    """The first axis is split over the devices."""
    return NamedSharding(mesh, P("data"))


def shard_large(mesh: Mesh, state: Tree, *, above: int) -> Tree:
    """Where the arrays of a state lie: on every device, or split over them where they are large.

    Args:
        mesh: the devices.
        state: tree of arrays or of jax.ShapeDtypeStruct with some `Player`s. Their parameters,
            moments and averages may be split; frozen networks and image pools are not.
        above: arrays of more elements are split along their longest axis that the devices divide
            (of equal ones the last), if there is one; 0 splits none.

    Returns:
        Tree of shardings.
    """

    def choose(leaf):
        axes = [axis for axis, length in enumerate(leaf.shape) if length % mesh.size == 0]
        if not above or math.prod(leaf.shape) <= above or not axes:
            return replicated(mesh)
        axis = max(axes, key=lambda axis: (leaf.shape[axis], axis))
        return NamedSharding(mesh, P(*[None] * axis, "data"))

    def place(node):
        return jax.tree.map(choose, node) if _is_player(node) else replicated(mesh)

    return jax.tree.map(place, state, is_leaf=_is_player)


def abstract_replicated(mesh: Mesh, shapes: Tree) -> Tree:
    """Adds to a tree of jax.ShapeDtypeStruct that every device holds all of it."""
    sharding = replicated(mesh)
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes
    )


def check_divisible(mesh: Mesh, *, micro_batches: int = 1, **batch_sizes: int) -> None:
    """Raises ValueError naming the first batch size that the devices cannot share.

    Args:
        mesh: the devices.
        micro_batches: parts of each batch, all of which they share.
        **batch_sizes: by their keys in the config.
    """
    multiple = mesh.size * micro_batches
    for key, size in batch_sizes.items():
        if size % multiple:
            parts = f" in {micro_batches} micro-batches" if micro_batches > 1 else ""
            raise ValueError(
                f"config.{key}={size} cannot be split over {mesh.size} devices{parts}: "
                f"use a multiple of {multiple}."
            )


def put_batch(mesh: Mesh, batch: Tree) -> Tree:
    """Sends this process's part of a host batch to its devices.

    Args:
        mesh: the mesh of the compiled step.
        batch: tree of NumPy arrays [local batch, ...].

    Returns:
        Tree of global arrays, split over the mesh.
    """
    sharding = split_batch(mesh)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def merge(*batches: jax.Array) -> jax.Array:
    """Rows of several batches as one batch, without sending any to another device.

    Concatenated batches would have to be spread over the devices anew. Here the result begins with
    a few rows of each batch, then come the next few of each: as many of each as every device has
    of it, or a divisor.

    Args:
        batches: arrays [B, ...], each split over the devices.

    Returns:
        [sum of all B, ...]; `separate` takes it apart.
    """
    groups = math.gcd(*map(len, batches))
    parts = [x.reshape(groups, len(x) // groups, *x.shape[1:]) for x in batches]
    return jnp.concatenate(parts, 1).reshape(-1, *batches[0].shape[1:])


def separate(rows: jax.Array, *counts: int) -> list[jax.Array]:
    """The inverse of `merge`: batches of `counts` rows."""
    groups = math.gcd(*counts)
    rows = rows.reshape(groups, -1, *rows.shape[1:])
    ends = np.cumsum([count // groups for count in counts])[:-1]
    return [x.reshape(-1, *x.shape[2:]) for x in jnp.split(rows, ends, axis=1)]


def local_rows(array: jax.Array) -> np.ndarray:
    """Rows of this process of an array that is split over all devices, in order."""
    shards = sorted(array.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    return np.concatenate([np.asarray(shard.data) for shard in shards])


def compile_init(
    mesh: Mesh, init: Callable[[Any], Tree], *, shard_above: int = 0
) -> Callable[[Any], Tree]:
    """Compiles init(key) -> state so that the state is born where `shard_large` puts it."""

    def run(key):
        where = shard_large(mesh, jax.eval_shape(init, key), above=shard_above)
        return jax.jit(init, out_shardings=where)(key)

    return run


def compile_step(
    mesh: Mesh, step: Callable[[Tree, Tree], tuple[Tree, Tree]], like: Tree = None
) -> Callable:
    """Compiles step(state, batch) -> (state, metrics); the old state is donated.

    Args:
        mesh: the devices.
        step: pure.
        like: a state whose arrays lie where they are to stay; None: every device holds all.
    """
    same, split = replicated(mesh), split_batch(mesh)

    def place(leaf):
        sharding = getattr(leaf, "sharding", None)
        on_mesh = isinstance(sharding, NamedSharding) and sharding.mesh == mesh
        return sharding if on_mesh else same

    where = jax.tree.map(place, like)
    if all(sharding.is_fully_replicated for sharding in jax.tree.leaves(where)):
        return jax.jit(
            step, in_shardings=(same, split), out_shardings=(same, same), donate_argnums=0
        )

    def step_with_whole_networks(state, batch):
        def gather(node):
            if not _is_player(node):
                return node
            used = {"params": node.params, "batch_stats": node.batch_stats}
            return node.replace(**jax.lax.with_sharding_constraint(used, same))

        # Without this the compiler may gather activations instead, which are far larger.
        # Moments and averages stay split: each device updates its share.
        whole = jax.tree.map(gather, state, is_leaf=_is_player)
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):  # for `accumulation`
            return step(whole, batch)

    return jax.jit(
        step_with_whole_networks,
        in_shardings=(where, split),
        out_shardings=(where, same),
        donate_argnums=0,
    )


def compile_evaluation(mesh: Mesh, function: Callable[[Tree, Tree], Tree]) -> Callable:
    """Compiles function(variables, batch) -> per-example arrays, split like the batch.

    Variables may lie whole on every device or split over them.
    """
    split = split_batch(mesh)

    def evaluate(variables, batch):
        return function(jax.lax.with_sharding_constraint(variables, replicated(mesh)), batch)

    return jax.jit(evaluate, in_shardings=(None, split), out_shardings=split)


def _is_player(node):
    return isinstance(node, Player)
