"""Feeds broken files to every reader of the library and counts what comes out.

    python -m benchmarks.fuzz_readers --examples=2000
    python -m benchmarks.fuzz_readers --only=pts,idx --examples=200

Every reader of `benchmarks.reader_samples` gets its own valid file cut at many places, with one
byte changed at many places, in other encodings, empty, as a folder, and `--examples` random
changes drawn by hypothesis from a fixed seed. A reader passes if it returns something that its
check accepts or raises one of its documented errors with a single line that names the file. It is
at fault if anything else comes out, if it takes more than ten seconds of processor time, or if it
asks for more than a gigabyte of memory. A file that holds its own length must not be read when it
is cut.

Prints the table of docs/hardening.md; the exit code is the number of readers at fault.
"""

import argparse
import collections
import contextlib
import logging
import re
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

import hypothesis
from hypothesis import strategies as st

from benchmarks import reader_samples
from benchmarks.reader_samples import Reader

MEMORY = 2**30  # bytes that a reader may add
SECONDS = 10
LONGEST = 1000  # characters of an error that somebody is to read
SPECIAL = [
    *(b"\xff" * 4, b"\xff" * 8, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0", b"\0" * 8),
    *(b"\x80", b"\xef\xbb\xbf", b"\r\n", b"\n", b"\t", b" ", b",", b'"', b"'", b"{", b"}", b"_"),
    *(b"[" * 3000, b"9" * 5000, b"x" * 140_000),
]
WORDS = [
    *("nan", "inf", "-inf", "1e999", "1e300", "-1", "0", "1000000000", "9" * 30, "1_0", "\u0663"),
    *("../../../etc/passwd", "/etc/passwd", "..", ".", "~", "", "null", "true", "[]", "{}", '""'),
    *("a" * 300, "\x00", "NaN", "-Infinity", "0x10", "1e-320"),
]


class Hung(BaseException):
    """A reader took too long; no reader's `except Exception` may swallow it."""


def systematic(reader: Reader, *, cuts: int, flips: int) -> Iterator[tuple[str, bytes]]:
    """(kind, bytes) of a fixed list of changes; at most so many cuts and changed bytes."""
    data = reader.sample
    yield "empty", b""
    for place in _spread(len(data), cuts):
        yield "cut", data[:place]
    for place in _spread(len(data), flips):
        for value in (data[place] ^ 1, data[place] ^ 0x80, 0, 255):
            if value != data[place]:
                yield "byte", data[:place] + bytes([value]) + data[place + 1 :]
    if reader.text:
        text = data.decode()
        for encoding in ("utf-16", "utf-16-le", "utf-32", "utf-8-sig"):
            yield "encoding", text.encode(encoding)
        yield "encoding", text.replace("\n", "\r\n").encode()
        yield "encoding", text.replace("\n", "\r").encode()
        yield "encoding", "\0".join(text).encode()
        yield "encoding", data + b"\xe4\xf6\xfc"


def random_changes(reader: Reader) -> st.SearchStrategy[bytes]:
    """Bytes near a reader's sample, or far from it."""
    data = reader.sample
    place = st.integers(0, len(data))
    piece = st.sampled_from(SPECIAL) | st.binary(min_size=1, max_size=8)

    def overwrite(drawn):
        changed = data
        for where, new in drawn:
            changed = changed[:where] + new + changed[where + len(new) :]
        return changed

    def insert(drawn):
        where, new = drawn
        return data[:where] + new + data[where:]

    def move(drawn):
        start, stop, to = drawn
        start, stop = min(start, stop), max(start, stop)
        return data[:to] + data[start:stop] + data[to:]

    kinds = [
        st.binary(max_size=300),
        st.lists(st.tuples(place, piece), min_size=1, max_size=4).map(overwrite),
        st.tuples(place, piece).map(insert),
        st.tuples(place, place, place).map(move),
        st.tuples(place, place).map(lambda ab: data[: min(ab)] + data[max(ab) :]),
    ]
    if reader.text:
        tokens = [match.span() for match in re.finditer(rb"[^\s,:{}\[\]\"]+", data)]
        token = st.sampled_from(tokens)

        def replace(drawn):
            (start, stop), word = drawn
            return data[:start] + word.encode() + data[stop:]

        kinds += [st.tuples(token, st.sampled_from(WORDS) | st.text(max_size=6)).map(replace)] * 2
    return st.one_of(kinds)


def judge(reader: Reader, path: Path, data: bytes, *, cut: bool = False) -> str | None:
    """What a reader does wrong with these bytes, in a line; None if nothing.

    Args:
        reader: of the table.
        path: where to write the file.
        data: its content.
        cut: the bytes are the beginning of the sample.
    """
    path.write_bytes(data)
    return _judge(reader, path, cut=cut)


def judge_folder(reader: Reader, path: Path) -> str | None:
    """As `judge`, for a folder in the place of the file."""
    path.unlink(missing_ok=True)
    path.mkdir()
    try:
        return _judge(reader, path, cut=True)
    finally:
        shutil.rmtree(path)


def _judge(reader, path, *, cut):
    try:
        with _deadline(), warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # such as a number beyond its type
            result = reader.read(path)
    except reader.raises as error:
        message = str(error)
        if path.name not in message:
            return f"{_where(error)}: does not name the file"
        if "\n" in message.rstrip() or len(message) > LONGEST:
            return f"{_where(error)}: an error of several lines or pages"
        return None
    except (Exception, Hung) as error:
        return f"{_where(error)}: not a documented error"
    problem = reader.check(result)
    if problem is None and cut and reader.knows_its_end and not reader.same(path, result):
        problem = "a file that is cut is read as a shorter one"
    return problem and f"wrong answer: {_shape(problem)}"


@contextlib.contextmanager
def limited_memory(extra: int = MEMORY):
    """Lets this process add so many bytes at most; a larger wish is a MemoryError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + extra, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextlib.contextmanager
def _deadline():
    def stop(number, frame):
        raise Hung(f"more than {SECONDS} s")

    # Processor time: on a busy machine a reader may wait long for its turn.
    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _where(error):
    """Type of an error and the last line of the library that it went through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame for frame in frames if "/jaxgen/" in frame.filename.replace("experiments", "jaxgen")
    ]
    place = f"{Path(own[-1].filename).name}:{own[-1].name}" if own else "?"
    return f"{type(error).__name__} in {place}"


