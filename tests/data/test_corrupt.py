"""Unreadable records and dead workers in the input pipelines: named, counted, never a hang."""

import json
import logging
import multiprocessing
import os
import signal

import numpy as np
import pytest
from PIL import Image

from jaxgen.data import augment, face_scenes, label_maps, pipeline, sources, splits
from jaxgen.data.builders import registry
from jaxgen.data.detection_batches import training_batches as detection_batches
from jaxgen.data.scene_batches import training_batches as scene_batches
from jaxgen.training.batches import ZippedBatches

SETTINGS = augment.Settings(rotation=20, noise=4)


class Faces:
    """Twelve faces of one grey level each; those of `bad` raise as a damaged image does."""

    num_points = 2

    def __init__(self, bad=()):
        self.bad = bad

    def __len__(self):
        return 12

    def __getitem__(self, position):
        if position in self.bad:
            raise ValueError(f"portrait_{position}: the stored image is damaged")
        return {
            "image": np.full((20, 20, 3), 10 * position, np.uint8),
            "points": np.array([[3, 4], [15, 9]], np.float32),
            "box": np.array([0, 0, 19, 19], np.float32),
            "name": f"portrait_{position}",
        }


def batches(source, *, limit, settings=augment.OFF, batch_size=4, **options):
    return pipeline.labelled_batches(
        source,
        batch_size=batch_size,
        size=16,
        margin=1.0,
        seed=3,
        augment=settings,
        max_corrupt=limit,
        **{"num_threads": 0, **options},
    )


def levels(stream, count):
    """Grey levels in the middle of the next crops: which faces they are."""
    return np.concatenate([next(stream)["image"][:, 8, 8, 0] for _ in range(count)]) // 10


@pytest.mark.parametrize("threads", [0, 2])
def test_an_unreadable_record_stops_training_unless_some_are_allowed(threads):
    with pytest.raises(ValueError, match="portrait_5: the stored image is damaged"):
        levels(batches(Faces(bad=[5]), limit=0, num_threads=threads), 3)


@pytest.mark.parametrize("threads", [0, 2])
def test_a_replacement_is_the_next_record_and_all_else_is_as_before(threads, caplog):
    whole = levels(batches(Faces(), limit=0), 6)
    stream = batches(Faces(bad=[5, 6, 11]), limit=3, num_threads=threads)
    expected = np.where(np.isin(whole, [5, 6]), 7, whole)
    expected[whole == 11] = 0  # after the last comes the first
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(levels(stream, 6), expected)
    assert stream.counts() == {"corrupt_records": 3}  # records, not times
    named = [r.getMessage() for r in caplog.records if "left out" in r.getMessage()]
    assert sorted(m.split(":")[1] for m in named) == [" portrait_11", " portrait_5", " portrait_6"]


def test_one_record_too_many_stops_with_both_numbers():
    stream = batches(Faces(bad=[2, 5, 8]), limit=2)
    with pytest.raises(ValueError, match=r"portrait_\d: .*record 3 .*config.data.max_corrupt=2"):
        levels(stream, 3)
    with pytest.raises(ValueError, match=r"portrait_\d+: .*config.data.max_corrupt=2"):
        next(batches(Faces(bad=range(12)), limit=2))


def test_resuming_repeats_replacements_draws_and_count():
    stream = batches(Faces(bad=[5, 6]), limit=2, settings=SETTINGS)
    for _ in range(4):  # a pass and a bit
        next(stream)
    assert stream.counts() == {"corrupt_records": 2}
    state = json.loads(json.dumps(stream.get_state()))
    expected = [next(stream) for _ in range(4)]
    resumed = batches(Faces(bad=[5, 6]), limit=2, settings=SETTINGS, num_threads=2)
    resumed.set_state(state)
    assert resumed.counts() == {"corrupt_records": 2}
    for batch in expected:
        found = next(resumed)
        assert found.keys() == batch.keys() == {"image", "points", "mask"}
        for key in batch:
            np.testing.assert_array_equal(found[key], batch[key])


def test_the_limit_may_be_raised_after_a_stop():
    """A run that stopped at a record goes on from its checkpoint with a new limit."""
    stream = batches(Faces(bad=[5]), limit=0, batch_size=1)
    states = [stream.get_state()]
    with pytest.raises(ValueError, match="portrait_5"):
        while True:
            next(stream)
            states.append(stream.get_state())
    resumed = batches(Faces(bad=[5]), limit=1, batch_size=1)
    resumed.set_state(states[-1])
    np.testing.assert_array_equal(levels(resumed, 1), [6])


def test_counts_of_all_streams_are_added():
    streams = {name: batches(Faces(bad), limit=2) for name, bad in {"a": [1], "b": [2, 3]}.items()}
    zipped = ZippedBatches(streams)
    assert zipped.counts() == {"corrupt_records": 0}
    for _ in range(3):
        next(zipped)
    assert zipped.counts() == {"corrupt_records": 3}
    assert ZippedBatches({"a": batches(Faces(), limit=0)}).counts() == {}


