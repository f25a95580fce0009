"""Opening a data set by its config: find, prepare once, split, read by position.

A source has a length and gives one example per position, as NumPy:

    image uint8 [H, W, 3]; points float32 [K, 2] in image pixels, NaN where a point has no label;
    visible bool [K], False where hidden (the point may still be labelled); box float32 [4];
    source_matrix float64 [2, 3] from pixels of the original file to those of `image`;
    name, group and subset (str). Unlabelled sets have no points and visible.

Splits never cut through a group (a person, a photograph, a video).
"""

import io
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from jaxgen.data import splits
from jaxgen.data.builders import images, registry


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
            name: one of `registry.FACES`, or "prepared".
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
            max_corrupt: stored examples that may be unreadable; training then leaves them out.
        split: "train" (or the name given as train_split), "validation", or any other split of the
            set, such as "test", "common" or "helen_test".

    Raises:
        ValueError: files, options or split are wrong; the message says which and what to do.
    """
    part = splits.open_part(
        data_config, split, sets=registry.FACES, is_labelled=lambda found: _num_points(found) > 0
    )
    data_set = part.data_set
    source = Source(splits.stored_records(part), data_set.convert, num_points=_num_points(data_set))
    positions = part.choose(len(source), source.labels)
    return source.select(positions, cache=bool(data_config.get("cache", False)))


def _decode(data: bytes, name: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(images.to_rgb(image))
    except images.UNREADABLE as error:
        raise ValueError(
            f"{name}: the stored image is damaged ({error}); delete the prepared data set and "
            "start again, or train without it with config.data.max_corrupt"
        ) from error


def _num_points(data_set) -> int:
    """Landmarks per face, from what is stored; TFDS's own sets are labelled in their own ways."""
    from jaxgen.data.builders import tfds_sets

    features = data_set.builder.info.features
    if data_set.builder.name in tfds_sets.NUM_POINTS:
        return tfds_sets.NUM_POINTS[data_set.builder.name]
    return features["points"].shape[0] if "points" in features else 0
