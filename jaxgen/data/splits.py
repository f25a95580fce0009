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
        max_corrupt: records that may be unreadable.
    """

    data_set: registry.DataSet
    stored: tuple[str, ...]
    split: str
    held_out: float
    label_fraction: float
    label_seed: int
    max_corrupt: int = 0

    def takes(self, group: str) -> bool:
        """Whether examples of a group belong to this split rather than to its counterpart."""
        if self.held_out == 0 or self.split not in ("train", "validation"):
            return True
        return hashing.is_held_out(group, self.held_out) == (self.split == "validation")

    def choose(self, count: int, label_of: Callable[[int], dict]) -> np.ndarray:
        """The examples of this split, as increasing positions in `stored`.

        Args:
            count: number of examples in `stored`.
            label_of: position -> dict with `name` and `group`; called only where that matters.

        Raises:
            ValueError: no example is left.
        """
        positions = np.arange(count)
        label_of = self._tolerant(label_of)
        if self.held_out > 0 and self.split in ("train", "validation"):
            groups = [label_of(p)["group"] for p in positions]
            positions = positions[[self._takes_known(group) for group in groups]]
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

    def _tolerant(self, label_of):
        """Unreadable records, if there may be any, have no group: training will meet them."""

        def labels(position):
            try:
                return label_of(position)
            except ValueError:
                return {"name": f"unreadable {position}", "group": None}

        return labels if self.max_corrupt else label_of

    def _takes_known(self, group):
        return self.takes(group) if group is not None else self.split == "train"


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
        fraction = 0.0 if has_own else hashing.DEFAULT_VALIDATION_FRACTION
    if split == "validation" and fraction == 0:
        stored = ("validation",)
        known = sorted(data_set.builder.info.splits)
        if known and "validation" not in known:
            raise ValueError(
                f"{data_set.builder.name} has no validation split: set "
                "config.data.validation_fraction=0.1 to hold out a part of the training examples"
            )
    seed, corrupt = get("label_seed", 0), get("max_corrupt", 0)
    return Part(data_set, stored, split, fraction, label_fraction, seed, corrupt)


def stored_records(part: Part, coded=("image",)):
    """Random access to the stored records of a part; images stay encoded.

    Pillow decodes them later: alike everywhere, with errors that name the file.

    Args:
        part: of a prepared set.
        coded: the features that stay encoded.

    Returns:
        A sequence with __getitems__, too. A damaged record raises a ValueError that names it.
    """
    import tensorflow_datasets as tfds

    builder = part.data_set.builder
    decoders = {name: tfds.decode.SkipDecoding() for name in coded}
    split = "+".join(part.stored)
    records = builder.as_data_source(split, decoders=decoders)
    return _Records(records, f"{builder.data_path} ({split})")


class _Records(Sequence):
    """Stored records whose damage is a ValueError: ArrayRecord's own errors name no record."""

    def __init__(self, records, place: str):
        self._records, self._place = records, place

    def __len__(self):
        return len(self._records)

    def __getitem__(self, row):
        try:
            return self._records[row]
        except RuntimeError as error:
            raise ValueError(
                f"record {row} in {self._place} is damaged "
                f"({str(error).splitlines()[0][:160]}); delete the prepared data set and start "
                "again, or train without the record with config.data.max_corrupt"
            ) from error

    def __getitems__(self, rows):
        try:
            return read_together(self._records, rows)
        except RuntimeError:  # one by one, to find out which it is
            return [self[row] for row in rows]


def read_together(records, rows: Sequence[int]) -> list[dict]:
    """Records by position; reading many together is five times faster."""
    if hasattr(records, "__getitems__"):
        return records.__getitems__(list(rows))
    return [records[row] for row in rows]


def _nested_subset(positions, names, fraction, seed) -> np.ndarray:
    """The share of the positions that hashes first; a smaller share is inside a larger one."""
    order = np.argsort([hashing.uniform(f"label/{seed}/{name}") for name in names], kind="stable")
    return np.sort(positions[order[: math.ceil(fraction * len(positions))]])
