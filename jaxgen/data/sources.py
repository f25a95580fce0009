"""Opening a data set by its config: find, prepare once, split, read by position.

A source has a length and gives one example per position, as NumPy:

    image uint8 [H, W, 3]; points float32 [K, 2] in image pixels, NaN where a point has no label;
    visible bool [K], False where hidden (the point may still be labelled); box float32 [4];
    source_matrix float64 [2, 3] from pixels of the original file to those of `image`;
    name, group and subset (str). Unlabelled sets have no points and visible.

Splits never cut through a group (a person, a photograph, a video).
"""

import hashlib
import io
import math
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from jaxgen.data.builders import images, registry

# Held out for validation where a labelled set has no validation split of its own.
DEFAULT_VALIDATION_FRACTION = 0.1


class Source(Sequence):
    """Examples of one split by position. Safe to read from several threads; picklable."""

    def __init__(self, records, convert: Callable, *, num_points: int, indices=None, cache=False):
        """Wraps stored records.

        Args:
            records: random access to stored examples whose image is still encoded.
            convert: (record, its position in the split) -> example as in the module docstring,
                image still encoded.
            num_points: landmarks per example; 0 in unlabelled sets.
            indices: the records to use, in order; None means all.
            cache: keep every decoded example in memory after its first use.
        """
        self._records, self._convert = records, convert
        self._indices = np.arange(len(records)) if indices is None else np.asarray(indices)
        self._cache = [None] * len(self._indices) if cache else None
        self.num_points = num_points

    def __len__(self):
        return len(self._indices)

    def __getitem__(self, position) -> dict:
        position = int(position)
        if self._cache is not None and self._cache[position] is not None:
            return dict(self._cache[position])
        example = self.labels(position)
        example["image"] = _decode(example["image"], example["name"])
        if self._cache is not None:
            self._cache[position] = example
        return dict(example)

    def labels(self, position) -> dict:
        """The example with its image still encoded: fast, for names, groups and points."""
        index = int(self._indices[position])
        return self._convert(self._records[index], index)

    def select(self, positions, *, cache=False) -> "Source":
        """The source of just these positions."""
        return Source(
            self._records,
            self._convert,
            num_points=self.num_points,
            indices=self._indices[positions],
            cache=cache,
        )


def open_source(data_config, split: str) -> Source:
    """Opens one split of the data set that a config names, preparing the set on first use.

    Args:
        data_config: mapping (ml_collections or dict); every key but `name` may be left out.
            name: a key of `registry.MANUAL`, `SYNTHETIC` or `TFDS`, or "prepared".
            manual_dir: folder of the user's files, or the folder above the official one; it is
                looked up below $JAXGEN_DATA too. "" means $JAXGEN_DATA/<official folder>.
            data_dir: where prepared sets are kept; "" is TFDS's default. For "prepared", the
                folder of one prepared set, whose raw files may be gone.
            options: the builder's own options.
            cache: keep decoded images in memory.
            train_split: the stored split to train on, by default "train".
            validation_fraction: share of its groups that is held out as "validation"; None holds
                out 0.1 of labelled sets without a validation split of their own.
            label_fraction: share of the training examples that is used. Smaller shares are inside
                larger ones.
            label_seed: which examples those are.
        split: "train" (or the name given as train_split), "validation", or any other split of the
            set, such as "test", "common" or "helen_test".

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
        manual_dir=get("manual_dir", ""),
        data_dir=get("data_dir", ""),
        options=get("options", None),
    )
    train_split = get("train_split", "") or "train"
    is_train, is_validation = split in ("train", train_split), split == "validation"
    base = train_split if is_train or is_validation else split
    parts = data_set.split_parts(base)  # before anything is written
    registry.prepare(data_set.builder)
    if fraction is None:
        has_own = "validation" in data_set.builder.info.splits or not _num_points(data_set)
        fraction = 0.0 if has_own else DEFAULT_VALIDATION_FRACTION
    if is_validation and fraction == 0:
        base, parts = "validation", ("validation",)
        known = sorted(data_set.builder.info.splits)
        if known and base not in known:
            raise ValueError(
                f"{data_set.builder.name} has no validation split: set "
                "config.data.validation_fraction=0.1 to hold out a part of the training faces, or "
                f"config.data.validation_split to one of {known}"
            )
    source = Source(
        _records(data_set.builder, parts), data_set.convert, num_points=_num_points(data_set)
    )
    positions = np.arange(len(source))
    if fraction > 0 and (is_train or is_validation):
        positions = positions[_held_out(source, fraction) == is_validation]
        if not len(positions):
            raise ValueError(
                f"no group of {base!r} falls into {split!r} at config.data.validation_fraction="
                f"{fraction}: the set has too few groups for that share"
            )
    if is_train and label_fraction < 1:
        names = [source.labels(p)["name"] for p in positions]
        positions = _nested_subset(positions, names, label_fraction, get("label_seed", 0))
    return source.select(positions, cache=bool(get("cache", False)))


def _held_out(source, fraction) -> np.ndarray:
    """[N] bool: whether the example's group belongs to the validation part.

    A group's own hash decides, so files that are added later move no other example.
    """
    groups = [source.labels(p)["group"] for p in range(len(source))]
    return np.array([_uniform(f"validation/{group}") < fraction for group in groups])


def _nested_subset(positions, names, fraction, seed) -> np.ndarray:
    """The share of the positions that hashes first; a smaller share is inside a larger one."""
    order = np.argsort([_uniform(f"label/{seed}/{name}") for name in names], kind="stable")
    return np.sort(positions[order[: math.ceil(fraction * len(positions))]])


def _uniform(text) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


def _decode(data: bytes, name: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(images.to_rgb(image))
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(
            f"{name}: the stored image is damaged ({error}); delete the prepared data set and "
            "start again"
        ) from error


def _records(builder, parts):
    import tensorflow_datasets as tfds

    # Pillow decodes the images, in `Source`: alike everywhere, with errors that name the file.
    return builder.as_data_source("+".join(parts), decoders={"image": tfds.decode.SkipDecoding()})


def _num_points(data_set) -> int:
    """Landmarks per face, from what is stored; TFDS's own sets are labelled in their own ways."""
    from jaxgen.data.builders import tfds_sets

    features = data_set.builder.info.features
    if data_set.builder.name in tfds_sets.NUM_POINTS:
        return tfds_sets.NUM_POINTS[data_set.builder.name]
    return features["points"].shape[0] if "points" in features else 0
