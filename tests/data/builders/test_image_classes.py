"""The user's own classes: three layouts, stable splits, unlabelled targets, clear errors."""

import numpy as np
import pytest
from PIL import Image

from jaxgen.data import labelled_images


def load(root, tmp_path, split="train", *, size=8, **options):
    config = {
        "name": "image_classes", "manual_dir": str(root), "data_dir": str(tmp_path / "tfds"),
        "validation_fraction": 0.0, "options": options,
    }  # fmt: skip
    return labelled_images.open_images(config, split, size=size, channels=3)


@pytest.fixture
def own(tmp_path, save_image):
    """2 splits x 2 classes x 3 images."""
    root = tmp_path / "own"
    for split in ("train", "test"):
        for name in ("dog", "cat"):
            for i in range(3):
                save_image(root / split / name / f"{i}.png", size=(20, 20), seed=i)
    return root


def test_folders_are_classes_in_alphabetical_order(own, tmp_path):
    for split in ("train", "test"):
        found = load(own, tmp_path, split)
        assert found.classes == ("cat", "dog")
        assert sorted(found.name) == sorted(
            f"{split}/{c}/{i}.png" for c in ("cat", "dog") for i in range(3)
        )
        for name, label in zip(found.name, found.label, strict=True):
            assert name.split("/")[1] == found.classes[label]


def test_without_split_folders_a_fixed_share_is_the_test(tmp_path, save_image):
    root = tmp_path / "own"
    for i in range(20):
        save_image(root / "ab"[i % 2] / f"{i}.jpg", size=(20, 20), seed=i)
    parts = {split: set(load(root, tmp_path, split).name) for split in ("train", "test")}
    assert parts["train"] and parts["test"] and not parts["train"] & parts["test"]
    assert len(parts["train"] | parts["test"]) == 20
    save_image(root / "a" / "new.jpg", size=(20, 20), seed=99)
    again = load(root, tmp_path, "test").name
    assert parts["test"] <= set(again) <= parts["test"] | {"a/new.jpg"}
    assert len(load(root, tmp_path, "train", test_fraction=0).name) == 21


def test_a_target_without_labels_takes_its_classes_from_the_test(own, tmp_path, save_image):
    for path in [*(own / "train").rglob("*.png")]:
        path.unlink()
    for folder in (own / "train").iterdir():
        folder.rmdir()
    save_image(own / "train" / "x.jpg", seed=5)
    found = load(own, tmp_path)
    assert found.name == ["train/x.jpg"] and found.label.tolist() == [-1]
    assert found.classes == ("cat", "dog")
    assert sorted(load(own, tmp_path, "test").label) == [0, 0, 0, 1, 1, 1]


def test_a_folder_without_any_labels(tmp_path, save_image):
    for i in range(3):
        save_image(tmp_path / "target" / f"{i}.jpg", seed=i)
    found = load(tmp_path / "target", tmp_path)
    assert found.label.tolist() == [-1] * 3 and found.classes == ()


def test_plain_files_keep_their_pixels_and_large_ones_shrink(tmp_path, save_image):
    root = tmp_path / "own"
    small = save_image(root / "train" / "a" / "small.png", size=(30, 30))
    save_image(root / "train" / "a" / "large.png", size=(400, 300))
    found = load(root, tmp_path, size=30)
    np.testing.assert_array_equal(found.image[found.name.index("train/a/small.png")], small)
    prepared = next((tmp_path / "tfds").glob("image_classes/*/*"))
    import tensorflow_datasets as tfds

    stored = tfds.builder_from_directory(prepared).as_data_source("train")
    assert sorted(example["image"].shape for example in stored) == [(30, 30, 3), (192, 256, 3)]


def test_pictures_are_turned_upright(tmp_path):
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:4] = 255  # stored with the bright rows on top, to be shown turned by 180 degrees
    exif = Image.Exif()
    exif[274] = 3
    (tmp_path / "own" / "train" / "a").mkdir(parents=True)
    Image.fromarray(pixels).save(tmp_path / "own" / "train" / "a" / "x.jpg", exif=exif, quality=95)
    image = load(tmp_path / "own", tmp_path, size=16).image[0]
    assert image[-3:].mean() > 240 and image[:8].mean() < 15


def test_an_empty_class_folder_is_named(own, tmp_path):
    (own / "train" / "bird").mkdir()
    with pytest.raises(ValueError, match=r"bird: the folder of this class holds no image"):
        load(own, tmp_path)


def test_images_beside_class_folders_are_refused(own, tmp_path, save_image):
    save_image(own / "train" / "stray.jpg")
    with pytest.raises(ValueError, match=r"stray\.jpg lies beside the folders of the classes"):
        load(own, tmp_path)


def test_a_class_that_only_the_test_has_is_refused(own, tmp_path, save_image):
    save_image(own / "test" / "catt" / "x.jpg")
    with pytest.raises(ValueError, match=r"test/ has the classes \['catt'\], which train/ lacks"):
        load(own, tmp_path)


def test_a_split_that_is_not_there_is_named(tmp_path, save_image):
    save_image(tmp_path / "own" / "train" / "a" / "x.jpg")
    with pytest.raises(ValueError, match=r"holds no images of 'test'; it has \['train'\]"):
        load(tmp_path / "own", tmp_path, "test")


def test_a_broken_image_is_named(own, tmp_path):
    path = own / "train" / "cat" / "0.png"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"cat/0\.png: not a readable image"):
        load(own, tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"test_fraction": 1.0}, "test_fraction"), ({"classes": 2}, "no option 'classes'")],
)
def test_bad_options_name_the_key(own, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        load(own, tmp_path, **options)


def test_a_class_may_be_called_test(tmp_path, save_image):
    for name in ("test", "real"):
        save_image(tmp_path / "own" / "train" / name / "x.jpg")
    assert load(tmp_path / "own", tmp_path).classes == ("real", "test")
