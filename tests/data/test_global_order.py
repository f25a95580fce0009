"""A run reads the same batches on any number of processes, and goes on on another number."""

import numpy as np
import pytest

from jaxgen.data import (
    array_batches,
    augment,
    detection_batches,
    global_order,
    pipeline,
    recognition_batches,
    scene_batches,
)
from jaxgen.data.recognition_sets import Faces

RNG = np.random.default_rng(0)
COUNT, BATCH = 14, 6  # passes end within batches


class Pictures:
    """Random pictures of one size with what any of the pipelines reads."""

    labelled = True

    def __init__(self):
        self.images = RNG.integers(0, 256, (COUNT, 12, 12, 3), np.uint8)

    def __len__(self):
        return COUNT

    def __getitem__(self, place):
        return {
            "image": self.images[place],
            "label": self.images[place, ..., 0] % 5,
            "points": np.array([[3, 4], [8, 9]], np.float32),
            "box": np.array([1, 1, 10, 10], np.float32),
            "boxes": np.array([[1, 1, 8, 9]], np.float32),
            "ignored": np.zeros(1, bool),
            "name": str(place),
        }

    def read(self, place, *, with_label):
        return self[place]


PICTURES = Pictures()
FACES = Faces(
    image=RNG.integers(0, 256, (COUNT, 12, 12, 1), np.uint8),
    identity=(np.arange(COUNT) // 2).astype(np.int32),
    pose=np.zeros(COUNT, np.int32),
    yaw=np.zeros(COUNT, np.float32),
    name=[str(row) for row in range(COUNT)],
    subset=[""] * COUNT,
    people=tuple(str(person) for person in range(COUNT // 2)),
    classes=(0.0,),
)
TURNED = augment.Settings(rotation=30, colour=0.2)


def arrays(size, **process):
    whole = {"image": PICTURES.images, "row": np.arange(COUNT)}
    return array_batches.batches(whole, batch_size=size, seed=3, **process)


def labelled(size, **process):
    return pipeline.labelled_batches(
        PICTURES, batch_size=size, size=8, margin=1.2, seed=3, augment=TURNED, **process
    )


def unlabelled(size, **process):
    return pipeline.unlabelled_batches(
        PICTURES, batch_size=size, size=8, margin=1.2, seed=3, augment=TURNED, **process
    )


def boxed(size, **process):
    return detection_batches.training_batches(
        PICTURES, batch_size=size, size=8, seed=3, settings=TURNED, **process
    )


def scenes(size, **process):
    return scene_batches.training_batches(
        PICTURES, batch_size=size, crop_size=8, seed=3, scale=(0.8, 1.2), **process
    )


def faces(size, **process):
    return recognition_batches.image_batches(FACES, batch_size=size, size=8, seed=3, **process)


def sets(size, **process):
    return recognition_batches.set_batches(FACES, people=size, images=2, size=8, seed=3, **process)


ALL = (arrays, labelled, unlabelled, boxed, scenes, faces, sets)


def together(streams):
    """The batch of the run: the rows of process 0, then those of process 1, ..."""
    parts = [next(stream) for stream in streams]
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def on(processes, stream):
    return [
        stream(BATCH // processes, process_index=index, process_count=processes)
        for index in range(processes)
    ]


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for key in first:
        np.testing.assert_array_equal(first[key], second[key])


@pytest.mark.parametrize("stream", ALL)
@pytest.mark.parametrize("processes", [2, 3])
def test_batches_are_those_of_one_process(stream, processes):
    one, several = on(1, stream), on(processes, stream)
    for _ in range(4):
        assert_equal(together(one), together(several))


@pytest.mark.parametrize("stream", ALL)
def test_a_position_serves_any_number_of_processes(stream):
    before = on(2, stream)
    for _ in range(3):
        together(before)
    states = [each.get_state() for each in before]
    assert states[0] == states[1]
    expected = [together(before) for _ in range(2)]
    for processes in (1, 3):
        after = on(processes, stream)
        for each in after:
            each.set_state(states[0])
        for batch in expected:
            assert_equal(together(after), batch)


def test_shares_of_a_pass_are_disjoint_and_complete():
    streams = on(2, lambda size, **process: arrays(1, **process))
    read = [[int(next(stream)["row"][0]) for _ in range(COUNT // 2)] for stream in streams]
    assert sorted(read[0] + read[1]) == list(range(COUNT))


def test_only_own_examples_are_read():
    read = []

    class Noting:
        def __len__(self):
            return 100

        def __getitem__(self, place):
            read.append(place)
            return place

    rows = global_order.RowsOfProcess(Noting(), 2, process_index=1, process_count=3)
    assert [rows[place] for place in range(5)] == read == [2, 3, 8, 9, 14]
    assert len(rows) == 33
