"""Prediction in whole pictures: the search for a face, and what is said of boxes and doubt."""

import json
import logging

import numpy as np
import pytest
from PIL import Image

from experiments.configs.laplace import default
from jaxgen.tasks import laplace, laplace_inference
from jaxgen.tasks.laplace_inference import Face, Prediction, is_unsure, predict_faces
from jaxgen.tasks.laplace_predict import predict_media

SIDE = 256
# Red is x and green is y, so that a crop says where it lies.
PICTURE = np.stack([*np.meshgrid(np.arange(SIDE), np.arange(SIDE)), np.zeros((SIDE, SIDE))], -1)
PICTURE = PICTURE.astype(np.uint8)
FACE = 128 + np.array([[-20.0, -20], [20, -20], [0, 20]])  # 40 pixels wide


def config(**overrides):
    found = default.get_config()
    found.model.num_points = 3
    found.evaluate.update(batch_size=4, normalizer="box_size")
    found.update_from_flattened_dict(overrides)
    return found


class Near:
    """A network that finds FACE where it fills at least a third of the crop, and else is unsure."""

    def __init__(self):
        self.batches = []

    def __call__(self, crops):
        self.batches.append(crops.shape)
        size = crops.shape[1]
        centre, reach = size // 2, 8
        points, scales = np.zeros((2, len(crops), 3, 2))
        for row, image in enumerate(crops.astype(float)):
            left, right = image[centre, centre - reach, 0], image[centre, centre + reach, 0]
            unit = max((right - left) / (2 * reach), 0.1)  # original pixels per crop pixel
            middle = image[centre, centre, :2]
            points[row] = (FACE - middle) / unit + centre
            scales[row] = 1.0
            if 40 / (unit * size) < 1 / 3:
                points[row], scales[row] = [[5, 5], [size - 5, 5], [40, size - 5]], 4.0
        return laplace.Landmarks(points, scales)


def test_a_small_face_is_found_and_a_given_box_is_taken_as_it_is():
    near, box = Near(), np.array([100.0, 100, 160, 160])
    faces = [Face("searched", PICTURE, None), Face("given", PICTURE, box)]
    searched, given = predict_faces(config(), near, faces)
    np.testing.assert_allclose(searched.points, FACE, atol=1.5)
    np.testing.assert_allclose(searched.box, [108, 108, 148, 148], atol=2)
    np.testing.assert_array_equal(given.box, box)
    np.testing.assert_allclose(given.points, FACE, atol=1.5)
    assert len(set(near.batches)) == 1  # one shape: one compiled program
    assert not is_unsure(config(), searched)


def test_the_surest_end_is_that_of_the_least_scale_for_its_size(monkeypatch):
    def end(side, scale):
        box = np.array([0.0, 0, side, side])
        return Prediction(0, FACE, np.full((3, 2), scale), box)

    ends = [end(200, 6.0), *[end(40, 4.0)] * (len(laplace_inference.SEARCH_STARTS) - 1)]
    monkeypatch.setattr(laplace_inference, "_search", lambda *_: [ends.pop(0)])
    (found,) = predict_faces(config(), None, [Face(0, PICTURE, None)])
    assert found.box[2] == 200  # 3 % of its side, not 10 %


def test_small_crops_may_have_larger_scales():
    # 24 pixels: the loss itself asks for one pixel in 24, times the margin.
    small = config(**{"data.crop_size": 24})
    unsure = laplace_inference.UNSURE
    least = small.loss.target_scale * small.data.margin / 24
    assert 1.8 * least > unsure
    box = np.array([0.0, 0, 100, 100])
    for share, large_crop, small_crop in ((1.7 * least, True, False), (1.9 * least, True, True)):
        found = Prediction(0, FACE, np.full((3, 2), 100 * share), box)
        assert is_unsure(config(), found) == large_crop
        assert is_unsure(small, found) == small_crop


def test_boxes_for_all_cost_one_pass():
    near = Near()
    list(predict_faces(config(), near, [Face(0, PICTURE, np.array([100.0, 100, 160, 160]))] * 3))
    assert len(near.batches) == 1


def test_scales_that_say_nothing_choose_nothing():
    near, soft = Near(), config(**{"loss.name": "soft_argmax_l2"})
    (found,) = predict_faces(soft, near, [Face(0, PICTURE, None)])
    assert len(near.batches) == 3 and not is_unsure(soft, found)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(PICTURE).save(folder / "a.png")
    return folder


def predict(photos, text="", predictor=None):
    boxes = photos.parent / "boxes.csv"
    boxes.write_text("name,x0,y0,x1,y1\n" + text)
    output = photos.parent / "out"
    predictor = predictor or Near()
    count = predict_media(
        config(), predictor, str(photos), boxes=str(boxes) if text else "", output=output
    )
    return count, json.loads((output / "predictions.json").read_text())["about"]


def test_boxes_in_fractions_are_refused(photos):
    with pytest.raises(ValueError, match=r"boxes\.csv: the box 0.2,0.2,0.8,0.8 of a\.png.*pixels"):
        predict(photos, "a.png,0.2,0.2,0.8,0.8\n")


def test_a_box_outside_of_the_picture_is_left_out_and_named(photos, caplog):
    lines = "a.png,300,300,400,400\na.png,100,100,160,160\na.png,-20,200,40,290\n"
    count, about = predict(photos, lines)
    assert count == 2 and about["skipped_boxes"] == ["a.png: 300,300,400,400"]
    assert "the box 300,300,400,400 of a.png" in caplog.text and "256 x 256" in caplog.text


def test_a_picture_without_a_face_is_named(photos, caplog):
    caplog.set_level(logging.WARNING)
    assert predict(photos)[0] == 1 and "no face was found" not in caplog.text

    def nowhere(crops):
        grid = np.broadcast_to(np.array([[5.0, 5], [70, 5], [40, 70]]), (len(crops), 3, 2))
        return laplace.Landmarks(grid, np.full_like(grid, 4.0))

    predict(photos, predictor=nowhere)
    assert "a.png: no face was found" in caplog.text
