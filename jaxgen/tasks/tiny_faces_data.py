"""The scenes that a tiny-faces config names, as sets and as the detector's batches."""

import jax
import numpy as np

from jaxgen.data import augment, detection_batches, face_scenes
from jaxgen.training.batches import ZippedBatches
from jaxgen.training.errors import ConfigError


def open_split(config, split: str) -> face_scenes.FaceScenes:
    """A split of config.data: "train", "validation" (held out of it), or another of the set.

    Raises:
        ConfigError: it holds no scene.
        ValueError: files or options are wrong.
    """
    return _checked(face_scenes.open_face_scenes(config.data, split), config.data.name, split)


def open_test(config) -> face_scenes.FaceScenes:
    """The split config.test.split of config.test, or of config.data where that is unnamed."""
    data = config.data.to_dict() | {"cache": False}
    if config.test.name:
        data = {"data_dir": config.data.data_dir} | {
            key: config.test[key] for key in ("name", "manual_dir", "options")
        }
    scenes = face_scenes.open_face_scenes(data, config.test.split)
    scenes = _checked(scenes, data["name"], config.test.split)
    if 0 < config.test.limit < len(scenes):
        # Evenly chosen: neighbours in a set are often of one kind.
        scenes = scenes.select(np.linspace(0, len(scenes) - 1, config.test.limit).astype(int))
    return scenes


def training_batches(config, scenes: face_scenes.FaceScenes) -> ZippedBatches:
    """Endless batches of this process for the detector: {"faces": ...}."""
    settings = augment.settings_from(
        {key: value for key, value in config.augment.items() if key != "crop"}
    )
    train = config.detector.train
    faces = detection_batches.training_batches(
        scenes,
        batch_size=train.batch_size // jax.process_count(),
        size=train.size,
        seed=config.seed,
        max_boxes=train.max_boxes,
        crop=tuple(config.augment.crop),
        least_height=train.least_height,
        settings=settings,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        max_corrupt=config.data.max_corrupt,
    )
    return ZippedBatches({"faces": faces})


def _checked(scenes, name, split):
    if len(scenes) == 0:
        raise ConfigError(f"data set {name!r}: {split!r} holds no picture.")
    return scenes
