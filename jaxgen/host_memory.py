"""Keeps freed memory in the process, where XLA's CPU backend would ask for it at every step.

XLA allocates the temporary buffers of a compiled function as one block at each call, and
glibc hands blocks of that size back to the kernel. The next call then pays for every page
again: 200 MB are 50,000 page faults, a fifth to a third of a training step of a compact
network.
"""

import ctypes
import platform

# glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed() -> bool:
    """Makes malloc reuse freed blocks of any size instead of returning them.

    Call it once, before JAX opens its backend: the process then stays as large as it has ever
    been. Meant for training on CPU; it changes speed only.

    Returns:
        True if the C library took the settings (glibc only), False if nothing was changed.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    # One heap for all threads, because heaps of further threads cannot hold large blocks; no
    # separate mappings, which are returned when freed; no trimming of the heap's end.
    settings = ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1))
    return all(libc.mallopt(name, value) == 1 for name, value in settings)
