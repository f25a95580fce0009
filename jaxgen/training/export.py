"""StableHLO artifacts: a trained function as one file that needs JAX alone, not jaxgen."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
from jax import export

from jaxgen.training.files import write_atomically

PLATFORMS = ("cpu", "cuda", "tpu")


def write_artifact(
    path: Path,
    function: Callable,
    shapes: Sequence[tuple[tuple, jax.typing.DTypeLike]],
    *,
    description: dict,
) -> None:
    """Exports function(*arrays) with its weights inside, for CPU, CUDA and TPU.

    Args:
        path: file to write, FILE.stablehlo; `description` goes beside it as FILE.json.
        function: pure function of arrays; anything else is closed over.
        shapes: (shape, dtype) of each argument; a shape may hold "b" for a free batch size.
        description: what the arguments and results mean, as JSON.
    """
    batch = export.SymbolicScope()
    arguments = [
        jax.ShapeDtypeStruct(
            export.symbolic_shape(", ".join(str(side) for side in shape), scope=batch), dtype
        )
        for shape, dtype in shapes
    ]
    blob = export.export(jax.jit(function), platforms=PLATFORMS)(*arguments).serialize()
    write_atomically(path, blob)
    write_atomically(path.with_suffix(".json"), json.dumps(description, indent=2).encode())


def read_artifact(path: Path) -> Callable:
    """The exported function; call it with arrays of the exported shapes.

    Raises:
        ValueError: the file is cut or no artifact; the message names it.
    """
    try:
        return export.deserialize(bytearray(path.read_bytes())).call
    except OSError:
        raise
    except Exception as error:  # of flatbuffers, in many kinds
        raise ValueError(f"{path}: not a readable artifact ({error}); export it again") from error
