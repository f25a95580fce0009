"""Damaged checkpoints: found by digests of their files, named, moved out of the way.

Numbers on disk carry no checksum of their own: a flipped bit would be read as another weight.
So a checkpoint holds the size and the CRC-32 of each of its files, written before the
checkpoint gets its final name.
"""

import errno
import json
import re
import zlib
from pathlib import Path

DIGESTS = "digests.json"
# A file that is not there, or on a bad part of the disk. Other errors say nothing about it.
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EIO)
# Written later, when the checkpoint gets its name; nothing is read from them.
_LATER = ("commit_success.txt", "_CHECKPOINT_METADATA")


def write_digests(folder: Path) -> None:
    """Writes digests.json: {file, relative to the folder: [bytes, CRC-32]}."""
    files = {
        path.relative_to(folder).as_posix(): _digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (DIGESTS, *_LATER)
    }
    (folder / DIGESTS).write_text(json.dumps(files, indent=0) + "\n")


def has_digests(folder: Path) -> bool:
    """Whether a checkpoint has digests; those of earlier versions have none."""
    return (folder / DIGESTS).exists()


def fingerprint(folder: Path) -> int | None:
    """A number that tells a checkpoint from another of the same step; None where it has none."""
    try:
        return zlib.crc32((folder / DIGESTS).read_bytes())
    except OSError:
        return None


def find_damage(folder: Path) -> str | None:
    """What is wrong with the files of a checkpoint, naming the first such file.

    Returns:
        None where all is well, and where there are no digests to compare with.

    Raises:
        OSError: a file cannot be read for a reason that may pass, such as missing rights.
    """
    if not has_digests(folder):
        return None
    try:
        content = (folder / DIGESTS).read_bytes()
    except IsADirectoryError as error:
        return f"{DIGESTS} cannot be read ({error.strerror})"
    try:
        files = {name: (int(size), int(crc)) for name, (size, crc) in json.loads(content).items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        return f"{DIGESTS} cannot be read ({error})"
    for name, (size, crc) in files.items():
        try:
            found = _digest(folder / name)
        except OSError as error:
            if error.errno not in _GONE:
                raise
            return f"{name} cannot be read ({error.strerror})"
        if found[0] != size:
            return f"{name} has {found[0]} bytes instead of {size}"
        if found[1] != crc:
            return f"the content of {name} has changed"
    return None


def move_aside(folder: Path) -> Path:
    """Moves WORKDIR/checkpoints/STEP to WORKDIR/damaged_checkpoints/STEP, or STEP.1, STEP.2 ..."""
    target = place = folder.parents[1] / "damaged_checkpoints" / folder.name
    target.parent.mkdir(exist_ok=True)
    number = 0
    while target.exists():
        number += 1
        target = place.with_name(f"{folder.name}.{number}")
    return folder.rename(target)


def first_line(error: BaseException) -> str:
    """What an error says, short enough for a line of its own."""
    # TensorStore ends a long list of paths with what the operating system said.
    if cause := re.search(r"([^:]+) \[os_error_code", str(error)):
        return cause[1].strip()
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300].rstrip(".")


def _digest(path: Path) -> tuple[int, int]:
    size = crc = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            size, crc = size + len(block), zlib.crc32(block, crc)
    return size, crc
