"""The same picture among the people to train on and among those to test on.

A recogniser that has seen a test picture in training is measured too well, so the builders look for
files of the same content. Files of different sizes are never read.
"""

import hashlib
import logging
from collections.abc import Iterable
from pathlib import Path

RULES = ("error", "warn", "ignore")
_log = logging.getLogger(__name__)


def find_duplicates(first: Iterable[Path], second: Iterable[Path]) -> list[tuple[Path, Path]]:
    """Pairs of files (one of each group) with the same content, sorted."""
    by_size: dict[int, tuple[list[Path], list[Path]]] = {}
    for side, paths in enumerate((first, second)):
        for path in paths:
            by_size.setdefault(path.stat().st_size, ([], []))[side].append(path)
    pairs = []
    for ours, theirs in by_size.values():
        if not (ours and theirs):
            continue
        known: dict[bytes, list[Path]] = {}
        for path in ours:
            known.setdefault(_digest(path), []).append(path)
        pairs += [(path, other) for other in theirs for path in known.get(_digest(other), ())]
    return sorted(pairs)


def check_duplicates(train: Iterable[Path], test: Iterable[Path], *, rule: str) -> None:
    """Raises or warns where a picture is in both; `rule` is one of `RULES`.

    Raises:
        ValueError: the rule is "error" and there is one; the message names both files.
    """
    if rule not in RULES:
        raise ValueError(f"option duplicates is one of {RULES}, got {rule!r}")
    pairs = [] if rule == "ignore" else find_duplicates(train, test)
    if not pairs:
        return
    one, other = pairs[0]
    message = (
        f"{len(pairs)} test pictures are training pictures too, the first {other} = {one}: delete "
        'one of them, or set config.data.options.duplicates="warn" to go on'
    )
    if rule == "error":
        raise ValueError(message)
    _log.warning("%s", message)


def _digest(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()
