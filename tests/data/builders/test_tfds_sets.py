"""TFDS's own face sets: fractions become pixels, boxes fit, examples have our form."""

import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jaxgen.data import flip_pairs, pipeline, sources
from jaxgen.data.builders import tfds_sets


def jpeg(width, height):
    stream = io.BytesIO()
    Image.new("RGB", (width, height), "grey").save(stream, "JPEG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "key"),
    [("the300w_lp", "landmarks_2d"), ("aflw2k3d", "landmarks_68_3d_xy_normalized")],
)
def test_fractions_become_pixels(name, key):
    fractions = np.random.default_rng(0).uniform(0.1, 0.9, (68, 2)).astype(np.float32)
    example = getattr(tfds_sets, name)({"image": jpeg(450, 300), key: fractions}, 12)
    np.testing.assert_allclose(example["points"], fractions * (450, 300), rtol=1e-6)
    np.testing.assert_allclose(
        example["box"], [*example["points"].min(0), *example["points"].max(0)]
    )
    assert example["name"] == f"{name}/000012"


def test_celeb_a_points_come_in_the_order_of_the_flip_table():
    names = ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
    marks = {f"{n}_{axis}": 10 * i + (axis == "y") for i, n in enumerate(names) for axis in "xy"}
    example = tfds_sets.celeb_a({"image": jpeg(178, 218), "landmarks": marks}, 0)
    np.testing.assert_array_equal(example["points"][:, 0], [0, 10, 20, 30, 40])
    np.testing.assert_array_equal(example["points"][:, 1], [1, 11, 21, 31, 41])
    np.testing.assert_array_equal(flip_pairs.for_points(5), [1, 0, 2, 4, 3])


def mocked_records(name, folder):
    """Examples with the set's real features; images encoded, as they are stored."""
    with tfds.testing.mock_data(num_examples=6):
        records = list(tfds.data_source(name, split="train", data_dir=folder))
    return [{**record, "image": png(record["image"])} for record in records]


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(("name", "count"), [("the300w_lp", 68), ("aflw2k3d", 68), ("celeb_a", 5)])
def test_sets_of_tfds_feed_the_pipeline(tmp_path, name, count):
    records = mocked_records(name, tmp_path)
    with tfds.testing.mock_data(as_data_source_fn=lambda *args, **kwargs: records):
        config = {"name": name, "data_dir": str(tmp_path), "validation_fraction": 0.0}
        source = sources.open_source(config, "train")
    assert source.num_points == count and len(source) == 6
    example = source[2]
    assert example["points"].shape == (count, 2) and example["image"].dtype == np.uint8
    stream = pipeline.labelled_batches(
        source, batch_size=2, size=16, margin=1.5, seed=0, num_threads=0
    )
    batch = next(stream)
    assert batch["points"].shape == (2, count, 2) and batch["mask"].all()


def test_preparing_without_tensorflow_says_what_to_install(tmp_path, monkeypatch):
    builder = tfds.builder("the300w_lp", data_dir=tmp_path, file_format="array_record")

    def fail(*args, **kwargs):
        raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")

    monkeypatch.setattr(type(builder), "download_and_prepare", fail)
    with pytest.raises(ValueError, match=r"pip install 'jaxgen\[prepare\]'"):
        sources.open_source({"name": "the300w_lp", "data_dir": str(tmp_path)}, "train")