def test_a_damaged_record_of_a_prepared_set_is_left_out(tmp_path):
    """A byte of a prepared file is changed; then most of the file is gone."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(8):
        image = Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8))
        image.save(folder / f"photo_{number}.png")
    config = dict(name="image_folder", manual_dir=str(folder), data_dir=str(tmp_path / "prepared"))
    assert len(sources.open_source(config, "train")) == 8
    (path,) = (tmp_path / "prepared").rglob("*.array_record*")
    content = bytearray(path.read_bytes())
    content[1000] ^= 0xFF  # inside the first record, which is longer
    path.write_bytes(content)

    def stream(source, limit):
        options = dict(batch_size=4, size=16, margin=1.0, seed=0, num_threads=0)
        return pipeline.unlabelled_batches(source, max_corrupt=limit, **options)

    with pytest.raises(ValueError, match=r"record \d in .*prepared.* is damaged.*max_corrupt"):
        both = stream(sources.open_source(config, "train"), 0)
        next(both), next(both)
    # The name of a damaged record is unknown, so is its share of a held-out split: training's.
    config |= dict(max_corrupt=1, validation_fraction=0.4)
    train, held = (sources.open_source(config, split) for split in ("train", "validation"))
    assert len(train) + len(held) == 8
    for position in range(len(held)):
        held[position]
    tolerant = stream(train, 1)
    for _ in range(4):
        assert next(tolerant)["image"].shape == (4, 16, 16, 3)
    assert tolerant.counts() == {"corrupt_records": 1}
    path.write_bytes(content[:100])
    with pytest.raises(ValueError, match=r"record \d in .* is damaged .*more than .*max_corrupt=1"):
        next(stream(sources.open_source(config, "train"), 1))


def test_scenes_and_detection_crops_are_replaced_too():
    class Scenes(label_maps.Scenes):
        def __init__(self):
            super().__init__([None] * 6, classes=("a",), palette=[[0, 0, 0]], labelled=True)

        def read(self, position, *, with_label=True):
            if position == 3:
                raise ValueError("street_3: not a readable image")
            level = np.full((8, 8), position, np.uint8)
            return {"image": np.repeat(level[..., None], 3, 2), "label": level, "name": "s"}

    stream = scene_batches(
        Scenes(), batch_size=6, crop_size=8, seed=0, flip=0, num_threads=0, max_corrupt=1
    )
    assert sorted(next(stream)["label"][:, 0, 0]) == [0, 1, 2, 4, 4, 5]
    assert stream.counts() == {"corrupt_records": 1}

    class Crowds(face_scenes.FaceScenes):
        def __init__(self):
            super().__init__([None] * 6, None)

        def __getitem__(self, position):
            if position == 3:
                raise ValueError("crowd_3: not a readable image")
            image = np.full((16, 16, 3), position, np.uint8)
            return {"image": image, "boxes": np.zeros((0, 4)), "ignored": np.zeros(0, bool)}

    stream = detection_batches(
        Crowds(), batch_size=6, size=16, seed=0, crop=(1, 1), num_threads=0, max_corrupt=1
    )
    assert sorted(next(stream)["image"][:, 0, 0, 0]) == [0, 1, 2, 4, 4, 5]
    assert stream.counts() == {"corrupt_records": 1}


def test_a_part_without_tolerance_stops_at_opening():
    def label_of(position):
        if position == 2:
            raise ValueError("record 2 is damaged")
        return {"name": str(position), "group": str(position)}

    strict = splits.Part(registry.DataSet(None, None), ("train",), "train", 0.5, 1.0, 0)
    with pytest.raises(ValueError, match="record 2 is damaged"):
        strict.choose(6, label_of)


def test_a_killed_worker_process_is_an_error_and_no_hang():
    stream = batches(Faces(), limit=0, num_workers=1)
    next(stream)
    (worker,) = multiprocessing.active_children()
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(ChildProcessError, match=r"input pipeline.*config\.data\.workers"):
        for _ in range(1000):  # what is ready already may still come
            next(stream)


def test_a_position_serves_any_number_of_workers():
    """As the message of a dead worker says: on with fewer of them, or with threads."""

    def stream(workers):
        return batches(
            Faces(bad=[5]), limit=1, settings=SETTINGS, num_workers=workers, num_threads=2
        )

    before = stream(2)
    for _ in range(5):  # into the second pass, and not the same number for each worker
        next(before)
    state = json.loads(json.dumps(before.get_state()))
    expected = [next(before) for _ in range(3)]
    in_threads = stream(0)
    for workers in (0, 1):
        resumed = stream(workers)
        resumed.set_state(state)
        assert resumed.get_state() == state and resumed.counts() == {"corrupt_records": 1}
        for batch in expected:
            np.testing.assert_equal(next(resumed), batch)
    # The other way, in a stream that has been read already, as after a rollback.
    for _ in range(5):
        next(in_threads)
    before.set_state(json.loads(json.dumps(in_threads.get_state())))
    for batch in expected:
        np.testing.assert_equal(next(before), batch)


def test_a_position_of_several_workers_of_earlier_versions_is_read():
    saved = {
        "next_index_in_cycle": 1,
        "next_index_in_datasets": 2,
        "iterators_in_use_indices": [0, 1],
        "iterators_in_use_states": [{"next_index": 3}, {"next_index": 2}],
        "exhausted": [0, 0],
        "future_states": {},
    }
    expected = levels(batches(Faces(), limit=0), 6)[-4:]
    for state, limit in ((saved, 0), ({"iterator": saved, "corrupt": [7]}, 1)):
        stream = batches(Faces(), limit=limit)
        stream.set_state(state)
        np.testing.assert_array_equal(levels(stream, 1), expected)
