"""Keeps freed memory in the process, where XLA's CPU backend would ask for it at every step.

XLA allocates the temporary buffers of a compiled function as one block at each call, and
glibc hands blocks of that size back to the kernel. The next call then pays for every page
again: 200 MB are 50,000 page faults, a fifth to a third of a training step of a compact
network.

Only the heap of the first thread can hold such blocks and keep them. JAX would allocate them in
threads of its own, so it is told to run compiled functions in the thread that calls. One heap
for all threads would keep them, too, but XLA's convolutions ask for memory all the time, and its
threads would wait for each other.
"""

import ctypes
import platform

# glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def keep_freed() -> bool:
    """Makes malloc reuse freed blocks of any size instead of returning them.

    Call it once, in the first thread, before JAX opens its backend: the process then stays as
    large as it has ever been. Meant for training on CPU; it changes speed only. Compiled functions
    then have run when they return: what a program does meanwhile belongs into other threads.

    Returns:
        True if the C library took the settings (glibc only), else False.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    # No separate mappings, which are returned when freed; no trimming of the heap's end.
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1))
    if not all(libc.mallopt(name, value) == 1 for name, value in settings):
        return False
    import jax  # here, because a command line that is wrong should not wait for it

    jax.config.update("jax_cpu_enable_async_dispatch", False)
    return True
