"""The faces that a LaplaceKL config names, as batches."""

import logging
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from jaxgen.data import augment, flip_pairs, pipeline, sources
from jaxgen.data.builders import registry
from jaxgen.metrics.normalizers import NORMALIZERS
from jaxgen.tasks.laplace_schema import needs_unlabelled
from jaxgen.training.batches import ZippedBatches
from jaxgen.training.errors import ConfigError

_log = logging.getLogger(__name__)


def open_split(config, split: str) -> sources.Source:
    """A labelled split: "train", "validation", or a name that the data set knows.

    Raises:
        ConfigError: the set has another number of landmarks than the network.
    """
    return _checked(config, sources.open_source(config.data, split), config.data.name)


def _checked(config, source, name: str) -> sources.Source:
    if source.num_points != config.model.num_points:
        raise ConfigError(
            f"data set {name} has {source.num_points} landmarks: set "
            f"config.model.num_points={source.num_points} (now {config.model.num_points})."
        )
    return source


def open_test(config) -> sources.Source:
    """The split config.data.test_split of config.test, or of config.data where that is unnamed."""
    if not config.test.name:
        return open_split(config, config.data.test_split)
    data = dict(data_dir=_data_dir(config, "test")) | config.test.to_dict()
    return _checked(config, sources.open_source(data, config.data.test_split), data["name"])


def open_unlabelled(config) -> sources.Source:
    """The unlabelled faces; the folder is config.unlabelled.manual_dir."""
    unlabelled = config.unlabelled
    shared = {key: config.data[key] for key in ("cache", "max_corrupt")}
    shared["data_dir"] = _data_dir(config, "unlabelled")
    framed = any(unlabelled.options.get(key) for key in ("boxes", "face_box"))
    if unlabelled.name in ("image_folder", "video_folder") and not framed and unlabelled.margin > 1:
        _log.warning(
            "the whole picture is the face box of the unlabelled faces, and "
            "config.unlabelled.margin=%g frames it in black, which tells them from labelled ones: "
            "name config.unlabelled.options.boxes or face_box, or set the margin below 1.",
            unlabelled.margin,
        )
    return sources.open_source(unlabelled.to_dict() | shared, unlabelled.split)


def _data_dir(config, section: str) -> str:
    """Where the set of another section than `data` is kept; a prepared folder is one set's own."""
    name = config[section].name
    if config.data.name != "prepared":
        if name == "prepared":
            raise ConfigError(
                f"config.{section}.name=prepared: only the set of config.data can be read from a "
                f"prepared folder; name the set itself and config.{section}.manual_dir."
            )
        return config.data.data_dir
    return config.data.data_dir if name == "prepared" else ""


def training_batches(config, labelled: Any, unlabelled: Any | None) -> ZippedBatches:
    """Endless batches of this process: {"labelled": ..., "unlabelled": ... if any}."""
    processes = jax.process_count()
    shared = dict(
        size=config.data.crop_size,
        augment=augment.settings_from(config.augment),
        process_index=jax.process_index(),
        process_count=processes,
        num_workers=config.data.workers,
        max_corrupt=config.data.max_corrupt,
    )
    streams = {
        "labelled": pipeline.labelled_batches(
            labelled,
            batch_size=config.train.batch_size // processes,
            margin=config.data.margin,
            seed=config.seed,
            flip_order=flip_order(config),
            **shared,
        )
    }
    if unlabelled is not None and needs_unlabelled(config):
        streams["unlabelled"] = pipeline.unlabelled_batches(
            unlabelled,
            batch_size=config.train.unlabelled_batch_size // processes,
            margin=config.unlabelled.margin,
            seed=config.seed + 1,
            **shared,
        )
    return ZippedBatches(streams)


def flip_order(config) -> np.ndarray | None:
    """Where each landmark of a mirrored face comes from, [K]; None without mirroring.

    Raises:
        ConfigError: a markup of the user's own and no file that says which points swap.
    """
    if config.augment.flip == 0:
        return None
    # Another markup with as many points as a known one would be mirrored wrongly in silence.
    name = registry.original_name(config.data.name, config.data.data_dir)
    if name == "points_csv" and not config.data.flip_pairs:
        raise ConfigError(
            "config.data.flip_pairs must name a file with one left,right pair of points a line "
            "(see docs/data.md), or set config.augment.flip=0."
        )
    return flip_pairs.for_points(config.model.num_points, config.data.flip_pairs)


def evaluation_batches(config, source) -> Iterable[dict[str, np.ndarray]]:
    """Every face of a split once, for this process's share."""
    return pipeline.evaluation_batches(
        source,
        batch_size=config.evaluate.batch_size // jax.process_count(),
        size=config.data.crop_size,
        margin=config.data.margin,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def check_normalizer(config, source, split: str) -> None:
    """Makes sure, before hours of training, that the error of every face of a split is defined.

    Args:
        config: evaluate.normalizer is the length that errors are divided by.
        source: the split; its images are not decoded.
        split: its name, for the message.

    Raises:
        ConfigError: a face has no labelled point, or its length is 0 or needs a missing point.
    """
    faces = [source.labels(row) for row in range(len(source))]
    points = np.array([face["points"] for face in faces], np.float64)
    points[~np.isfinite(points).all(-1)] = np.nan
    name = config.evaluate.normalizer
    if name == "face_box":
        lengths = box_lengths(config, source, np.arange(len(faces)))
    else:
        lengths = NORMALIZERS[name](points)
    good = (lengths > 0) & np.isfinite(points).all(-1).any(-1)
    if good.all():
        return
    first = int(np.argmin(good))
    labelled = np.isfinite(points[first]).all(-1).sum()
    raise ConfigError(
        f"{faces[first]['name']}: config.evaluate.normalizer={name} is {lengths[first]:g} for this "
        f"face of the split {split!r}, which has {labelled} labelled points ({(~good).sum()} of "
        f"{len(good)} faces are like it). Label more of its points, leave it out of the split, or "
        "set the key to face_box, the size of the annotated box."
    )


def box_lengths(config, source, rows: np.ndarray) -> np.ndarray:
    """sqrt(width * height) of the annotated boxes of the given rows, [N] crop pixels.

    The tight box around the points where a set has no boxes of its own (docs/data.md).
    """
    boxes = np.array([source.labels(int(row))["box"] for row in rows], np.float64)
    sides = boxes[:, 2:] - boxes[:, :2]
    # The crop shows margin times the longer side of the box.
    scale = config.data.crop_size / (config.data.margin * sides.max(1))
    return scale * np.sqrt(sides.prod(1))


def names_of(source, rows: np.ndarray) -> dict[str, list[str]]:
    """Name, group and subset of the given rows of a source, without decoding an image."""
    labels = [source.labels(int(row)) for row in rows]
    return {key: [label.get(key, "") for label in labels] for key in ("name", "group", "subset")}
