"""Unlabelled folders: boxes, groups, mixed modes, and clear errors."""

import numpy as np
import pytest

from jaxgen.data import crop, sources


@pytest.fixture
def place(tmp_path, save_image):
    root = tmp_path / "faces"
    save_image(root / "Ann_Lee_00.jpg", seed=1)
    save_image(root / "Ann_Lee_01.png", seed=2, mode="L")
    save_image(root / "deep" / "Bo_00.PNG", seed=3, mode="RGBA")
    (root / "notes.txt").write_text("not an image")
    return {"name": "image_folder", "manual_dir": str(root), "data_dir": str(tmp_path / "tfds")}


def examples(config):
    source = sources.open_source(config, "train")
    assert source.num_points == 0
    return {example["name"]: example for example in source}


def original_box(example):
    back = crop.invert(example["source_matrix"])
    return crop.transform_points(back, example["box"].reshape(2, 2)).ravel()


def test_every_image_is_found_with_its_whole_box(place):
    found = examples(place)
    assert set(found) == {"Ann_Lee_00.jpg", "Ann_Lee_01.png", "deep/Bo_00.PNG"}
    for example in found.values():
        assert example["image"].shape == (80, 90, 3) and example["image"].dtype == np.uint8
        np.testing.assert_allclose(example["box"], [-0.5, -0.5, 89.5, 79.5])
        assert "points" not in example


@pytest.mark.parametrize(
    ("group_by", "groups"),
    [("stem", {"Ann_Lee", "deep/Bo"}), ("folder", {".", "deep"}), ("file", 3)],
)
def test_groups(place, group_by, groups):
    found = {e["group"] for e in examples({**place, "options": {"group_by": group_by}}).values()}
    assert found == groups or len(found) == groups


def test_one_framing_for_all(place):
    found = examples({**place, "options": {"face_box": (0.2, 0.25, 0.8, 0.75)}})
    for example in found.values():
        np.testing.assert_allclose(original_box(example), [17.5, 19.5, 71.5, 59.5], atol=1e-4)


def test_boxes_from_a_table(place, tmp_path):
    table = tmp_path / "boxes.csv"
    table.write_text("image,x0,y0,x1,y1\ndeep/Bo_00.PNG,10,20,40,60.5\n")
    found = examples({**place, "options": {"boxes_csv": str(table)}})
    assert list(found) == ["deep/Bo_00.PNG"]
    np.testing.assert_allclose(original_box(found["deep/Bo_00.PNG"]), [10, 20, 40, 60.5], atol=1e-4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,x0,y0,x1,y1\n", r"boxes\.csv:1: expected the header"),
        ("image,x0,y0,x1,y1\nAnn_Lee_00.jpg,1,2,3\n", r"boxes\.csv:2"),
        ("image,x0,y0,x1,y1\nAnn_Lee_00.jpg,1,2,3,nan\n", r"boxes\.csv:2"),
        ("image,x0,y0,x1,y1\nAnn_Lee_00.jpg,9,2,3,4\n", r"boxes\.csv:2"),
        ("image,x0,y0,x1,y1\nZoe.jpg,1,2,3,4\n", r"boxes\.csv: there is no image 'Zoe.jpg'"),
    ],
)
def test_a_bad_table_is_named(place, tmp_path, text, message):
    (tmp_path / "boxes.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        examples({**place, "options": {"boxes_csv": str(tmp_path / "boxes.csv")}})


def test_an_empty_folder_is_refused(place, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty holds no files of image_folder.*\n.*any images"):
        examples({**place, "manual_dir": str(tmp_path / "empty")})


def test_bad_options_name_the_key(place):
    with pytest.raises(ValueError, match=r"config\.data\.options\.group_by"):
        examples({**place, "options": {"group_by": "person"}})


def test_a_new_image_is_seen(place, tmp_path, save_image):
    assert len(examples(place)) == 3
    save_image(tmp_path / "faces" / "new.jpg", seed=9)
    assert len(examples(place)) == 4
