"""DR-GAN on embedded synthetic people: Multi-PIE's protocol without a download.

    python -m experiments.dr_gan
    python -m experiments.dr_gan --config.gan.fuse=False --workdir=runs/single

Five stages run one after the other and resume from their own folders: "recogniser", the encoder
trained with identity labels alone, which is the baseline and the warm start; "pose", a judge of
poses that never meets the generator; "decoder", which learns to draw from the recogniser's
features; "gan"; "confidence", which learns which pictures to trust. Differs from the paper: faces
of 48 pixels, a quarter of the channels, a warm start, moving averages, beside a light game a pixel
loss and people's labels on features, and the last stage. paper.py beside this file turns all of
that back.
"""

import ml_collections

from experiments.configs.sections import optimiser, schedule


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """All keys of the system. Variants: "" (the main job), "smoke" (seconds, for tests)."""
    config = ml_collections.ConfigDict()
    config.seed = 0
    # Of recogniser, pose, decoder, gan, confidence: see jaxgen/tasks/dr_gan_stages.
    config.stages = "recogniser,pose,decoder,gan,confidence"

    config.data = ml_collections.ConfigDict()
    config.data.name = "synthetic_multipie"
    config.data.manual_dir = ""  # "" = $JAXGEN_DATA/<official folder>
    config.data.data_dir = ""  # "" = TFDS's default
    config.data.options = ml_collections.ConfigDict()  # of the data set's builder
    # Share of the training PEOPLE held out: they choose checkpoints and thresholds.
    config.data.validation_fraction = 0.1
    config.data.size = 48  # pixels, a multiple of 2^halvings; aligned faces are larger by 110 / 96
    config.data.channels = 3  # or 1, grey
    config.data.outside_poses = "error"  # pictures turned beyond all pose classes: "drop", "keep"
    config.data.flip = 0.5  # probability; the pose is mirrored with the image

    config.pose = ml_collections.ConfigDict()
    config.pose.form = "classes"  # one-hot poses (the papers), or "yaw", a number
    config.pose.classes = (-60.0, -45.0, -30.0, -15.0, 0.0, 15.0, 30.0, 45.0, 60.0)  # degrees
    # Degrees: faces that turn further are not redrawn by predict. The judge answers with a class,
    # so a limit between the last two classes refuses what is seen at the last one or beyond. With
    # form "yaw" it is also the largest yaw that training draws.
    config.pose.limit = 50.0

    config.model = ml_collections.ConfigDict()
    config.model.width = 1 / 4  # factor of the paper's channels
    config.model.halvings = 3  # 48 -> 6 pixels, the paper's last map; paper: 4, from 96
    config.model.features = 128  # length of the identity feature; paper: 320
    config.model.noise = 4  # length of the noise; paper: 50
    config.model.pose_gain = 4.0  # of the pose code beside feature and noise; paper: 1
    config.model.confidence_gain = 1.0  # of the confidence's logit; paper: 1
    config.model.embed_pose = 16  # for pose.form "yaw"
    config.model.dtype = "float32"  # of the computation; or "bfloat16", for accelerators

    config.recogniser = ml_collections.ConfigDict()
    config.recogniser.head = "softmax"  # or "additive_margin"
    # How far training crops move in the room that aligned faces leave: 1 = all of it, as published.
    config.recogniser.jitter = 1.0
    config.recogniser.degraded = 0.0  # share of the pictures made blurred or noisy; papers: 0
    config.recogniser.train = schedule(steps=1200, batch_size=64, every=200)
    config.recogniser.optimiser = optimiser(learning_rate=4e-3, schedule="cosine")

    config.judge = ml_collections.ConfigDict()  # stage "pose"
    config.judge.width = 1 / 8
    config.judge.jitter = 1.0
    config.judge.train = schedule(steps=300, batch_size=64, every=100)
    config.judge.optimiser = optimiser(learning_rate=1e-3, schedule="cosine")

    config.decoder = ml_collections.ConfigDict()
    config.decoder.jitter = 0.25
    config.decoder.train = schedule(steps=2400, batch_size=16, every=400)  # people, as below
    config.decoder.optimiser = optimiser(learning_rate=2e-3, schedule="cosine")

    config.gan = ml_collections.ConfigDict()
    config.gan.images = 4  # of each person in a batch
    config.gan.fuse = True  # draw from sets of them as well; False is the single-image form
    config.gan.jitter = 0.25  # drawings are sharper where real faces keep their place
    config.gan.drop_images = 0.5  # share of a set left out at random, so that any number works
    # Share of the pictures that the encoder sees blurred or noisy, a reason for confidences to
    # differ; drawings are compared with clean ones. Papers: 0.
    config.gan.degraded = 0.0
    config.gan.form = "separate"  # real or fake apart (TPAMI); "fake_class": one more person (CVPR)
    config.gan.head = "softmax"  # or "additive_margin"
    config.gan.loss = "non_saturating"
    # pixel: the drawing against the person's real picture in that pose; not in the papers, whose
    # other weights are 1. A short game at those weights spoils drawing and encoder.
    # feature_identity: the person by the feature of real pictures, single and fused, through the
    # recogniser's head, so that the encoder cannot forget people; not in the papers either.
    # Chosen on held-out people, see docs/dr_gan.md.
    config.gan.weights = ml_collections.ConfigDict(
        dict(adversarial=0.02, identity=0.05, pose=0.05, pixel=30.0, feature_identity=1.0)
    )
    # The discriminator moves every `every` steps, and every `slow_every` steps while the mean of
    # its four accuracies is above the threshold.
    config.gan.schedule = ml_collections.ConfigDict(dict(every=1, slow_every=4, threshold=0.9))
    config.gan.warm_start = "encoder"  # from the recogniser: none, encoder, or both, D as well
    config.gan.warm_decoder = True  # from the stage "decoder"
    # Checkpoint to use: the last, or the one with the lowest EER on held-out training people, whose
    # decoder may have learned little yet.
    config.gan.select = "latest"
    config.gan.r1 = 0.0  # weight of the gradient penalty on real images; not in the papers
    config.gan.spectral = False  # normalise the discriminator's kernels; not in the papers
    config.gan.train = schedule(steps=600, batch_size=16, every=100)  # batch_size counts people
    config.gan.optimiser = optimiser(learning_rate=1e-3, schedule="cosine", b1=0.5)
    config.gan.optimiser.warmup_steps = 50
    config.gan.discriminator_optimiser = optimiser(learning_rate=5e-4, b1=0.5)

    config.confidence = ml_collections.ConfigDict()  # sets of gan.images pictures, as in `gan`
    config.confidence.jitter = 0.25
    config.confidence.degraded = 0.5  # share of the pictures made blurred or noisy
    config.confidence.train = schedule(steps=300, batch_size=16, every=100)  # people
    config.confidence.optimiser = optimiser(learning_rate=0.05, schedule="cosine")

    config.test = ml_collections.ConfigDict()
    config.test.name = ""  # a data set to test on, "" = that of config.data
    config.test.manual_dir = ""
    config.test.options = ml_collections.ConfigDict()
    # Or "verification" (ten folds of drawn pairs), "official_folds" (CFP's lists), "templates"
    # (IJB's: sets of pictures against sets).
    config.test.protocol = "identification"
    # identification: split with one picture of each person; "" = the most frontal of its probes
    config.test.gallery = "gallery"
    config.test.probe = "probe"  # split with the pictures to identify, or to compare in pairs

    config.evaluate = ml_collections.ConfigDict()
    config.evaluate.batch_size = 64
    config.evaluate.images = 6  # largest number of images that is fused
    config.evaluate.false_accept_rate = 0.01  # the threshold is calibrated for it
    if variant not in ("", "smoke"):
        raise ValueError(f"default.py knows the variants '' and 'smoke', not {variant!r}")
    return shrink(config) if variant == "smoke" else config


def shrink(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Everything as small as it still runs: checks an installation in seconds."""
    config.data.options.config = "tiny"
    config.data.size = 16
    config.data.validation_fraction = 0.34
    config.pose.classes = (-45.0, 0.0, 45.0)
    config.pose.limit = 45.0
    config.model.update(width=1 / 16, halvings=1, features=8, noise=2)
    config.judge.width = 1 / 16
    config.gan.images = 2
    config.evaluate.update(images=2, false_accept_rate=0.2)
    for name in ("recogniser", "judge", "decoder", "gan", "confidence"):
        stage = config[name]
        stage.train.update(steps=4, batch_size=8, log_every=1, validate_every=2)
        stage.train.checkpoint_every = 2
    config.evaluate.batch_size = 8
    return config
