"""300-W: protocol counts, what is missing, stored form, changed files, real HELEN files."""

import numpy as np
import pytest

from jaxgen.data import crop, sources
from jaxgen.data.builders import pts, registry, w300


@pytest.fixture
def place(tmp_path):
    return {
        "name": "w300",
        "manual_dir": str(tmp_path / "300w"),
        "data_dir": str(tmp_path / "tfds"),
    }


def test_the_protocol_has_the_counts_of_the_field():
    counts = {
        split: sum(w300.FOLDERS[part][1] for part in parts)
        for split, parts in w300.PROTOCOL.items()
    }
    assert counts == {
        "train": 3148, "common": 554, "challenge": 135, "full": 689, "test": 689, "private": 600,
    }  # fmt: skip


def test_a_protocol_split_reports_what_is_missing(tmp_path, make_w300, place):
    root = make_w300(tmp_path / "300w", "helen/trainset", 3)
    make_w300(root, "afw", 2)
    with pytest.raises(ValueError) as error:
        sources.open_source(place, "train")
    assert (
        "helen/trainset: found 3 of 2000\n  lfpw/trainset: found 0 of 811\n  afw: found 2 of 337"
        in (str(error.value))
    )
    assert "['helen_train', 'afw']" in str(error.value)
    assert not (tmp_path / "tfds").exists()  # it failed before it wrote anything


def test_a_complete_protocol_split_is_the_sum_of_its_folders(
    tmp_path, make_w300, place, monkeypatch
):
    root = make_w300(tmp_path / "300w", "helen/testset", 3)
    make_w300(root, "lfpw/testset", 2, stem="image_{:04d}")
    make_w300(root, "ibug", 2, stem="image_{:03d}_1")
    small = {"helen_test": 3, "lfpw_test": 2, "ibug": 2}
    rows = {k: (v[0], small.get(k, 0), *v[2:]) for k, v in w300.FOLDERS.items()}
    monkeypatch.setattr(w300, "FOLDERS", rows)
    assert len(sources.open_source(place, "common")) == 5
    full = sources.open_source(place, "full")
    subsets = [full.labels(i)["subset"] for i in range(len(full))]
    assert sorted(subsets) == ["challenge"] * 2 + ["common"] * 5


def test_the_private_test_does_not_hide_the_other_folders(tmp_path, make_w300, place):
    """The 300-W folder has a folder 300w inside."""
    root = make_w300(tmp_path / "300w", "300w/01_Indoor", 2, stem="indoor_{:03d}")
    make_w300(root, "helen/testset", 3)
    for manual_dir in (root, tmp_path):
        config = {**place, "manual_dir": str(manual_dir)}
        assert len(sources.open_source(config, "helen_test")) == 3
        assert len(sources.open_source(config, "private_indoor")) == 2


def test_mirrored_copies_of_some_releases_are_left_out(tmp_path, make_w300, place):
    root = make_w300(tmp_path / "300w", "afw", 2)
    make_w300(root, "afw", 2, stem="{}_1_mirror")
    assert len(sources.open_source(place, "afw")) == 2


def test_one_broken_file_gives_one_error_that_names_it(tmp_path, make_w300, place):
    root = make_w300(tmp_path / "300w", "helen/testset", 3)
    label = root / "helen/testset/1_1.pts"
    good = label.read_text()
    label.write_text(good.replace("n_points: 68", "n_points: 67"))
    with pytest.raises(ValueError, match=r"1_1\.pts:2: expected 'n_points: 68'"):
        sources.open_source(place, "helen_test")
    label.write_text(good)
    image = label.with_suffix(".jpg")
    data = image.read_bytes()
    image.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"1_1\.jpg: not a readable image"):
        sources.open_source(place, "helen_test")
    image.unlink()
    with pytest.raises(ValueError, match=r"1_1\.pts: there is no 1_1\.jpg or \.png"):
        sources.open_source(place, "helen_test")
    image.write_bytes(data)
    assert len(sources.open_source(place, "helen_test")) == 3


def test_changed_labels_are_never_read_from_the_old_copy(tmp_path, make_w300, save_pts, place):
    root = make_w300(tmp_path / "300w", "helen/testset", 1)
    before = sources.open_source(place, "helen_test")[0]
    moved = crop.transform_points(crop.invert(before["source_matrix"]), before["points"]) + 3
    save_pts(root / "helen/testset/0_1.pts", moved)
    after = sources.open_source(place, "helen_test")[0]
    found = crop.transform_points(crop.invert(after["source_matrix"]), after["points"])
    np.testing.assert_allclose(found, moved, atol=2e-3)


def test_options_change_what_is_stored(tmp_path, make_w300, place):
    make_w300(tmp_path / "300w", "helen/testset", 1)
    small = sources.open_source({**place, "options": {"window_size": 40}}, "helen_test")[0]
    assert max(small["image"].shape) == 40
    assert max(sources.open_source(place, "helen_test")[0]["image"].shape) > 40


def test_a_landmark_outside_the_image_is_kept(tmp_path, make_w300, save_pts, face_points, place):
    root = make_w300(tmp_path / "300w", "helen/testset", 1)
    points = face_points(68)
    points[5] = (-12.0, 95.0)  # left of and below the 90 x 80 picture
    save_pts(root / "helen/testset/0_1.pts", points)
    example = sources.open_source(place, "helen_test")[0]
    assert np.isfinite(example["points"]).all()
    back = crop.transform_points(crop.invert(example["source_matrix"]), example["points"][5])
    np.testing.assert_allclose(back, (-12, 95), atol=1e-3)


def test_real_helen_files(real_data, tmp_path):
    root = real_data / "300w"
    if not (root / "helen/testset").is_dir():
        pytest.skip(f"no HELEN test faces below {root}")
    config = {"name": "w300", "manual_dir": str(root), "data_dir": str(tmp_path)}
    source = sources.open_source(config, "helen_test")
    assert len(source) == 330
    example = source[11]
    name = example["name"].removeprefix("helen/testset/")
    truth = pts.read_pts(root / f"helen/testset/{name}.pts", 68)
    back = crop.transform_points(crop.invert(example["source_matrix"]), example["points"])
    np.testing.assert_allclose(back, truth, atol=1e-3)
    # Labels are where they should be on a face: eyes above the mouth, left to right.
    points = np.stack([source.labels(i)["points"] for i in range(len(source))])
    assert (points[:, 36:48].mean(1)[:, 1] < points[:, 48:68].mean(1)[:, 1]).all()
    assert np.mean(points[:, 36, 0] < points[:, 45, 0]) == 1.0
    data_set = registry.find(
        "w300", sets=registry.FACES, manual_dir=str(root), data_dir=str(tmp_path)
    )
    assert data_set.builder.data_path.exists()  # the same files, the same prepared set
