"""Batches: form, agreement of pixels and points, determinism, resuming, shards, last batch."""

import json

import numpy as np
import pytest

from jaxgen.data import augment, crop, flip_pairs, pipeline, sources

CROP = dict(size=32, margin=1.4)
AUGMENT = augment.Settings(rotation=20, scale=0.1, shift=0.1, flip=0.5, colour=0.2, noise=4)
FLIP = flip_pairs.for_points(68)


@pytest.fixture(scope="module")
def train(helen):
    return sources.open_source({**helen, "validation_fraction": 0.0, "cache": True}, "train")


@pytest.fixture(scope="module")
def test(helen):
    return sources.open_source(helen, "helen_test")


def batches(source, **options):
    defaults = dict(batch_size=5, seed=3, augment=AUGMENT, flip_order=FLIP, num_threads=0, **CROP)
    return pipeline.labelled_batches(source, **{**defaults, **options})


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for key in first:
        np.testing.assert_array_equal(first[key], second[key])


def test_training_batches_have_the_documented_form(train):
    batch = next(batches(train))
    forms = {key: (value.shape, value.dtype.name) for key, value in batch.items()}
    assert forms == {
        "image": ((5, 32, 32, 3), "uint8"),
        "points": ((5, 68, 2), "float32"),
        "mask": ((5, 68), "bool"),
    }
    images = pipeline.unlabelled_batches(train, batch_size=4, seed=0, num_threads=0, **CROP)
    assert {k: v.shape for k, v in next(images).items()} == {"image": (4, 32, 32, 3)}


@pytest.mark.parametrize("threads", [0, 2])
def test_a_resumed_stream_goes_on_with_the_next_batch(train, threads):
    stream = batches(train, num_threads=threads)
    for _ in range(7):  # into the second pass over 24 faces
        next(stream)
    state = json.loads(json.dumps(stream.get_state()))
    expected = [next(stream) for _ in range(4)]
    resumed = batches(train, num_threads=0)
    resumed.set_state(state)
    for batch in expected:
        assert_equal(next(resumed), batch)


def test_the_seed_decides_order_and_augmentation(train):
    assert_equal(next(batches(train)), next(batches(train)))
    assert (next(batches(train))["points"] != next(batches(train, seed=4))["points"]).any()


def test_every_pass_sees_every_face_in_a_new_order(train):
    stream = batches(train, batch_size=24, augment=augment.OFF)
    passes = [next(stream)["points"] for _ in range(2)]
    ordered = [p[np.lexsort(p[:, 0].T)] for p in passes]
    np.testing.assert_array_equal(*ordered)
    assert (passes[0] != passes[1]).any()


def test_augmentation_is_drawn_anew_in_every_pass_and_process():
    """One face in the source: every difference comes from the draws."""

    class OneFace:
        num_points = 2

        def __len__(self):
            return 2

        def __getitem__(self, i):
            points = np.array([[3, 4], [20, 9]], np.float32)
            box = np.array([0, 0, 30, 30], np.float32)
            return {"image": np.zeros((30, 30, 3), np.uint8), "points": points, "box": box}

    settings = augment.Settings(rotation=40)
    draws = np.concatenate(
        [
            next(
                batches(OneFace(), batch_size=8, augment=settings, process_index=i, process_count=2)
            )["points"][:, 0]
            for i in range(2)
        ]
    )
    assert len(np.unique(draws, axis=0)) == 16


def test_processes_share_the_faces_without_overlap(train):
    shares = [
        next(batches(train, batch_size=12, augment=augment.OFF, process_index=i, process_count=2))[
            "points"
        ]
        for i in range(2)
    ]
    seen = np.concatenate(shares).reshape(24, -1)
    assert len(np.unique(seen, axis=0)) == 24


def test_two_worker_processes_give_the_same_batches(train):
    workers = batches(train, num_workers=2)
    plain = batches(train)
    for _ in range(3):
        assert_equal(next(workers), next(plain))


