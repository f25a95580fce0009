"""Choices that hang on a name alone, so that every reader of a set makes the same ones."""

import hashlib

# Held out for validation where a labelled set has no validation split of its own.
DEFAULT_VALIDATION_FRACTION = 0.1


def uniform(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


def is_held_out(group: str, fraction: float) -> bool:
    """Whether validation takes a group from training, where it takes that share of the groups."""
    return uniform(f"validation/{group}") < fraction
