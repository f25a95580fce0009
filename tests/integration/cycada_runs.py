"""Runs of CyCADA that several tests share."""

import json
from pathlib import Path

from experiments import cycada
from jaxgen.tasks.cycada_schema import check_config
from jaxgen.training.workdir import open_workdir


def train(config, workdir: Path) -> Path:
    check_config(config)
    workdir = open_workdir(str(workdir), config, save_config=True)
    cycada.train(config, workdir)
    return workdir


def results(workdir):
    return json.loads((workdir / "report" / "results.json").read_text())
