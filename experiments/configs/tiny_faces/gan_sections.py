"""The sections model, crops, generator, discriminator and gan of a tiny-faces config.

`gan_sections()` suits a small CPU; `paper_sections()` has the published sizes and schedule.
"""

import ml_collections

from experiments.configs.sections import optimiser, schedule


def gan_sections() -> ml_collections.ConfigDict:
    """The five sections, small. How they differ from the paper: docs/tiny_faces.md."""
    config = ml_collections.ConfigDict()
    config.model = ml_collections.ConfigDict()  # of all networks, the detector's too
    config.model.dtype = "float32"  # of the computation; or "bfloat16", for accelerators
    config.crops = ml_collections.ConfigDict(
        dict(
            high=64,  # pixels of a crop at high resolution; a quarter at low resolution
            margin=1.5,  # side of the square that is cut out over the longer side of its box
            least_height=5.0,  # pixels: smaller faces are not used
            least_real=1.0,  # a crop is paired from this many real pixels per pixel of `high`
            jitter=0.12,  # of true boxes, in sides: what a detector would have proposed
            copies=2,  # jittered crops of every true face
            unpaired=0.75,  # largest share of crops too small for a high-resolution partner
            per_image=40,  # most faces of an image, and most backgrounds
            degradation="bicubic",  # or "realistic": blur, noise and JPEG too
            flip=0.5,  # probability of a mirror image in training
        )
    )
    config.generator = ml_collections.ConfigDict(
        dict(
            width=0.25,  # of 64 and 256 channels
            blocks=3,
            refine=True,
            first_kernel=3,
            coarse_kernel=1,
            refined_kernel=3,
            norm="none",
            extra_conv=True,
            coarse_image="tanh",
            global_skip=True,  # not in the paper: learns in minutes
            train=schedule(steps=2000, batch_size=16, every=200),  # PSNR still rises then
            optimiser=optimiser(2e-3, schedule="cosine"),
        )
    )
    config.discriminator = ml_collections.ConfigDict(
        dict(
            trunk="compact",  # or "vgg19"
            pretrained="",  # .safetensors file of VGG19's ImageNet weights
            features=16,
            stages=4,
            norm="batch",
            dropout=0.3,
            head_std=0.01,
            train=schedule(steps=600, batch_size=32, every=200),
            optimiser=optimiser(1e-3, schedule="cosine"),
        )
    )
    config.gan = ml_collections.ConfigDict()
    config.gan.loss = "non_saturating"  # or "saturating", as written in the paper
    config.gan.generator_batch = "all"  # or "faces": the released code
    # "classifier": from the stage `discriminator`. "new": from new weights, as the paper's, but
    # for those of `discriminator.pretrained`; then that stage need not run.
    config.gan.discriminator_start = "classifier"
    # On the mean squared difference of pixels in [-1, 1]. 0 leaves a term out.
    config.gan.weights = ml_collections.ConfigDict(
        dict(pixel=1.0, adversarial=1e-3, classification=1e-2, box=0.0)
    )
    # Of the discriminator's own loss of real and super-resolved images; that of faces weighs 1.
    config.gan.discriminator_adversarial = 1.0
    config.gan.train = schedule(steps=600, batch_size=16, every=200)
    config.gan.optimiser = optimiser(2e-4, schedule="cosine")
    config.gan.discriminator_optimiser = optimiser(2e-4, schedule="cosine")
    config.gan.fusion = ml_collections.ConfigDict(
        dict(
            # "chosen" on held-out scenes, or by hand: "mean_logit", "replace" or "product".
            rule="chosen",
            weight=0.5,  # of the GAN's logit in "mean_logit"; unless it is chosen
            longest_side=20.0,  # pixels: larger boxes keep the detector's score; the same
            most=600,  # boxes of an image that are scored anew, best first
            move_boxes=False,  # by the box head
            batch_size=64,
        )
    )
    return config


def paper_sections() -> ml_collections.ConfigDict:
    """Sizes, weights and schedule as published or as in the released code, for accelerators.

    The released code has batch 8 and runs over its crops three times at each learning rate; here
    that is a number of steps, for 100,000 crops. Give `discriminator.pretrained` the weights. The
    stage `discriminator` is not the paper's: it trains the rival that sees bicubic crops, and shows
    it as many as the game does.
    """
    config = gan_sections()
    # The released code enlarges every face to 128 pixels; so few have as many of their own that
    # half of them must do.
    config.crops.update(high=128, margin=1.0, unpaired=0.0, least_real=0.5)
    config.generator.update(width=1.0, blocks=8, norm="batch", global_skip=False)
    config.discriminator.update(trunk="vgg19", dropout=0.0, head_std=0.1)
    config.gan.discriminator_start = "new"
    for section, steps in (
        (config.generator, 75_000),
        (config.discriminator, 75_000),
        (config.gan, 75_000),
    ):
        section.train = schedule(steps=steps, batch_size=8, every=steps // 25)
        section.optimiser = optimiser(1e-4, schedule="half")
    config.gan.discriminator_optimiser = optimiser(1e-4, schedule="half")
    return config


def shrink_gan(config: ml_collections.ConfigDict) -> None:
    """Makes the sections as small as they still run: for tests."""
    config.crops.update(high=16, per_image=8, copies=1)
    config.generator.update(width=1 / 16, blocks=1)
    config.discriminator.update(features=4, stages=2)
    config.gan.fusion.batch_size = 8
    for section in (config.generator, config.discriminator, config.gan):
        section.train = schedule(steps=4, batch_size=16, every=2)
