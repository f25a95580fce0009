"""Tiny data sets in official layouts, made on the spot."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def no_ambient_data(monkeypatch):
    """Tests say where their data are; the environment of the machine must not help out."""
    monkeypatch.delenv("JAXGEN_DATA", raising=False)


@pytest.fixture(scope="session")
def face_points():
    """(num_points, seed) -> [K, 2] points spread over x, y in 20 .. 60."""

    def draw(num_points, seed=0):
        return np.random.default_rng([num_points, seed]).uniform(20, 60, (num_points, 2))

    return draw


@pytest.fixture(scope="session")
def save_image():
    """Writes a random picture and returns its pixels; folders are made as needed."""

    def save(path, *, size=(90, 80), mode="RGB", seed=0):
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(seed).integers(
            0, 256, (size[1] // 10 + 1, size[0] // 10 + 1, 3)
        )
        image = Image.fromarray(values.astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
        image.convert(mode).save(path)
        return np.asarray(image)

    return save


@pytest.fixture(scope="session")
def save_pts():
    """Writes 0-based points as a 1-based `.pts` file."""

    def save(path, points):
        lines = [f"{x + 1:.3f} {y + 1:.3f}" for x, y in points]
        path.write_text("\n".join(["version: 1", f"n_points: {len(points)}", "{", *lines, "}"]))

    return save


@pytest.fixture(scope="session")
def make_w300(save_image, save_pts, face_points):
    """Writes faces into a folder of the 300-W layout: make_w300(root, "helen/trainset", 4)."""

    def make(root, folder, count, stem="{}_1"):
        for i in range(count):
            path = root / folder / f"{stem.format(i)}.jpg"
            save_image(path, seed=i)
            save_pts(path.with_suffix(".pts"), face_points(68, seed=i))
        return root

    return make


@pytest.fixture(scope="session")
def helen(tmp_path_factory, make_w300):
    """A small 300-W folder with 24 HELEN training faces and 5 test faces, and its config."""
    root = make_w300(tmp_path_factory.mktemp("raw") / "300w", "helen/trainset", 24)
    make_w300(root, "helen/testset", 5)
    return {
        "name": "w300",
        "manual_dir": str(root),
        "data_dir": str(tmp_path_factory.mktemp("tfds")),
        "train_split": "helen_train",
    }


@pytest.fixture(scope="session")
def multipie():
    """The prepared `tiny` variant of synthetic_multipie: 3 + 2 people at -45, 0 and 45 degrees."""
    from jaxgen.data.builders import registry, synthetic_multipie

    builder = synthetic_multipie.SyntheticMultipie(config="tiny", file_format="array_record")
    registry.prepare(builder)
    return builder
