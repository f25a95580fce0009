"""Batches of arrays: passes, determinism, resuming, shards, last batch."""

import json

import numpy as np
import pytest

from jaxgen.data import array_batches

ARRAYS = {"image": np.arange(23 * 4, dtype=np.uint8).reshape(23, 2, 2), "label": np.arange(23)}


def stream(**options):
    return array_batches.batches(ARRAYS, **{"batch_size": 5, "seed": 3, **options})


def take(batches, count):
    return [next(batches) for _ in range(count)]


def labels(batches):
    return np.concatenate([batch["label"] for batch in batches])


def test_rows_stay_together():
    for batch in take(stream(), 6):
        assert batch["image"].shape == (5, 2, 2) and batch["image"].dtype == np.uint8
        np.testing.assert_array_equal(batch["image"][:, 0, 0], batch["label"] * 4)


@pytest.mark.parametrize("batch_size", [5, 23, 60])
def test_every_pass_sees_every_row_in_a_new_order(batch_size):
    count = -(-4 * 23 // batch_size)
    seen = labels(take(stream(batch_size=batch_size), count))[: 4 * 23].reshape(4, 23)
    for rows in seen:
        np.testing.assert_array_equal(np.sort(rows), np.arange(23))
    assert len(np.unique(seen, axis=0)) == 4


def test_the_seed_decides_the_order():
    first, again, other = (labels(take(stream(seed=s), 5)) for s in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("done", [0, 4, 11])
def test_a_resumed_stream_goes_on_with_the_next_batch(done):
    batches = stream()
    take(batches, done)
    state = json.loads(json.dumps(batches.get_state()))
    expected = take(batches, 8)
    resumed = stream()
    resumed.set_state(state)
    for mine, theirs in zip(take(resumed, 8), expected, strict=True):
        for key in ARRAYS:
            np.testing.assert_array_equal(mine[key], theirs[key])


def test_processes_share_the_rows_without_overlap():
    shares = [
        labels(take(stream(batch_size=1, process_index=i, process_count=3), 7)) for i in range(3)
    ]
    assert len(np.unique(np.concatenate(shares))) == 21


@pytest.mark.parametrize("process_count", [1, 3])
def test_evaluation_visits_each_row_once_and_marks_the_filling(process_count):
    shares = [
        array_batches.evaluation_batches(
            ARRAYS, batch_size=4, process_index=i, process_count=process_count
        )
        for i in range(process_count)
    ]
    assert len({len(share) for share in shares}) == 1
    for _ in range(2):  # every loop starts anew
        rows = [batch for share in shares for batch in share]
        assert len(rows) == process_count * len(shares[0])
        assert all(batch["image"].shape == (4, 2, 2) for batch in rows)
        index, valid = (np.concatenate([b[key] for b in rows]) for key in ("index", "valid"))
        assert index.dtype == np.int32 and valid.dtype == bool
        np.testing.assert_array_equal(np.sort(index[valid]), np.arange(23))
        np.testing.assert_array_equal(labels(rows)[valid], index[valid])


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        (ARRAYS, {"process_count": 24}, "23 examples cannot feed 24 processes"),
        (ARRAYS, {"batch_size": 0}, "holds 0 examples"),
        ({"a": np.zeros(0)}, {}, "0 examples cannot feed"),
        ({"a": np.zeros(3), "b": np.zeros(2)}, {}, r"one length .*'a': 3, 'b': 2"),
    ],
)
def test_impossible_requests_are_refused(arrays, options, message):
    with pytest.raises(ValueError, match=message):
        array_batches.batches(arrays, **{"batch_size": 5, "seed": 0, **options})


def test_evaluation_without_a_batch_is_refused():
    with pytest.raises(ValueError, match="holds 0 examples"):
        array_batches.evaluation_batches(ARRAYS, batch_size=0)
