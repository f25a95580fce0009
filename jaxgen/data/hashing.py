"""Choices that hang on a name alone, so that every reader of a set makes the same ones."""

import hashlib


def uniform(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48
