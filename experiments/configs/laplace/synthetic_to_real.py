"""LaplaceKL trained on synthetic labels alone, tested on real faces (HELEN).

    export JAXGEN_DATA=/path/to/data      # holds 300w/helen/testset, faces_unlabelled/
    python -m experiments.laplace --config=experiments/configs/laplace/synthetic_to_real.py

The checkpoint is chosen on synthetic validation faces: no real label is used before the test.
To go on from the result with real labels, train helen.py with
--config.model.pretrained=runs/laplace (or the --workdir of that run).
"""

import ml_collections

from experiments.configs.laplace import helen


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Variants: "" without, "adversarial" with the discriminator on real unlabelled faces."""
    config = helen.get_config(variant)
    config.data.name = "synthetic_faces"
    config.data.train_split = "train"
    config.data.validation_fraction = 0.0  # the set has such a split
    config.data.options.config = "varied"
    config.test.name = "w300"
    return config
