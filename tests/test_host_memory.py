"""Large buffers of compiled functions are reused from call to call."""

import platform
import subprocess
import sys

import pytest

CODE = """
import resource, sys
from jaxgen import host_memory
if sys.argv[1] == "keep":
    assert host_memory.keep_freed()
import jax, jax.numpy as jnp

@jax.jit
def step(x):  # three matrices of 16 MB that live at once
    a = x @ x
    b = a @ x
    return (a @ b).sum()

x = jnp.ones((2048, 2048))
step(x).block_until_ready()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step(x).block_until_ready()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(mode):
    result = subprocess.run(
        [sys.executable, "-c", CODE, mode], capture_output=True, text=True, timeout=120, check=True
    )
    return int(result.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc's malloc")
def test_second_call_touches_no_new_memory():
    assert page_faults("keep") < 1000 < page_faults("default")
