"""Figures of whole sets, official levels, and pictures with boxes."""

import numpy as np
import pytest

from experiments.configs.tiny_faces import default
from jaxgen.data import wider_levels
from jaxgen.tasks import detection_drawing, detection_figures
from jaxgen.tasks import tiny_faces_evaluation as evaluation
from jaxgen.tasks.detection_inference import Found
from jaxgen.training.errors import ConfigError

FACES = np.array([[0, 0, 10, 12], [20, 0, 60, 50]], np.float32)
TRUTH = evaluation.GroundTruth(["e/a", "e/b"], [FACES, FACES[:0]], [np.ones(2, bool), np.ones(0)])
FOUND = [Found(FACES, np.array([0.9, 0.4])), Found(FACES[:1], np.array([0.6]))]


def test_figures_of_a_set():
    predictions = evaluation.as_predictions(FOUND)
    easy = evaluation.GroundTruth(TRUTH.names, TRUTH.boxes, [np.array([True, False]), np.ones(0)])
    numbers = evaluation.detection_numbers(predictions, TRUTH, {"easy": easy})
    assert numbers["ap"] == pytest.approx(100) == numbers["ap_easy"]
    # A wrong box on the picture without faces: between the two right ones.
    assert numbers["ap_all_images"] == pytest.approx(50 + 50 * 2 / 3)
    assert numbers["ap_height_32_96"] == pytest.approx(100)
    assert numbers["tpr_100_false_positives"] == pytest.approx(100)


def test_levels_and_ignored_faces_count_what_they_name():
    large_alone = [Found(FACES[1:], np.array([0.9])), Found(FACES[:0], np.zeros(0))]
    hard = evaluation.GroundTruth(TRUTH.names, TRUTH.boxes, [np.array([False, True]), np.ones(0)])
    numbers = evaluation.detection_numbers(
        evaluation.as_predictions(large_alone), TRUTH, {"hard": hard}
    )
    assert numbers["ap_hard"] == pytest.approx(100) and numbers["ap"] == pytest.approx(50)

    class Scenes(list):
        def labels(self, row):
            return self[row]

    label = {"name": "a", "boxes": FACES, "ignored": np.array([True, False])}
    assert evaluation.ground_truth(Scenes([label])).counted[0].tolist() == [False, True]


def test_false_positives_are_counted_in_the_whole_set():
    wrong = np.tile(np.float32([100, 100, 110, 110]), (150, 1))
    found = [Found(FACES, np.array([0.4, 0.4])), Found(wrong, np.full(150, 0.9))]
    numbers = evaluation.detection_numbers(evaluation.as_predictions(found), TRUTH, {})
    assert numbers["tpr_100_false_positives"] == 0  # 150 come first, on the other picture


def test_the_ceiling_of_the_protocol_has_its_extra_pixel():
    # IoU 0.49; with the pixel 11 * 5.9 / 121 = 0.54.
    face = np.array([[0, 0, 10, 10]], np.float32)
    truth = evaluation.GroundTruth(["a"], [face], [np.ones(1, bool)])
    low = [np.array([[0, 0, 10, 4.9, 0.5]])]
    numbers = evaluation.ceiling_numbers(low, truth)
    assert numbers["ap_oracle"] == pytest.approx(100)
    assert numbers["ap_height_10_16_oracle"] == 0


def test_levels_of_other_pictures_are_refused(monkeypatch):
    config = default.get_config("smoke")
    assert evaluation.read_levels(config, TRUTH.names) == {}
    config.test.levels = "/somewhere"
    known = {"e/a": wider_levels.LevelFaces(FACES, np.array([True, False]))}
    monkeypatch.setattr(wider_levels, "read_levels", lambda folder: {"hard": known})
    found = evaluation.read_levels(config, ["e/a"])["hard"]
    assert found.counted[0].tolist() == [True, False]
    with pytest.raises(ConfigError, match="'hard' lacks 1 of the 2 test pictures, such as 'e/b'"):
        evaluation.read_levels(config, TRUTH.names)


def test_frames_are_drawn_around_the_pixels_of_a_box():
    image = np.zeros((800, 800, 3), np.uint8)  # not enlarged: it is larger than 768
    drawn = detection_drawing.draw_boxes(image, np.array([[99.5, 199.5, 149.5, 259.5]]))
    rows, columns = np.nonzero(drawn.any(-1))
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (100, 149, 200, 259)
    assert not drawn[205:255, 105:145].any()
    small = detection_drawing.draw_boxes(image[:40, :30], np.zeros((0, 4)))
    assert small.shape == (40 * 20, 30 * 20, 3)


def test_report_figures_name_every_method():
    predictions = evaluation.as_predictions(FOUND)
    methods = {"detector": predictions, "full": predictions}
    faces = TRUTH.boxes, [keep.astype(bool) for keep in TRUTH.counted]
    curves = detection_figures.precision_recall(methods, *faces).axes[0]
    assert [line.get_label() for line in curves.lines] == ["detector (100.0)", "full (100.0)"]
    bars = detection_figures.by_height(methods, *faces).axes[0]
    assert [text.get_text() for text in bars.get_xticklabels()][1] == "10-16 px\n1 faces"
    assert len(bars.containers) == 2
    images = [np.zeros((80, 80, 3), np.uint8)] * 2
    assert len(detection_figures.annotated(images, predictions, TRUTH.boxes).axes) == 2
