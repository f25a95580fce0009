"""Files of face boxes, good and bad."""

import json

import numpy as np
import pytest

from jaxgen.data.face_boxes import read_face_boxes

HEADER = "name,x0,y0,x1,y1,score,frame\n"


def write(tmp_path, text, name="boxes.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_and_json_say_the_same(tmp_path):
    rows = [
        {"name": "a.jpg", "x0": 1.5, "y0": 2, "x1": 11, "y1": 22, "score": 0.9},
        {"name": "a.jpg", "x0": 30, "y0": 2, "x1": 40, "y1": 12},
        {"name": "v.mp4", "x0": 0, "y0": 0, "x1": 5, "y1": 5, "frame": 3},
    ]
    text = HEADER + "a.jpg,1.5,2,11,22,0.9,\n" + 'a.jpg,30,2,40,12,,\n"v.mp4",0,0,5,5,,3\n'
    for path in (write(tmp_path, text), write(tmp_path, json.dumps(rows), "boxes.json")):
        boxes = read_face_boxes(path)
        first, second = boxes.of("a.jpg")
        assert np.array_equal(first.box, [1.5, 2, 11, 22]) and first.score == 0.9
        assert second.score is None
        assert boxes.names == {"a.jpg", "v.mp4"}
        assert len(boxes.of("v.mp4", 3)) == 1
        assert boxes.of("v.mp4", 2) == boxes.of("b.jpg") == []


def test_a_box_without_a_frame_holds_for_all_of_them(tmp_path):
    boxes = read_face_boxes(write(tmp_path, HEADER + "v.mp4,0,0,5,5,,\nv.mp4,1,1,6,6,,7\n"))
    assert len(boxes.of("v.mp4", 0)) == 1 and len(boxes.of("v.mp4", 7)) == 2


def test_spreadsheet_exports_are_read(tmp_path):
    """A byte order mark, Windows line ends, other column order, columns of one's own."""
    text = "\ufeffid,x0,x1,y0,y1,name\r\n1,0,10,5,20,x y.jpg\r\n"
    path = tmp_path / "boxes.csv"
    path.write_bytes(text.encode("utf-8"))
    (face,) = read_face_boxes(path).of("x y.jpg")
    assert np.array_equal(face.box, [0, 5, 10, 20])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + "a.jpg,1,2,3,4,,\nb.jpg,1,x,3,4,,\n", r"line 3: y0 is 'x', not a number"),
        (HEADER + "a.jpg,1,2,nan,4,,\n", r"line 2: x1 is 'nan'"),
        (HEADER + "a.jpg,1,2\n", r"line 2: x1 is None"),
        (HEADER + "a.jpg,3,2,1,4,,\n", r"line 2: a box needs x0 < x1 .* got 3,2,1,4"),
        (HEADER + "a.jpg,1,2,3,2,,\n", r"line 2: a box needs"),
        (HEADER + ",1,2,3,4,,\n", r"line 2: the name is empty"),
        (HEADER + "a,b.jpg,1,2,3,4,,,\n", r"line 2: more values than the header"),
        (HEADER + "a.jpg,1,2,3,4,,1.5\n", r"line 2: frame is 1.5"),
        (HEADER + "a.jpg,1,2,3,4,high,\n", r"line 2: score is 'high'"),
        ("name,left,top\na.jpg,1,2\n", r"line 1: the header lacks x0, y0, x1, y1"),
        ("", r"line 1: the header lacks name"),
        (HEADER, r"no box in it"),
    ],
)
def test_bad_csv_names_the_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=r"boxes\.csv.*" + message):
        read_face_boxes(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"name": "a", "x0": 1, "y0": 2, "x1": 3}]', r"entry 0: y1 is None"),
        ('[{"name": "a", "x0": true, "y0": 2, "x1": 3, "y1": 4}]', r"entry 0: x0 is True"),
        ('{"a": [1, 2, 3, 4]}', r"expected a list of objects"),
        ("[1]", r"expected a list of objects"),
        ("[\n{,}]", r"line 2: not JSON"),
        ("[]", r"no box in it"),
    ],
)
def test_bad_json_names_the_entry(tmp_path, text, message):
    with pytest.raises(ValueError, match=r"boxes\.json.*" + message):
        read_face_boxes(write(tmp_path, text, "boxes.json"))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"gone.csv: cannot read the boxes"):
        read_face_boxes(tmp_path / "gone.csv")
    with pytest.raises(ValueError, match=r"boxes are read from .csv and .json"):
        read_face_boxes(write(tmp_path, "", "boxes.txt"))
    (tmp_path / "raw.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ValueError, match=r"raw.csv: not a text file in UTF-8"):
        read_face_boxes(tmp_path / "raw.csv")


@pytest.mark.parametrize("score", ["1.5", "-3"])
def test_scores_that_are_no_probabilities_are_named(tmp_path, score):
    path = write(tmp_path, HEADER + f"a.jpg,1,2,9,9,0.5,\nb.jpg,1,2,9,9,{score},\n")
    assert read_face_boxes(path).of("b.jpg")[0].score == float(score)
    with pytest.raises(ValueError, match=rf"boxes\.csv, line 3: score is {score}, .*logits"):
        read_face_boxes(path, probabilities=True)
    path = write(tmp_path, HEADER + "a.jpg,1,2,9,9,0,\nb.jpg,1,2,9,9,1,\nb.jpg,1,2,9,9,,\n")
    assert len(read_face_boxes(path, probabilities=True).of("b.jpg")) == 2