def _shape(message):
    """A message without its values, so that faults can be counted."""
    return re.sub(r"[0-9]+|0x[0-9a-f]+", "#", re.sub(r"'.*?'", "'..'", message[:200]))[:60]


def _spread(length, most):
    """At most so many places in 0 .. length - 1, evenly spread."""
    return sorted({length * k // most for k in range(most)}) if length > most else range(length)


def fuzz(reader: Reader, folder: Path, *, examples: int) -> tuple[int, collections.Counter]:
    """Number of inputs tried, and how often each fault was seen."""
    path, faults, tried = folder / reader.file, collections.Counter(), 0

    def count(fault):
        nonlocal tried
        tried += 1
        if fault:
            faults[fault] += 1

    for kind, data in systematic(reader, cuts=examples, flips=examples // 4):
        count(judge(reader, path, data, cut=kind in ("cut", "empty")))
    count(judge_folder(reader, path))

    @hypothesis.seed(0)
    @hypothesis.settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(random_changes(reader))
    def run(data):
        count(judge(reader, path, data))

    run()
    return tried, faults


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=500, help="random inputs a reader")
    parser.add_argument("--only", default="", help="names of readers, with commas")
    args = parser.parse_args()
    chosen = [name for name in args.only.split(",") if name]
    logging.disable(logging.WARNING)  # readers say what they leave out; here it is all broken
    warnings.simplefilter("ignore", UserWarning)
    total, at_fault = 0, 0
    print("| reader | inputs | faults |\n|---|---:|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for reader in reader_samples.readers():
            if chosen and reader.name not in chosen:
                continue
            own = Path(folder) / reader.name
            own.mkdir()
            examples = args.examples // 10 if reader.slow else args.examples
            with limited_memory():
                tried, faults = fuzz(reader, own, examples=examples)
            shown = "; ".join(f"{fault} ({n})" for fault, n in faults.most_common()) or "none"
            print(f"| {reader.name} | {tried} | {shown} |", flush=True)
            total, at_fault = total + tried, at_fault + bool(faults)
    print(f"{total} inputs, {at_fault} readers at fault")
    return at_fault


if __name__ == "__main__":
    sys.exit(main())
