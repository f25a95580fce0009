"""CyCADA on road scenes: CamVid by day -> CamVid at dusk, with labels of the day alone.

    export JAXGEN_DATA=/path/to/data      # holds camvid/ in the split of SegNet's tutorial
    python -m experiments.cycada --config=experiments/configs/cycada/camvid.py --workdir=runs/camvid
    ... --config=experiments/configs/cycada/camvid.py:small      # for a CPU

Source: drives 0006R0 and 0016E5; target: the part of 0001TP in train; test: its later part.
Pictures are stored at half their size, the network is a compact one. As in the released code,
segmentation aligns scores with one network for both domains while the task goes on; unlike there,
the semantic loss is on.
"""

import ml_collections

from experiments.configs.cycada import default


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Variants: "", "small" (a quarter of the pixels, fewer steps)."""
    if variant not in ("", "small"):
        raise ValueError(f"camvid.py knows the variants '' and 'small', not {variant!r}")
    config = scenes(default.get_config())
    config.source, config.target = default.domain("camvid"), default.domain("camvid")
    config.source.train_split, config.source.test_split = "day_train", "day_validation"
    config.target.train_split, config.target.test_split = "dusk_train", "dusk_test"
    for domain in (config.source, config.target):
        domain.options.size = (180, 240) if variant == "" else (90, 120)
    config.model.num_classes = 11
    if variant == "small":
        config.data.size = 80
        config.task.train.update(steps=1000)
        config.translation.train.update(steps=1000)
        config.alignment.train.update(steps=400)
    return config


def scenes(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Turns the digits of default.py into segmentation of small scenes."""
    config.stages = "source,target,translation,pixel,pixel_feature,feature"
    config.data.update(task="segmentation", size=128, channels=3)
    config.augment.update(scale=0.25, flip=0.5)
    config.model.name = "compact"
    config.task.train.update(steps=1500, batch_size=8, validate_every=500, checkpoint_every=500)
    config.task.optimiser.learning_rate = 3e-3
    config.translation.discriminator.layers = 3
    config.translation.weights.update(cycle_target=10.0, cycle_source=10.0)
    config.translation.train.update(steps=1500, batch_size=4, validate_every=500)
    config.translation.train.checkpoint_every = 500
    config.alignment.update(shared=True, task_weight=1.0, weight=0.01, window=20, hidden=128)
    config.alignment.train.update(steps=600, batch_size=8, validate_every=100)
    config.alignment.optimiser.learning_rate = 1e-4
    config.evaluate.batch_size = 8
    return config
