"""What tests of several builders share."""

import numpy as np
import pytest
from PIL import Image

from jaxgen.data import recognition_sets

from .made_files import SHAPE

CLASSES = tuple(range(-90, 91, 15))


@pytest.fixture
def opened(tmp_path):
    """opened(name, folder, split, **options) -> Faces of a freshly prepared set."""

    def open_it(name, folder, split, *, classes=CLASSES, size=24, **options):
        config = {"name": name, "manual_dir": str(folder), "data_dir": str(tmp_path / "tfds")}
        config |= {"validation_fraction": 0, "options": options}
        return recognition_sets.open_faces(config, split, size=size, classes=classes)

    return open_it


@pytest.fixture
def save_scene(save_image):
    """Writes a picture and its label file; returns the label numbers."""

    def save(image, label, *, numbers, mode="L", seed=0, shape=SHAPE):
        save_image(image, size=SHAPE[::-1], seed=seed)
        values = np.random.default_rng(seed).choice(np.array(numbers), shape).astype(np.uint8)
        label.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(values)
        if mode == "P":
            picture.putpalette([(7 * k) % 256 for k in range(768)])
        picture.save(label)
        return values

    return save
