"""Sources: what an example holds, group-wise splits, nested label subsets, clear errors."""

import ml_collections
import numpy as np
import pytest

from jaxgen.data import crop, sources
from jaxgen.data.builders import registry


def names(source):
    return [source.labels(i)["name"] for i in range(len(source))]


def test_an_example_has_the_documented_form(helen, face_points):
    source = sources.open_source(ml_collections.ConfigDict(helen), "helen_test")
    assert len(source) == 5 and source.num_points == 68
    example = source[0]
    assert example["image"].dtype == np.uint8 and example["image"].shape[2] == 3
    assert example["points"].dtype == np.float32 and example["visible"].all()
    assert example["name"].startswith("helen/testset/") and example["subset"] == "common"
    original = crop.transform_points(crop.invert(example["source_matrix"]), example["points"])
    index = int(example["name"].split("/")[-1].split("_")[0])
    np.testing.assert_allclose(original, face_points(68, index), atol=1e-3)
    low, high = example["points"].min(0), example["points"].max(0)
    np.testing.assert_allclose(example["box"], [*low, *high])


def test_validation_is_held_out_by_group_and_stays_so(helen):
    config = {**helen, "validation_fraction": 0.3}
    train = names(sources.open_source(config, "train"))
    held_out = names(sources.open_source(config, "validation"))
    assert train and held_out and not set(train) & set(held_out)
    assert len(train) + len(held_out) == 24
    assert names(sources.open_source(config, "validation")) == held_out
    assert names(sources.open_source(config, "helen_train")) == train  # its own name: the same
    everything = sources.open_source({**helen, "validation_fraction": 0.0}, "train")
    assert len(everything) == 24


def test_faces_of_one_photograph_stay_together(tmp_path, make_w300):
    root = make_w300(tmp_path / "300w", "helen/trainset", 8, stem="{}_1")
    make_w300(root, "helen/trainset", 8, stem="{}_2")
    config = {
        "name": "w300", "manual_dir": root, "data_dir": tmp_path / "tfds",
        "train_split": "helen_train", "validation_fraction": 0.5,
    }  # fmt: skip
    photos = [
        {name.rpartition("_")[0] for name in names(sources.open_source(config, split))}
        for split in ("train", "validation")
    ]
    assert photos[0] and photos[1] and not photos[0] & photos[1]


def test_smaller_label_fractions_lie_inside_larger_ones(helen):
    def subset(fraction, seed=0):
        config = {
            **helen,
            "validation_fraction": 0.2,
            "label_fraction": fraction,
            "label_seed": seed,
        }
        return names(sources.open_source(config, "train"))

    tenth, third, whole = subset(0.1), subset(0.3), subset(1.0)
    assert len(tenth) == -(-len(whole) // 10)
    assert set(tenth) < set(third) < set(whole)
    assert set(subset(0.3, seed=1)) != set(third)


def test_label_fraction_leaves_the_test_alone(helen):
    config = {**helen, "label_fraction": 0.1}
    assert len(sources.open_source(config, "helen_test")) == 5


def test_the_cache_gives_the_same_examples(helen):
    plain = sources.open_source(helen, "helen_test")
    cached = sources.open_source({**helen, "cache": True}, "helen_test")
    first, second = cached[3], cached[3]
    assert first["image"] is second["image"]
    np.testing.assert_array_equal(first["image"], plain[3]["image"])
    second["name"] = "changed"  # a caller's dict is its own
    assert cached[3]["name"] == plain[3]["name"]


def test_a_damaged_record_is_named(helen):
    whole = sources.open_source(helen, "helen_test").labels(0)
    records = [{"image": whole["image"][: len(whole["image"]) // 2]}]
    source = sources.Source(records, lambda record, _: {**whole, **record}, num_points=68)
    with pytest.raises(ValueError, match=f"{whole['name']}: the stored image is damaged"):
        source[0]


def test_a_prepared_folder_opens_without_the_raw_files(helen):
    data_set = registry.find(
        "w300", sets=registry.FACES, manual_dir=helen["manual_dir"], data_dir=helen["data_dir"]
    )
    registry.prepare(data_set.builder)
    config = {"name": "prepared", "data_dir": str(data_set.builder.data_path)}
    assert names(sources.open_source(config, "helen_test")) == names(
        sources.open_source(helen, "helen_test")
    )
    with pytest.raises(ValueError, match=r"dataset_info\.json"):
        sources.open_source({"name": "prepared", "data_dir": helen["manual_dir"]}, "test")
    assert registry.original_name("prepared", config["data_dir"]) == "w300"
    assert registry.original_name("points_csv", "") == "points_csv"


def test_the_data_root_finds_the_official_folder(helen, monkeypatch):
    monkeypatch.setenv("JAXGEN_DATA", helen["manual_dir"].removesuffix("/300w"))
    assert len(sources.open_source({**helen, "manual_dir": ""}, "helen_test")) == 5
    assert len(sources.open_source({**helen, "manual_dir": "300w"}, "helen_test")) == 5


@pytest.mark.parametrize("manual_dir", ["", "/nowhere/300w"])
def test_a_missing_folder_names_key_variable_and_layout(tmp_path, manual_dir):
    config = {"name": "w300", "manual_dir": manual_dir, "data_dir": str(tmp_path)}
    with pytest.raises(ValueError) as error:
        sources.open_source(config, "train")
    for part in ("config.data.manual_dir", "JAXGEN_DATA", "helen/trainset", manual_dir):
        assert part in str(error.value)


def test_no_message_names_a_key_that_does_not_exist(helen):
    with pytest.raises(ValueError) as error:
        sources.open_source({**helen, "validation_fraction": 0.0}, "validation")
    assert "validation_split" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "split", "message"),
    [
        ({"name": "w3000"}, "train", "config.data.name"),
        ({"options": {"window": 3}}, "train", "no option 'window'"),
        ({}, "frontal", "Unknown split 'frontal'"),
        ({"validation_fraction": 0.0}, "validation", "config.data.validation_fraction=0.1"),
        ({"validation_fraction": 1.0}, "train", "validation_fraction"),
        ({"label_fraction": 0.0}, "train", "label_fraction"),
        ({"validation_fraction": 0.0001}, "validation", "too few groups"),
    ],
)
def test_bad_configs_name_the_key(helen, change, split, message):
    with pytest.raises(ValueError, match=message):
        sources.open_source({**helen, **change}, split)
