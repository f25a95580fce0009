"""Streams of rendered pictures: deterministic, in fixed batches, on every core.

Picture i of a stream depends on its own key alone. It is always rendered in batches of
`BATCH` (the last one padded), because XLA may round differently at another batch size.
"""

import collections
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.data.synthetic.render import render

BATCH = 8
WORKERS = 2  # batches in flight: one compiled call keeps about one core busy


# Products of places are exact on accelerators too, where by default they would lose bits.
@partial(jax.jit, static_argnames="sampler")
@jax.default_matmul_precision("highest")
def _sample_batch(numbers, *, sampler):
    # Explicit dtypes: samplers that differ in weak types would each compile the renderer anew.
    return jax.tree.map(lambda x: jnp.asarray(x, x.dtype), jax.vmap(sampler)(numbers))


@partial(jax.jit, static_argnames=("renderer", "size"))
@jax.default_matmul_precision("highest")
def _render_batch(head, scenes, *, renderer, size):
    return jax.vmap(lambda scene: renderer(head, scene, size=size))(scenes)


def stream(head, sampler, numbers, *, size, renderer=render) -> Iterator[tuple]:
    """Renders pictures in order.

    Args:
        head: asset.Head.
        sampler: pure function from a picture's numbers ([K] int32) to its scene.Scene; always
            the same function, so that it compiles once.
        numbers: [N, K] int32, what to give to `sampler`.
        size: side of the pictures in pixels.
        renderer: `render.render`, or `render.draw` for people without background.

    Yields:
        scene.Scene and Rendering (or Drawing) of one picture, as NumPy.
    """
    numbers = np.asarray(numbers, np.int32)
    head = jax.device_put(head)

    def run(start):
        chosen = numbers[start : start + BATCH]
        padding = np.repeat(chosen[-1:], BATCH - len(chosen), 0)
        scenes = _sample_batch(np.concatenate([chosen, padding]), sampler=sampler)
        pictures = _render_batch(head, scenes, renderer=renderer, size=size)
        return len(chosen), *jax.tree.map(np.asarray, (scenes, pictures))

    starts = iter(range(0, len(numbers), BATCH))
    with ThreadPoolExecutor(WORKERS) as pool:
        # One batch alone first: two threads would compile the same thing twice.
        waiting = collections.deque(pool.submit(run, s) for s in itertools.islice(starts, 1))
        while waiting:
            count, scenes, pictures = waiting.popleft().result()
            free = WORKERS - len(waiting)
            waiting.extend(pool.submit(run, s) for s in itertools.islice(starts, free))
            for i in range(count):
                yield jax.tree.map(lambda x: x[i], (scenes, pictures))  # noqa: B023
