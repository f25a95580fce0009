"""Sets in memory: form, resizing, held-out parts, label subsets, TFDS's own sets, clear errors."""

import io

import ml_collections
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jaxgen.data import labelled_images
from jaxgen.data.builders import registry


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return {
        "name": "synthetic_digits",
        "data_dir": str(tmp_path_factory.mktemp("tfds")),
        "options": {"config": "tiny"},
    }


def load(config, split="train", *, size=12, channels=1):
    return labelled_images.open_images(config, split, size=size, channels=channels)


def test_a_set_has_the_documented_form(digits):
    found = load(ml_collections.ConfigDict(digits), "test", size=20, channels=3)
    assert found.image.shape == (40, 20, 20, 3) and found.image.dtype == np.uint8
    assert found.label.shape == (40,) and found.label.dtype == np.int32
    assert len(set(found.name)) == 40 and found.classes == tuple("0123456789")
    assert load(digits, "test").image.shape == (40, 12, 12, 1)


def test_resizing_is_pillows_bilinear_and_grey_is_luminance(digits):
    whole = load(digits, "test", size=32, channels=3)
    small = load(digits, "test", size=12, channels=1)
    for row in (0, 7):
        grey = Image.fromarray(whole.image[row]).convert("L")
        expected = np.asarray(grey.resize((12, 12), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(small.image[row, :, :, 0], expected)


def test_chunks_and_threads_change_nothing(digits, monkeypatch):
    whole = load(digits)
    monkeypatch.setattr(labelled_images, "_CHUNK", 7)
    pieces = load(digits)
    np.testing.assert_array_equal(whole.image, pieces.image)
    np.testing.assert_array_equal(whole.label, pieces.label)
    assert whole.name == pieces.name


def test_a_tenth_of_training_is_held_out_by_name(digits):
    train, held_out = load(digits), load(digits, "validation")
    assert len(train.name) + len(held_out.name) == 100 and 2 < len(held_out.name) < 25
    assert not set(train.name) & set(held_out.name)
    assert load(digits, "validation").name == held_out.name
    assert len(load({**digits, "validation_fraction": 0.0}).name) == 100


def test_smaller_label_fractions_lie_inside_larger_ones(digits):
    def names(fraction, seed=0):
        return set(load({**digits, "label_fraction": fraction, "label_seed": seed}).name)

    tenth, third, whole = names(0.1), names(0.3), names(1.0)
    assert len(tenth) == -(-len(whole) // 10) and tenth < third < whole
    assert names(0.3, seed=1) != third
    assert len(load({**digits, "label_fraction": 0.1}, "test").name) == 40


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "helen"}, "config.data.name .* is one of .*'mnist'"),
        ({"name": "w300"}, "config.data.name"),  # faces are no classes
        ({"label_fraction": 0.0}, "label_fraction is above 0"),
        ({"label_fraction": 1.5}, "label_fraction is above 0 and at most 1"),
        ({"validation_fraction": 1.0}, "validation_fraction"),
        ({"options": {"side": 3}}, "no option 'side'"),
    ],
)
def test_bad_configs_name_the_key(digits, change, message):
    with pytest.raises(ValueError, match=message):
        load({**digits, **change})


@pytest.mark.parametrize(("size", "channels"), [(0, 1), (8, 2)])
def test_bad_sizes_are_refused(digits, size, channels):
    with pytest.raises(ValueError, match="1 or 3 channels"):
        load(digits, size=size, channels=channels)


def test_an_unknown_split_is_named(digits):
    with pytest.raises(ValueError, match="Unknown split 'extra'"):
        load(digits, "extra")


def test_a_prepared_folder_opens(digits):
    data_set = registry.find("synthetic_digits", sets=registry.CLASSES, data_dir=digits["data_dir"],
                             options=digits["options"])  # fmt: skip
    registry.prepare(data_set.builder)
    config = {"name": "prepared", "data_dir": str(data_set.builder.data_path)}
    np.testing.assert_array_equal(load(config, "test").image, load(digits, "test").image)


def test_a_damaged_image_is_named():
    stream = io.BytesIO()
    Image.new("L", (40, 40), 7).save(stream, "PNG")
    whole = stream.getvalue()
    assert (labelled_images.decode(whole, size=9, channels=3, name="x") == 7).all()
    with pytest.raises(ValueError, match="train/7: the stored image is damaged"):
        labelled_images.decode(whole[:-30], size=9, channels=3, name="train/7")


@pytest.mark.parametrize(("name", "side"), [("mnist", 28), ("svhn_cropped", 32)])
def test_sets_of_tfds_open(tmp_path, name, side):
    with tfds.testing.mock_data(num_examples=6):
        records = list(tfds.data_source(name, split="train", data_dir=tmp_path))
    encoded = [{**record, "image": _png(record["image"])} for record in records]
    with tfds.testing.mock_data(as_data_source_fn=lambda *args, **kwargs: encoded):
        config = {"name": f"tfds_{name}", "data_dir": str(tmp_path), "validation_fraction": 0.0}
        found = load(config, size=side, channels=3)
    assert found.image.shape == (6, side, side, 3) and found.classes == tuple("0123456789")
    np.testing.assert_array_equal(found.label, [record["label"] for record in records])
    pixels = np.broadcast_to(records[2]["image"], (side, side, 3))
    np.testing.assert_array_equal(found.image[2], pixels)


def _png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(stream, "PNG")
    return stream.getvalue()


def of_classes(*classes):
    return labelled_images.LabelledImages(np.zeros((0, 1, 1, 1)), np.zeros(0), [], classes)


def test_equal_classes_and_unlabelled_targets_pass():
    labelled_images.compare_classes(of_classes("a", "b"), of_classes("a", "b"))
    labelled_images.compare_classes(of_classes("a", "b"), of_classes())


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (("a", "c"), r"only the source has \['b'\], only the target has \['c'\]"),
        (("a", "b", "c"), r"only the source has \[\], only the target has \['c'\]"),
        (("b", "a"), r"in the same order: .*source: \['a', 'b'\], target: \['b', 'a'\]"),
    ],
)
def test_differing_classes_are_named(target, message):
    with pytest.raises(ValueError, match=message):
        labelled_images.compare_classes(of_classes("a", "b"), of_classes(*target))
