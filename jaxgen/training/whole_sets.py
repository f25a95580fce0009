"""A compiled function over a whole set of images, in batches, alike on every process."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from jaxgen.data.array_batches import evaluation_batches
from jaxgen.training.mesh import compile_evaluation, local_rows, put_batch

Tree = Any


def compile_over_sets(
    mesh: Mesh, function: Callable[[Tree, Tree], Tree], *, batch_size: int
) -> Callable[[Tree, np.ndarray], Tree]:
    """Compiles once: (variables, images [N, ...]) -> results of all images, in order.

    Args:
        mesh: the devices; each process reads its share of the images.
        function: (variables, {"image": [B, ...]}) -> tree of arrays [B, ...].
        batch_size: images of all processes together, a multiple of the number of devices.
    """
    compiled = compile_evaluation(mesh, function)

    def run(variables, images):
        batches = evaluation_batches(
            {"image": images},
            batch_size=batch_size // jax.process_count(),
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        parts, places = [], []
        for batch in batches:
            found = compiled(variables, put_batch(mesh, {"image": batch["image"]}))
            valid = batch["valid"]
            parts.append(jax.tree.map(lambda x, valid=valid: local_rows(x)[valid], found))
            places.append(batch["index"][valid])
        found = jax.tree.map(lambda *each: np.concatenate(each), *parts)
        places = np.concatenate(places)
        if jax.process_count() > 1:
            found, places = _from_all(found, places)
        order = np.argsort(places, kind="stable")
        return jax.tree.map(lambda x: x[order], found)

    return run


def _from_all(found, places):
    """Rows of all processes; shares differ by a row at most, so they are padded, then dropped."""
    most = int(multihost_utils.process_allgather(np.array(len(places))).max())
    fill = most - len(places)

    def padded(x):
        return np.concatenate([x, x[:1].repeat(fill, 0)])

    real = np.arange(most) < len(places)
    tree = jax.tree.map(padded, (found, places))
    (rows, places), real = multihost_utils.process_allgather((tree, real), tiled=True)
    return jax.tree.map(lambda x: np.asarray(x)[real], (rows, places))
