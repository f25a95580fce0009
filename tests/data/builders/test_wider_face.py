"""WIDER FACE in its official layout: text, flags, broken boxes, broken files."""

import logging

import numpy as np
import pytest

from jaxgen.data import face_scenes
from jaxgen.data.builders import wider_face

USUAL = "0 0 0 0 0 0"


def write_set(root, save_image, texts, *, leave_out=()):
    """Writes texts {split: lines} and an 80 x 60 picture for every name in them."""
    (root / "wider_face_split").mkdir(parents=True)
    for split, lines in texts.items():
        path = root / "wider_face_split" / f"wider_face_{split}_bbx_gt.txt"
        path.write_text("\n".join(lines) + "\n")
        for number, line in enumerate(lines):
            if line.endswith(".jpg") and line not in leave_out:
                save_image(root / f"WIDER_{split}/images" / line, size=(80, 60), seed=number)
    return root


def config_of(root, tmp_path, **more):
    return {
        "name": "wider_face",
        "manual_dir": str(root),
        "data_dir": str(tmp_path / "tfds"),
        "options": {"allow_partial": True},
        **more,
    }


@pytest.fixture
def crowd(tmp_path, save_image):
    """Twelve training pictures, of which one is face-free, and one to test on."""
    lines = ["1--Dancing/free.jpg", "0", f"0 0 0 0 {USUAL}"]
    lines += ["1--Dancing/two.jpg", "4", f"10 20 6 8 {USUAL}", "30 20 12 16 2 1 1 0 2 1"]
    lines += [f"5 5 0 9 {USUAL}", "40 10 9 9 0 0 0 1 0 0"]  # without width; invalid
    for number in range(10):
        lines += [f"2--Couple/{number}.jpg", "1", f"{number} 4 8 10 {USUAL}"]
    outside = ["0--Parade/a.jpg", "3", f"70 50 20 20 {USUAL}", f"-4 -4 8 8 {USUAL}"]
    outside += [f"90 70 5 5 {USUAL}"]  # wholly outside
    return write_set(tmp_path / "raw", save_image, {"train": lines, "val": outside})


def test_boxes_flags_and_splits(crowd, tmp_path):
    data = config_of(crowd, tmp_path, validation_fraction=0.25)
    scenes = face_scenes.open_face_scenes(data, "train")
    held_out = face_scenes.open_face_scenes(data, "validation")
    names = [
        {scenes.labels(i)["name"] for i in range(len(scenes))} for scenes in (scenes, held_out)
    ]
    assert len(names[0] | names[1]) == 12 and not names[0] & names[1] and len(held_out) > 0

    every = {s["name"]: s for part in (scenes, held_out) for s in part}
    two = every["1--Dancing/two"]
    # Edge to edge with pixel centres at integers: a box of one pixel at 10 is 9.5 to 10.5.
    np.testing.assert_allclose(two["boxes"][0], [9.5, 19.5, 15.5, 27.5])
    assert two["ignored"].tolist() == [False, False, True]
    assert two["flags"].tolist()[1] == [2, 1, 1, 0, 2, 1]
    assert two["image"].shape == (60, 80, 3) and two["image"].dtype == np.uint8
    free = every["1--Dancing/free"]
    assert free["boxes"].shape == (0, 4) and free["ignored"].shape == (0,)


def test_boxes_outside_are_cut_or_left_out_and_counted(crowd, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="jaxgen"):
        (scene,) = face_scenes.open_face_scenes(config_of(crowd, tmp_path), "val")
    np.testing.assert_allclose(scene["boxes"], [[69.5, 49.5, 79.5, 59.5], [-0.5, -0.5, 3.5, 3.5]])
    messages = [record.getMessage() for record in caplog.records]
    assert any("WIDER_val" in m and "left out 1 boxes" in m for m in messages)
    assert any("WIDER_train" in m and "left out 1 boxes" in m for m in messages)


