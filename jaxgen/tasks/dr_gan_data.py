"""The sets that a DR-GAN config names, as aligned faces and as batches."""

import json
from typing import Any

import jax
import numpy as np

from jaxgen.data import degradations, recognition_batches, recognition_sets
from jaxgen.data.builders import registry
from jaxgen.training.batches import ZippedBatches
from jaxgen.training.errors import ConfigError


class Sets:
    """All splits of a config; each is opened and aligned once.

    Args:
        config: config.data names the set to train on, config.test another one to test on, or none.
    """

    def __init__(self, config):
        self._config, self._opened = config, {}

    def open(self, split: str) -> recognition_sets.Faces:
        """A split to train on: "train", or "validation", held-out people of it."""
        return self._open(self._config.data.to_dict(), split)

    def open_test(self, split: str) -> recognition_sets.Faces:
        """A split of the set to test on."""
        return self._open(test_set(self._config), split)

    def _open(self, data, split):
        key = json.dumps(data, sort_keys=True), split
        if key not in self._opened:
            config = self._config
            self._opened[key] = recognition_sets.open_faces(
                data,
                split,
                size=config.data.size,
                classes=config.pose.classes,
                channels=config.data.channels,
            )
        return self._opened[key]


def test_set(config) -> dict[str, Any]:
    """The data section of the set to test on: config.data, or what config.test puts in its place.

    A set of its own brings all its pictures: those turned too far count as well.
    """
    data = config.data.to_dict()
    if not config.test.name:
        return data
    other = {key: config.test[key] for key in ("name", "manual_dir")}
    return data | other | dict(options=config.test.options.to_dict(), outside_poses="keep")


def tests_on_training_set(config) -> bool:
    """Whether the set to test on is the one to train on: the same name and the same files."""
    train, test = config.data.to_dict(), test_set(config)
    return train["name"] == test["name"] and _folder(train) == _folder(test)


def _folder(data):
    """Where a set's files lie, however the config writes it; None for a set without files."""
    keys = ("manual_dir", "data_dir", "options")
    found = registry.find(
        data["name"], sets=registry.RECOGNITION, **{key: data[key] for key in keys}
    )
    return getattr(found.builder.builder_config, "manual_dir", None)


def training_batches(config, part: str, faces: recognition_sets.Faces) -> ZippedBatches:
    """Endless batches {"faces": ...} of this process, see jaxgen.data.recognition_batches.

    Args:
        config: of the run.
        part: "recogniser" or "judge" for batches of single pictures; others for sets.
        faces: of the training people.

    Raises:
        ConfigError: sets of several images of people who have one.
    """
    train = config[part].train
    shared = dict(
        size=config.data.size,
        seed=config.seed,
        flip=config.data.flip,
        jitter=config[part].jitter,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    if part not in ("recogniser", "judge"):
        largest = max(map(len, faces.rows_of_people()))
        if largest < config.gan.images:
            raise ConfigError(
                f"config.gan.images={config.gan.images}, but no person of config.data.name="
                f"{config.data.name!r} has more than {largest} pictures: lower it."
            )
        stream = recognition_batches.set_batches(
            faces,
            people=train.batch_size // jax.process_count(),
            images=config.gan.images,
            **shared,
        )
    else:
        stream = recognition_batches.image_batches(
            faces, batch_size=train.batch_size // jax.process_count(), **shared
        )
    return ZippedBatches({"faces": stream})


def middle(config, faces: recognition_sets.Faces) -> Any:
    """What a network sees of all faces in use: uint8 [N, S, S, C]."""
    return recognition_batches.middle(faces.image, config.data.size)


def degraded(config, faces: recognition_sets.Faces) -> tuple[np.ndarray, np.ndarray]:
    """What a network sees of some faces when about half of them are blurred or noisy.

    Returns:
        uint8 [N, S, S, C], the same in every run; and [N] bool, which pictures are degraded.
    """
    rng = np.random.default_rng(0)
    bad = rng.random((2, len(faces.name))) < 0.25
    images = middle(config, faces)
    for kind, rows in zip(("blur", "noise"), bad, strict=True):
        images = degradations.degrade(images, kind, 0.5 * rows, seed=0)
    return images, bad.any(0)
