"""CyCADA on embedded digits: rendered street numbers -> handwritten digits. No download.

    python -m experiments.cycada
    python -m experiments.cycada --config.stages=source,feature --workdir=/tmp/adda

All stages run one after the other; each resumes from its own folder below the workdir. Differs
from the paper: digits are grey and of 16 pixels (the target has 8), the generators have 16
features instead of 64, stages are short, and the cycle weighs less: a grey target cannot keep all
that a source image shows. Cycle weight, rate and semantic loss were chosen without target labels:
see experiments.studies.cycada_embedded.
"""

import ml_collections

from experiments.configs.sections import optimiser, schedule


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """All keys of the system. Variants: "" (the main job), "smoke" (seconds, for tests)."""
    config = ml_collections.ConfigDict()
    config.seed = 0
    # Of source, target, translation, pixel, pixel_feature, feature: see jaxgen/tasks/cycada_stages.
    # "target" trains on target labels: the upper bound and the judge of label flips; nothing else
    # learns from it.
    config.stages = "source,target,translation,pixel,pixel_feature"

    config.data = ml_collections.ConfigDict()
    config.data.task = "classification"  # or "segmentation"
    config.data.size = 16  # pixels: side of the images, or of the training crops of scenes
    config.data.channels = 1  # grey, or 3
    config.data.data_dir = ""  # "" = TFDS's default
    config.data.cache = True  # keep decoded scenes in memory; images of digits always are
    config.data.max_corrupt = 0  # unreadable scenes to leave out before training stops

    config.source = domain("synthetic_digits")
    config.source.options.config = "light"  # "default" also has dark digits: harder
    config.target = domain("uci_digits")

    config.augment = ml_collections.ConfigDict()  # of training crops of scenes
    config.augment.scale = 0.0
    config.augment.flip = 0.0  # probability

    config.model = ml_collections.ConfigDict()
    config.model.name = "lenet"
    config.model.num_classes = 10
    config.model.pretrained = ""  # .safetensors file of ImageNet weights, for fcn8s and drn26
    config.model.dtype = "float32"  # of the computation; or "bfloat16", for accelerators

    config.task = ml_collections.ConfigDict()  # stages source, pixel and target
    config.task.train = schedule(steps=500, batch_size=64, every=125)
    config.task.optimiser = optimiser(learning_rate=1e-3, schedule="cosine")

    config.translation = ml_collections.ConfigDict()
    config.translation.generator = ml_collections.ConfigDict(
        dict(features=16, blocks=2, dropout=0.0, remat=False)
    )
    # halvings: convolutions of stride 2, 0 = as many as layers.
    config.translation.discriminator = ml_collections.ConfigDict(
        dict(features=16, layers=2, halvings=0)
    )
    config.translation.loss = "least_squares"
    config.translation.weights = ml_collections.ConfigDict(
        dict(
            adversarial_target=1.0,
            adversarial_source=1.0,
            cycle_target=1.0,
            cycle_source=1.0,
            semantic_target=1.0,
            semantic_source=1.0,
            identity_target=0.0,
            identity_source=0.0,
        )
    )
    config.translation.semantic = ml_collections.ConfigDict()
    config.translation.semantic.mode = "frozen"  # the paper; "joint" is the released code
    config.translation.semantic.labels = "argmax"  # source -> target: or "truth", the code
    config.translation.semantic.gate = 1.0  # joint: asked while its loss is at most this
    config.translation.semantic.optimiser = optimiser(learning_rate=1e-3, b1=0.5)
    config.translation.pool = 50  # earlier translations that discriminators see again
    config.translation.train = schedule(steps=2400, batch_size=32, every=300)
    config.translation.optimiser = optimiser(learning_rate=1e-3, b1=0.5, schedule="linear")
    config.translation.discriminator_optimiser = optimiser(
        learning_rate=2e-4, b1=0.5, schedule="linear"
    )

    config.alignment = ml_collections.ConfigDict()  # stages pixel_feature and feature
    config.alignment.on = "logits"  # what the discriminator sees: or "features"
    config.alignment.hidden = 500
    config.alignment.weight = 1.0
    config.alignment.task_weight = 0.0  # of the task loss on source images
    config.alignment.shared = False  # one network for both domains (the code's segmentation)
    config.alignment.gate = 0.6  # the network moves while the discriminator is better than this
    config.alignment.window = 1  # steps whose accuracies are averaged for the gate
    config.alignment.warmup_steps = 100  # of the discriminator alone
    # Which checkpoint, without target labels: latest, or the best by entropy,
    # information_maximisation or soft_neighbourhood_density.
    config.alignment.select = "latest"
    config.alignment.train = schedule(steps=300, batch_size=64, every=50)
    config.alignment.optimiser = optimiser(learning_rate=1e-4)
    config.alignment.discriminator_optimiser = optimiser(learning_rate=1e-4)

    config.evaluate = ml_collections.ConfigDict()
    config.evaluate.batch_size = 64
    if variant not in ("", "smoke"):
        raise ValueError(f"default.py knows the variants '' and 'smoke', not {variant!r}")
    return shrink(config) if variant == "smoke" else config


def domain(name: str) -> ml_collections.ConfigDict:
    """A data set: one section for the source, one for the target."""
    return ml_collections.ConfigDict(
        dict(
            name=name,
            train_split="train",
            validation_fraction=0.1,
            test_split="test",  # "" of a target without labels: nothing is measured with labels
            manual_dir="",  # "" = $JAXGEN_DATA/<official folder>
            options={},  # of the data set's builder
        )
    )


def shrink(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Everything as small as it still runs: checks an installation in seconds."""
    config.source.options.config = "tiny"
    config.translation.generator.update(features=4, blocks=1)
    config.translation.discriminator.update(features=4)
    for stage in (config.task, config.translation, config.alignment):
        stage.train.update(steps=4, batch_size=8, log_every=1)
        stage.train.update(validate_every=2, checkpoint_every=2)
    config.alignment.warmup_steps = 1
    return config
