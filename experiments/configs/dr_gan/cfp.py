"""DR-GAN on Celebrities in Frontal-Profile, people 1-320, tested on people 321-400.

    export JAXGEN_DATA=/path/to/data      # holds cfp/{Data,Protocol}
    python -m experiments.dr_gan --config=experiments/configs/dr_gan/cfp.py --workdir=runs/cfp

Three poses: left profile, front, right profile. Verification on ten folds of pairs drawn from the
test people in the official protocol's shape; the official folds need all 500 people
(docs/recognition_data.md).
"""

import ml_collections

from experiments.configs.dr_gan import default


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """All keys of the system; there are no variants."""
    if variant:
        raise ValueError(f"cfp.py knows no variant {variant!r}")
    config = default.get_config()
    config.data.name = "cfp"
    config.pose.classes = (-90.0, 0.0, 90.0)
    config.pose.limit = 90.0
    config.test.protocol = "verification"
    config.test.gallery = ""
    config.test.probe = "test"
    config.recogniser.train.update(steps=1500, validate_every=300, checkpoint_every=300)
    config.gan.train.update(steps=3000, validate_every=500, checkpoint_every=500)
    return config
