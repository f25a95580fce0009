"""Broken files of every kind: a documented error of one line that names the file, or an answer.

The table of readers is benchmarks/reader_samples.py; a longer run and what it found are in
docs/hardening.md: python -m benchmarks.fuzz_readers --examples=2000
"""

import hypothesis
import pytest

from benchmarks import fuzz_readers, reader_samples

READERS = {reader.name: reader for reader in reader_samples.readers()}


@pytest.fixture(autouse=True)
def no_gigabytes():
    with fuzz_readers.limited_memory():
        yield


@pytest.mark.parametrize("name", READERS)
def test_the_sample_itself_is_read(name, tmp_path):
    reader, path = READERS[name], tmp_path / READERS[name].file
    path.write_bytes(reader.sample)
    assert reader.check(reader.read(path)) is None


@pytest.mark.parametrize("name", READERS)
def test_cut_changed_and_recoded_files(name, tmp_path):
    reader = READERS[name]
    cuts, flips = (3, 1) if reader.slow else (24, 8)
    cases = [
        (f"{kind} {number}", fuzz_readers.judge(reader, tmp_path / reader.file, data, cut=cut))
        for number, (kind, data) in enumerate(
            fuzz_readers.systematic(reader, cuts=cuts, flips=flips)
        )
        for cut in [kind in ("cut", "empty")]
    ]
    cases.append(("folder", fuzz_readers.judge_folder(reader, tmp_path / reader.file)))
    assert [case for case in cases if case[1]] == []


@pytest.mark.parametrize("name", [name for name in READERS if not READERS[name].slow])
def test_random_changes(name, tmp_path):
    reader = READERS[name]

    @hypothesis.settings(
        max_examples=30,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(fuzz_readers.random_changes(reader))
    def run(data):
        assert fuzz_readers.judge(reader, tmp_path / reader.file, data) is None

    run()


def test_the_judge_sees_faults(tmp_path):
    """A reader that does everything wrong, so that the tests above can fail."""

    def read(path):
        content = path.read_bytes()
        if content == b"crash":
            raise IndexError("list index out of range")
        if content == b"nameless":
            raise ValueError("bad file")
        if content == b"pages":
            raise ValueError(f"{path}: " + "x" * 5000)
        if content == b"greedy":
            bytearray(2 * fuzz_readers.MEMORY)
        return content

    reader = reader_samples.Reader(
        "wrong", "a.bin", b"whole", read, lambda found: "nan" if found == b"nan" else None,
        knows_its_end=True,
    )  # fmt: skip
    path = tmp_path / "a.bin"
    expected = {
        b"crash": "IndexError",
        b"nameless": "does not name the file",
        b"pages": "several lines or pages",
        b"greedy": "MemoryError",
        b"nan": "wrong answer: nan",
    }
    for data, words in expected.items():
        assert words in fuzz_readers.judge(reader, path, data)
    assert "shorter" in fuzz_readers.judge(reader, path, b"who", cut=True)
    assert fuzz_readers.judge(reader, path, b"whole", cut=True) is None
