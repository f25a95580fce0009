"""What a DR-GAN config may hold; checked before JAX is even imported."""

import itertools
import math

from jaxgen.training.config import (
    TRAINING_SCHEMA,
    Schema,
    anything,
    boolean,
    check,
    chosen_stages,
    compute_type,
    integer,
    number,
    one_of,
    optimiser_schema,
    text,
)
from jaxgen.training.errors import ConfigError

# In the order in which they run.
STAGES = ("recogniser", "pose", "decoder", "gan", "confidence")
# How recognition is tested: docs/recognition_data.md.
PROTOCOLS = ("identification", "verification", "official_folds", "templates")
# Stage -> its section of the config.
SECTIONS = {stage: stage for stage in STAGES} | {"pose": "judge"}


def _angles(value) -> str | None:
    """Rising angles between -90 and 90 degrees, two or more."""
    good = isinstance(value, tuple | list) and len(value) > 1
    good = good and all(isinstance(v, int | float) and -90 <= v <= 90 for v in value)
    good = good and all(a < b for a, b in itertools.pairwise(value))
    return None if good else "two or more rising angles in degrees, between -90 and 90"


def _training(section: str) -> Schema:
    rules = {k: rule for k, rule in TRAINING_SCHEMA.items() if k.startswith("train.")}
    return {f"{section}.{key}": rule for key, rule in rules.items()} | {
        f"{section}.jitter": number(0, 1),
        f"{section}.train.batch_size": integer(1),
        **optimiser_schema(f"{section}.optimiser"),
    }


WEIGHTS = ("adversarial", "identity", "pose", "pixel", "feature_identity")
_HEAD = one_of("softmax", "additive_margin")
_WIDTH = number(0, 4, above=True)
SCHEMA: Schema = {
    "seed": integer(),
    "stages": text,
    "data.name": text,
    "data.manual_dir": text,
    "data.data_dir": text,
    "data.options.*": anything,
    "data.validation_fraction": number(0, 0.9),
    "data.size": integer(2),
    "data.channels": one_of(1, 3),
    "data.outside_poses": one_of("error", "drop", "keep"),
    "data.flip": number(0, 1),
    "pose.form": one_of("classes", "yaw"),
    "pose.classes": _angles,
    "pose.limit": number(0, 90, above=True),
    "model.width": _WIDTH,
    "model.halvings": one_of(1, 2, 3, 4),
    "model.features": integer(2),
    "model.noise": integer(1),
    "model.pose_gain": number(0, 100, above=True),
    "model.confidence_gain": number(0, 100, above=True),
    "model.embed_pose": integer(1),
    "model.dtype": compute_type,
    "recogniser.head": _HEAD,
    "recogniser.degraded": number(0, 1),
    **_training("recogniser"),
    "judge.width": _WIDTH,
    **_training("judge"),
    **_training("decoder"),
    "gan.images": integer(1),
    "gan.fuse": boolean,
    "gan.drop_images": number(0, 0.95),
    "gan.degraded": number(0, 1),
    "gan.form": one_of("separate", "fake_class"),
    "gan.head": _HEAD,
    "gan.loss": one_of("non_saturating", "least_squares", "hinge"),
    **{f"gan.weights.{name}": number(0, 1000) for name in WEIGHTS},
    "gan.schedule.every": integer(1),
    "gan.schedule.slow_every": integer(1),
    "gan.schedule.threshold": number(0, 1),
    "gan.warm_start": one_of("none", "encoder", "both"),
    "gan.warm_decoder": boolean,
    "gan.select": one_of("latest", "eer"),
    "gan.r1": number(0, 1000),
    "gan.spectral": boolean,
    **_training("gan"),
    **optimiser_schema("gan.discriminator_optimiser"),
    "confidence.degraded": number(0, 1),
    **_training("confidence"),
    "test.name": text,
    "test.manual_dir": text,
    "test.options.*": anything,
    "test.protocol": one_of(*PROTOCOLS),
    "test.gallery": text,
    "test.probe": text,
    "evaluate.batch_size": integer(1),
    "evaluate.images": integer(1),
    "evaluate.false_accept_rate": number(0, 1, above=True),
}


def check_config(config) -> None:
    """Raises ConfigError naming the key that cannot work and the fix."""
    check(config, SCHEMA)
    if "decoder" in stages_of(config) and config.gan.images < 2:
        raise ConfigError(
            "the stage 'decoder' compares with another picture of the person: it needs "
            "config.gan.images of 2 or more; or leave it out of config.stages."
        )
    if "confidence" in stages_of(config) and config.gan.images < 2:
        raise ConfigError(
            "the stage 'confidence' weighs pictures of a person: it needs config.gan.images of 2 "
            "or more; or leave it out of config.stages."
        )
    least = 2**config.model.halvings
    if config.data.size % least:
        raise ConfigError(
            f"config.data.size={config.data.size} must be a multiple of {least}: networks halve "
            f"{config.model.halvings} times (config.model.halvings)."
        )
    classes = list(config.pose.classes)
    if config.data.flip and not _symmetric(classes):
        raise ConfigError(
            f"config.data.flip={config.data.flip} mirrors faces, but the poses {classes} of "
            "config.pose.classes are not mirror images of each other: add those, or set flip to 0."
        )
    if config.gan.form == "fake_class" and config.gan.head == "additive_margin":
        raise ConfigError(
            'config.gan.head="additive_margin" has no vector for the person "fake": use '
            'config.gan.form="separate" with it.'
        )
    if config.gan.weights.pixel and config.gan.images < 2:
        raise ConfigError(
            "config.gan.weights.pixel compares with another picture of the person: it needs "
            "config.gan.images of 2 or more, or weight 0."
        )
    if config.gan.warm_start == "both" and config.gan.spectral:
        raise ConfigError(
            'config.gan.warm_start="both" copies a network without spectral normalisation: use '
            '"encoder" with config.gan.spectral.'
        )
    if config.gan.warm_start == "both" and config.gan.head != config.recogniser.head:
        raise ConfigError(
            'config.gan.warm_start="both" copies the head too: give config.gan.head and '
            "config.recogniser.head the same value."
        )


def stages_of(config) -> tuple[str, ...]:
    """The stages that a config asks for, in the order in which they run.

    Raises:
        ConfigError: one of them is none, or there are none.
    """
    return chosen_stages(config.stages, STAGES)


def _symmetric(classes) -> bool:
    return all(
        math.isclose(a, -b, abs_tol=1e-6) for a, b in zip(classes, classes[::-1], strict=True)
    )
