"""Text, numbers and paths out of lists; and that the readers of lists use them."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.fuzz_readers import limited_memory
from jaxgen.data import text_files
from jaxgen.data.builders import face_templates, mnist_idx, multipie, points_csv, pts, wider_face
from jaxgen.training.logging import read_metrics

FLAGS = "0 0 0 0 0 0"


@pytest.mark.parametrize("text", ["12", "-3.5", "+1e-2", "1e6", "0"])
def test_numbers(text):
    assert text_files.number(text) == float(text)


@pytest.mark.parametrize(
    "text", ["", "nan", "inf", "1e7", "-1e999", "1_0", "\u0663", "0x10", "1 2"]
)
def test_what_is_no_number(text):
    with pytest.raises(ValueError):
        text_files.number(text)


def test_text_is_utf8_with_or_without_a_mark(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("Zürich\r\n", encoding="utf-8-sig", newline="")
    assert text_files.read_text(path) == "Zürich\n"
    for encoding in ("utf-16", "utf-16-le", "latin-1"):
        path.write_text("Zürich", encoding=encoding)
        with pytest.raises(ValueError, match=r"a\.txt: not a text file"):
            text_files.read_text(path)


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 100_000, '{"a": ' + "9" * 5000 + "}", "\x00"], ids=range(5)
)
def test_json_that_is_none_names_the_file(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"a\.json"):
        text_files.read_json(path)


def test_quotes_are_short_and_of_one_line():
    assert text_files.quoted("a\nb") == r"'a\nb'"
    assert len(text_files.quoted("x" * 10**6)) < 80


@pytest.mark.parametrize("name", ["../a.jpg", "a/../../b.jpg", "/etc/passwd", "", "..", "a\0.jpg"])
def test_no_list_leads_out_of_its_folder(tmp_path, name):
    with pytest.raises(ValueError, match=r"no path below|no name of a file"):
        text_files.path_below(tmp_path, name)
    assert text_files.path_below(tmp_path, "a/b..c.jpg") == tmp_path / "a" / "b..c.jpg"


def test_lists_that_lead_out_of_their_folder_are_refused(tmp_path):
    (tmp_path / "secret.jpg").write_bytes(b"")
    folder = tmp_path / "set"
    folder.mkdir()
    table = folder / "points.csv"
    table.write_text("image,a_x,a_y,b_x,b_y\n../secret.jpg,1,2,3,4\n")
    with pytest.raises(ValueError, match=r"points\.csv:2: '\.\./secret\.jpg' is no path below"):
        points_csv.read_table(table, folder)
    (folder / "templates.csv").write_text(f"template_id,subject_id,path\n1,2,{tmp_path}/secret.jpg")
    options = face_templates.FaceTemplates.complete_options(None)
    with pytest.raises(ValueError, match=r"templates\.csv, line 2: .* is no path below"):
        face_templates.FaceTemplates.picture_files(folder, options)
    text = folder / "wider.txt"
    text.write_text(f"../../secret.jpg\n1\n1 2 3 4 {FLAGS}\n")
    with pytest.raises(ValueError, match=r"wider\.txt, line 1: .* is no path below"):
        wider_face.read_annotations(text)


def test_counts_that_are_announced_reserve_no_memory(tmp_path):
    idx, points, wider = (tmp_path / name for name in ("idx", "a.pts", "wider.txt"))
    idx.write_bytes(bytes([0, 0, 8, 3]) + np.array([2**31, 28, 28], ">u4").tobytes() + b"\1" * 99)
    points.write_text("version: 1\nn_points: 1000000000\n{\n1 2\n}\n")
    wider.write_text(f"a.jpg\n999999999\n1 2 3 4 {FLAGS}\n")
    with limited_memory(2**26):
        with pytest.raises(ValueError, match=r"idx: the header announces 1683627180032 values"):
            mnist_idx.read_idx(idx, axes=3)
        with pytest.raises(ValueError, match=r"a\.pts:5: 1 points, but the header"):
            pts.read_pts(points, 10**9)
        with pytest.raises(ValueError, match=r"1 of the 999999999 face lines of a\.jpg"):
            wider_face.read_annotations(wider)


@pytest.mark.parametrize("row", ["1e300 2 3 4 0 0 0 0 0 0", "1 2 3 4 0 0 1e300 0 0 0",
                                 "1 2 3 4 0 0 0.5 0 0 0", "1 2 3 4 -1 0 0 0 0 0"])  # fmt: skip
def test_wider_numbers_beyond_their_types(tmp_path, row):
    path = tmp_path / "a.txt"
    path.write_text(f"a.jpg\n1\n{row}\n")
    with pytest.raises(ValueError, match=r"a\.txt, line 3: expected ten numbers"):
        wider_face.read_annotations(path)


def test_a_longer_number_in_a_multipie_name_is_no_light():
    assert multipie._parts(Path("001_01_01_051_07.png"))[4] == "07"
    assert multipie._parts(Path("001_01_01_051_071.png")) is None
    assert multipie._parts(Path("٠٠١_01_01_051_07.png")) is None


def test_a_damaged_line_of_metrics_is_said_and_the_rest_kept(tmp_path, caplog):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": \xff}\n{"step": 3}\n{"st')
    assert [record["step"] for record in read_metrics(path)] == [1, 3]
    assert "metrics.jsonl: line 2 is damaged" in caplog.text
    caplog.clear()
    path.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert [record["step"] for record in read_metrics(path)] == [1, 2]
    assert not caplog.text  # the usual end of a run that was killed
