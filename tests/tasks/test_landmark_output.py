"""Prediction files: complete, readable at any time, in original pixels."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from jaxgen.data.media import Frame
from jaxgen.tasks.landmark_drawing import POINT, draw_landmarks
from jaxgen.tasks.landmark_output import COLUMNS, FacePrediction, PredictionWriter

IMAGE = np.full((600, 700, 3), 90, np.uint8)


def face(x=100.0, y=200.0, points=3, **changes):
    centre = np.array([[x, y]]) + 20.0 * np.arange(points)[:, None]
    fields = dict(points=centre, scales=np.full((points, 2), 2.5), box=np.array([1, 2, 3, 4.5]))
    return FacePrediction(**(fields | changes))


def still(name="a.jpg"):
    return Frame(name, 0, None, IMAGE)


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_csv_and_json_hold_every_number(tmp_path):
    with PredictionWriter(tmp_path, about={"data": "helen"}, pictures=False) as writer:
        writer.write(still(), [face(score=0.5), face(x=1.23456)])
        writer.write(still("none.jpg"), [])
        writer.write(Frame("v.mp4", 17, 0.68, IMAGE), [face()])
    assert writer.faces == 3
    found = json.loads((tmp_path / "predictions.json").read_text())
    assert found["about"]["data"] == "helen" and "pixels" in found["about"]["coordinates"]
    first, second, third = found["faces"]
    assert first["points"] == [[100, 200], [120, 220], [140, 240]]
    assert first["scales"] == [[2.5, 2.5]] * 3 and first["box"] == [1, 2, 3, 4.5]
    assert (first["score"], second["score"]) == (0.5, None)
    assert [entry["face"] for entry in found["faces"]] == [0, 1, 0]
    assert second["points"][0] == [1.235, 200]
    assert (third["name"], third["frame"], third["timestamp"]) == ("v.mp4", 17, 0.68)
    table = rows(tmp_path / "predictions.csv")
    assert tuple(table[0]) == COLUMNS and len(table) == 9
    flat = [(float(row["x"]), float(row["y"])) for row in table]
    assert flat == [tuple(p) for entry in found["faces"] for p in entry["points"]]
    assert table[0]["timestamp"] == "" and table[8]["timestamp"] == "0.68"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "predictions.csv",
        "predictions.json",
    ]


def test_names_with_commas_and_quotes_survive(tmp_path):
    name = 'a, "b" é.jpg'
    with PredictionWriter(tmp_path, pictures=False) as writer:
        writer.write(still(name), [face(points=1)])
    assert rows(tmp_path / "predictions.csv")[0]["name"] == name
    assert json.loads((tmp_path / "predictions.json").read_text())["faces"][0]["name"] == name


def test_what_is_written_can_be_read_before_the_end(tmp_path):
    writer = PredictionWriter(tmp_path, pictures=False)
    for name in ("a.jpg", "b.jpg"):
        writer.write(still(name), [face()])
    lines = (tmp_path / "predictions.jsonl").read_text().splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["a.jpg", "b.jpg"]
    assert len(rows(tmp_path / "predictions.csv")) == 6
    writer.close()


def test_an_interrupted_run_leaves_its_lines(tmp_path):
    with (
        pytest.raises(KeyboardInterrupt),
        PredictionWriter(tmp_path, pictures=False) as writer,
    ):
        writer.write(still(), [face()])
        raise KeyboardInterrupt
    assert json.loads((tmp_path / "predictions.jsonl").read_text())["name"] == "a.jpg"
    assert not (tmp_path / "predictions.json").exists()


def test_no_face_at_all_is_an_empty_list(tmp_path):
    with PredictionWriter(tmp_path, pictures=False):
        pass
    assert json.loads((tmp_path / "predictions.json").read_text())["faces"] == []
    assert (tmp_path / "predictions.csv").read_text().strip() == ",".join(COLUMNS)


def test_pictures_are_named_after_their_frames(tmp_path):
    with PredictionWriter(tmp_path, pictures=True) as writer:
        writer.write(still("sub/a.jpg"), [face()])
        writer.write(still("sub/a.png"), [])
        writer.write(Frame("v.mp4", 17, 0.68, IMAGE), [face()])
    folder = tmp_path / "pictures"
    found = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.*") if p.is_file())
    assert found == ["sub/a.jpg", "sub/a.png.jpg", "v.mp4/000017.jpg"]
    with Image.open(folder / "sub/a.jpg") as picture:
        assert picture.size == (700, 600)


def test_predictions_that_are_no_numbers_are_refused(tmp_path):
    writer = PredictionWriter(tmp_path, pictures=False)
    with pytest.raises(ValueError, match=r"a.jpg, frame 0: a prediction is not finite"):
        writer.write(still(), [face(x=np.nan)])
    writer.close()


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot write predictions to .*file/out"):
        PredictionWriter(tmp_path / "file" / "out", pictures=False)


def test_a_mark_is_centred_on_its_point():
    picture = draw_landmarks(IMAGE, [np.array([[123.0, 45.0]])], [np.full((1, 2), 8.0)])
    assert picture.shape == IMAGE.shape
    changed = np.argwhere((picture != IMAGE).any(-1))
    assert np.allclose(changed.mean(0), [45, 123], atol=0.3) and len(changed) < 500
    assert np.abs(picture[45, 123].astype(int) - POINT[:3]).max() < 12
    assert (IMAGE == 90).all()


def test_small_pictures_are_enlarged_with_their_points():
    picture = draw_landmarks(IMAGE[:80, :100], [np.array([[30.0, 20.0]])], [np.full((1, 2), 2.0)])
    assert picture.shape == (480, 600, 3)  # six times: 600 is the first multiple of 100 from 512
    changed = np.argwhere((picture != 90).any(-1))
    assert np.allclose(changed.mean(0), [6 * 20.5 - 0.5, 6 * 30.5 - 0.5], atol=0.3)


def test_ellipses_reach_as_far_as_the_scale():
    picture = draw_landmarks(
        IMAGE, [np.array([[350.0, 300.0]])], [np.array([[40.0, 10.0]])], ellipse=2.0
    )
    y, x = np.argwhere((picture != IMAGE).any(-1)).T
    assert np.ptp(x) == pytest.approx(160, abs=4) and np.ptp(y) == pytest.approx(40, abs=4)


def test_faces_partly_or_wholly_outside_are_no_trouble():
    inside = np.array([[5.0, 5.0]])
    for shift in ((-8.0, 0.0), (699.0, 590.0), (-1e5, 0.0), (1e6, 1e6)):
        draw_landmarks(IMAGE, [inside + shift], [np.full((1, 2), 30.0)])
    far = draw_landmarks(IMAGE, [inside - 1e5], [np.full((1, 2), 3.0)])
    assert np.array_equal(far, IMAGE)
