"""DR-GAN as published: 96 pixels, full width, 60 images a step, no pixel loss or moving averages.

The recogniser, which it is compared with, has the same width, optimiser and number of steps, of 64
images. The judge of poses is no part of the paper and stays the small one.

    python -m experiments.dr_gan --config=experiments/configs/dr_gan/paper.py --workdir=runs/paper

On the embedded people; multipie.py beside this file is the same on Multi-PIE.
The length of the training is ours: 40,000 steps.
"""

import ml_collections

from experiments.configs.dr_gan import default


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """All keys of the system. Variants: "" (10 people x 6 images), "single", "cvpr"."""
    if variant not in ("", "single", "cvpr"):
        raise ValueError(f"paper.py knows the variants '', 'single' and 'cvpr', not {variant!r}")
    config = default.get_config()
    config.data.size = 96
    config.model.update(
        width=1.0, halvings=4, features=320, noise=50, pose_gain=1.0, confidence_gain=1.0
    )
    config.stages = "recogniser,pose,gan"
    config.gan.update(images=6, warm_start="none", warm_decoder=False, drop_images=0.5)
    config.gan.weights.update(
        adversarial=1.0, identity=1.0, pose=1.0, pixel=0.0, feature_identity=0.0
    )
    config.gan.jitter = 1.0
    config.gan.train.update(steps=40_000, batch_size=10, ema_decay=0.0, validate_every=2000)
    config.gan.train.update(log_every=50, checkpoint_every=2000)
    config.recogniser.train.update(steps=40_000, ema_decay=0.0, validate_every=2000)
    config.recogniser.train.update(log_every=50, checkpoint_every=2000)
    for optimiser in (
        config.recogniser.optimiser,
        config.gan.optimiser,
        config.gan.discriminator_optimiser,
    ):
        optimiser.update(learning_rate=2e-4, schedule="constant", warmup_steps=0, b1=0.5)
    if variant:  # one image of each of 64 people
        config.gan.images = 1
        config.gan.train.batch_size = 64
    if variant == "cvpr":
        config.gan.form = "fake_class"
    return config
