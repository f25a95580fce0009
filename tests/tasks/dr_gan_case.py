"""A small DR-GAN that several tests share."""

import jax
import numpy as np

from experiments.configs.dr_gan import default
from jaxgen.tasks import dr_gan
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
