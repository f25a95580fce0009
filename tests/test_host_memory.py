"""The memory settings change nothing but speed: freed blocks stay in the process."""

import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="for glibc's malloc")

CODE = """
import resource
{first}
from jaxgen import host_memory
assert host_memory.keep_freed()
import jax
import jax.numpy as jnp

@jax.jit
def total(x):
    copy = jax.lax.optimization_barrier(x * 2)  # a temporary block of 128 MB
    return copy[::-1].sum() + jnp.sort(copy[:8]).sum()

x = jnp.ones((8192, 4096))
values = [float(total(x)) for _ in range(3)]
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
values += [float(total(x)) for _ in range(30)]
print(values[0], values[-1], resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.parametrize("first", ["", "import jax"], ids=["before jax", "after jax"])
def test_temporary_memory_stays_and_results_too(first):
    command = [sys.executable, "-c", CODE.format(first=first)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    once, again, faults = map(float, result.stdout.split())
    assert once == again == 2 * 8192 * 4096 + 2 * 8 * 4096
    # Thirty calls would ask for 983,040 pages anew. Some do where small blocks lie in the way.
    assert faults < 983_040 / 3
