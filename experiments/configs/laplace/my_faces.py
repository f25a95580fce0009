r"""LaplaceKL on your own points: a folder of pictures and one CSV. Copy and change three lines.

    python -m experiments.laplace --config=experiments/configs/laplace/my_faces.py \
        --config.data.manual_dir=/path/to/folder --config.model.num_points=7

docs/data.md shows the CSV, the flip-pair file and how to name splits.
"""

import ml_collections

from experiments.configs.laplace import default


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """One setting; the variant is not used."""
    del variant
    config = default.get_config()
    config.data.name = "points_csv"
    config.data.validation_fraction = 0.1
    config.model.num_points = 68  # as many as your CSV has
    config.data.flip_pairs = ""  # file of the points that swap in a mirror ...
    config.augment.flip = 0.0  # ... then 0.5
    # inter_ocular exists for known markups only; face_box: the box columns of your CSV.
    config.evaluate.normalizer = "box_size"
    config.adversarial.weight = 0.0  # above 0: name your unlabelled pictures ...
    config.unlabelled.name = ""  # ... here; rendered faces have other points and other pictures
    return config
