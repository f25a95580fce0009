"""DR-GAN on Multi-PIE: 137 people to identify, nine poses within 60 degrees.

Of the protocol's 200 people to train on a tenth is held out (config.data.validation_fraction), so
180 train; the 20 calibrate the threshold.

    export JAXGEN_DATA=/path/to/data      # holds Multi-Pie/, see docs/recognition_data.md
    python -m experiments.dr_gan --config=experiments/configs/dr_gan/multipie.py --workdir=runs/pie

The paper's networks, image size and optimiser; multi-image form with 6 images. Multi-PIE is sold
under a licence: this file was tested on made pictures with its file names only.
"""

import ml_collections

from experiments.configs.dr_gan import paper


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """All keys of the system. Variants: "" (6 images), "single"."""
    config = paper.get_config(variant)
    config.data.name = "multipie"
    return config
