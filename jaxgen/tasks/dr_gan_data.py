"""The sets that a DR-GAN config names, as aligned faces and as batches."""

import json
import logging
from typing import Any

import jax
import numpy as np

from jaxgen.data import degradations, recognition_batches, recognition_sets
from jaxgen.data.builders import registry
from jaxgen.tasks.dr_gan_schema import stages_of
from jaxgen.training.batches import ZippedBatches
from jaxgen.training.errors import ConfigError

_NEED_POSES = ("pose", "decoder", "gan")  # stages that learn what a pose code means
_FEW = 0.5  # share of known poses below which a log says so
_log = logging.getLogger(__name__)


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

    A set of its own brings all its pictures: those turned too far are measured apart.
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


def distinct_pictures(config, faces: recognition_sets.Faces) -> np.ndarray:
    """Rows of different pictures of the set to test on: one of each that several templates share.

    A picture beside itself would count as two pictures of one person.

    Args:
        config: of the run.
        faces: of the set to test on.

    Returns:
        [N] int64, rising.
    """
    if test_set(config)["name"] != "face_templates":
        return np.arange(len(faces.name))
    first = {}
    for row, (name, template) in enumerate(zip(faces.name, faces.subset, strict=True)):
        # One picture may show two people.
        first.setdefault((name.removeprefix(f"{template}/"), faces.identity[row]), row)
    return np.array(list(first.values()), np.int64)


def check_poses(config, faces: recognition_sets.Faces) -> None:
    """Warns where few poses of the training set are known.

    Args:
        config: of the run.
        faces: of the training people.

    Raises:
        ConfigError: none is, and a stage is asked for that learns from them.
    """
    needs = [stage for stage in stages_of(config) if stage in _NEED_POSES]
    # With yaws as poses only the judge needs classes.
    by_yaw = config.pose.form == "yaw" and "pose" not in needs
    share = np.mean(np.isfinite(faces.yaw) if by_yaw else faces.pose != recognition_sets.UNKNOWN)
    if not needs or share >= _FEW:
        return
    files = (
        "config.data.options.landmarks (68 points a picture, as experiments.laplace predicts) or "
        "config.data.options.yaws, see docs/recognition_data.md"
    )
    if share == 0:
        raise ConfigError(
            f"no picture of config.data.name={config.data.name!r} has a known pose, without "
            f"which {', '.join(needs)} of config.stages cannot be trained: give {files}; or leave "
            "that out of config.stages."
        )
    _log.warning(
        "only %.1f %% of the training pictures of %s have a known pose; the others teach nothing "
        "of poses: complete %s",
        *(100 * share, config.data.name, files),
    )


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
