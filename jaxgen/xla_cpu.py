"""Keeps XLA's CPU backend correct: jaxlib 0.10.2 needs one flag before it opens.

As installed, jaxlib 0.10.2 hands vmapped dots and reductions on CPU to a library that
returns silently wrong values from about 33,000 rows up, crashes on some multiply-reduces
and makes convolution weight gradients several times slower (jax issues 39103, 39257,
37465). An empty `--xla_cpu_experimental_ynn_fusion_type=` cures all three. XLA reads its
flags when the backend opens, so `import jaxgen` calls `protect` first of all. This is the
one import effect in the library; it only appends to XLA_FLAGS.

The subpackages call it too: where Python starts beside a clone that is called jaxgen, that
folder is taken for the package, and jaxgen/__init__.py never runs.

Which values go wrong depends on the processor, so the version decides, not a measurement.
"""

import logging
import os
import sys
from importlib import metadata

FLAG = "--xla_cpu_experimental_ynn_fusion_type"
# An unknown XLA flag aborts the process, so only versions where it was tried are listed.
AFFECTED = ("0.10.2",)
# Accelerators' runtimes parse XLA_FLAGS as well, and JAX falls back to the CPU where they find no
# chip. Package -> beginnings of the versions that know the flag; () where it was not tried.
PLUGINS = {
    "libtpu": ("0.0.42",),
    "libtpu-nightly": (),
    "jax-cuda12-pjrt": AFFECTED,
    "jax-cuda13-pjrt": AFFECTED,
    "jax-rocm7-pjrt": (),
}

_log = logging.getLogger(__name__)
_warned = False


def protect() -> bool:
    """Appends the flag where it is needed and can still work.

    Returns:
        True if XLA_FLAGS carries the flag when this returns. Warns once if JAX computes on an
        affected CPU backend that was opened before, without the flag.
    """
    if _has_flag():
        return True
    if not _is_affected():
        return False
    if _backend_is_open():
        check_backend()
        return False
    if not _may_have_flag():
        return False
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAG}=".strip()
    _log.info("jaxlib %s on CPU: XLA_FLAGS set to %r", *AFFECTED, os.environ["XLA_FLAGS"])
    return True


def check_backend() -> bool:
    """Warns once if JAX computes on an affected CPU backend without the flag; opens the backend.

    Meant for after JAX has opened: it may have fallen back to the CPU from an accelerator whose
    runtime does not know the flag.

    Returns:
        True if results can be trusted.
    """
    global _warned
    if _has_flag() or not _is_affected():
        return True
    import jax  # here, because importing jaxgen must set the flag before jax is used

    if jax.default_backend() != "cpu":
        return True
    if not _warned:
        _log.warning(
            "THIS JAX COMPUTES WRONG VALUES ON CPU (jaxlib %s), or crashes. Import jaxgen before "
            "anything touches a JAX array, or start Python with XLA_FLAGS='%s=' (for a CPU beside "
            "an accelerator that is not used: and JAX_PLATFORMS=cpu) in the environment.",
            *AFFECTED,
            FLAG,
        )
        _warned = True
    return False


def _has_flag() -> bool:
    """Only the empty form: with `-individual_convolution` values are still wrong."""
    flags = os.environ.get("XLA_FLAGS", "").split()
    values = [flag.partition("=")[2] for flag in flags if flag.partition("=")[0] == FLAG]
    return values[-1:] == [""]


def _is_affected() -> bool:
    return _version("jaxlib") in AFFECTED


def _may_have_flag() -> bool:
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if platforms and platforms.split(",")[0] == "cpu":
        return True
    if platforms and "cpu" not in platforms.split(","):
        return False  # an error if there is no accelerator, so nothing is computed on CPU
    if "TPU_LIBRARY_PATH" in os.environ:  # a libtpu of any version
        return False
    installed = [(_version(name), tried) for name, tried in PLUGINS.items()]
    return all(version is None or version.startswith(tried) for version, tried in installed)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _backend_is_open() -> bool:
    if "jax" not in sys.modules:
        return False
    from jax._src import xla_bridge  # no public way to ask without opening it

    return xla_bridge.backends_are_initialized()
