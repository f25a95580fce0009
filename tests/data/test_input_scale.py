"""The checks of benchmarks/input_scale.py on a thousand records, and flat memory."""

import numpy as np
import pytest

from benchmarks import input_scale

SIZES = dict(batch_size=25)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    return input_scale.Records(input_scale.write(folder, 1000, files=7))


@pytest.fixture(params=["faces", "arrays"])
def source(request, records):
    return records if request.param == "faces" else records.column()


def test_every_record_comes_once_over_all_processes_and_streams_resume(source):
    seen, middles = input_scale.read_epoch(source, processes=4, **SIZES)
    np.testing.assert_array_equal(seen, 1)
    assert input_scale.resumes(source, middles, **SIZES)


def test_a_stream_resumed_elsewhere_is_noticed(source):
    """So that the test above can fail."""
    _, middles = input_scale.read_epoch(source, processes=2, **SIZES)
    (state, following), other = middles
    assert not input_scale.resumes(source, [(state, following[::-1]), other], **SIZES)


def test_the_seed_decides_the_order(source):
    first, again, other = (
        input_scale.take(input_scale.open_stream(source, seed=seed, **SIZES), 0)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert (np.diff(first) != 1).any()  # shuffled over all files
    assert len({number // 143 for number in first}) > 3
