"""What a LaplaceKL config may hold; checked before JAX is even imported."""

from jaxgen.metrics.normalizers import EYE_CORNERS, PUPILS
from jaxgen.training.config import (
    TRAINING_SCHEMA,
    Schema,
    anything,
    boolean,
    check,
    compute_type,
    integer,
    number,
    one_of,
    optimiser_schema,
    text,
)
from jaxgen.training.errors import ConfigError

WIDTHS = (1.0, 0.5, 0.25, 0.125, 0.0625)
SUPERVISED_LOSSES = (
    "laplace_kl",
    "laplace_kl_reverse",
    "gaussian_kl",
    "laplace_nll",
    "soft_argmax_l1",
    "soft_argmax_l2",
)
NORMALIZERS = ("inter_ocular", "inter_pupil", "box_size", "box_diagonal", "face_box")
_NEEDS_MARKUP = {"inter_ocular": EYE_CORNERS, "inter_pupil": PUPILS}

SCHEMA: Schema = {
    **TRAINING_SCHEMA,
    # Labelled faces.
    "data.name": text,
    "data.train_split": text,
    "data.validation_fraction": number(0, 0.9),
    "data.test_split": text,
    "data.manual_dir": text,
    "data.data_dir": text,
    "data.flip_pairs": text,
    "data.options.*": anything,
    "data.label_fraction": number(0, 1, above=True),
    "data.label_seed": integer(),
    "data.cache": boolean,
    "data.max_corrupt": integer(),
    "data.workers": integer(),
    "data.crop_size": integer(16),
    "data.margin": number(0.5, 5),
    # Faces to test on, if not those of `data`; the split is data.test_split.
    "test.name": text,
    "test.manual_dir": text,
    "test.options.*": anything,
    # Unlabelled faces, read only by adversarial or equivariance training.
    "unlabelled.name": text,
    "unlabelled.split": text,
    "unlabelled.manual_dir": text,
    "unlabelled.options.*": anything,
    "unlabelled.margin": number(0.1, 5),
    # Augmentation of training crops, see jaxgen.data.augment.
    "augment.rotation": number(0, 180),
    "augment.scale": number(0, 0.9),
    "augment.shift": number(0, 0.9),
    "augment.flip": number(0, 1),
    "augment.colour": number(0, 2),
    "augment.blur": number(0, 1),
    "augment.noise": number(0, 128),
    "augment.grey": number(0, 1),
    "augment.occlusion": number(0, 1),
    # The heatmap network.
    "model.num_points": integer(1),
    "model.width": one_of(*WIDTHS),
    "model.depth": integer(1),
    "model.norm": one_of("none", "batch"),
    "model.dropout": number(0, 0.95),
    "model.pretrained": text,
    "model.dtype": compute_type,
    "loss.name": one_of(*SUPERVISED_LOSSES),
    "loss.temperature": number(0, 100, above=True),
    "loss.target_scale": number(0.05, 100),
    # Adversarial training on unlabelled faces; weight 0 switches it off.
    "adversarial.weight": number(0, 1000),
    "adversarial.loss": one_of("non_saturating", "least_squares", "hinge"),
    "adversarial.width": one_of(*WIDTHS),
    "adversarial.depth": integer(1),
    "adversarial.pool": integer(1),
    "adversarial.noise": number(0, 10),
    **optimiser_schema("adversarial.optimiser"),
    # Equivariance (ELT of Honari et al. 2018); weight 0 switches it off.
    "equivariance.weight": number(0, 1000),
    "equivariance.transform.rotation": number(0, 180),
    "equivariance.transform.scale": number(0, 0.9),
    "equivariance.transform.shift": number(0, 0.9),
    **optimiser_schema("optimiser"),
    "train.batch_size": integer(1),
    "train.unlabelled_batch_size": integer(1),
    "evaluate.batch_size": integer(1),
    "evaluate.normalizer": one_of(*NORMALIZERS),
    "evaluate.checkpoint": one_of("best", "latest"),
}


def check_config(config) -> None:
    """Raises ConfigError naming the key that cannot work and the fix."""
    check(config, SCHEMA)
    _check_divides(config, "config.model.depth", 2**config.model.depth)
    _check_normalizer(config.evaluate.normalizer, config.model.num_points)
    if config.adversarial.weight > 0:
        _check_critic(config)


def _check_critic(config):
    """What only a discriminator needs."""
    critic, size = config.adversarial, config.data.crop_size
    if not config.unlabelled.name:
        raise ConfigError(
            "config.adversarial.weight is above 0 but config.unlabelled.name is empty: name a "
            "source of unlabelled faces (for example image_folder) or set the weight to 0."
        )
    factor = 2**critic.depth * critic.pool
    _check_divides(config, "config.adversarial.depth and pool", factor)
    # Two last convolutions without padding take a pixel each; a mean over no logits is NaN.
    if size // factor < 3:
        raise ConfigError(
            f"config.data.crop_size={size} leaves the discriminator {size // factor} pixels a side "
            "after config.adversarial.pool and depth, and it needs 3: lower one of the two, or "
            f"take crops of {3 * factor} pixels or more."
        )


def _check_divides(config, keys, factor):
    if config.data.crop_size % factor:
        raise ConfigError(
            f"config.data.crop_size={config.data.crop_size} must be a multiple of {factor}, "
            f"which follows from {keys}."
        )


def _check_normalizer(name, num_points):
    known = _NEEDS_MARKUP.get(name)
    if known is not None and num_points not in known:
        raise ConfigError(
            f"config.evaluate.normalizer={name} is not defined for config.model.num_points="
            f"{num_points} (known: {', '.join(map(str, sorted(known)))}): set it to box_size."
        )
    if name in ("box_size", "box_diagonal") and num_points < 2:
        raise ConfigError(
            f"config.evaluate.normalizer={name} is the size of the box around the points, and one "
            "point has none: set it to face_box, the size of the annotated box."
        )


def needs_unlabelled(config) -> bool:
    """Whether training reads unlabelled faces."""
    wanted = config.adversarial.weight > 0 or config.equivariance.weight > 0
    return wanted and bool(config.unlabelled.name)
