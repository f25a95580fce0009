"""A tiny HELEN-like folder and a network trained on it, shared by the command-line tests."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments import laplace
from experiments.configs.laplace import helen
from jaxgen.tasks.laplace_schema import check_config
from jaxgen.training.workdir import open_workdir


def write_faces(folder: Path, count: int, seed: int) -> None:
    """Pictures of one bright bump per landmark group, with the 68 points around them."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:64, :64]
    for number in range(count):
        centre = rng.uniform(26, 38, 2)
        ring = np.linspace(0, 2 * np.pi, 68, endpoint=False)
        points = centre + rng.uniform(14, 18) * np.stack([np.cos(ring), np.sin(ring)], -1)
        bump = np.exp(-((columns - centre[0]) ** 2 + (rows - centre[1]) ** 2) / 120)
        image = np.stack([bump, 1 - bump, bump**2], -1) * 255
        Image.fromarray(image.astype(np.uint8)).save(folder / f"{seed}{number:03d}_1.jpg")
        lines = "\n".join(f"{x + 1:.3f} {y + 1:.3f}" for x, y in points)  # .pts counts from 1
        text = f"version: 1\nn_points: 68\n{{\n{lines}\n}}\n"
        (folder / f"{seed}{number:03d}_1.pts").write_text(text)


@pytest.fixture(scope="session")
def faces(tmp_path_factory) -> Path:
    """A folder with 300w/helen/{trainset,testset} and unlabelled/."""
    root = tmp_path_factory.mktemp("faces")
    write_faces(root / "300w" / "helen" / "trainset", 24, seed=1)
    write_faces(root / "300w" / "helen" / "testset", 6, seed=2)
    write_faces(root / "unlabelled", 10, seed=3)
    return root


def tiny_config(faces: Path, **overrides):
    """The HELEN config with everything small: 16 px crops and a few steps."""
    config = helen.get_config("adversarial")
    config.data.update(
        manual_dir=str(faces / "300w"), data_dir=str(faces / "prepared"), crop_size=16
    )
    config.data.validation_fraction = 0.3
    config.unlabelled.manual_dir = str(faces / "unlabelled")
    config.model.update(width=1 / 16, depth=2)
    config.adversarial.update(width=1 / 16, depth=1)
    config.train.update(
        steps=4, batch_size=8, unlabelled_batch_size=8, log_every=1, validate_every=2
    )
    config.train.checkpoint_every = 2
    config.evaluate.batch_size = 8
    config.update_from_flattened_dict(overrides)
    check_config(config)
    return config


def train(config, workdir: Path) -> Path:
    """What --mode=train does after parsing."""
    workdir = open_workdir(str(workdir), config, save_config=True)
    laplace.train(config, workdir)
    return workdir


@pytest.fixture(scope="session")
def trained(faces, tmp_path_factory) -> tuple:
    """(config, workdir) of a run of 4 steps."""
    config = tiny_config(faces)
    return config, train(config, tmp_path_factory.mktemp("trained"))
