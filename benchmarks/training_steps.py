"""The training steps of all systems, with the shapes of what they read: to compile or to time."""

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

SETTINGS = ("smoke", "default", "paper")
PEOPLE = 200  # of DR-GAN's training set: the 200 of Multi-PIE's protocol


class Step(NamedTuple):
    """One system's training step."""

    init: Callable  # key -> state
    step: Callable  # (state, batch) -> (state, metrics)
    batch: Any  # tree of jax.ShapeDtypeStruct
    images: int  # that a step reads


def load_config(system: str, setting: str):
    """The default config of a system, small as a test or as published."""
    name = "paper" if setting == "paper" else "default"
    module = importlib.import_module(f"experiments.configs.{system}.{name}")
    return module.get_config("smoke") if setting == "smoke" else module.get_config()


def build(name: str, setting: str, *, batches: int = 1, **changes) -> Step:
    """A training step.

    Args:
        name: of `STEPS`.
        setting: of `SETTINGS`.
        batches: how many of the config's batches make one.
        **changes: of the config, with dots in their keys.
    """
    from jaxgen.training.loop import count_images

    system = next(system for system, steps in STEPS.items() if name in steps)
    config = load_config(system, setting)
    config.update_from_flattened_dict(changes)
    init, step, batch = STEPS[system][name](config, batches)
    return Step(init, step, batch, count_images(batch))


def _array(shape, dtype="float32"):
    import jax

    return jax.ShapeDtypeStruct(shape, dtype)


def _laplace(config, batches):
    from jaxgen.tasks import laplace

    size, points = config.data.crop_size, config.model.num_points
    labelled, unlabelled = (
        batches * config.train[key] for key in ("batch_size", "unlabelled_batch_size")
    )
    batch = {
        "labelled": {
            "image": _array((labelled, size, size, 3), "uint8"),
            "points": _array((labelled, points, 2)),
            "mask": _array((labelled, points), "bool"),
        },
        "unlabelled": {"image": _array((unlabelled, size, size, 3), "uint8")},
    }
    return partial(laplace.init_state, config), partial(laplace.train_step, config), batch


def _cycada_batch(config, count):
    image = _array((count, config.data.size, config.data.size, config.data.channels), "uint8")
    return {
        "source": {"image": image, "label": _array((count,), "int32")},
        "target": {"image": image},
    }


def _cycada_task(config, batches):
    from jaxgen.tasks import cycada

    batch = {"source": _cycada_batch(config, batches * config.task.train.batch_size)["source"]}
    return partial(cycada.init_task, config), partial(cycada.task_step, config), batch


def _cycada_translation(config, batches):
    from jaxgen.tasks import cycada, cycada_translation

    def init(key):
        return cycada_translation.init_state(config, key, cycada.init_task(config, key).network.ema)

    batch = _cycada_batch(config, batches * config.translation.train.batch_size)
    return init, partial(cycada_translation.train_step, config), batch


def _cycada_alignment(config, batches):
    from jaxgen.tasks import cycada, cycada_alignment

    def init(key):
        return cycada_alignment.init_state(config, key, cycada.init_task(config, key).network.ema)

    batch = _cycada_batch(config, batches * config.alignment.train.batch_size)
    return init, partial(cycada_alignment.train_step, config), batch


def _dr_gan(config, batches):
    from jaxgen.tasks import dr_gan

    people, count = batches * config.gan.train.batch_size, config.gan.images
    side, channels = config.data.size, config.data.channels
    faces = {
        "image": _array((people, count, side, side, channels), "uint8"),
        "identity": _array((people,), "int32"),
        "pose": _array((people, count), "int32"),
        "yaw": _array((people, count)),
        "mask": _array((people, count), "bool"),
    }
    init = partial(dr_gan.init_state, config, num_identities=PEOPLE)
    return init, partial(dr_gan.train_step, config), {"faces": faces}


def _dr_gan_recogniser(config, batches):
    from jaxgen.tasks import dr_gan_classifiers as classifiers

    count, side = batches * config.recogniser.train.batch_size, config.data.size
    faces = {
        "image": _array((count, side, side, config.data.channels), "uint8"),
        "identity": _array((count,), "int32"),
        "pose": _array((count,), "int32"),
    }

    def init(key):
        return classifiers.init_state(config, "recogniser", key, PEOPLE)

    return init, partial(classifiers.train_step, config, "recogniser"), {"faces": faces}


def _detector(config, batches):
    from jaxgen.tasks import tiny_faces_detector as detector

    train = config.detector.train
    count = batches * train.batch_size
    faces = {
        "image": _array((count, train.size, train.size, 3), "uint8"),
        "boxes": _array((count, train.max_boxes, 4)),
        "is_face": _array((count, train.max_boxes), "bool"),
        "is_ignored": _array((count, train.max_boxes), "bool"),
    }
    init = partial(detector.init_state, config)
    return init, partial(detector.train_step, config), {"faces": faces}


def _crops(config, count):
    high, low = config.crops.high, config.crops.high // 4
    part = {
        "image": _array((count, high, high, 3), "uint8"),
        "low": _array((count, low, low, 3), "uint8"),
        "paired": _array((count,), "bool"),
        "box": _array((count, 4)),
        "face_box": _array((count, 4)),
    }
    return {"face": part, "background": part}


def _tiny_faces_gan(config, batches):
    from jaxgen.tasks import tiny_faces

    batch = _crops(config, batches * config.gan.train.batch_size // 2)
    return partial(tiny_faces.init_state, config), partial(tiny_faces.train_step, config), batch


def _tiny_faces_generator(config, batches):
    from jaxgen.tasks import tiny_faces_warm_start as warm

    batch = _crops(config, batches * config.generator.train.batch_size // 2)
    return partial(warm.init_generator, config), partial(warm.generator_step, config), batch


def _tiny_faces_discriminator(config, batches):
    from jaxgen.tasks import tiny_faces_warm_start as warm

    batch = _crops(config, batches * config.discriminator.train.batch_size // 2)
    return partial(warm.init_discriminator, config), partial(warm.discriminator_step, config), batch


# System -> its steps, the largest first.
STEPS = {
    "laplace": {"laplace": _laplace},
    "cycada": {
        "cycada_translation": _cycada_translation,
        "cycada_alignment": _cycada_alignment,
        "cycada_task": _cycada_task,
    },
    "dr_gan": {"dr_gan": _dr_gan, "dr_gan_recogniser": _dr_gan_recogniser},
    "tiny_faces": {
        "tiny_faces_gan": _tiny_faces_gan,
        "tiny_faces_detector": _detector,
        "tiny_faces_generator": _tiny_faces_generator,
        "tiny_faces_discriminator": _tiny_faces_discriminator,
    },
}
NAMES = tuple(name for steps in STEPS.values() for name in steps)
