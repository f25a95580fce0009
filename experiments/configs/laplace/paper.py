"""LaplaceKL as the paper trains it, as far as it is known, on the full 300-W protocol.

    export JAXGEN_DATA=/path/to/data      # holds 300w/{helen,lfpw,afw,ibug}, faces_unlabelled/
    python -m experiments.laplace --config=experiments/configs/laplace/paper.py --workdir=runs/paper

No normalisation layers, no augmentation, dropout 0.2, full width, Adam with rate 1e-3 and L2
1e-5 that drops tenfold after two thirds, batches of 16. A tenth of the training faces is held
out to choose the checkpoint, which the public reimplementation does on the test set instead.
Epochs, face boxes and the discriminator's layers are not known from the paper; width 1 of the
discriminator is that of the public reimplementation.

The unlabelled faces are expected as in helen.py: pictures that show the face at one place. For
others give a file of boxes, config.unlabelled.options.boxes (docs/data.md).
"""

import ml_collections

from experiments.configs.laplace import default, helen


def get_config(variant: str = "adversarial") -> ml_collections.ConfigDict:
    """Variants: "adversarial" (unlabelled faces from a folder), "supervised"."""
    if variant not in ("adversarial", "supervised"):
        raise ValueError(f"paper.py knows adversarial and supervised, not {variant!r}")
    config = default.get_config()
    config.data.name = "w300"
    config.data.train_split = "train"
    config.data.validation_fraction = 0.1
    config.data.test_split = "full"
    config.unlabelled.name = "image_folder"
    config.unlabelled.split = "train"
    config.unlabelled.manual_dir = "faces_unlabelled"
    config.unlabelled.options.face_box = helen.FACE_BOX
    config.unlabelled.options.group_by = "stem"
    for change in config.augment:
        config.augment[change] = 0.0
    config.model.update(width=1.0, norm="none", dropout=0.2)
    config.adversarial.update(
        width=1.0, depth=4, pool=1, weight=1e-3 if variant == "adversarial" else 0.0
    )
    for optimiser in (config.optimiser, config.adversarial.optimiser):
        optimiser.update(learning_rate=1e-3, schedule="step", warmup_steps=0, b1=0.9)
    config.train.update(
        steps=133_000,  # 750 epochs of 2,833 faces
        batch_size=16,
        unlabelled_batch_size=16,
        ema_decay=0.0,
        log_every=100,
        validate_every=1000,
        checkpoint_every=1000,
    )
    return config
