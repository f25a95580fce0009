"""LaplaceKL on HELEN (300-W annotation, 68 points), with unlabelled faces from a folder.

    export JAXGEN_DATA=/path/to/data      # holds 300w/helen/{trainset,testset}, faces_unlabelled/
    python -m experiments.laplace --config=experiments/configs/laplace/helen.py --workdir=runs/helen

A tenth of the training photographs is held out to choose the checkpoint; the test set is
read once, at the end.
"""

import ml_collections

from experiments.configs.laplace import default

# Brows to chin, as fractions of a picture with the face in the middle. It is a mean: the pictures
# that this config was measured with differ in size and framing far more than HELEN does in its
# own boxes (docs/laplace.md), so a file of boxes in config.unlabelled.options.boxes is better.
FACE_BOX = (0.3, 0.37, 0.7, 0.72)


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Variants: "" without, "adversarial" with the discriminator on unlabelled faces."""
    weights = {"": 0.0, "adversarial": 1e-3}
    if variant not in weights:
        raise ValueError(f"helen.py knows the variants {list(weights)}, not {variant!r}")
    config = default.get_config()
    config.data.name = "w300"
    config.data.train_split = "helen_train"
    config.data.validation_fraction = 0.1
    config.data.test_split = "helen_test"
    config.unlabelled.name = "image_folder"
    config.unlabelled.split = "train"
    config.unlabelled.manual_dir = "faces_unlabelled"
    config.unlabelled.options.face_box = FACE_BOX
    config.unlabelled.options.group_by = "stem"
    config.adversarial.weight = weights[variant]
    config.train.steps = 2000
    return config
