"""Every reader of files that the library has, each with a small valid file of its own.

`benchmarks.fuzz_readers` and tests/data/test_fuzz_readers.py break these files in many ways.
"""

from benchmarks import reader_samples_images, reader_samples_labels, reader_samples_runs
from benchmarks.reader_case import Reader


def readers() -> list[Reader]:
    """The table; readers whose optional package is not installed are left out."""
    return [
        *reader_samples_labels.readers(),
        *reader_samples_images.readers(),
        *reader_samples_runs.readers(),
    ]
