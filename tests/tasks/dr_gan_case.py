"""A small DR-GAN, and faces and features made by hand, that several tests share."""

import jax
import numpy as np

from experiments.configs.dr_gan import default
from jaxgen.data import recognition_sets
from jaxgen.tasks import dr_gan
from jaxgen.tasks.dr_gan_evaluation import Encoded
from jaxgen.tasks.dr_gan_schema import check_config
from jaxgen.training.state import run_key

PEOPLE = 5


def tiny(**changes):
    config = default.get_config("smoke")
    config.gan.warm_start = "encoder"
    config.gan.optimiser.update(schedule="constant", warmup_steps=0)  # every step moves something
    config.update_from_flattened_dict(changes)
    check_config(config)
    return config


def faces(config, people=8, seed=0):
    rng = np.random.default_rng(seed)
    count, size = config.gan.images, config.data.size
    pose = rng.integers(0, 3, (people, count)).astype(np.int32)
    return {
        "image": rng.integers(0, 256, (people, count, size, size, config.data.channels), np.uint8),
        "identity": rng.integers(0, PEOPLE, people).astype(np.int32),
        "pose": pose,
        "yaw": np.array(config.pose.classes, np.float32)[pose],
        "mask": np.ones((people, count), bool),
    }


def init(config, seed=0):
    return jax.jit(lambda key: dr_gan.init_state(config, key, PEOPLE))(run_key(seed))


def changed(before, after):
    pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    return any((np.asarray(a) != np.asarray(b)).any() for a, b in pairs)


def encoded(features, confidence=None):
    features = np.asarray(features, np.float32)
    weights = np.ones(len(features)) if confidence is None else np.asarray(confidence)
    return Encoded(features, weights.astype(np.float32))


def made_faces(identity, yaw=None, *, classes=(0.0,), subset=None, name=None):
    identity = np.asarray(identity, np.int32)
    count = len(identity)
    yaw = np.zeros(count, np.float32) if yaw is None else np.asarray(yaw, np.float32)
    pose, outside = recognition_sets.pose_classes(yaw, classes)
    return recognition_sets.Faces(
        image=np.random.default_rng(0).integers(60, 200, (count, 18, 18, 3), np.uint8),
        identity=identity,
        yaw=yaw,
        pose=np.where(outside, np.int32(recognition_sets.UNKNOWN), pose),
        name=name or [str(row) for row in range(count)],
        subset=subset or [""] * count,
        people=tuple(f"p{k}" for k in range(identity.max() + 1)),
        classes=classes,
    )
