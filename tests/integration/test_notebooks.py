"""The notebooks run from top to bottom on a CPU: `pytest -m notebook`."""

import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.mark.notebook
@pytest.mark.parametrize(
    ("name", "last_words"),
    [
        ("laplace_tpu", "NME over eye corners"),
        ("cycada_tpu", "accuracy before"),
        ("dr_gan_tpu", "rank-1 of the recogniser"),
        ("tiny_faces_tpu", "AP of the detector"),
    ],
)
def test_notebook_runs_and_shows_pictures(name, last_words, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXGEN_NOTEBOOK", "smoke")
    monkeypatch.setenv("JAXGEN_WORKDIR", str(tmp_path / "run"))
    # On eight devices, as on a TPU board: programs that other tests have compiled are not compiled
    # again. The kernel must start this Python, not another one.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(NOTEBOOKS.parent), *sys.path]))
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    client = NotebookClient(notebook, timeout=600, kernel_name="python3")
    client.create_kernel_manager()
    client.km.kernel_spec.argv[0] = sys.executable
    client.execute(cwd=str(NOTEBOOKS.parent))
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [o for o in outputs if "image/png" in o.get("data", {})]
    assert len(pictures) == 3
    assert any(last_words in o.get("text", "") for o in outputs)
