"""LaplaceKL on embedded synthetic faces: no download, minutes on two CPU cores.

    python -m experiments.laplace
    python -m experiments.laplace --config.train.steps=500 --workdir=/tmp/short

Differs from the paper: batch normalisation and augmentation are on, the rate follows a
cosine, the network has 1/8 of the channels and the discriminator is compact. paper.py
beside this file turns all of that back.
"""

import ml_collections


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """All keys of the system. Variants: "" (the main job), "smoke" (seconds, for tests)."""
    config = ml_collections.ConfigDict()
    config.seed = 0

    config.data = ml_collections.ConfigDict()
    config.data.name = "synthetic_faces"
    config.data.train_split = "train"
    # Share of the training groups held out for validation; 0: the set has such a split.
    config.data.validation_fraction = 0.0
    config.data.test_split = "test"
    config.data.manual_dir = ""  # "" = $JAXGEN_DATA/<official folder>
    config.data.data_dir = ""  # "" = TFDS's default
    config.data.options = ml_collections.ConfigDict()  # of the data set's builder
    config.data.flip_pairs = ""  # file of left,right points; "" = the table of a known markup
    config.data.label_fraction = 1.0  # share of the training labels to use
    config.data.label_seed = 0
    config.data.cache = True  # keep decoded images in memory
    config.data.workers = 0  # processes that read and augment; 0 = threads
    config.data.max_corrupt = 0  # unreadable records to leave out before training stops
    config.data.crop_size = 80  # pixels
    config.data.margin = 1.3  # side of the crop / longer side of the face box

    config.test = ml_collections.ConfigDict()
    config.test.name = ""  # a data set to test on, "" = that of config.data
    config.test.manual_dir = ""
    config.test.options = ml_collections.ConfigDict()

    config.unlabelled = ml_collections.ConfigDict()
    config.unlabelled.name = "synthetic_faces"
    config.unlabelled.split = "unlabelled"
    config.unlabelled.manual_dir = ""
    config.unlabelled.options = ml_collections.ConfigDict()
    config.unlabelled.margin = 1.3

    config.augment = ml_collections.ConfigDict()
    config.augment.rotation = 20.0  # degrees
    config.augment.scale = 0.15
    config.augment.shift = 0.06  # of the box
    config.augment.flip = 0.5  # probability
    config.augment.colour = 0.3
    config.augment.blur = 0.1
    config.augment.noise = 8.0  # grey levels
    config.augment.grey = 0.1
    config.augment.occlusion = 0.2

    config.model = ml_collections.ConfigDict()
    config.model.num_points = 68
    config.model.width = 1 / 8
    config.model.depth = 4  # halvings: 80 -> 5 pixels
    config.model.norm = "batch"
    config.model.dropout = 0.0
    config.model.pretrained = ""  # --workdir of a run whose network to start from
    config.model.dtype = "float32"  # of the computation; or "bfloat16", for accelerators

    config.loss = ml_collections.ConfigDict()
    config.loss.name = "laplace_kl"
    config.loss.temperature = 1.0
    config.loss.target_scale = 1.0  # pixels

    config.adversarial = ml_collections.ConfigDict()
    config.adversarial.weight = 1e-3
    config.adversarial.loss = "non_saturating"
    config.adversarial.width = 1 / 8
    config.adversarial.depth = 3
    config.adversarial.pool = 2  # the critic sees averages of 2 x 2 pixels: four times cheaper
    config.adversarial.noise = 0.2
    config.adversarial.optimiser = optimiser(learning_rate=1e-3, weight_decay=1e-5, b1=0.5)

    config.equivariance = ml_collections.ConfigDict()
    config.equivariance.weight = 0.0
    config.equivariance.transform = ml_collections.ConfigDict(
        dict(rotation=20.0, scale=0.1, shift=0.05)
    )

    config.optimiser = optimiser(learning_rate=1e-2, weight_decay=1e-5, b1=0.9)

    config.train = ml_collections.ConfigDict()
    config.train.steps = 1050
    config.train.batch_size = 16
    config.train.unlabelled_batch_size = 8
    config.train.ema_decay = 0.99
    config.train.log_every = 20
    config.train.validate_every = 350
    config.train.checkpoint_every = 350
    config.train.tensorboard = True
    # For large batches and networks, see docs/scaling.md.
    config.train.micro_batches = 1  # parts that a batch is worked through in
    config.train.shard_parameters_above = 0  # elements of an array; 0 = every device holds all
    config.train.on_nan = "stop"  # or "rollback": on from the last checkpoint with later data
    config.train.max_rollbacks = 3

    config.evaluate = ml_collections.ConfigDict()
    config.evaluate.batch_size = 32
    config.evaluate.normalizer = "inter_ocular"
    config.evaluate.checkpoint = "best"
    if variant not in ("", "smoke"):
        raise ValueError(f"default.py knows the variants '' and 'smoke', not {variant!r}")
    return shrink(config) if variant == "smoke" else config


def shrink(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Everything as small as it still runs: checks an installation in seconds."""
    for section in (config.data, config.unlabelled):
        section.options.config = "tiny"
    config.data.crop_size = 32
    config.model.update(width=1 / 16, depth=3)
    config.adversarial.update(width=1 / 16, depth=2)
    config.train.update(
        steps=4,
        batch_size=8,
        unlabelled_batch_size=8,
        log_every=1,
        validate_every=2,
        checkpoint_every=2,
    )
    config.evaluate.batch_size = 8
    return config


def optimiser(learning_rate: float, weight_decay: float, b1: float) -> ml_collections.ConfigDict:
    """Adam with L2 in the gradient and a cosine down to zero."""
    return ml_collections.ConfigDict(
        dict(
            name="adam",
            learning_rate=learning_rate,
            schedule="cosine",
            warmup_steps=50,
            weight_decay=weight_decay,
            b1=b1,
            clip_norm=0.0,
        )
    )
