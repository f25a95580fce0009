"""CyCADA between MNIST, USPS and SVHN, with networks that fit a small machine.

    export JAXGEN_DATA=/path/to/data      # holds mnist/, usps/, svhn/ as published
    python -m experiments.cycada --config=experiments/configs/cycada/digits.py:mnist_to_usps

Nine tenths of the training images of both domains, target labels hidden: a tenth is held out to
choose checkpoints. Accuracy on the target's full test set. The generators have 16 features and 2
blocks; paper.py has the published ones. The losses are the paper's; what docs/cycada.md measures
has another rate and cycle weight and no semantic loss, see there for the commands.
"""

import ml_collections

from experiments.configs.cycada import default

# Variant -> (source, target, task network, side in pixels, channels)
DIRECTIONS = {
    "mnist_to_usps": ("mnist", "usps", "lenet", 28, 1),
    "usps_to_mnist": ("usps", "mnist", "lenet", 28, 1),
    "svhn_to_mnist": ("svhn", "mnist", "dtn", 32, 3),
}


def get_config(variant: str = "mnist_to_usps") -> ml_collections.ConfigDict:
    """Variants: mnist_to_usps, usps_to_mnist, svhn_to_mnist."""
    if variant not in DIRECTIONS:
        raise ValueError(f"digits.py knows the variants {list(DIRECTIONS)}, not {variant!r}")
    source, target, network, size, channels = DIRECTIONS[variant]
    config = default.get_config()
    config.stages = "source,target,translation,pixel,pixel_feature,feature"
    config.source, config.target = default.domain(source), default.domain(target)
    config.data.update(size=size, channels=channels)
    config.model.name = network
    config.translation.discriminator.layers = 3
    config.translation.weights.update(cycle_target=1.0, cycle_source=1.0)
    config.task.train.update(steps=2000, batch_size=128, validate_every=500, checkpoint_every=500)
    config.translation.train.update(steps=3000, validate_every=500, checkpoint_every=500)
    config.alignment.train.update(steps=1000, batch_size=128, validate_every=100)
    return config