def test_points_follow_their_pixels_through_augmentation():
    """A bright spot at a landmark is found at the batch's coordinates, flipped or not."""
    y, x = np.mgrid[:120, :120]
    spot = 255 * np.exp(-((x - 50) ** 2 + (y - 70) ** 2) / (2 * 4.0**2))
    example = {
        "image": np.repeat(spot.round().astype(np.uint8)[..., None], 3, 2),
        "points": np.array([[50, 70], [80, 40]], np.float32),
        "box": np.array([25, 25, 95, 95], np.float32),
        "name": "spot",
    }
    rows, columns = np.mgrid[:64, :64]
    flips = 0
    for seed in range(40):
        result = pipeline.labelled_example(
            example,
            np.random.default_rng(seed),
            size=64,
            margin=1.5,
            settings=augment.Settings(rotation=40, scale=0.2, shift=0.1, flip=0.5),
            flip_order=np.array([1, 0]),
        )
        mass = result["image"][..., 0].astype(float)
        found = np.array([(columns * mass).sum(), (rows * mass).sum()]) / mass.sum()
        errors = np.abs(result["points"] - found).max(1)
        flips += int(errors.argmin())  # after a flip the spot is landmark 1
        assert errors.min() < 0.05
    assert 5 < flips < 35


def test_unlabelled_points_are_masked_and_points_outside_stay():
    example = {
        "image": np.zeros((60, 60, 3), np.uint8),
        "points": np.array([[30, 30], [np.nan, np.nan], [5, np.nan], [300, 300]], np.float32),
        "box": np.array([20, 20, 40, 40], np.float32),
        "source_matrix": np.eye(3)[:2],
    }
    result = pipeline.evaluation_example(example, size=20, margin=1.0)
    np.testing.assert_array_equal(result["mask"], [True, False, False, True])
    assert not result["points"][1:3].any()
    np.testing.assert_allclose(result["points"][3], 9.5 + 270)
    # A picture that was stored at half of its size, cut at (6, 8): (10, 20) lies at (2, 6).
    stored = {**example, "source_matrix": np.array([[0.5, 0, -3], [0, 0.5, -4]])}
    found = pipeline.evaluation_example(stored, size=20, margin=1.0)
    expected = crop.transform_points(result["matrix"], [2, 6])
    np.testing.assert_allclose(crop.transform_points(found["matrix"], [10, 20]), expected)


def test_evaluation_visits_each_face_once_and_marks_the_filling(test):
    got = pipeline.evaluation_batches(test, batch_size=2, num_threads=2, **CROP)
    for _ in range(2):  # every loop starts anew
        rows = list(got)
        assert len(rows) == len(got) == 3
        valid = np.concatenate([b["valid"] for b in rows])
        np.testing.assert_array_equal(valid, [True] * 5 + [False])
        index = np.concatenate([b["index"] for b in rows])
        np.testing.assert_array_equal(index[valid], np.arange(5))
    first = test[0]
    back = crop.transform_points(crop.invert(rows[0]["matrix"][0]), rows[0]["points"][0])
    original = crop.transform_points(crop.invert(first["source_matrix"]), first["points"])
    np.testing.assert_allclose(back, original, atol=1e-3)


def test_processes_evaluate_the_same_number_of_batches(test):
    shares = [
        list(
            pipeline.evaluation_batches(
                test, batch_size=2, process_index=i, process_count=3, num_threads=0, **CROP
            )
        )
        for i in range(3)
    ]
    assert {len(share) for share in shares} == {1}
    rows = [
        (i, v)
        for share in shares
        for b in share
        for i, v in zip(b["index"], b["valid"], strict=True)
    ]
    assert sorted(int(i) for i, valid in rows if valid) == list(range(5))


@pytest.mark.parametrize("threads", [0, 2])
def test_a_bad_record_is_named(train, threads):
    class Broken:
        num_points = 68

        def __len__(self):
            return 6

        def __getitem__(self, i):
            return {**train[i], "name": "portrait_17", "box": np.zeros(4)}

    with pytest.raises(ValueError, match="portrait_17: a face box"):
        next(batches(Broken(), num_threads=threads))


def test_impossible_requests(train):
    with pytest.raises(ValueError, match="flip_pairs"):
        batches(train, flip_order=None)
    with pytest.raises(ValueError, match="cannot feed 30 processes"):
        batches(train, process_count=30)
    with pytest.raises(ValueError, match="one or more"):
        batches(train, batch_size=0)
