"""What a CyCADA config may hold; checked before JAX is even imported."""

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
STAGES = ("source", "target", "translation", "pixel", "pixel_feature", "feature")
CLASSIFIERS, SEGMENTERS = ("lenet", "dtn"), ("fcn8s", "drn26", "compact")
MOST_PIXEL_CLASSES = 255


def _training(section: str) -> Schema:
    rules = {k: rule for k, rule in TRAINING_SCHEMA.items() if k.startswith("train.")}
    return {f"{section}.{key}": rule for key, rule in rules.items()} | {
        f"{section}.train.batch_size": integer(1)
    }


def _domain(section: str) -> Schema:
    return {
        f"{section}.name": text,
        f"{section}.train_split": text,
        f"{section}.validation_fraction": number(0, 0.9),
        f"{section}.test_split": text,
        f"{section}.manual_dir": text,
        f"{section}.options.*": anything,
    }


SCHEMA: Schema = {
    "seed": integer(),
    "stages": text,
    "data.task": one_of("classification", "segmentation"),
    "data.size": integer(8),
    "data.channels": one_of(1, 3),
    "data.data_dir": text,
    "data.cache": boolean,
    "data.max_corrupt": integer(),
    **_domain("source"),
    **_domain("target"),
    "augment.scale": number(0, 0.9),
    "augment.flip": number(0, 1),
    "model.name": one_of(*CLASSIFIERS, *SEGMENTERS),
    "model.num_classes": integer(2),
    "model.pretrained": text,
    "model.dtype": compute_type,
    # A task network on labelled images.
    **_training("task"),
    **optimiser_schema("task.optimiser"),
    # Translation between the domains.
    **_training("translation"),
    "translation.generator.features": integer(1),
    "translation.generator.blocks": integer(),
    "translation.generator.dropout": number(0, 0.95),
    "translation.generator.remat": boolean,
    "translation.discriminator.features": integer(1),
    "translation.discriminator.layers": integer(1),
    "translation.discriminator.halvings": integer(),
    "translation.loss": one_of("least_squares", "non_saturating", "hinge"),
    **{
        f"translation.weights.{term}_{domain}": number(0, 1000)
        for term in ("adversarial", "cycle", "semantic", "identity")
        for domain in ("target", "source")
    },
    "translation.semantic.mode": one_of("frozen", "joint", "none"),
    "translation.semantic.labels": one_of("argmax", "truth"),
    "translation.semantic.gate": number(0, 100),
    **optimiser_schema("translation.semantic.optimiser"),
    "translation.pool": integer(),
    **optimiser_schema("translation.optimiser"),
    **optimiser_schema("translation.discriminator_optimiser"),
    # Alignment of features.
    **_training("alignment"),
    "alignment.on": one_of("logits", "features"),
    "alignment.hidden": integer(2),
    "alignment.weight": number(0, 1000),
    "alignment.task_weight": number(0, 1000),
    "alignment.shared": boolean,
    "alignment.gate": number(0, 1),
    "alignment.window": integer(1),
    "alignment.warmup_steps": integer(),
    "alignment.select": one_of(
        "latest", "entropy", "information_maximisation", "soft_neighbourhood_density"
    ),
    **optimiser_schema("alignment.optimiser"),
    **optimiser_schema("alignment.discriminator_optimiser"),
    "evaluate.batch_size": integer(1),
}


def check_config(config) -> None:
    """Raises ConfigError naming the key that cannot work and the fix."""
    check(config, SCHEMA)
    stages_of(config)
    networks = CLASSIFIERS if config.data.task == "classification" else SEGMENTERS
    if config.model.name not in networks:
        raise ConfigError(
            f"config.model.name={config.model.name!r} does no {config.data.task} "
            f"(config.data.task): use one of {', '.join(networks)}."
        )
    if config.data.size % 4:
        raise ConfigError(
            f"config.data.size={config.data.size} must be a multiple of 4: generators halve twice."
        )
    if config.data.task == "segmentation" and config.model.num_classes > MOST_PIXEL_CLASSES:
        raise ConfigError(
            f"config.model.num_classes={config.model.num_classes}: label maps know at most "
            f"{MOST_PIXEL_CLASSES} classes, 0 to 254; 255 is a pixel without label."
        )
    if config.data.task == "segmentation" and config.data.channels != 3:
        raise ConfigError("config.data.channels must be 3 for segmentation: scenes are in colour.")
    if config.data.task == "segmentation" and config.translation.semantic.mode == "joint":
        raise ConfigError(
            'config.translation.semantic.mode="joint" trains a classifier of whole images: '
            'use "frozen" or "none" for segmentation.'
        )
    if config.model.pretrained and config.model.name not in ("fcn8s", "drn26"):
        raise ConfigError(
            f"config.model.pretrained holds ImageNet weights, which {config.model.name} cannot "
            "take: leave it empty, or use fcn8s or drn26."
        )


def stages_of(config) -> tuple[str, ...]:
    """The stages that a config asks for, in the order in which they run.

    Raises:
        ConfigError: one of them is none.
    """
    return chosen_stages(config.stages, STAGES)


def needs(config, stage: str) -> str | None:
    """The stage whose network another one starts from or asks, if any."""
    frozen = config.translation.semantic.mode == "frozen"
    return {
        "translation": "source" if frozen else None,
        "pixel": "translation",
        "pixel_feature": "pixel",
        "feature": "source",
    }.get(stage)
