"""Batches of faces: crops and mirrored poses, sets and masks, resuming, shares, bad input."""

import json

import numpy as np
import pytest

from jaxgen.data import recognition_batches as batches
from jaxgen.data import recognition_sets

CLASSES = (-30.0, -15.0, 0.0, 15.0, 30.0)


@pytest.fixture(scope="module")
def faces():
    """Four people with 5, 5, 2 and 1 pictures; each pixel says row, y and x."""
    counts = (5, 5, 2, 1)
    identity = np.repeat(np.arange(4), counts).astype(np.int32)
    yaw = np.array([*CLASSES, *CLASSES, 30, np.nan, -15], np.float32)
    y, x = np.mgrid[:11, :11]
    image = np.stack([np.stack([np.full_like(y, row), y, x], -1) for row in range(len(yaw))])
    return recognition_sets.Faces(
        image=image.astype(np.uint8),
        identity=identity,
        yaw=yaw,
        pose=recognition_sets.pose_classes(yaw, CLASSES)[0],
        name=[str(row) for row in range(len(yaw))],
        subset=[""] * len(yaw),
        people=("a", "b", "c", "d"),
        classes=CLASSES,
    )


def take(stream, count):
    return [next(stream) for _ in range(count)]


def check(faces, image, identity, pose, yaw):
    """One crop shows one row's picture, mirrored together with its pose. -> (row, mirrored)."""
    rows, ys, xs = image[..., 0], image[..., 1].astype(int), image[..., 2].astype(int)
    row = int(rows[0, 0])
    assert (rows == row).all() and faces.identity[row] == identity
    assert (np.diff(ys, axis=0) == 1).all()
    step = np.diff(xs, axis=1)
    assert (step == step[0, 0]).all() and abs(step[0, 0]) == 1
    mirrored = step[0, 0] == -1
    sign = -1 if mirrored else 1
    np.testing.assert_equal(yaw, np.float32(sign) * faces.yaw[row])
    assert pose == -1 if np.isnan(yaw) else CLASSES[pose] == yaw
    return row, mirrored


def test_crops_of_single_pictures(faces):
    seen, corners = [], set()
    for batch in take(batches.image_batches(faces, batch_size=13, size=8, seed=0), 20):
        assert batch["image"].shape == (13, 8, 8, 3) and batch["image"].dtype == np.uint8
        assert batch["identity"].dtype == batch["pose"].dtype == np.int32
        assert batch["yaw"].dtype == np.float32
        found = [
            check(faces, *(batch[key][i] for key in ("image", "identity", "pose", "yaw")))
            for i in range(13)
        ]
        assert sorted(row for row, _ in found) == list(range(13))  # every picture in every pass
        seen += [mirrored for _, mirrored in found]
        corners |= {tuple(image[0].min(0)[1:]) for image in batch["image"]}
    assert 0.35 < np.mean(seen) < 0.65
    assert corners == {(y, x) for y in range(4) for x in range(4)}


@pytest.mark.parametrize(("jitter", "starts"), [(0.0, {1}), (0.5, {1, 2}), (1.0, {0, 1, 2, 3})])
def test_jitter_is_a_share_of_the_room_around_the_middle(faces, jitter, starts):
    """Faces of 11 pixels hold crops of 8 at 0 to 3; evaluation sees the one at 1."""
    stream = batches.image_batches(faces, batch_size=22, size=8, seed=0, jitter=jitter)
    found = {y for batch in take(stream, 4) for y in batch["image"][..., 1].min((1, 2))}
    assert found == starts


def test_sets_hold_different_pictures_of_one_person(faces):
    for batch in take(batches.set_batches(faces, people=4, images=3, size=8, seed=0), 10):
        assert batch["image"].shape == (4, 3, 8, 8, 3)
        assert sorted(batch["identity"]) == [0, 1, 2, 3]
        for p, person in enumerate(batch["identity"]):
            rows = [
                check(faces, batch["image"][p, i], person, batch["pose"][p, i], batch["yaw"][p, i])[
                    0
                ]
                for i in range(3)
            ]
            there = min(3, (faces.identity == person).sum())
            np.testing.assert_array_equal(batch["mask"][p], np.arange(3) < there)
            assert len(set(rows[:there])) == there  # a person with one picture is no error


def test_sets_are_drawn_anew(faces):
    stream = batches.set_batches(faces, people=4, images=2, size=8, seed=0)
    pairs = set()
    for batch in take(stream, 40):
        pairs |= {frozenset(np.unique(image[..., 0])) for image in batch["image"]}
    assert len(pairs) > 15  # of 10 + 10 + 1 + 1 possible ones


@pytest.mark.parametrize(
    "make",
    [
        lambda faces, **k: batches.image_batches(faces, batch_size=4, **k),
        lambda faces, **k: batches.set_batches(faces, people=2, images=2, **k),
    ],
)
def test_streams_resume_and_hang_on_the_seed(faces, make):
    stream = make(faces, size=8, seed=1)
    take(stream, 5)
    state = json.loads(json.dumps(stream.get_state()))
    expected = take(stream, 4)
    resumed, other = make(faces, size=8, seed=1), make(faces, size=8, seed=2)
    resumed.set_state(state)
    other.set_state(state)
    for mine, theirs, foreign in zip(take(resumed, 4), expected, take(other, 4), strict=True):
        for key in theirs:
            np.testing.assert_array_equal(mine[key], theirs[key])
        assert (foreign["image"] != theirs["image"]).any()


def test_processes_share_out_people(faces):
    seen = []
    for index in range(2):
        stream = batches.set_batches(
            faces, people=2, images=1, size=8, seed=0, process_index=index, process_count=2
        )
        seen.append([b["identity"] for b in take(stream, 5)])
    for shares in zip(*seen, strict=True):  # a batch of the run is a pass over four people
        assert sorted(np.concatenate(shares)) == [0, 1, 2, 3]


def test_evaluation_sees_the_middle_of_everything(faces):
    found = list(batches.evaluation_batches(faces, batch_size=5, size=7))
    valid = np.concatenate([batch["valid"] for batch in found])
    image = np.concatenate([batch["image"] for batch in found])[valid]
    np.testing.assert_array_equal(image, faces.image[:, 2:9, 2:9])
    np.testing.assert_array_equal(batches.middle(faces.image, 7), image)
    assert valid.sum() == 13 and len(valid) == 15


def test_mirrored_classes():
    np.testing.assert_array_equal(batches.mirrored_classes((-60, 0, 60)), [2, 1, 0])
    np.testing.assert_array_equal(batches.mirrored_classes((0,)), [0])


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"classes": (-15.0, 0.0, 30.0)}, {}, "need the pose class 15"),
        ({}, {"size": 12}, "12 pixels do not fit into aligned faces of 11"),
        ({}, {"flip": 1.5}, "probability"),
        ({}, {"images": 0}, "one picture or more"),
        ({"people": ("a", "b", "c", "d", "nobody")}, {}, "'nobody' has no picture"),
    ],
)
def test_bad_input(faces, change, options, message):
    with pytest.raises(ValueError, match=message):
        batches.set_batches(
            faces._replace(**change), **{"people": 2, "images": 2, "size": 8, "seed": 0, **options}
        )


def test_one_sided_classes_work_without_mirror_images(faces):
    part = faces._replace(classes=(-15.0, 0.0, 30.0))
    next(batches.set_batches(part, people=2, images=2, size=8, seed=0, flip=0))
