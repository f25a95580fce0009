"""One mesh axis, "data": parameters on every device, the batch split over them.

Inside jit the batch is global, so batch statistics and losses mean the same on 1 device
and on 256; the compiler adds the collectives.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

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


def abstract_replicated(mesh: Mesh, shapes: Tree) -> Tree:
    """Adds to a tree of jax.ShapeDtypeStruct that every device holds all of it."""
    sharding = replicated(mesh)
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes
    )


def check_divisible(mesh: Mesh, **batch_sizes: int) -> None:
    """Raises ValueError naming the first batch size that the devices cannot share."""
    for key, size in batch_sizes.items():
        if size % mesh.size:
            raise ValueError(
                f"config.{key}={size} cannot be split over {mesh.size} devices: "
                f"use a multiple of {mesh.size}."
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


def local_rows(array: jax.Array) -> np.ndarray:
    """Rows of this process of an array that is split over all devices, in order."""
    shards = sorted(array.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    return np.concatenate([np.asarray(shard.data) for shard in shards])


def compile_init(mesh: Mesh, init: Callable[[jax.Array], Tree]) -> Callable[[jax.Array], Tree]:
    """Compiles init(key) -> state so that the state is born replicated."""
    return jax.jit(init, out_shardings=replicated(mesh))


def compile_step(mesh: Mesh, step: Callable[[Tree, Tree], tuple[Tree, Tree]]) -> Callable:
    """Compiles step(state, batch) -> (state, metrics); the old state is donated."""
    same, split = replicated(mesh), split_batch(mesh)
    return jax.jit(step, in_shardings=(same, split), out_shardings=(same, same), donate_argnums=0)


def compile_evaluation(mesh: Mesh, function: Callable[[Tree, Tree], Tree]) -> Callable:
    """Compiles function(variables, batch) -> per-example arrays, split like the batch."""
    same, split = replicated(mesh), split_batch(mesh)
    return jax.jit(function, in_shardings=(same, split), out_shardings=split)
