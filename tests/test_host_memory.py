"""The memory settings change nothing but speed."""

import platform
import subprocess
import sys

import pytest

CODE = """
from jaxgen import host_memory
assert host_memory.keep_freed()
import jax.numpy as jnp
print(float((jnp.ones((512, 512)) @ jnp.ones((512, 512))).sum()))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc's malloc")
def test_settings_are_taken_and_results_stay():
    command = [sys.executable, "-c", CODE]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert float(result.stdout) == 512**3
