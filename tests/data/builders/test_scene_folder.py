"""Own folders of scenes: splits, labels, mistakes that are named."""

import numpy as np
import pytest
from PIL import Image

from jaxgen.data import label_maps
from jaxgen.data.builders import label_ids

from .made_files import SHAPE, config_of, load


@pytest.fixture
def own(tmp_path, save_scene):
    root = tmp_path / "mine"
    for seed in range(12):
        save_scene(
            root / f"images/drive/{seed:02d}.jpg",
            root / f"labels/drive/{seed:02d}.png",
            numbers=[0, 1, 2, 255],
            seed=seed,
        )
    (root / "classes.txt").write_text("floor\nwall\ndoor\n")
    return root


def test_own_scenes_are_split_by_name(own, tmp_path, save_scene):
    config = config_of("scene_folder", own, tmp_path, test_fraction=0.3)
    train, test = load(config, "train"), load(config, "test")
    assert len(train) + len(test) == 12 and not set(train) & set(test) and test
    assert label_maps.open_scenes(config, "train").classes == ("floor", "wall", "door")
    # Another scene moves none of the others.
    save_scene(own / "images/new.png", own / "labels/new.png", numbers=[0])
    assert set(load(config, "train")) - {"new"} == set(train)
    held_out = {**config, "validation_fraction": 0.4}
    names = label_maps.open_scenes(held_out, "validation").names
    assert names and set(names) < {*train, "new"}


def test_own_scenes_in_train_and_test_folders(own, tmp_path):
    for part in ("train", "test"):
        (own / part).mkdir()
    (own / "images").rename(own / "train/images")
    (own / "labels").rename(own / "train/labels")
    (own / "test/images").mkdir()
    (own / "test/labels").mkdir()
    for kind, name in (("images", "03.jpg"), ("labels", "03.png")):
        (own / f"train/{kind}/drive/{name}").rename(own / f"test/{kind}/{name}")
    config = config_of("scene_folder", own, tmp_path)
    assert len(load(config, "train")) == 11 and set(load(config, "test")) == {"test/03"}


def test_own_photographs_are_turned_upright_with_their_labels(own, tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # turn by a quarter to the right
    image = Image.open(own / "images/drive/00.jpg")
    image.save(own / "images/drive/00.jpg", exif=exif, quality=95)
    label = np.zeros(SHAPE[::-1], np.uint8)
    label[:3] = 2
    Image.fromarray(label).save(own / "labels/drive/00.png")
    config = config_of("scene_folder", own, tmp_path, test_fraction=0.0)
    scene = load(config, "train")["drive/00"]
    assert scene["image"].shape == (*SHAPE[::-1], 3)
    np.testing.assert_array_equal(scene["label"], label)
    upright = np.rot90(np.asarray(image), -1).astype(int)
    assert np.abs(scene["image"] - upright).mean() < 6


def test_own_scenes_without_labels(own, tmp_path):
    (own / "labels").rename(own / "elsewhere")
    (own / "classes.txt").unlink()
    config = config_of("scene_folder", own, tmp_path)
    scenes = label_maps.open_scenes(config, "train")
    assert not scenes.labelled and scenes.classes == ()
    assert len(scenes) == 12  # nothing to measure: training has them all
    with pytest.raises(ValueError, match=r"nothing of the split 'test' .* there is \['train'\]"):
        label_maps.open_scenes(config, "test")


def test_own_scenes_whose_names_hold_dots(tmp_path, save_scene):
    root, expected = tmp_path / "mine", {}
    for number, name in enumerate(("a", "a.v1", "a.v2", "a.v2.left")):
        expected[name] = save_scene(
            root / f"images/{name}.png", root / f"labels/{name}.png", numbers=[0, 1], seed=number
        )
    config = config_of("scene_folder", root, tmp_path, num_classes=2, test_fraction=0.0)
    found = load(config, "train")
    assert set(found) == set(expected)
    for name, label in expected.items():
        np.testing.assert_array_equal(found[name]["label"], label)


def test_own_scenes_with_mistakes(own, tmp_path):
    config = config_of("scene_folder", own, tmp_path)
    names = own / "classes.txt"

    def fails(message):
        with pytest.raises(ValueError, match=message):
            load(config, "train")

    names.write_text("floor\nwall\n")
    fails(r"\.png: label 2 at x=.* outside of the map, which knows 0-1, 255")
    config["options"] = {"ignore_ids": (2,)}
    assert all((s["label"] != 2).all() for s in load(config, "train").values())
    config["options"] = {}
    names.write_text("floor\nwall\nwall\n")
    fails("no two are alike")
    names.unlink()
    fails("has labels but no classes.txt")
    config["options"] = {"num_classes": 3}
    assert len(load(config, "train")) > 6
    for path in list((own / "labels").rglob("*.png"))[:12]:
        path.unlink()
    fails(r"labels/drive/\d\d\.png: there is no such label file")
    with pytest.raises(ValueError, match="holds no files of scene_folder"):
        load(config_of("scene_folder", tmp_path / "tfds", tmp_path), "train")


def test_16_bit_and_indexed_label_numbers(tmp_path):
    values = np.array([[0, 300], [7, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(label_ids.read_ids(tmp_path / "deep.png"), values)
    with pytest.raises(ValueError, match=r"label 300 at x=1, y=0 .* knows 0-7 \(2 such pixels\)"):
        label_ids.map_ids(values.astype(int), {k: k for k in range(8)}, tmp_path / "deep.png")
