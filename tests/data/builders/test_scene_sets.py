"""Segmentation builders on made folders in the official layouts, whole and broken."""

import numpy as np
import pytest
from PIL import Image

from jaxgen.data import label_maps
from jaxgen.data.builders import camvid, cityscapes, gta5

from .made_files import SHAPE, config_of, load

# CamVid


@pytest.fixture
def small_camvid(tmp_path, save_scene, monkeypatch):
    small = {"day_train": 4, "dusk_train": 2, "day_validation": 1, "dusk_test": 2, "day_test": 1}
    monkeypatch.setattr(camvid.Camvid, "PUBLISHED", small)
    root = tmp_path / "camvid"
    names = {
        "train": ["0006R0_f00930", "0006R0_f00960", "0016E5_00390", "0016E5_00420",
                  "0001TP_006690", "0001TP_006720"],
        "val": ["0016E5_07959"],
        "test": ["0001TP_008550", "0001TP_008580", "Seq05VD_f00000"],
    }  # fmt: skip
    labels = {}
    for folder, stems in names.items():
        for seed, stem in enumerate(stems):
            ending = "jpg" if folder == "train" else "png"
            labels[stem] = save_scene(
                root / folder / f"{stem}.{ending}",
                root / f"{folder}annot" / f"{stem}.png",
                numbers=range(12),
                seed=seed,
            )
    return root, labels


def test_camvid_splits_day_and_dusk(small_camvid, tmp_path):
    root, labels = small_camvid
    config = config_of("camvid", root, tmp_path)
    day = load({**config, "train_split": "day_train"}, "train")
    assert {name[:6] for name in day} == {"0006R0", "0016E5"} and len(day) == 4
    dusk = load(config, "dusk_train")
    assert set(dusk) == {"0001TP_006690", "0001TP_006720"}
    assert set(load(config, "dusk_test")) == {"0001TP_008550", "0001TP_008580"}
    assert len(load(config, "test")) == 3 and len(load(config, "train")) == 6
    for name, scene in {**day, **dusk}.items():
        expected = np.where(labels[name] == 11, 255, labels[name])
        np.testing.assert_array_equal(scene["label"], expected)
        stored = np.asarray(Image.open(root / "train" / f"{name}.jpg"))
        np.testing.assert_array_equal(scene["image"], stored)  # the file as it is
    scenes = label_maps.open_scenes(config, "dusk_test")
    assert len(scenes.classes) == len(scenes.palette) == 11 and scenes.labelled
    assert scenes.classes[3] == "road" and scenes.palette[3].tolist() == [128, 64, 128]


def test_camvid_drives_frames_and_reduced_size(small_camvid, tmp_path):
    root, labels = small_camvid
    config = config_of("camvid", root, tmp_path, sequences=("0016E5",), frames=(0, 400))
    (scene,) = load(config, "train").values()
    assert scene["name"] == "0016E5_00390"
    config["options"] = {"size": (10, 15)}
    scene = load(config, "dusk_train")["0001TP_006690"]
    assert scene["image"].shape == (10, 15, 3)
    # Nearest: one of the pixels that a stored one covers, never a mean.
    whole = np.where(labels["0001TP_006690"] == 11, 255, labels["0001TP_006690"])
    near = whole.reshape(10, 2, 15, 2).transpose(0, 2, 1, 3).reshape(10, 15, 4)
    assert (near == scene["label"][..., None]).any(-1).all()


def test_camvid_that_is_not_complete_says_what_lacks(small_camvid, tmp_path):
    root, _ = small_camvid
    (root / "test" / "Seq05VD_f00000.png").unlink()
    config = config_of("camvid", root, tmp_path)
    with pytest.raises(ValueError, match=r"dusk_test: found 2 of 2\n  day_test: found 0 of 1"):
        load(config, "test")
    assert not (tmp_path / "tfds").exists()  # it failed before it wrote anything
    assert len(load(config, "dusk_test")) == 2
    config["options"] = {"allow_partial": True}
    assert len(load(config, "test")) == 2
    with pytest.raises(ValueError, match=r"nothing of the split 'night'.*dusk_train"):
        load(config, "night")


def test_camvid_has_the_published_counts():
    parts = {name: count for name, (_, _, count) in camvid.PARTS.items()}
    sums = {split: sum(parts[p] for p in ps) for split, ps in camvid.Camvid.PROTOCOL.items()}
    assert sums == {"train": 367, "val": 101, "test": 233}
    assert parts["day_train"] == 101 + 204


