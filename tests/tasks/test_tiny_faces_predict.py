"""From picture files to written faces: huge pictures, and how much memory they take."""

import json
import tracemalloc
from functools import partial

import jax
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from experiments.configs.tiny_faces import default
from jaxgen.tasks import (
    tiny_faces,
    tiny_faces_methods,
    tiny_faces_players,
    tiny_faces_predict,
    tiny_faces_rescoring,
    tiny_faces_stages,
)
from jaxgen.tasks.tiny_faces_detector import Detections
from jaxgen.training.state import run_key


def bright_patches(tiles):
    """Boxes every bright patch of a tile, in place of a network."""
    boxes = np.zeros((len(tiles), 40, 4), np.float32)
    valid = np.zeros((len(tiles), 40), bool)
    for number, tile in enumerate(tiles):
        labels, _ = ndimage.label(tile[..., 0] > 200)
        for row, (y, x) in enumerate(ndimage.find_objects(labels)[:40]):
            boxes[number, row] = np.subtract([x.start, y.start, x.stop, y.stop], 0.5)
            valid[number, row] = True
    return Detections(boxes, np.where(valid, 0.9, 0).astype(np.float32), valid)


@pytest.fixture
def predict(monkeypatch, tmp_path):
    """(folder) -> pictures of predictions.json, with a small generator and discriminator."""
    config = default.get_config("smoke")
    config.gan.fusion.update(rule="mean_logit", longest_side=32.0)
    config.detector.inference.update(tile=384, overlap=64)
    state = jax.jit(partial(tiny_faces.init_state, config))(run_key(0))
    rescore = tiny_faces_rescoring.compile_rescore(config)
    method = tiny_faces_methods.Method(
        "gan", 1, partial(rescore, tiny_faces_players.averaged(state))
    )
    monkeypatch.setattr(tiny_faces_methods, "trained", lambda *_: {"full": method})
    monkeypatch.setattr(tiny_faces_stages, "trained_detector", lambda *_: (bright_patches, 1))

    def run(folder):
        output = tmp_path / "predictions"
        tiny_faces_predict.predict_media(
            config, tmp_path, None, str(folder), boxes="", output=output
        )
        return json.loads((output / "predictions.json").read_text())["pictures"]

    return run


def save(path, height, width, *corners):
    """A dark picture with bright squares of 16 pixels."""
    image = np.full((height, width, 3), 40, np.uint8)
    for x, y in corners:
        image[y : y + 16, x : x + 16] = 255
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(image).save(path)
    return image.nbytes


def test_a_picture_of_20000_pixels_width(predict, tmp_path):
    save(tmp_path / "in" / "wide.png", 64, 20_000, (10, 20), (19_970, 30))
    (picture,) = predict(tmp_path / "in")
    boxes = sorted(face["box"] for face in picture["faces"])
    np.testing.assert_allclose(
        boxes, [[9.5, 19.5, 25.5, 35.5], [19969.5, 29.5, 19985.5, 45.5]], atol=0.6
    )
    assert all(0 <= face["gan_score"] <= 1 for face in picture["faces"])


def test_memory_of_4k_pictures_is_that_of_a_few_of_them(predict, tmp_path):
    corners = [(x, y) for x in range(40, 3800, 400) for y in range(40, 2100, 400)]
    save(tmp_path / "small" / "a.png", 200, 200, (50, 50))
    predict(tmp_path / "small")  # compiled, imported
    for name in "abcd":
        size = save(tmp_path / "in" / f"{name}.png", 2160, 3840, *corners)
    tracemalloc.start()
    try:
        pictures = predict(tmp_path / "in")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [len(picture["faces"]) for picture in pictures] == [len(corners)] * 4
    # The picture, its smaller copies, the one that is drawn on, and one read ahead.
    assert peak < 6 * size
