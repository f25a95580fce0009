"""Which stored examples the splits of a config are: official, held out, and a share of the labels.

Choices hang on a hash of the example's own group or name: files that are added later move no other
example, and every reader of a set makes the same choice.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from jaxgen.data import hashing
from jaxgen.data.builders import registry

# Held out for validation where a labelled set has no validation split of its own.
DEFAULT_VALIDATION_FRACTION = 0.1


@dataclasses.dataclass(frozen=True)
class Part:
    """One split of a prepared set, before examples are chosen.

    Attributes:
        data_set: the set, prepared.
        stored: the stored splits to read, one after the other.
        split: "train", "validation" or the name of any other split.
        held_out: share of the groups that validation takes from training.
        label_fraction: share of the training examples that is used.
        label_seed: which examples those are.
    """

    data_set: registry.DataSet
    stored: tuple[str, ...]
    split: str
    held_out: float
    label_fraction: float
    label_seed: int

    def takes(self, group: str) -> bool:
        """Whether examples of a group belong to this split rather than to its counterpart."""
        if self.held_out == 0 or self.split not in ("train", "validation"):
            return True
        is_held = hashing.uniform(f"validation/{group}") < self.held_out
        return is_held == (self.split == "validation")

    def choose(self, count: int, label_of: Callable[[int], dict]) -> np.ndarray:
        """The examples of this split, as increasing positions in `stored`.

        Args:
            count: number of examples in `stored`.
            label_of: position -> dict with `name` and `group`; called only where that matters.

        Raises:
            ValueError: no example is left.
        """
        positions = np.arange(count)
        if self.held_out > 0 and self.split in ("train", "validation"):
            positions = positions[[self.takes(label_of(p)["group"]) for p in positions]]
            if not len(positions):
                raise ValueError(
                    f"no group of {'+'.join(self.stored)!r} falls into {self.split!r} at "
                    f"config.data.validation_fraction={self.held_out}: the set has too few groups "
                    "for that share"
                )
        if self.split == "train" and self.label_fraction < 1:
            names = [label_of(p)["name"] for p in positions]
            positions = _nested_subset(positions, names, self.label_fraction, self.label_seed)
        return positions


def open_part(data_config, split: str, *, sets, is_labelled: Callable) -> Part:
    """Finds and prepares the set that a config names.

    Args:
        data_config: mapping; the keys are those of `sources.open_source`.
        split: "train" (or the name given as train_split), "validation", or any other split.
        sets: `registry.Sets` that the name is looked up in.
        is_labelled: DataSet -> bool; unlabelled sets hold nothing out unless they are told to.

    Raises:
        ValueError: files, options or split are wrong; the message says which and what to do.
    """
    get = data_config.get
    fraction, label_fraction = get("validation_fraction", None), get("label_fraction", 1.0)
    if fraction is not None and not 0 <= fraction < 1:
        raise ValueError(f"config.data.validation_fraction is at least 0 and below 1: {fraction}")
    if not 0 < label_fraction <= 1:
        raise ValueError(f"config.data.label_fraction is above 0 and at most 1: {label_fraction}")
    data_set = registry.find(
        get("name", ""),
        sets=sets,
        manual_dir=get("manual_dir", ""),
        data_dir=get("data_dir", ""),
        options=get("options", None),
    )
    train_split = get("train_split", "") or "train"
    split = "train" if split == train_split else split
    base = train_split if split in ("train", "validation") else split
    stored = data_set.split_parts(base)  # before anything is written
    registry.prepare(data_set.builder)
    if fraction is None:
        has_own = "validation" in data_set.builder.info.splits or not is_labelled(data_set)
        fraction = 0.0 if has_own else DEFAULT_VALIDATION_FRACTION
    if split == "validation" and fraction == 0:
        stored = ("validation",)
        known = sorted(data_set.builder.info.splits)
        if known and "validation" not in known:
            raise ValueError(
                f"{data_set.builder.name} has no validation split: set "
                "config.data.validation_fraction=0.1 to hold out a part of the training examples, "
                f"or config.data.validation_split to one of {known}"
            )
    return Part(data_set, stored, split, fraction, label_fraction, get("label_seed", 0))


def stored_records(part: Part):
    """Random access to the stored records of a part; images stay encoded.

    Pillow decodes them later: alike everywhere, with errors that name the file.
    """
    import tensorflow_datasets as tfds

    return part.data_set.builder.as_data_source(
        "+".join(part.stored), decoders={"image": tfds.decode.SkipDecoding()}
    )


def read_together(records, rows: Sequence[int]) -> list[dict]:
    """Records by position; reading many together is five times faster."""
    if hasattr(records, "__getitems__"):
        return records.__getitems__(list(rows))
    return [records[row] for row in rows]


def _nested_subset(positions, names, fraction, seed) -> np.ndarray:
    """The share of the positions that hashes first; a smaller share is inside a larger one."""
    order = np.argsort([hashing.uniform(f"label/{seed}/{name}") for name in names], kind="stable")
    return np.sort(positions[order[: math.ceil(fraction * len(positions))]])