def test_broken_scenes_are_named(small_camvid, tmp_path):
    root, _ = small_camvid
    config = config_of("camvid", root, tmp_path)
    label = root / "trainannot" / "0001TP_006690.png"
    good = label.read_bytes()

    def fails(message):
        with pytest.raises(ValueError, match=message):
            load(config, "dusk_train")

    values = np.zeros(SHAPE, np.uint8)
    values[3, 7] = 12
    Image.fromarray(values).save(label)
    fails(r"006690\.png: label 12 at x=7, y=3 is outside of the map, which knows 0-11 \(1 such")
    Image.fromarray(values[:-1]).save(label)
    values[3, 7] = 0
    Image.fromarray(values[:-1]).save(label)
    fails(r"006690\.png: the label map has 30 x 19 pixels, but its image .*006690\.jpg has 30 x 20")
    config["options"] = {"exclude": ("0001TP_006690",)}
    assert list(load(config, "dusk_train")) == ["0001TP_006720"]
    config["options"] = {}
    Image.fromarray(np.zeros((*SHAPE, 3), np.uint8)).save(label)
    fails(r"006690\.png: expected one class number a pixel .* found RGB")
    label.write_bytes(good[: len(good) // 2])
    fails(r"006690\.png: not a readable label file")
    label.unlink()
    fails(r"006690\.png: there is no such label file")
    label.write_bytes(good)
    assert len(load(config, "dusk_train")) == 2
    (root / "train" / "holiday.jpg").write_bytes((root / "train/0001TP_006690.jpg").read_bytes())
    fails(r"holiday\.jpg: a name in CamVid is SEQUENCE_FRAME")


def test_bad_options(small_camvid, tmp_path):
    root, _ = small_camvid
    for options, message in (
        ({"size": 128}, r"size of camvid is \(height, width\)"),
        ({"exclude": "a"}, "tuple of names"),
        ({"colour": 1}, "no option 'colour'"),
    ):
        with pytest.raises(ValueError, match=message):
            load(config_of("camvid", root, tmp_path, **options), "dusk_train")
    with pytest.raises(ValueError, match=r"'cityscapes'.*'synthetic_parts'.*got 'kitti'"):
        label_maps.open_scenes({"name": "kitti"}, "train")


def test_a_prepared_set_needs_no_raw_files(small_camvid, tmp_path):
    root, _ = small_camvid
    expected = load(config_of("camvid", root, tmp_path), "dusk_test")
    (folder,) = (tmp_path / "tfds/camvid").glob("*/1.0.0")
    scenes = label_maps.open_scenes({"name": "prepared", "data_dir": str(folder)}, "dusk_test")
    assert scenes.classes == camvid.Camvid.CLASSES and len(scenes) == 2
    for scene in scenes:
        np.testing.assert_array_equal(scene["label"], expected[scene["name"]]["label"])


# Cityscapes


@pytest.fixture
def small_cityscapes(tmp_path, save_image, save_scene, monkeypatch):
    monkeypatch.setattr(
        cityscapes.Cityscapes, "PUBLISHED", {"train": 2, "val": 1, "train_extra": 1}
    )
    root = tmp_path / "cityscapes"
    labels = {}
    for seed, (part, name) in enumerate(
        [("train", "aachen_000000_000019"), ("train", "ulm_000001_000019"),
         ("val", "lindau_000000_000019")]
    ):  # fmt: skip
        city = name.split("_")[0]
        labels[name] = save_scene(
            root / f"leftImg8bit/{part}/{city}/{name}_leftImg8bit.png",
            root / f"gtFine/{part}/{city}/{name}_gtFine_labelIds.png",
            numbers=range(34),
            seed=seed,
        )
    save_image(
        root / "leftImg8bit/train_extra/bayreuth/bayreuth_000000_000001_leftImg8bit.png",
        size=SHAPE[::-1],
    )
    return root, labels


def test_cityscapes_maps_to_the_19_train_ids(small_cityscapes, tmp_path):
    root, labels = small_cityscapes
    config = config_of("cityscapes", root, tmp_path)
    train = load(config, "train")
    # The sheet of the field, written out once more.
    train_ids = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10,
                 24: 11, 25: 12, 26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18}  # fmt: skip
    for name, scene in train.items():
        expected = np.vectorize(lambda number: train_ids.get(number, 255))(labels[name])
        np.testing.assert_array_equal(scene["label"], expected)
    assert set(train) == {"aachen_000000_000019", "ulm_000001_000019"}
    assert set(load(config, "test")) == {"lindau_000000_000019"}


def test_cityscapes_extra_scenes_are_unlabelled(small_cityscapes, tmp_path):
    root, _ = small_cityscapes
    config = config_of("cityscapes", root, tmp_path)
    extra = label_maps.open_scenes(config, "train_extra")
    assert not extra.labelled and (extra[0]["label"] == 255).all()
    assert label_maps.open_scenes(config, "train").labelled
    (root / "gtFine/val/lindau/lindau_000000_000019_gtFine_labelIds.png").unlink()
    with pytest.raises(ValueError, match=r"lindau.*there is no such label file"):
        load(config, "test")


# GTA5


def test_gta5_reads_numbers_and_colours(tmp_path, save_image, save_scene, monkeypatch):
    monkeypatch.setattr(gta5.Gta5, "PUBLISHED", {"train": 3})
    root = tmp_path / "gta5"
    indexed = save_scene(
        root / "images/00001.png", root / "labels/00001.png", numbers=range(35), mode="P"
    )
    grey = save_scene(root / "images/00002.png", root / "labels/00002.png", numbers=range(34))
    save_image(root / "images/00003.png", size=SHAPE[::-1])
    colours = np.zeros((*SHAPE, 3), np.uint8)
    colours[:, 4:9], colours[:, 9:] = (128, 64, 128), (119, 11, 32)
    Image.fromarray(colours).save(root / "labels/00003.png")
    config = config_of("gta5", root, tmp_path)
    found = load(config, "train")
    table = np.array([cityscapes.TRAIN_IDS.get(k, 255) for k in range(35)])
    np.testing.assert_array_equal(found["00001"]["label"], table[indexed])
    np.testing.assert_array_equal(found["00002"]["label"], table[grey])
    np.testing.assert_array_equal(found["00003"]["label"][0, [0, 4, 9]], [255, 0, 18])
    colours[5, 6] = (128, 64, 129)
    Image.fromarray(colours).save(root / "labels/00003.png")
    with pytest.raises(ValueError, match=r"00003\.png: the colour \(128, 64, 129\) at x=6, y=5"):
        load(config, "train")
    (root / "labels/00003.png").unlink()
    with pytest.raises(ValueError, match=r"00003\.png: there is no such label file"):
        load(config, "train")
    config["options"] = {"allow_partial": True}
    assert set(load(config, "train")) == {"00001", "00002"}
    (root / "images/00003.png").unlink()
    config["options"] = {}
    with pytest.raises(ValueError, match="train: found 2 of 3"):
        load(config, "train")


def test_every_class_has_a_colour_of_its_own():
    assert len(set(cityscapes.COLOURS)) == len(cityscapes.NAMES) == 19
    assert not set(cityscapes.COLOURS) & set(gta5._IGNORED_COLOURS)


def test_real_camvid(real_data, tmp_path):
    root = real_data / "camvid"
    if not root.is_dir():
        pytest.skip(f"no CamVid in {root}")
    builder = camvid.Camvid.from_folder(root, data_dir=str(tmp_path))
    found = {split: len(part) for split, part in builder.parts().items()}
    for split in ("day_train", "dusk_train", "day_validation", "dusk_test"):
        assert found[split] == camvid.PARTS[split][2]
    drives = ("0006R0", "0001TP")
    config = config_of("camvid", root, tmp_path, size=(90, 120), sequences=drives)
    scenes = {split: label_maps.open_scenes(config, split) for split in ("day_train", "dusk_train")}
    assert [len(found) for found in scenes.values()] == [101, 62]
    light = [np.mean([scene["image"].mean() for scene in found]) for found in scenes.values()]
    assert light[1] < 0.7 * light[0]
    # Names are those of the numbers: from top to bottom sky, trees, cars, the road.
    labels = np.stack([scene["label"] for scene in scenes["day_train"]])
    row = {
        name: np.mean(np.nonzero(labels == k)[1]) for k, name in enumerate(camvid.Camvid.CLASSES)
    }
    assert row["sky"] < row["tree"] < row["car"] < row["road"]
