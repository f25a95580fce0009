"""What a tiny-faces config may hold; checked before JAX is even imported."""

from jaxgen.tasks.tiny_faces_gan_schema import GAN_SCHEMA, check_gan, starts_anew
from jaxgen.training.config import (
    TRAINING_SCHEMA,
    Schema,
    anything,
    boolean,
    check,
    chosen_stages,
    integer,
    number,
    one_of,
    optimiser_schema,
    text,
)
from jaxgen.training.errors import ConfigError

STAGES = ("detector", "crops", "generator", "discriminator", "gan")  # in their order
STRIDES = (4, 8, 16, 32)


def _share_pair(value):
    good = isinstance(value, tuple | list) and len(value) == 2
    good = good and all(isinstance(v, int | float) for v in value) and 0 < value[0] <= value[1] <= 1
    return None if good else "(least, most) with 0 < least <= most <= 1"


def _strides(value):
    good = isinstance(value, tuple | list) and len(value) > 0 and set(value) <= set(STRIDES)
    good = good and list(value) == sorted(set(value))
    return None if good else f"some of {STRIDES}, rising"


def _sizes(value):
    good = isinstance(value, tuple | list) and all(
        isinstance(sizes, tuple | list)
        and sizes
        and all(isinstance(s, int | float) and s > 0 for s in sizes)
        for sizes in value
    )
    return None if good else "a tuple of sizes in pixels for each stride, such as ((8, 16), (32,))"


def training_schema(section: str) -> Schema:
    """Schema of one `train` section, see jaxgen.training.loop."""
    rules = {k: rule for k, rule in TRAINING_SCHEMA.items() if k.startswith("train.")}
    return {f"{section}.{key}": rule for key, rule in rules.items()} | {
        f"{section}.train.batch_size": integer(1)
    }


SCHEMA: Schema = {
    "seed": integer(),
    "stages": text,
    "data.name": text,
    "data.train_split": text,
    "data.validation_fraction": number(0, 0.9, above=True),
    "data.manual_dir": text,
    "data.data_dir": text,
    "data.options.*": anything,
    "data.cache": boolean,
    "data.max_corrupt": integer(),
    # Scenes to test on, if not those of `data`.
    "test.name": text,
    "test.split": text,
    "test.manual_dir": text,
    "test.options.*": anything,
    "test.levels": text,
    "test.limit": integer(),
    # Augmentation of the detector's crops, see jaxgen.data.augment.
    "augment.crop": _share_pair,
    "augment.flip": number(0, 1),
    "augment.colour": number(0, 2),
    "augment.grey": number(0, 1),
    "augment.blur": number(0, 1),
    "augment.noise": number(0, 128),
    # The proposal detector.
    "detector.model.backbone": one_of("light", "resnet50", "vgg16"),
    "detector.model.width": number(0.1, 8),
    "detector.model.features": integer(8),
    "detector.model.norm": one_of("batch", "group"),
    "detector.model.max_out": integer(1),
    "detector.model.pretrained": text,
    "detector.anchors.strides": _strides,
    "detector.anchors.sizes": _sizes,
    "detector.anchors.aspect": number(0.2, 5),
    "detector.loss.classification": one_of("focal", "ohem"),
    "detector.loss.focal_alpha": number(0, 1),
    "detector.loss.focal_gamma": number(0, 10),
    "detector.loss.ohem_ratio": number(0, 1000, above=True),
    "detector.loss.box": one_of("smooth_l1", "giou"),
    "detector.loss.box_weight": number(0, 1000),
    "detector.loss.positive_iou": number(0, 1, above=True),
    "detector.loss.negative_iou": number(0, 1),
    "detector.loss.least_anchors": integer(1),
    **training_schema("detector"),
    "detector.train.size": integer(32),
    "detector.train.max_boxes": integer(1),
    "detector.train.least_height": number(0, 1000),
    **optimiser_schema("detector.optimiser"),
    "detector.inference.tile": integer(32),
    "detector.inference.overlap": integer(),
    "detector.inference.smallest": integer(),
    "detector.inference.enlarge": number(0.1, 8),
    "detector.inference.tiles": integer(1),
    "detector.inference.candidates": integer(1),
    "detector.inference.max_boxes": integer(1),
    "detector.inference.most": integer(),
    "detector.inference.score_floor": number(0, 1),
    "detector.inference.nms_iou": number(0, 1),
    **GAN_SCHEMA,
}


def check_config(config) -> None:
    """Raises ConfigError naming the key that cannot work and the fix."""
    check(config, SCHEMA)
    stages_of(config)
    check_gan(config)
    detector = config.detector
    for key in ("train.size", "inference.tile"):
        section, name = key.split(".")
        if detector[section][name] % STRIDES[-1]:
            raise ConfigError(
                f"config.detector.{key}={detector[section][name]} must be a multiple of "
                f"{STRIDES[-1]}: the network halves five times."
            )
    if len(detector.anchors.sizes) != len(detector.anchors.strides):
        raise ConfigError(
            f"config.detector.anchors.sizes has {len(detector.anchors.sizes)} entries and "
            f"strides {len(detector.anchors.strides)}: there must be one for each."
        )
    if detector.inference.smallest > detector.inference.tile:
        raise ConfigError(
            f"config.detector.inference.smallest={detector.inference.smallest} must not exceed "
            f"the tile ({detector.inference.tile})."
        )
    # Larger faces are left to a picture four times smaller, where the finest anchors must fit.
    least = 4 * min(detector.anchors.sizes[0])
    if detector.inference.overlap < least:
        raise ConfigError(
            f"config.detector.inference.overlap={detector.inference.overlap}: faces larger than it "
            f"are only looked for in smaller pictures, so it must be at least {least:g}, four "
            "times the smallest anchor (config.detector.anchors.sizes)."
        )
    if detector.inference.overlap > detector.inference.tile // 2:
        raise ConfigError(
            f"config.detector.inference.overlap={detector.inference.overlap} must be at most half "
            f"of a tile ({detector.inference.tile // 2})."
        )
    if detector.loss.negative_iou > detector.loss.positive_iou:
        raise ConfigError("config.detector.loss.negative_iou must not exceed positive_iou.")
    model = detector.model
    if model.backbone == "resnet50" and model.norm == "group" and not model.pretrained:
        raise ConfigError(
            'config.detector.model.norm="group" keeps the statistics of ResNet-50\'s ImageNet '
            'weights: name them in config.detector.model.pretrained, or use "batch".'
        )
    if detector.model.pretrained and detector.model.backbone == "light":
        raise ConfigError(
            "config.detector.model.pretrained holds ImageNet weights, which the light trunk cannot "
            "take: leave it empty, or use resnet50 or vgg16."
        )


def needs(config, stage: str) -> tuple[str, ...]:
    """The stages that one of STAGES starts from."""
    return {
        "detector": (),
        "crops": ("detector",),
        "generator": ("crops",),
        "discriminator": ("crops",),
        "gan": ("generator",) if starts_anew(config) else ("generator", "discriminator"),
    }[stage]


def stages_of(config) -> tuple[str, ...]:
    """The stages that a config asks for, in the order in which they run.

    Raises:
        ConfigError: one of them is none.
    """
    return chosen_stages(config.stages, STAGES)
