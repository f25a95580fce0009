"""Tiny faces on WIDER FACE with the published networks and lengths, as far as they are known.

    export JAXGEN_DATA=/path/to/data      # holds wider_face/ in its official layout
    python -m experiments.tiny_faces --config=experiments/configs/tiny_faces/paper.py

Name the ImageNet weights with --config.detector.model.pretrained=resnet50.safetensors and
--config.discriminator.pretrained=vgg19.safetensors; without them everything learns from scratch.

Generator, discriminator, weights and schedule: gan_sections.py. Of the detector the paper says
ResNet-50 and one branch for each range of sizes; its crops, anchors, loss and length here are those
of S3FD and RetinaFace, a stand-in. Meant for a GPU or TPU; nothing of it has been run at this size.
"""

import ml_collections

from experiments.configs.tiny_faces import default, wider_face
from experiments.configs.tiny_faces.gan_sections import paper_sections


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """No variants."""
    if variant:
        raise ValueError(f"paper.py knows no variants, got {variant!r}")
    config = wider_face.get_config()
    config.update(paper_sections())
    detector = config.detector
    detector.model.update(backbone="resnet50", features=256)
    detector.anchors.sizes = ((8, 16), (32,), (64,), (128, 256, 512))
    detector.loss.classification = "ohem"
    detector.train.update(steps=60_000, batch_size=16, size=640, max_boxes=500, ema_decay=0.999)
    detector.train.update(log_every=100, validate_every=5_000, checkpoint_every=5_000)
    detector.optimiser = default.optimiser(learning_rate=1e-4)
    detector.inference.update(tile=1024, overlap=256, tiles=8, candidates=2000, score_floor=0.02)
    return config
