"""WFLW, COFW, AFLW-19 and 300-VW: tiny folders in the official layouts, whole and broken."""

import numpy as np
import pytest

from jaxgen.data import crop, sources
from jaxgen.data.builders import aflw19, cofw, w300vw, wflw


def load(config, split, **options):
    return {e["name"]: e for e in sources.open_source({**config, "options": options}, split)}


def original(example, points):
    """Stored coordinates back in the pixels of the file."""
    return crop.transform_points(crop.invert(example["source_matrix"]), points)


def config_of(name, root, tmp_path):
    return {
        "name": name,
        "manual_dir": str(root),
        "data_dir": str(tmp_path / "tfds"),
        "validation_fraction": 0.0,
    }


# WFLW


@pytest.fixture
def small_wflw(tmp_path, save_image, face_points, monkeypatch):
    monkeypatch.setattr(wflw, "COUNTS", {"train": 3, "test": 2})
    root = tmp_path / "WFLW"
    for split, count in (("train", 3), ("test", 2)):
        lines = []
        for i in range(count):
            name = f"{i}--Event/{split}_{i // 2}.jpg"  # two faces in one picture
            save_image(root / "WFLW_images" / name)
            values = [*face_points(98, i).ravel(), 20, 21, 60, 61]
            flags = f"1 0 0 0 0 {i % 2}"
            lines.append(" ".join(f"{v:.6f}" for v in values) + f" {flags} {name}")
        path = (
            root
            / f"WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_{split}.txt"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
    return root


def test_wflw(small_wflw, tmp_path, face_points):
    config = config_of("wflw", small_wflw, tmp_path)
    assert len(load(config, "train")) == 3
    found = load(config, "test")
    example = found["1--Event/test_0.jpg#test00002"]
    np.testing.assert_allclose(original(example, example["points"]), face_points(98, 1), atol=1e-4)
    box = original(example, example["box"].reshape(2, 2)).ravel()
    np.testing.assert_allclose(box, [20, 21, 60, 61], atol=1e-4)
    assert example["subset"] == "pose+blur" and example["group"] == "1--Event/test_0.jpg"


def test_wflw_counts_and_broken_lines(small_wflw, tmp_path):
    config = config_of("wflw", small_wflw, tmp_path)
    path = (
        small_wflw / "WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_test.txt"
    )
    lines = path.read_text().splitlines()
    path.write_text(lines[0])
    with pytest.raises(ValueError, match=r"has 1 faces .* but 2 are published"):
        load(config, "test")
    assert len(load(config, "test", allow_partial=True)) == 1
    path.write_text("\n".join([lines[0], lines[1].replace(" ", " x ", 1)]))
    with pytest.raises(ValueError, match=r"attr_test\.txt:2: expected 196 coordinates"):
        load(config, "test")
    path.write_text("\n".join([lines[0], lines[1].replace("test_0", "gone")]))
    with pytest.raises(ValueError, match=r"gone\.jpg: there is no such image"):
        load(config, "test")


# AFLW-19


@pytest.fixture
def small_aflw(tmp_path, save_image, face_points, monkeypatch):
    from scipy import io

    monkeypatch.setattr(aflw19, "COUNTS", {"train": 3, "test": 2})
    root = tmp_path / "aflw"
    names = np.empty((5, 1), object)
    for i in range(5):
        names[i, 0] = f"0/image{i:05d}.png"  # the file says png where the release has jpg
        save_image(root / "flickr/0" / f"image{i:05d}.jpg", seed=i)
    content = {
        "data": np.stack([face_points(19, i).T.ravel() for i in range(5)]),
        "mask_new": np.ones((5, 19)),
        "bbox": np.tile([15.0, 65.0, 16.0, 66.0], (5, 1)),
        "nameList": names,
        "ra": np.array([[5, 1, 3, 2, 4]]),
    }
    content["mask_new"][3, 7] = 0
    io.savemat(root / "AFLWinfo_release.mat", content)
    return root


def test_aflw19(small_aflw, tmp_path, face_points):
    config = config_of("aflw19", small_aflw, tmp_path)
    assert {name.split("#")[1] for name in load(config, "train")} == {"00005", "00001", "00003"}
    found = load(config, "test")
    example = found["0/image00003#00004"]
    np.testing.assert_allclose(original(example, example["points"]), face_points(19, 3), atol=1e-4)
    box = original(example, example["box"].reshape(2, 2)).ravel()
    np.testing.assert_allclose(box, [15, 16, 65, 66], atol=1e-4)
    assert not example["visible"][7] and example["visible"].sum() == 18
    assert [found[n]["subset"] for n in ("0/image00003#00004", "0/image00001#00002")] == [
        "", "frontal",
    ]  # fmt: skip


def test_aflw19_broken_files(small_aflw, tmp_path, monkeypatch):
    config = config_of("aflw19", small_aflw, tmp_path)
    monkeypatch.setattr(aflw19, "COUNTS", {"train": 4, "test": 2})
    with pytest.raises(ValueError, match=r"has 1 faces .* but 2 are published"):
        load(config, "test")
    (small_aflw / "AFLWinfo_release.mat").write_bytes(b"text" * 100)
    with pytest.raises(ValueError, match=r"AFLWinfo_release\.mat: not a readable MATLAB file"):
        load(config, "train")


# COFW


@pytest.fixture
def small_cofw(tmp_path, face_points, monkeypatch):
    h5py = pytest.importorskip("h5py")
    monkeypatch.setattr(
        cofw,
        "FILES",
        {k: (*v[:2], n) for (k, v), n in zip(cofw.FILES.items(), (3, 2), strict=True)},
    )
    root = tmp_path / "COFW"
    root.mkdir()
    for name, ending, count in cofw.FILES.values():
        with h5py.File(root / name, "w") as file:
            references = np.empty((1, count), h5py.ref_dtype)
            labels = np.zeros((87, count))
            for i in range(count):
                # As MATLAB writes it: axes reversed. The last picture is grey.
                picture = np.zeros((3, 90, 80) if i < count - 1 else (90, 80), np.uint8)
                picture[..., 12, 34] = 255  # column 12, row 34
                file[f"#refs#/{i}"] = picture
                references[0, i] = file[f"#refs#/{i}"].ref
                labels[:58, i] = face_points(29, i).T.ravel() + 1
                labels[58 + i, i] = 1
            file.create_dataset(f"Is{ending}", data=references, dtype=h5py.ref_dtype)
            file[f"phis{ending}"] = labels
            file[f"bboxes{ending}"] = np.tile([[11.0], [13.0], [60.0], [64.0]], (1, count))
    return root


def test_cofw(small_cofw, tmp_path, face_points):
    config = config_of("cofw", small_cofw, tmp_path)
    assert len(load(config, "train")) == 3
    found = load(config, "test")
    example = found["cofw_test/0002"]
    assert example["image"].shape == (80, 90, 3)
    assert np.unravel_index(example["image"][..., 0].argmax(), (80, 90)) == (34, 12)
    np.testing.assert_allclose(original(example, example["points"]), face_points(29, 1), atol=1e-4)
    box = original(example, example["box"].reshape(2, 2)).ravel()
    np.testing.assert_allclose(box, [10, 12, 70, 76], atol=1e-4)
    np.testing.assert_array_equal(np.flatnonzero(~example["visible"]), [1])


def test_cofw_broken_files(small_cofw, tmp_path):
    config = config_of("cofw", small_cofw, tmp_path)
    (small_cofw / "COFW_test_color.mat").unlink()
    with pytest.raises(ValueError, match=r"has 0 faces .* but 2 are published"):
        load(config, "test")
    (small_cofw / "COFW_train_color.mat").write_bytes(b"MATLAB 5.0 MAT-file" * 40)
    with pytest.raises(ValueError, match=r"COFW_train_color\.mat: not a readable MATLAB 7\.3"):
        load(config, "train")


def test_cofw_without_h5py_says_what_to_install(small_cofw, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(ValueError, match=r"pip install 'jaxgen\[cofw\]'"):
        load(config_of("cofw", small_cofw, tmp_path), "train")


# 300-VW


@pytest.fixture
def small_300vw(tmp_path, save_pts, face_points, monkeypatch):
    av = pytest.importorskip("av")
    monkeypatch.setattr(w300vw, "CATEGORIES", {"category_1": (114,), "category_3": (410,)})
    monkeypatch.setattr(w300vw, "VIDEOS", {"train": (1, 2), **w300vw.CATEGORIES})
    root = tmp_path / "300VW"
    for video, count in ((1, 9), (2, 5), (114, 6), (410, 4)):
        folder = root / f"{video:03d}"
        (folder / "annot").mkdir(parents=True)
        with av.open(str(folder / "vid.avi"), "w") as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt = 96, 80, "yuv420p"
            for number in range(count):
                picture = np.full((80, 96, 3), 20 + 20 * number, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
                save_pts(folder / f"annot/{number + 1:06d}.pts", face_points(68, number))
            container.mux(stream.encode(None))
    return root


def test_300vw_pairs_frames_with_labels(small_300vw, tmp_path, face_points):
    config = config_of("w300vw", small_300vw, tmp_path)
    train = load(config, "train", every_nth=4)
    assert sorted(train) == ["001#000001", "001#000005", "001#000009", "002#000001", "002#000005"]
    example = train["001#000005"]
    assert abs(example["image"].mean() - 100) < 5
    np.testing.assert_allclose(original(example, example["points"]), face_points(68, 4), atol=2e-3)
    assert example["group"] == "001"
    test = load(config, "test", every_nth=1)
    assert len(test) == 10
    assert {e["subset"] for e in test.values()} == {"category_1", "category_3"}
    assert len(load(config, "category_3", every_nth=1)) == 4


def test_300vw_broken_layouts(small_300vw, tmp_path, save_pts, face_points):
    config = config_of("w300vw", small_300vw, tmp_path)
    extra = small_300vw / "002/annot/000040.pts"
    save_pts(extra, face_points(68))
    with pytest.raises(ValueError, match=r"002/vid\.avi: labels reach frame 40"):
        load(config, "train")
    extra.unlink()
    (small_300vw / "114/vid.avi").unlink()
    with pytest.raises(ValueError, match="lacks the videos 114"):
        load(config, "test")
    assert len(load(config, "test", allow_partial=True)) == 1


def test_300vw_has_the_published_videos():
    counts = {split: len(set(videos)) for split, videos in w300vw.VIDEOS.items()}
    assert counts == {"train": 50, "category_1": 31, "category_2": 19, "category_3": 14}
    assert len({v for videos in w300vw.VIDEOS.values() for v in videos}) == 114