def test_a_part_is_not_taken_for_the_whole(crowd, tmp_path):
    data = config_of(crowd, tmp_path, options={})
    with pytest.raises(ValueError, match=r"'train' has 12 images .* 12880 are published"):
        face_scenes.open_face_scenes(data, "train")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a/b.jpg", "2", f"1 2 3 4 {USUAL}"], "line 3: the text ends after 1 of the 2 face lines"),
        (["a/b.jpg"], "line 1: the text ends after the name 'a/b.jpg'"),
        (["a/b.jpg", "two"], "line 2: expected the number of faces, found 'two'"),
        (["a/b.jpg", "1", "1 2 3 4"], "line 3: expected ten numbers"),
        (["a/b.jpg", "1", f"1 2 nan 4 {USUAL}"], "line 3: expected ten numbers"),
        (["a/b.jpg", "0", f"0 0 0 0 {USUAL}", "7 8"], "line 4: expected the name of an image"),
        ([], "no image in it"),
    ],
)
def test_broken_texts_name_file_and_line(tmp_path, lines, message):
    path = tmp_path / "wider_face_train_bbx_gt.txt"
    path.write_text("\n".join(lines))
    with pytest.raises(ValueError, match=message) as caught:
        wider_face.read_annotations(path)
    assert str(path) in str(caught.value)


def test_a_missing_image_is_named(tmp_path, save_image):
    lines = ["a/here.jpg", "0", f"0 0 0 0 {USUAL}", "a/gone.jpg", "1", f"1 2 3 4 {USUAL}"]
    root = write_set(tmp_path / "raw", save_image, {"train": lines}, leave_out=["a/gone.jpg"])
    with pytest.raises(ValueError, match=r"gone\.jpg: there is no such image"):
        face_scenes.open_face_scenes(config_of(root, tmp_path), "train")


def test_a_missing_folder_says_what_belongs_there(tmp_path):
    with pytest.raises(ValueError, match="wider_face_split/wider_face_"):
        face_scenes.open_face_scenes(config_of(tmp_path / "none", tmp_path), "train")


def test_a_damaged_stored_picture_is_named(crowd, tmp_path):
    scenes = face_scenes.open_face_scenes(config_of(crowd, tmp_path), "val")
    record = {**scenes._record(0), "image": b"\xff\xd8 no picture"}
    broken = face_scenes.FaceScenes([record], lambda stored, index: stored)
    with pytest.raises(ValueError, match=r"0--Parade/a: .*delete the prepared data set"):
        broken[0]


def test_tfds_has_the_same_form():
    from jaxgen.data.builders import images, tfds_sets

    picture = images.encode(images.Image.new("RGB", (200, 100)))
    record = {
        "image": picture,
        "image/filename": b"0--Parade/a.jpg",
        "faces": {
            # ymin, xmin, ymax, xmax as shares; the second has no width.
            "bbox": [[0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.2]],
            **{name: [1, 0] for name in wider_face.FLAGS},
        },
    }
    found = tfds_sets.wider_face(record, 0)
    np.testing.assert_allclose(found["boxes"], [[39.5, 9.5, 79.5, 29.5]], atol=1e-4)
    assert found["flags"].tolist() == [[1] * 6] and found["name"] == "0--Parade/a"


def test_the_published_part(real_data, tmp_path):
    data = config_of(real_data / "wider_face", tmp_path, validation_fraction=0.1)
    train = face_scenes.open_face_scenes(data, "train")
    held_out = face_scenes.open_face_scenes(data, "validation")
    assert len(train) + len(held_out) == 586 and 30 < len(held_out) < 90
    labels = [s.labels(i) for s in (train, held_out) for i in range(len(s))]
    boxes = np.concatenate([label["boxes"] for label in labels])
    assert 3300 < len(boxes) <= 3368 and (boxes[:, 2:] > boxes[:, :2]).all()
