"""Tiny faces on embedded synthetic crowds: no download.

    python -m experiments.tiny_faces
    python -m experiments.tiny_faces --config.stages=detector --workdir=/tmp/detector

All stages run one after the other; each resumes from its own folder below the workdir. Differs
from the paper: the scenes are rendered, the detector's trunk is small and learns from scratch.
paper.py beside this file has the published networks and lengths.
"""

import ml_collections

from experiments.configs.tiny_faces.gan_sections import gan_sections, shrink_gan


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """All keys of the system. Variants: "" (the main job), "smoke" (seconds, for tests)."""
    config = ml_collections.ConfigDict()
    config.seed = 0
    # Of detector, crops, generator, discriminator, gan: see jaxgen/tasks/tiny_faces_stages.py.
    config.stages = "detector,crops,generator,discriminator,gan"

    config.data = ml_collections.ConfigDict()
    config.data.name = "synthetic_crowds"
    config.data.train_split = "train"
    config.data.validation_fraction = 0.1  # share of the training scenes held out
    config.data.manual_dir = ""  # "" = $JAXGEN_DATA/<official folder>
    config.data.data_dir = ""  # "" = TFDS's default
    config.data.options = ml_collections.ConfigDict()  # of the data set's builder
    config.data.cache = True  # keep decoded scenes in memory
    config.data.max_corrupt = 0  # unreadable scenes to leave out before training stops

    config.test = ml_collections.ConfigDict()
    config.test.name = ""  # a data set to test on, "" = that of config.data
    config.test.split = "test"
    config.test.manual_dir = ""
    config.test.options = ml_collections.ConfigDict()
    config.test.levels = ""  # folder of WIDER FACE's wider_{easy,medium,hard}_val.mat
    config.test.limit = 0  # scenes to test on; 0 = all

    config.augment = ml_collections.ConfigDict()  # of the detector's crops
    config.augment.crop = (0.3, 1.0)  # side of the square, as a share of the shorter side
    config.augment.flip = 0.5
    config.augment.colour = 0.25
    config.augment.grey = 0.05
    config.augment.blur = 0.05
    config.augment.noise = 4.0  # grey levels

    config.detector = detector()
    config.update(gan_sections())  # model, crops, generator, discriminator, gan
    # Short stages, for two CPU cores.
    for stage, steps in dict(generator=250, discriminator=300, gan=250).items():
        config[stage].train.steps = steps
    if variant not in ("", "smoke"):
        raise ValueError(f"default.py knows the variants '' and 'smoke', not {variant!r}")
    return shrink(config) if variant == "smoke" else config


def detector() -> ml_collections.ConfigDict:
    """The proposal detector."""
    section = ml_collections.ConfigDict()
    section.model = ml_collections.ConfigDict()
    section.model.backbone = "light"  # or resnet50, vgg16
    section.model.width = 1.0  # of the light trunk
    section.model.features = 48  # channels of the branches
    section.model.norm = "batch"  # or "group", for batches of one or two pictures
    section.model.max_out = 3  # background scores at the finest branch; 1 = off
    section.model.pretrained = ""  # .safetensors file of ImageNet weights
    section.anchors = ml_collections.ConfigDict()
    section.anchors.strides = (4, 8, 16, 32)  # of the branches
    section.anchors.sizes = ((8, 16), (32,), (64,), (128, 256))  # pixels, of each branch
    section.anchors.aspect = 1.25  # height / width
    section.loss = ml_collections.ConfigDict()
    section.loss.classification = "focal"  # or "ohem"
    section.loss.focal_alpha = 0.25
    section.loss.focal_gamma = 2.0
    section.loss.ohem_ratio = 3.0  # background anchors for every positive one
    section.loss.box = "smooth_l1"  # or "giou"
    section.loss.box_weight = 0.5
    section.loss.positive_iou = 0.35
    section.loss.negative_iou = 0.3
    section.loss.least_anchors = 3  # that every face gets, if they overlap it at all
    section.train = ml_collections.ConfigDict()
    section.train.steps = 400
    section.train.batch_size = 8
    section.train.size = 192  # pixels: side of the crops
    section.train.max_boxes = 64  # faces of a crop
    section.train.least_height = 4.0  # pixels: lower faces are neither face nor background
    section.train.ema_decay = 0.99
    section.train.log_every = 20
    section.train.validate_every = 200
    section.train.checkpoint_every = 200
    section.train.tensorboard = True
    # For large batches and networks, see docs/scaling.md.
    section.train.micro_batches = 1  # parts that a batch is worked through in
    section.train.shard_parameters_above = 0  # elements of an array; 0 = every device holds all
    section.train.on_nan = "stop"  # or "rollback": on from the last checkpoint with later data
    section.train.max_rollbacks = 3
    section.optimiser = optimiser(learning_rate=2e-3)
    section.inference = ml_collections.ConfigDict()
    section.inference.tile = 384  # pixels: pictures are seen in tiles of this side
    section.inference.overlap = 96  # pixels; larger faces are found in smaller pictures
    # Pictures are also seen smaller, until no side has more pixels; 0: the size of training crops.
    section.inference.smallest = 0
    section.inference.enlarge = 1.0  # of the finest pass: 2.0 finds the tiniest, four times slower
    section.inference.tiles = 1  # at a time, rounded up to the devices of a process
    section.inference.candidates = 1000  # boxes of a tile before repeats are suppressed
    section.inference.max_boxes = 500  # of a tile
    section.inference.most = 0  # boxes of a picture, the best of them; 0: all
    section.inference.score_floor = 0.02  # what is not proposed, no second look can find
    section.inference.nms_iou = 0.35
    return section


def optimiser(learning_rate: float) -> ml_collections.ConfigDict:
    """Adam with decoupled decay and a cosine down to zero."""
    return ml_collections.ConfigDict(
        dict(
            name="adamw",
            learning_rate=learning_rate,
            schedule="cosine",
            warmup_steps=50,
            weight_decay=1e-4,
            b1=0.9,
            clip_norm=10.0,
        )
    )


def shrink(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Everything as small as it still runs: checks an installation in seconds."""
    config.data.options.config = "tiny"
    config.data.validation_fraction = 0.5
    config.detector.model.update(width=0.25, features=8)
    config.detector.train.update(
        steps=4, batch_size=8, size=64, log_every=1, validate_every=2, checkpoint_every=2
    )
    config.detector.inference.update(tile=128, overlap=32, tiles=1, candidates=100)
    shrink_gan(config)
    return config
