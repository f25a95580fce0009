"""A compiled function over a whole set of images, in batches, alike on every process."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxgen.data.array_batches import evaluation_batches
from jaxgen.training import hosts
from jaxgen.training.mesh import compile_evaluation, local_rows, put_batch

Tree = Any


def compile_over_sets(
    mesh: Mesh, function: Callable[[Tree, Tree], Tree], *, batch_size: int
) -> Callable[[Tree, np.ndarray], Tree]:
    """Compiles once: (variables, images [N, ...]) -> results of all images, in order.

    Args:
        mesh: the devices; each of their processes reads its share of the images. A mesh of this
            process's devices alone makes it work alone, on all images.
        function: (variables, {"image": [B, ...]}) -> tree of arrays [B, ...].
        batch_size: images of all processes together, a multiple of the number of devices.
    """
    compiled = compile_evaluation(mesh, function)
    alone = all(device.process_index == jax.process_index() for device in mesh.devices.flat)
    index, count = (0, 1) if alone else (hosts.index(), hosts.count())

    def run(variables, images):
        batches = evaluation_batches(
            {"image": images},
            batch_size=batch_size // count,
            process_index=index,
            process_count=count,
        )
        parts, places = [], []
        for batch in batches:
            found = compiled(variables, put_batch(mesh, {"image": batch["image"]}))
            valid = batch["valid"]
            parts.append(jax.tree.map(lambda x, valid=valid: local_rows(x)[valid], found))
            places.append(batch["index"][valid])
        found = jax.tree.map(lambda *each: np.concatenate(each), *parts)
        # Alone, the rows are in order already.
        return found if alone else hosts.gather_in_order(found, np.concatenate(places))

    return run
