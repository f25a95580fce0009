"""Detections while they are written: what a folder holds during, after and instead of a run."""

import csv
import json

import numpy as np
import pytest

from jaxgen.data.media import Frame
from jaxgen.tasks.detection_output import COLUMNS, DetectionWriter, FacePrediction


def frame(name="a.png", index=0, timestamp=None):
    return Frame(name, index, timestamp, np.zeros((40, 60, 3), np.uint8))


def face(score=0.9, **more):
    return FacePrediction(np.array([10.0, 5.0, 30.0, 25.25]), score, score, **more)


def read_table(folder):
    with (folder / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_table_and_json_hold_every_face_and_every_picture(tmp_path):
    with DetectionWriter(tmp_path, about={"data": "wider"}, least_drawn=0.5) as writer:
        writer.write(frame(), [face(), face(score=None)])
        writer.write(frame("empty.jpg"), [])
        writer.write(frame("film.mp4", 3, 0.1234567), [face(0.2)])
    rows = read_table(tmp_path)
    assert list(rows[0]) == list(COLUMNS)
    assert [row["name"] for row in rows] == ["a.png", "a.png", "film.mp4"]
    assert rows[0]["y1"] == "25.25" and rows[0]["score"] == "0.9" and rows[0]["gan_score"] == ""
    assert rows[1]["score"] == "" and rows[2]["timestamp"] == "0.123457"
    found = json.loads((tmp_path / "predictions.json").read_text())
    assert found["about"]["data"] == "wider"
    assert [len(picture["faces"]) for picture in found["pictures"]] == [2, 0, 1]
    assert writer.faces == 3
    pictures = sorted(p.relative_to(tmp_path / "pictures") for p in tmp_path.rglob("*.jpg"))
    assert list(map(str, pictures)) == ["a.png.jpg", "empty.jpg", "film.mp4/000003.jpg"]


def test_only_sure_faces_are_shown_beside_their_enlarged_form(tmp_path):
    low, enlarged = np.zeros((4, 4, 3), np.uint8), np.ones((16, 16, 3), np.uint8)
    with DetectionWriter(tmp_path, about={}, least_drawn=0.5) as writer:
        writer.write(frame(), [face(s, low=low, enlarged=enlarged) for s in (0.4, 0.6)])
    crops = [p.name for p in (tmp_path / "crops").rglob("*.png")]
    assert crops == ["001.png"]
    with DetectionWriter(tmp_path, about={}, least_drawn=0.5) as writer:
        writer.write(frame(), [face(0.9, low=low, enlarged=enlarged)])
    crops = [p.name for p in (tmp_path / "crops").rglob("*.png")]
    assert crops == ["000.png"]  # not beside those of the run before
    with DetectionWriter(tmp_path, about={}, least_drawn=0.5) as writer:
        writer.write(frame("b.jpg"), [])
    assert [p.name for p in tmp_path.rglob("*.[jp][pn]g")] == ["b.jpg"]


def test_pictures_of_an_earlier_run_are_not_removed_while_they_are_read(tmp_path):
    with DetectionWriter(tmp_path, about={}, least_drawn=0.5) as writer:
        writer.write(frame(), [face()])
    picture = tmp_path / "pictures" / "a.png.jpg"
    with pytest.raises(ValueError, match=r"a\.png\.jpg is to be read.*copy it to another folder"):
        DetectionWriter(tmp_path, about={}, least_drawn=0.5, inputs=[picture])
    assert picture.exists() and (tmp_path / "predictions.json").exists()


def test_an_interrupted_run_leaves_whole_lines(tmp_path):
    writer = DetectionWriter(tmp_path, about={}, least_drawn=0.5)
    with pytest.raises(KeyboardInterrupt), writer:
        writer.write(frame(), [face()])
        raise KeyboardInterrupt
    assert len(read_table(tmp_path)) == 1
    (line,) = (tmp_path / "predictions.jsonl").read_text().splitlines()
    assert json.loads(line)["name"] == "a.png"
    assert not (tmp_path / "predictions.json").exists()
