"""CyCADA on rendered and real roads with the networks of the paper.

    export JAXGEN_DATA=/path/to/data      # holds gta5/ and cityscapes/, or synthia/
    python -m experiments.cycada --config=experiments/configs/cycada/road_scenes.py:gta5_drn26 \
        --config.model.pretrained=drn_c_26.safetensors --workdir=runs/gta5

Rates and crops of the translation are the paper's, ImageNet weights are yours to name. Its 20
epochs are what others found enough; the paper has CycleGAN's defaults. There is no identity loss,
as in the paper's equations. A note beside the released code translates GTA5 with CycleGAN's
--identity 1, which is --config.translation.weights.identity_source=10 and identity_target=10 here.
The target is that of the released code, Cityscapes' 2,975 images with fine labels, which are not
used; --config.target.train_split=train_extra is the paper's.

Differs from both: crops of 400 pixels in every stage (there 600 to 768 for the task network),
batches of at least 1 a device, and scenes stored 1,024 pixels wide. Labels of the test are made
as small, so figures are not those of the published protocol. Meant for GPUs or TPUs, and not run.
"""

import ml_collections

from experiments.configs.cycada import camvid, default
from experiments.configs.sections import optimiser

# Variant -> (task network, steps of it)
VARIANTS = {
    "gta5_drn26": ("drn26", 115_000),
    "gta5_fcn8s": ("fcn8s", 100_000),
    "synthia_fcn8s": ("fcn8s", 100_000),
}
IMAGES = {"gta5": 24_966, "synthia": 10_852}  # of the source


def get_config(variant: str = "gta5_drn26") -> ml_collections.ConfigDict:
    """Variants: GTA5 -> Cityscapes with either network; SYNTHIA, fall -> winter."""
    if variant not in VARIANTS:
        raise ValueError(f"road_scenes.py knows the variants {list(VARIANTS)}, not {variant!r}")
    network, steps = VARIANTS[variant]
    config = camvid.scenes(default.get_config())
    source = variant.split("_")[0]
    _set_domains(config, source)
    config.data.update(size=400, cache=False)
    config.augment.scale = 0.0
    config.model.name = network
    config.task.optimiser = _sgd(1e-3, momentum=0.9)
    config.task.train.update(steps=steps, batch_size=8, ema_decay=0.0)
    # The network and the losses of CycleGAN; no semantic loss, which the memory of 2018 had no
    # room for. Of 20 epochs, the rate falls over the last ten.
    config.translation.generator.update(features=64, blocks=9, remat=True)
    config.translation.discriminator.update(features=64, layers=3)
    config.translation.semantic.mode = "none"
    config.translation.train.update(steps=20 * IMAGES[source], batch_size=1, ema_decay=0.0)
    for section in (config.translation.optimiser, config.translation.discriminator_optimiser):
        section.update(optimiser(learning_rate=2e-4, b1=0.5, schedule="linear"))
    config.alignment.update(weight=0.1, window=100, hidden=512, warmup_steps=0)
    config.alignment.optimiser = _sgd(1e-5, momentum=0.99)
    config.alignment.discriminator_optimiser = _sgd(1e-5, momentum=0.99)
    config.alignment.train.update(steps=100_000, batch_size=1, ema_decay=0.0)
    for stage in (config.task, config.translation, config.alignment):
        stage.train.update(log_every=100, validate_every=5000, checkpoint_every=5000)
    return config


def _set_domains(config, name: str) -> None:
    if name == "gta5":
        config.source, config.target = default.domain("gta5"), default.domain("cityscapes")
        config.source.options.size, config.target.options.size = (563, 1024), (512, 1024)
        config.source.validation_fraction = 0.05
        config.model.num_classes = 19
        return
    config.source, config.target = default.domain("synthia"), default.domain("synthia")
    for domain, season in ((config.source, "FALL"), (config.target, "WINTER")):
        domain.options.update(size=(608, 1024), seasons=(season,))
    config.model.num_classes = 13


def _sgd(learning_rate: float, *, momentum: float) -> ml_collections.ConfigDict:
    section = optimiser(learning_rate=learning_rate, b1=momentum)
    section.update(name="sgd", weight_decay=5e-4)
    return section
