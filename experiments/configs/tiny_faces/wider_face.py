"""Tiny faces on WIDER FACE, with networks that fit a small machine.

    export JAXGEN_DATA=/path/to/data      # holds wider_face/ in its official layout
    python -m experiments.tiny_faces --config=experiments/configs/tiny_faces/wider_face.py
    ... --config=experiments/configs/tiny_faces/wider_face.py:part      # of an incomplete copy

Trains on the published training images, a twentieth of them held out to choose the checkpoint, and
tests on the published validation images. AP of the official levels needs the evaluation's .mat
files: --config.test.levels=FOLDER. paper.py has the published networks.
"""

import ml_collections

from experiments.configs.tiny_faces import default
from experiments.configs.tiny_faces.gan_sections import gan_sections


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Variants: "" (all 12,880 + 3,226 images), "part" (what is there, in a fraction of the time).

    Figures of a part must not be compared with published ones.
    """
    if variant not in ("", "part"):
        raise ValueError(f"wider_face.py knows the variants '' and 'part', not {variant!r}")
    config = default.get_config()
    config.data.name = "wider_face"
    config.data.validation_fraction = 0.05 if variant == "" else 0.1
    config.data.options.allow_partial = variant == "part"
    config.data.cache = variant == "part"  # all of it would take 30 GB
    config.test.split = "val"
    config.update(gan_sections())  # stages longer than those of default.py
    detector = config.detector
    detector.train.update(size=256, max_boxes=200, steps=8000, validate_every=1000)
    detector.train.update(checkpoint_every=1000, log_every=50)
    detector.inference.update(tile=640, overlap=128, max_boxes=750)
    if variant == "part":
        detector.train.update(steps=1500, validate_every=500, checkpoint_every=500)
    return config
