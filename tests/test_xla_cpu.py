"""The flag that keeps jaxlib 0.10.2 correct on CPU."""

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from IPython.core.inputtransformer2 import TransformerManager

from jaxgen import xla_cpu

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
WRONG = metadata.version("jaxlib") in xla_cpu.AFFECTED
FLAGS = [xla_cpu.FLAG + "="] if WRONG else []
PRINT_FLAGS = "import os, jaxgen; print(os.environ.get('XLA_FLAGS', ''))"
# As installed, jaxlib 0.10.2 dies of it on some processors and is wrong on others.
MULTIPLY_REDUCE = """
import jax, numpy as np
a = np.arange(6144, dtype=np.float32).reshape(3, 1, 2, 2, 8, 8, 8) / 6144
np.testing.assert_allclose(jax.jit(lambda a, b: (a * b).sum(3))(a, a), (a * a).sum(3), rtol=1e-5)
print("right")
"""


def run_python(code, path=None, cwd=None, **env):
    keep = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_PLATFORMS")}
    if path is not None:
        env["PYTHONPATH"] = os.pathsep.join([str(path), *filter(None, sys.path)])
    return subprocess.run(
        [sys.executable, "-c", code],
        env=keep | env,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
    )


def install(folder, package, version):
    """What pip leaves of `package`, without its code."""
    info = folder / f"{package.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    return folder


def test_many_vmapped_rows_agree_with_numpy():
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(8, 8)).astype(np.float32)
    rows = rng.normal(size=(40_000, 8)).astype(np.float32)
    compiled = jax.jit(jax.vmap(lambda row: jnp.sum((matrix @ row) ** 2)))(rows)
    np.testing.assert_allclose(compiled, ((rows @ matrix.T) ** 2).sum(1), rtol=1e-4, atol=1e-4)


def test_results_can_be_trusted_in_this_process():
    assert xla_cpu.check_backend()


def test_user_flags_are_kept_and_flag_is_appended_once():
    result = run_python(
        "import os, jaxgen, jaxgen.xla_cpu as x; x.protect(); print(os.environ['XLA_FLAGS'])",
        XLA_FLAGS="--xla_cpu_enable_fast_math=false",
        JAX_PLATFORMS="cpu",
    )
    assert result.stdout.split() == ["--xla_cpu_enable_fast_math=false", *FLAGS]


def test_partial_form_is_completed():
    partial = xla_cpu.FLAG + "=-individual_convolution"
    code = PRINT_FLAGS + MULTIPLY_REDUCE
    result = run_python(code, XLA_FLAGS=partial, JAX_PLATFORMS="cpu")
    assert result.stdout.split() == [partial, *FLAGS, "right"], result.stderr


def test_flag_is_left_out_on_other_platforms():
    assert run_python(PRINT_FLAGS, JAX_PLATFORMS="tpu").stdout.split() == []


# JAX falls back to the CPU where a chip or its driver is missing.
@pytest.mark.parametrize("package", ["jax-cuda12-pjrt", "jax-cuda13-pjrt", "libtpu"])
def test_flag_is_set_beside_accelerators_that_know_it(tmp_path, package):
    (version,) = xla_cpu.PLUGINS[package]
    folder = install(tmp_path, package, version)
    assert run_python(PRINT_FLAGS, folder).stdout.split() == FLAGS


def test_fallback_to_cpu_computes_right(tmp_path):
    folder = install(tmp_path, "jax-cuda12-plugin", "0.10.2")
    install(folder, "jax-cuda12-pjrt", "0.10.2")
    (folder / "jax_cuda12_plugin").mkdir()
    (folder / "jax_cuda12_plugin" / "__init__.py").touch()
    result = run_python("import jaxgen" + MULTIPLY_REDUCE, folder, CUDA_VISIBLE_DEVICES="-1")
    assert result.stdout.split() == ["right"], result.stderr


@pytest.mark.parametrize(
    ("package", "version"), [("libtpu", "0.0.30"), ("jax-cuda12-pjrt", "0.9.0")]
)
def test_fallback_from_untried_accelerator_warns(tmp_path, package, version):
    # Another XLA could end the process at a flag that it does not know.
    code = PRINT_FLAGS + "\nfrom jaxgen import xla_cpu; print(xla_cpu.check_backend())"
    result = run_python(code, install(tmp_path, package, version), CUDA_VISIBLE_DEVICES="-1")
    assert result.stdout.split() == [str(not WRONG)], result.stderr
    assert ("WRONG VALUES" in result.stderr) == WRONG


def test_late_import_warns_once_on_an_affected_version():
    code = """
import jax, jax.numpy as jnp
jnp.zeros(1).block_until_ready()
import jaxgen, jaxgen.kernels, jaxgen.models
from jaxgen import xla_cpu
print("check", xla_cpu.check_backend())
"""
    result = run_python(code, JAX_PLATFORMS="cpu")
    assert f"check {not WRONG}" in result.stdout, result.stderr
    assert result.stderr.count("WRONG VALUES") == WRONG


@pytest.mark.parametrize(
    "module", ["data", "kernels.marginals", "metrics", "models.layers", "tasks.laplace", "training"]
)
def test_flag_is_set_where_the_clone_is_taken_for_the_package(module):
    # Python beside a clone called jaxgen: that folder is a namespace package, whose submodules are
    # found all the same.
    folder = os.path.dirname(xla_cpu.__file__)
    code = f"""
import os, sys, types
package = sys.modules["jaxgen"] = types.ModuleType("jaxgen")
package.__path__ = [{folder!r}]
import jaxgen.{module}
print(os.environ.get("XLA_FLAGS", ""))
"""
    result = run_python(code, JAX_PLATFORMS="cpu")
    assert result.stdout.split() == FLAGS, result.stderr


@pytest.mark.parametrize("cloned", [False, True])
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_go_to_the_clone_whenever_colab_starts(path, cloned, monkeypatch):
    # Beside the clone the flag is at risk and runs/ would be another folder. A restarted session
    # starts there; running the cell twice starts inside the clone.
    cells = json.loads(path.read_text())["cells"]
    first = next("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    commands = []
    shell = SimpleNamespace(
        system=commands.append,
        run_line_magic=lambda name, line: commands.append(f"{name} {line}"),
    )
    monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
    clone = {"/content/jaxgen", "/content/jaxgen/pyproject.toml"} if cloned else set()
    monkeypatch.setattr(os.path, "exists", lambda name: str(name) in clone)
    exec(TransformerManager().transform_cell(first), {"get_ipython": lambda: shell})
    assert [command.split()[0] for command in commands] == [*["git"] * (not cloned), "cd", "pip"]
    assert "cd /content/jaxgen" in commands
