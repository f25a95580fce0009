"""What the GAN's sections of a tiny-faces config may hold: crops, generator, discriminator, gan."""

from jaxgen.training.config import (
    TRAINING_SCHEMA,
    Schema,
    boolean,
    compute_type,
    integer,
    number,
    one_of,
    optimiser_schema,
    text,
)
from jaxgen.training.errors import ConfigError


def _training(section: str) -> Schema:
    rules = {k: rule for k, rule in TRAINING_SCHEMA.items() if k.startswith("train.")}
    return {f"{section}.{key}": rule for key, rule in rules.items()} | {
        f"{section}.train.batch_size": integer(2)
    }


GAN_SCHEMA: Schema = {
    "model.dtype": compute_type,
    # What is cut out of the training images.
    "crops.high": integer(16),
    "crops.margin": number(1, 4),
    "crops.least_height": number(1),
    "crops.least_real": number(0, 4, above=True),
    "crops.jitter": number(0, 0.3),
    "crops.copies": integer(1),
    "crops.unpaired": number(0, 1),
    "crops.per_image": integer(1),
    "crops.degradation": one_of("bicubic", "realistic"),
    "crops.flip": number(0, 1),
    # Up-sampling and refinement network, and their warm start.
    "generator.width": number(0, 4, above=True),
    "generator.blocks": integer(),
    "generator.refine": boolean,
    "generator.first_kernel": one_of(3, 5, 7, 9),
    "generator.coarse_kernel": one_of(1, 3, 5, 7, 9),
    "generator.refined_kernel": one_of(1, 3, 5, 7, 9),
    "generator.norm": one_of("batch", "none"),
    "generator.extra_conv": boolean,
    "generator.coarse_image": one_of("tanh", "normed"),
    "generator.global_skip": boolean,
    **_training("generator"),
    **optimiser_schema("generator.optimiser"),
    # Discriminator, and its warm start as a classifier.
    "discriminator.trunk": one_of("compact", "vgg19"),
    "discriminator.pretrained": text,
    "discriminator.features": integer(1),
    "discriminator.stages": integer(1),
    "discriminator.norm": one_of("batch", "none"),
    "discriminator.dropout": number(0, 0.95),
    "discriminator.head_std": number(0, 1),
    **_training("discriminator"),
    **optimiser_schema("discriminator.optimiser"),
    # Both together.
    "gan.loss": one_of("non_saturating", "saturating"),
    "gan.generator_batch": one_of("all", "faces"),
    "gan.discriminator_start": one_of("classifier", "new"),
    "gan.weights.pixel": number(0, 1000),
    "gan.weights.adversarial": number(0, 1000),
    "gan.weights.classification": number(0, 1000),
    "gan.weights.box": number(0, 1000),
    "gan.discriminator_adversarial": number(0, 1000),
    **_training("gan"),
    **optimiser_schema("gan.optimiser"),
    **optimiser_schema("gan.discriminator_optimiser"),
    # How scores of detector and GAN become one.
    "gan.fusion.rule": one_of("chosen", "replace", "product", "mean_logit"),
    "gan.fusion.weight": number(0, 1),
    "gan.fusion.longest_side": number(0),
    "gan.fusion.most": integer(1),
    "gan.fusion.move_boxes": boolean,
    "gan.fusion.batch_size": integer(1),
}


def starts_anew(config) -> bool:
    """Whether the game's discriminator has not been a classifier before."""
    return config.gan.discriminator_start == "new"


def check_gan(config) -> None:
    """Raises ConfigError where values of the GAN's sections do not fit together.

    The schema itself has been checked before.
    """
    high, discriminator = config.crops.high, config.discriminator
    halvings = 4 if discriminator.trunk == "vgg19" else discriminator.stages
    multiple = max(4, 2**halvings)
    if high % multiple:
        raise ConfigError(
            f"config.crops.high={high} must be a multiple of {multiple}: the generator enlarges "
            f"four times and the discriminator halves {halvings} times."
        )
    if discriminator.pretrained and discriminator.trunk != "vgg19":
        raise ConfigError(
            "config.discriminator.pretrained holds ImageNet weights of VGG19: use it with "
            'config.discriminator.trunk="vgg19".'
        )
    if config.gan.fusion.move_boxes and not config.gan.weights.box:
        raise ConfigError(
            "config.gan.fusion.move_boxes needs a box head: set config.gan.weights.box above 0."
        )
    if config.generator.global_skip and config.generator.coarse_image == "normed":
        raise ConfigError(
            'config.generator.coarse_image="normed" is the released code\'s, which adds to no '
            'image: set config.generator.global_skip=False or coarse_image="tanh".'
        )
