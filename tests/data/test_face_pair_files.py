"""Crops on disk: written once, resumed, balanced when read, and clear when they are missing."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import ml_collections
import numpy as np
import pytest

from experiments.configs.tiny_faces import gan_sections
from jaxgen.data import face_pair_files as files
from jaxgen.training import hosts
from jaxgen.training.errors import ConfigError


class Scenes(list):
    """Random pictures with two faces, one large and one small; counts what is read."""

    def __init__(self, count):
        rng = np.random.default_rng(count)
        boxes = np.array([[10, 10, 40, 44], [60, 60, 68, 69]], np.float32)
        super().__init__(
            {
                "image": rng.integers(0, 256, (96, 96, 3)).astype(np.uint8),
                "boxes": boxes,
                "ignored": np.zeros(2, bool),
                "name": f"scene{number}",
            }
            for number in range(count)
        )
        self.read = []

    def __getitem__(self, position):
        self.read.append(position)
        return super().__getitem__(position)


def nothing(image):
    return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)


def settings(**changes):
    config = ml_collections.ConfigDict({"crops": gan_sections.gan_sections().crops})
    config.crops.update(high=32, **changes)
    return config.crops


def write(folder, scenes, proposals=nothing, *, made_with=None, max_corrupt=0, **changes):
    cut = settings(**changes)
    facts = files.facts_of(scenes, cut, 0, made_with or {})
    files.write_split(folder, scenes, proposals, cut, seed=0, facts=facts, max_corrupt=max_corrupt)


def test_written_once_and_again_where_something_changed(tmp_path):
    scenes = Scenes(3)
    write(tmp_path / "train", scenes)
    crops = files.open_split(tmp_path / "train")
    assert len(scenes.read) == 3 and not (tmp_path / "train" / "parts").exists()
    assert crops["image"].shape[1:] == (32, 32, 3) and crops["low"].shape[1:] == (8, 8, 3)
    assert crops["is_face"].sum() == 12 and crops["is_face"].dtype == bool
    before = {name: np.array(value) for name, value in crops.items()}
    write(tmp_path / "train", scenes)
    assert len(scenes.read) == 3  # nothing was read again
    write(tmp_path / "train", scenes, made_with={"detector_step": 5})
    assert len(scenes.read) == 6
    for name, value in files.open_split(tmp_path / "train").items():
        np.testing.assert_array_equal(value, before[name])  # the same pictures, the same crops


def test_unreadable_pictures_are_left_out_up_to_the_limit(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(files, "_SCENES_PER_PART", 2)

    class Damaged(Scenes):
        def __getitem__(self, position):
            if position in (2, 3):  # a whole part
                raise ValueError(f"scene{position}: not a readable image")
            return super().__getitem__(position)

    with pytest.raises(ValueError, match="scene2: not a readable image"):
        write(tmp_path / "none", Damaged(5))
    with pytest.raises(ValueError, match="scene3: not a readable image"):
        write(tmp_path / "one", Damaged(5), max_corrupt=1)
    write(tmp_path / "two", Damaged(5), max_corrupt=2)
    assert "scene2: not a readable image" in caplog.text
    crops = files.open_split(tmp_path / "two")
    assert crops["is_face"].sum() == 3 * 4
    write(tmp_path / "whole", Scenes(5))
    whole = files.open_split(tmp_path / "whole")
    rows = np.r_[: len(crops["image"]) * 2 // 3, -len(crops["image"]) // 3 : 0]
    np.testing.assert_array_equal(crops["image"], whole["image"][rows])


def test_changes_name_the_keys(tmp_path):
    scenes = Scenes(2)
    facts = files.facts_of(scenes, settings(margin=1.5), 0, {"detector_step": 5})
    assert files.changes(tmp_path / "train", facts) == []  # nothing is there
    write(tmp_path / "train", scenes, made_with={"detector_step": 4}, margin=2.0)
    found = files.changes(tmp_path / "train", facts)
    assert found == ["detector_step 4, now 5", "settings.margin 2.0, now 1.5"]


def test_stopped_job_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_SCENES_PER_PART", 2)
    scenes = Scenes(5)

    def broken(image):
        if len(scenes.read) > 3:
            raise KeyboardInterrupt
        return nothing(image)

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "train", scenes, broken)
    with pytest.raises(ConfigError, match='stage "crops"'):
        files.open_split(tmp_path / "train")
    scenes.read.clear()
    write(tmp_path / "train", scenes)
    assert scenes.read == [2, 3, 4]
    whole = tmp_path / "whole"
    write(whole, Scenes(5))
    for name, value in files.open_split(whole).items():
        np.testing.assert_array_equal(value, files.open_split(tmp_path / "train")[name])


def test_processes_share_the_scenes_and_one_joins(tmp_path, monkeypatch):
    """Two threads stand for two processes that see one folder."""
    monkeypatch.setattr(files, "_SCENES_PER_PART", 2)
    write(tmp_path / "alone", Scenes(7))
    mine, meeting, said = threading.local(), threading.Barrier(2, timeout=60), {}

    def agree(value):
        said[mine.index] = value
        meeting.wait()
        first = said[0]
        meeting.wait()
        return first

    monkeypatch.setattr(hosts, "count", lambda: 2)
    monkeypatch.setattr(hosts, "index", lambda: mine.index)
    monkeypatch.setattr(hosts, "wait_for_all", lambda what: meeting.wait())
    monkeypatch.setattr(hosts, "agree", agree)
    scenes = [Scenes(7), Scenes(7)]

    def process(index):
        mine.index = index
        write(tmp_path / "train", scenes[index])
        write(tmp_path / "train", scenes[index])  # and nothing happens twice
        return files.open_split(tmp_path / "train")

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(process, range(2)))
    assert [each.read for each in scenes] == [[0, 1, 4, 5], [2, 3, 6]]
    for name, value in files.open_split(tmp_path / "alone").items():
        for each in found:
            np.testing.assert_array_equal(each[name], value)


def test_pictures_without_faces_are_refused(tmp_path):
    scenes = Scenes(2)
    for scene in scenes:
        scene["ignored"][:] = True
    with pytest.raises(ConfigError, match="0 of 4 crops show a face"):
        write(tmp_path / "train", scenes)
    assert not (tmp_path / "train" / "complete.json").exists()
    with pytest.raises(ConfigError, match="no picture"):
        write(tmp_path / "none", Scenes(0))


def test_error_names_the_picture(tmp_path):
    def two_boxes(image):
        return np.ones((2, 4)), np.ones(1)

    with pytest.raises(ValueError, match="scene0: 2 proposed boxes"):
        write(tmp_path / "train", Scenes(1), two_boxes)


def arrays(count=40):
    """Crops whose pixels are their row; a quarter is paired."""
    row = np.arange(count)
    return {
        "image": np.tile(row[:, None, None, None], (1, 8, 8, 3)).astype(np.uint8),
        "low": np.tile(row[:, None, None, None], (1, 2, 2, 3)).astype(np.uint8),
        "paired": row % 8 < 2,
        "is_face": row % 2 == 0,
        "box": np.zeros((count, 4), np.float32),
        "face_box": np.zeros((count, 4), np.float32),
        "height": np.full(count, 9.0),
    }


def test_batches_hold_faces_and_backgrounds_and_resume():
    crops = arrays()
    read = files.training_batches(crops, batch_size=6, unpaired=0.5, seed=1)
    seen = {"face": set(), "background": set()}
    for _ in range(20):
        batch = next(read)
        for name, part in batch.items():
            assert part["image"].shape == (3, 8, 8, 3)
            np.testing.assert_array_equal(part["image"][:, 0, 0, 0], part["low"][:, 0, 0, 0])
            seen[name] |= set(part["image"][:, 0, 0, 0].tolist())
    assert all(row % 2 == 0 for row in seen["face"])
    assert all(row % 2 == 1 for row in seen["background"])
    # Five paired faces of twenty: no more than five unpaired ones join them.
    assert len(seen["face"]) == 10 and sum(row % 8 < 2 for row in seen["face"]) == 5
    position = json.loads(json.dumps(read.get_state()))
    expected = next(read)
    again = files.training_batches(crops, batch_size=6, unpaired=0.5, seed=1)
    again.set_state(position)
    np.testing.assert_array_equal(next(again)["face"]["image"], expected["face"]["image"])


@pytest.mark.parametrize(("unpaired", "count"), [(0.0, 5), (1.0, 20)])
def test_share_of_unpaired_crops(unpaired, count):
    crops = arrays()
    read = files.training_batches(crops, batch_size=2, unpaired=unpaired, seed=0)
    # In one pass every row that may be read comes once.
    rows = {int(next(read)["face"]["image"][0, 0, 0, 0]) for _ in range(count)}
    assert len(rows) == count


def test_odd_batches_and_missing_classes_are_refused():
    crops = arrays()
    with pytest.raises(ConfigError, match="batch_size"):
        files.training_batches(crops, batch_size=5, unpaired=1.0, seed=0)
    crops["paired"] &= crops["is_face"]
    with pytest.raises(ConfigError, match="only 0 crops of backgrounds"):
        files.training_batches(crops, batch_size=4, unpaired=0.0, seed=0)
