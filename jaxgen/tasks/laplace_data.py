"""The faces that a LaplaceKL config names, as batches."""

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from jaxgen.data import augment, flip_pairs, pipeline, sources
from jaxgen.tasks.laplace_schema import needs_unlabelled
from jaxgen.training.batches import ZippedBatches
from jaxgen.training.errors import ConfigError


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
    data = dict(data_dir=config.data.data_dir) | config.test.to_dict()
    return _checked(config, sources.open_source(data, config.data.test_split), data["name"])


def open_unlabelled(config) -> sources.Source:
    """The unlabelled faces; the folder is config.unlabelled.manual_dir."""
    shared = {key: config.data[key] for key in ("data_dir", "cache", "max_corrupt")}
    return sources.open_source(config.unlabelled.to_dict() | shared, config.unlabelled.split)


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
    if config.data.name == "points_csv" and not config.data.flip_pairs:
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


def names_of(source, rows: np.ndarray) -> dict[str, list[str]]:
    """Name, group and subset of the given rows of a source, without decoding an image."""
    labels = [source.labels(int(row)) for row in rows]
    return {key: [label.get(key, "") for label in labels] for key in ("name", "group", "subset")}
