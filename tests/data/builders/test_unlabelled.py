"""Unlabelled folders of images and videos: boxes, groups, mixed modes, and clear errors."""

from pathlib import Path

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
    table.write_text("name,x0,y0,x1,y1\ndeep/Bo_00.PNG,10,20,40,60.5\ndeep/Bo_00.PNG,50,20,80,60\n")
    found = examples({**place, "options": {"boxes": str(table)}})
    assert set(found) == {"deep/Bo_00.PNG", "deep/Bo_00.PNG#1"}  # two faces of one picture
    np.testing.assert_allclose(original_box(found["deep/Bo_00.PNG"]), [10, 20, 40, 60.5], atol=1e-4)
    assert len({example["group"] for example in found.values()}) == 1


def test_a_table_is_beside_the_pictures_or_a_path(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inside = Path(place["manual_dir"]) / "boxes.csv"
    for table, width in ((tmp_path / "boxes.csv", 30), (inside, 20)):  # then the nearer one
        table.write_text(f"name,x0,y0,x1,y1\ndeep/Bo_00.PNG,10,20,{10 + width},60\n")
        found = examples({**place, "options": {"boxes": "boxes.csv"}})
        np.testing.assert_allclose(np.ptp(original_box(*found.values())[::2]), width, atol=1e-4)


def test_a_table_that_names_another_picture_is_refused(place, tmp_path):
    (tmp_path / "boxes.csv").write_text("name,x0,y0,x1,y1\nZoe.jpg,1,2,3,4\n")
    with pytest.raises(ValueError, match=r"boxes\.csv: .* holds no 'Zoe\.jpg'"):
        examples({**place, "options": {"boxes": str(tmp_path / "boxes.csv")}})


def test_an_empty_folder_is_refused(place, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty holds no files of image_folder.*\n.*any images"):
        examples({**place, "manual_dir": str(tmp_path / "empty")})


@pytest.mark.parametrize(
    "options", [{"group_by": "person"}, {"face_box": (0.5, 0, 0.2, 1)}, {"boxes_file": "a.csv"}]
)
def test_bad_options_name_the_key(place, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        examples({**place, "options": options})


def test_a_new_image_is_seen(place, tmp_path, save_image):
    assert len(examples(place)) == 3
    save_image(tmp_path / "faces" / "new.jpg", seed=9)
    assert len(examples(place)) == 4


@pytest.fixture
def clip(tmp_path):
    """Writes a video of 10 frames a second whose frames differ in brightness."""
    av = pytest.importorskip("av")

    def write(name, frames):
        path = tmp_path / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for number in range(frames):
                picture = np.full((48, 64, 3), 10 + 5 * number, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
        return path

    return write


@pytest.fixture
def videos(clip, tmp_path):
    clip("a.mp4", 25)
    clip("deep/b.avi", 8)
    return {
        "name": "video_folder",
        "manual_dir": str(tmp_path / "videos"),
        "data_dir": str(tmp_path / "tfds"),
    }


def test_frames_are_taken_at_even_times_and_grouped_by_video(videos):
    found = examples({**videos, "options": {"every_seconds": 0.5}})
    assert sorted(found) == [
        *(f"a.mp4#{n:06d}" for n in (0, 5, 10, 15, 20)), "deep/b.avi#000000", "deep/b.avi#000005",
    ]  # fmt: skip
    assert {example["group"] for example in found.values()} == {"a.mp4", "deep/b.avi"}
    for name, example in found.items():
        assert abs(example["image"].mean() - (10 + 5 * int(name[-6:]))) < 4  # the right frame


def test_boxes_of_frames(videos, tmp_path):
    table = tmp_path / "boxes.csv"
    table.write_text("name,x0,y0,x1,y1,frame\na.mp4,10,10,40,40,10\n")
    found = examples({**videos, "options": {"every_seconds": 0.5, "boxes": str(table)}})
    assert list(found) == ["a.mp4#000010"]
    np.testing.assert_allclose(original_box(found["a.mp4#000010"]), [10, 10, 40, 40], atol=1e-4)


def test_a_broken_video_is_named(videos, tmp_path):
    path = tmp_path / "videos" / "a.mp4"
    path.write_bytes(b"no video" * 50)
    with pytest.raises(ValueError, match=r"a\.mp4: not a readable video"):
        examples(videos)


def test_a_folder_without_videos_is_refused(videos, tmp_path, save_image):
    save_image(tmp_path / "pictures" / "a.jpg")
    with pytest.raises(ValueError, match="no files of video_folder"):
        examples({**videos, "manual_dir": str(tmp_path / "pictures")})
