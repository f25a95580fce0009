"""CyCADA's digits as published, as far as paper and released code are known.

    export JAXGEN_DATA=/path/to/data
    python -m experiments.cycada --config=experiments/configs/cycada/paper.py:svhn_to_mnist

Networks, batch sizes, rates and lengths are those of the released code, lengths as steps of its
epochs over the full training sets (here a tenth of them is held out): of the larger domain for the
translation, of the source for task networks. The one that learns from target labels has as many
steps as that of the source.

The semantic loss is that of the paper (a frozen source network, its own labels, both ways). For the
code's, set --config.translation.semantic.mode=joint --config.translation.semantic.labels=truth
--config.translation.weights.adversarial_target=2 --config.translation.generator.dropout=0.5.
Meant for a GPU or TPU: the translation alone takes about 1e17 operations.
"""

import ml_collections

from experiments.configs.cycada import default, digits


def get_config(variant: str = "svhn_to_mnist") -> ml_collections.ConfigDict:
    """Variants: those of digits.py."""
    config = digits.get_config(variant)
    config.translation.generator.update(features=64, blocks=9)
    config.translation.discriminator.update(features=64, layers=3)
    constant = default.optimiser(learning_rate=1e-4)
    config.task.optimiser.update(constant)
    images = {"mnist": 60_000, "usps": 7_291, "svhn": 73_257}
    source, target = images[config.source.name], images[config.target.name]
    config.task.train.update(steps=100 * source // 128, batch_size=128, ema_decay=0.0)
    config.translation.train.update(
        steps=75 * max(source, target) // 100, batch_size=100, ema_decay=0.0
    )
    for optimiser in (config.translation.optimiser, config.translation.discriminator_optimiser):
        optimiser.update(default.optimiser(learning_rate=2e-4, b1=0.5))
    config.alignment.train.update(
        steps=200 * min(source, target) // 128, batch_size=128, ema_decay=0.0
    )
    config.alignment.warmup_steps = 0
    config.alignment.optimiser.learning_rate = 1e-5
    config.alignment.discriminator_optimiser.update(default.optimiser(learning_rate=1e-5))
    for stage in (config.task, config.translation, config.alignment):
        every = max(1, stage.train.steps // 20)
        stage.train.update(log_every=100, validate_every=every, checkpoint_every=every)
    return config
