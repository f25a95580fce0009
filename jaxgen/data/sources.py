"""Opening a data set by its config: find, prepare once, split, read by position.

A source has a length and gives one example per position, as NumPy:

    image uint8 [H, W, 3]; points float32 [K, 2] in image pixels, NaN where a point has no label;
    visible bool [K], False where hidden (the point may still be labelled); box float32 [4];
    source_matrix float64 [2, 3] from pixels of the original file to those of `image`;
    name, group and subset (str). Unlabelled sets have no points, visible and subset.

Splits never cut through a group (a person, a photograph, a video).
"""

import hashlib
import importlib
import io
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from jaxgen.data.builders import images

# data set -> (module of jaxgen.data.builders, class) of builders over the user's files.
MANUAL = {
    "w300": ("w300", "W300"),
    "image_folder": ("image_folder", "ImageFolder"),
}
# Rendered by the package itself.
SYNTHETIC = {"synthetic_faces": ("synthetic_faces", "SyntheticFaces")}


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
        data_config: mapping (ml_collections or dict) with
            name: a key of `MANUAL`, `SYNTHETIC` or `tfds_sets.SETS`, or "prepared".
            manual_dir: folder of the user's files, or the folder above the official one; it is
                looked up below $JAXGEN_DATA too. "" means $JAXGEN_DATA/<official folder>.
            data_dir: where prepared sets are kept; None is TFDS's default. For "prepared", the
                folder of one prepared set, whose raw files may be gone.
            options: the builder's own options.
            cache: keep decoded images in memory.
            train_split: the split that "train" and "validation" are taken from.
            validation_fraction: share of its groups that is held out; 0 keeps all for training.
            label_fraction: share of the training examples that is used. Smaller shares are inside
                larger ones.
            label_seed: which examples those are.
        split: "train" or "validation" (see above), or any other split of the set, such as "test",
            "common" or "helen_test".

    Raises:
        ValueError: files, options or split are wrong; the message says which and what to do.
    """
    get = lambda key, default: data_config.get(key, default)  # noqa: E731
    builder, convert, check = _builder(get)
    fraction = float(get("validation_fraction", 0.0))
    label_fraction = float(get("label_fraction", 1.0))
    for name, value, valid in (
        ("validation_fraction", fraction, 0 <= fraction < 1),
        ("label_fraction", label_fraction, 0 < label_fraction <= 1),
    ):
        if not valid:
            raise ValueError(f"config.data.{name} is a share between 0 and 1, got {value}")
    carved = split == "train" or (split == "validation" and fraction > 0)
    base = (get("train_split", "") or "train") if carved else split
    parts = check(base)  # before preparing anything
    _prepare(builder)
    source = Source(_records(builder, parts, base), convert, num_points=_num_points(builder))
    positions = np.arange(len(source))
    if carved and fraction > 0:
        positions = positions[_held_out(source, fraction) == (split == "validation")]
        if not len(positions):
            raise ValueError(
                f"no group of {base!r} falls into {split!r} with config.data.validation_fraction="
                f"{fraction}: the set has too few groups for that share"
            )
    if split == "train" and label_fraction < 1:
        names = [source.labels(p)["name"] for p in positions]
        positions = _nested_subset(positions, names, label_fraction, int(get("label_seed", 0)))
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


def _stored_example(record, index) -> dict:
    """A record of our own builders: text as str, the rest as it is."""
    del index
    text = {key: record[key].decode() for key in ("name", "group", "subset") if key in record}
    example = {"subset": "", "group": text["name"], **record, **text}
    example.setdefault("source_matrix", np.eye(3)[:2])
    return example


def _builder(get):
    """(builder, convert, check_split) of the data set that the config names."""
    import tensorflow_datasets as tfds

    from jaxgen.data.builders import tfds_sets

    name, data_dir = get("name", None), get("data_dir", None) or None
    options = get("options", None) or {}
    options = dict(options.items())
    if name in MANUAL:
        builder_class = _load(MANUAL[name])
        folder = manual_folder(get("manual_dir", "") or "", builder_class.FOLDER, builder_class)
        builder = builder_class.from_folder(folder, data_dir=data_dir, options=options)
        return builder, _stored_example, builder.split_parts
    if name in SYNTHETIC:
        builder = _load(SYNTHETIC[name])(data_dir=data_dir, file_format="array_record", **options)
        return builder, _stored_example, _one_part
    if name in tfds_sets.SETS:
        builder = tfds.builder(name, data_dir=data_dir, file_format="array_record", **options)
        return builder, tfds_sets.SETS[name], _one_part
    if name == "prepared":
        if not data_dir or not (Path(data_dir) / "dataset_info.json").exists():
            raise ValueError(
                "config.data.data_dir must be the folder of a prepared set, the one that holds "
                f"dataset_info.json, got {data_dir}"
            )
        return tfds.builder_from_directory(data_dir), _stored_example, _one_part
    known = sorted([*MANUAL, *SYNTHETIC, *tfds_sets.SETS, "prepared"])
    raise ValueError(f"config.data.name is one of {known}, got {name!r}")


def _one_part(split):
    return (split,)


def _load(where):
    module, name = where
    return getattr(importlib.import_module(f"jaxgen.data.builders.{module}"), name)


def manual_folder(manual_dir: str, official: str, builder_class) -> Path:
    """The folder of a set's files: given, below $JAXGEN_DATA, or its official place there.

    Raises:
        ValueError: none of them exists; the message names the key and the layout.
    """
    root = os.environ.get("JAXGEN_DATA", "")
    tried = [Path(manual_dir).expanduser()] if manual_dir else []
    if root and (manual_dir or official):
        tried.append(Path(root).expanduser() / (manual_dir or official))
    for folder in tried:
        # The user may name the folder itself or the one above it.
        if official and (folder / official).is_dir():
            return folder / official
        if folder.is_dir():
            return folder
    looked = ", ".join(str(folder) for folder in tried) or "nothing was named"
    raise ValueError(
        f"no folder for data set {builder_class.name!r} (looked for: {looked}). Set "
        f"config.data.manual_dir to it, or the environment variable JAXGEN_DATA to the folder "
        f"above {official or 'it'!r}. Expected layout:\n{builder_class.LAYOUT}"
    )


def _prepare(builder) -> None:
    """Writes the set to the data directory unless it is there, with TFDS's progress bar."""
    if builder.data_path.exists():
        return
    try:
        builder.download_and_prepare()
    except ModuleNotFoundError as error:
        if error.name != "tensorflow":
            raise
        raise ValueError(
            f"preparing {builder.name} for the first time needs TensorFlow: "
            "pip install 'jaxgen[prepare]'. Reading it afterwards does not."
        ) from None
    except OSError:
        # Another process of the same job may have finished the same set a moment ago.
        if not builder.data_path.exists():
            raise


def _records(builder, parts, split):
    import tensorflow_datasets as tfds

    known = sorted(builder.info.splits)
    plain = [part for part in parts if part.isidentifier()]
    if any(part not in known for part in plain):
        raise ValueError(f"{builder.name} has no split {split!r}; it has {known}")
    return builder.as_data_source("+".join(parts), decoders={"image": tfds.decode.SkipDecoding()})


def _num_points(builder) -> int:
    features = builder.info.features
    return features["points"].shape[0] if "points" in features else 0
