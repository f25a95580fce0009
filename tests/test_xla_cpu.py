"""The flag that keeps jaxlib 0.10.2 correct on CPU."""

import os
import subprocess
import sys
from importlib import metadata

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import xla_cpu


def run_python(code, **env):
    keep = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_PLATFORMS")}
    return subprocess.run(
        [sys.executable, "-c", code], env=keep | env, capture_output=True, text=True, timeout=120
    )


def test_many_vmapped_rows_agree_with_numpy():
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(8, 8)).astype(np.float32)
    rows = rng.normal(size=(40_000, 8)).astype(np.float32)
    compiled = jax.jit(jax.vmap(lambda row: jnp.sum((matrix @ row) ** 2)))(rows)
    np.testing.assert_allclose(compiled, ((rows @ matrix.T) ** 2).sum(1), rtol=1e-4, atol=1e-4)


def test_self_check_passes_in_this_process():
    assert xla_cpu.self_check()


def test_user_flags_are_kept_and_flag_is_appended_once():
    result = run_python(
        "import os, jaxgen, jaxgen.xla_cpu as x; x.protect(); print(os.environ['XLA_FLAGS'])",
        XLA_FLAGS="--xla_cpu_enable_fast_math=false",
        JAX_PLATFORMS="cpu",
    )
    wrong = metadata.version("jaxlib") in xla_cpu.AFFECTED
    flags = ["--xla_cpu_enable_fast_math=false", *([xla_cpu.FLAG + "="] if wrong else [])]
    assert result.stdout.split() == flags


def test_flag_is_left_out_on_other_platforms():
    result = run_python(
        "import os, jaxgen; print(repr(os.environ.get('XLA_FLAGS')))", JAX_PLATFORMS="tpu"
    )
    assert result.stdout.strip() == "None"


def test_late_import_warns_where_the_backend_is_wrong():
    code = """
import jax, jax.numpy as jnp
jnp.zeros(1).block_until_ready()
import jaxgen
from jaxgen import xla_cpu
print("check", xla_cpu.self_check())
"""
    result = run_python(code, JAX_PLATFORMS="cpu")
    assert "check" in result.stdout, result.stderr
    wrong = "check False" in result.stdout
    assert wrong == ("WRONG VALUES" in result.stderr)
