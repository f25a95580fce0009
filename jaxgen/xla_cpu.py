"""Keeps XLA's CPU backend correct: jaxlib 0.10.2 needs one flag before it opens.

As installed, jaxlib 0.10.2 hands vmapped dots and reductions on CPU to a library that
returns silently wrong values from about 33,000 rows up, crashes on some multiply-reduces
and makes convolution weight gradients several times slower (jax issues 39103, 39257,
37465). An empty `--xla_cpu_experimental_ynn_fusion_type=` cures all three. XLA reads its
flags when the backend opens, so `import jaxgen` calls `protect` first of all. This is the
one import effect in the library; it only appends to XLA_FLAGS.
"""

import importlib.util
import logging
import os
import sys
from importlib import metadata

import numpy as np

FLAG = "--xla_cpu_experimental_ynn_fusion_type"
# An unknown XLA flag aborts the process, so only versions where it was tried are listed.
AFFECTED = ("0.10.2",)

_log = logging.getLogger(__name__)


def protect() -> bool:
    """Appends the flag where it is needed and can still work.

    Returns:
        True if XLA_FLAGS carries the flag when this returns. Warns if the backend was
        opened before, without the flag, and is measurably wrong.
    """
    if FLAG in os.environ.get("XLA_FLAGS", ""):
        return True
    if not _needs_flag():
        return False
    if _backend_is_open():
        self_check()
        return False
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAG}=".strip()
    _log.info("jaxlib %s on CPU: XLA_FLAGS set to %r", *AFFECTED, os.environ["XLA_FLAGS"])
    return True


def self_check() -> bool:
    """Runs the case that goes wrong (about 50 ms) on the CPU backend; warns if it does.

    Returns:
        True if compiled and NumPy results agree.
    """
    import jax  # here, because importing jaxgen must set the flag before jax is used

    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(8, 8)).astype(np.float32)
    rows = rng.normal(size=(40_000, 8)).astype(np.float32)
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        compiled = jax.jit(jax.vmap(lambda row: ((matrix @ row) ** 2).sum()))(rows)
    correct = np.allclose(compiled, ((rows @ matrix.T) ** 2).sum(1), rtol=1e-3, atol=1e-3)
    if not correct:
        _log.warning(
            "THIS JAX COMPUTES WRONG VALUES ON CPU. Import jaxgen before anything touches a JAX "
            "array, or start Python with XLA_FLAGS='%s=' in the environment.",
            FLAG,
        )
    return bool(correct)


def _needs_flag() -> bool:
    try:
        if metadata.version("jaxlib") not in AFFECTED:
            return False
    except metadata.PackageNotFoundError:
        return False
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if platforms:
        return platforms.split(",")[0] == "cpu"
    # CUDA and TPU runtimes parse XLA_FLAGS themselves; the flag was not tried on them.
    accelerators = ("libtpu", "jax_cuda12_plugin", "jax_cuda13_plugin", "jax_rocm7_plugin")
    return not any(importlib.util.find_spec(name) for name in accelerators)


def _backend_is_open() -> bool:
    if "jax" not in sys.modules:
        return False
    from jax._src import xla_bridge  # no public way to ask without opening it

    return xla_bridge.backends_are_initialized()
