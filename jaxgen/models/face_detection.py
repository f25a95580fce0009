"""A multi-branch fully convolutional face detector.

One pass over a trunk; one branch for each range of face sizes. A branch reads the map of its own
stride joined with everything coarser, so that tiny faces are judged by fine detail and by what
stands around them; it has its own layers and its own anchors.

Source: Bai and Ghanem, Multi-branch fully convolutional network for face detection, 2017. What is
published of it here: one backbone, one branch for each size range with its own skip connections,
fine and coarse features for small faces, no image pyramid. Strides, channels, anchors and losses
are not; those of this file are a stand-in, a feature pyramid with the anchors and the max-out
background of Zhang et al., S3FD, 2017.
"""

from collections.abc import Sequence
from typing import NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.kernels.anchors import level_anchors
from jaxgen.models.convolution import Conv
from jaxgen.models.detection_backbones import (
    STRIDES,
    ConvNormRelu,
    check_size,
    make_backbone,
)
from jaxgen.models.layers import upsample

# Share of anchors that an untrained network takes for faces: without this prior the loss of the
# many backgrounds drowns the first steps (Lin et al., Focal loss, 2017, section 3.3).
PRIOR = 0.01


class RawDetections(NamedTuple):
    """What the branches say of every anchor, branch by branch."""

    logits: jax.Array  # [B, A] float32, of being a face
    offsets: jax.Array  # [B, A, 4] float32, see boxes.encode


class FaceDetector(nn.Module):
    """Logits and box offsets of every anchor.

    Attributes:
        backbone: "light", "resnet50" or "vgg16".
        width: of the light trunk.
        norm: "batch" or "group".
        features: channels of the branches.
        strides: of the branches, some of 4, 8, 16, 32, finest first.
        anchors_per_cell: of each branch.
        max_out: background scores at the finest branch, of which the largest counts; 1 is off.
        dtype: of the computation; parameters, logits and offsets stay float32.
    """

    backbone: str = "light"
    width: float = 1.0
    norm: str = "batch"
    features: int = 48
    strides: Sequence[int] = STRIDES
    anchors_per_cell: Sequence[int] = (2, 1, 1, 2)
    max_out: int = 3
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: chex.Array, *, train: bool) -> RawDetections:
        """Images [B, H, W, 3] in [-1, 1], sides multiples of 32 -> RawDetections."""
        chex.assert_rank(images, 4)
        check_size(images)
        trunk = make_backbone(
            self.backbone,
            width=self.width,
            norm=self.norm,
            dtype=self.dtype,
            module_name="backbone",
        )
        maps = dict(zip(STRIDES, trunk(images, train=train), strict=True))
        logits, offsets, coarser = [], [], None
        for stride in reversed(STRIDES):
            if stride < min(self.strides):
                break
            lateral = Conv(self.features, 1, dtype=self.dtype, name=f"lateral{stride}")
            lateral = lateral(maps[stride])
            joined = lateral if coarser is None else lateral + upsample(coarser)
            coarser = joined
            if stride not in self.strides:
                continue
            place = tuple(self.strides).index(stride)
            options = dict(norm=self.norm, dtype=self.dtype, name=f"branch{stride}")
            x = ConvNormRelu(self.features, **options)(joined, train=train)
            found = self._predict(x, stride, self.anchors_per_cell[place])
            logits.insert(0, found[0])
            offsets.insert(0, found[1])
        return RawDetections(jnp.concatenate(logits, 1), jnp.concatenate(offsets, 1))

    def _predict(self, x, stride, anchors):
        """One branch's logits [B, h * w * anchors] and offsets [B, h * w * anchors, 4]."""
        backgrounds = self.max_out if stride == min(self.strides) and self.max_out > 1 else 0
        values = 1 + backgrounds

        def bias(key, shape, dtype=jnp.float32):
            del key
            first = jnp.arange(shape[0]) % values == 0
            return jnp.where(first, np.log(PRIOR / (1 - PRIOR)), 0.0).astype(dtype)

        options = dict(kernel_init=nn.initializers.normal(0.01), dtype=self.dtype)
        score = nn.Dense(anchors * values, bias_init=bias, name=f"score{stride}", **options)
        scores = score(x).reshape(x.shape[0], -1, values).astype(jnp.float32)
        logits = scores[..., 0]
        if backgrounds:
            logits = logits - scores[..., 1:].max(-1)
        box = nn.Dense(4 * anchors, name=f"box{stride}", **options)
        return logits, box(x).reshape(x.shape[0], -1, 4).astype(jnp.float32)


def detector_anchors(
    shape: tuple[int, int], *, strides: Sequence[int], sizes: Sequence[Sequence[float]], aspect
) -> np.ndarray:
    """All anchors of an image, in the order of RawDetections.

    Args:
        shape: (H, W) in pixels, multiples of the coarsest stride.
        strides: of the branches.
        sizes: of each branch, sides in pixels.
        aspect: height / width.

    Returns:
        [A, 4] float32.
    """
    levels = [
        level_anchors(
            (shape[0] // stride, shape[1] // stride), stride=stride, sizes=of_level, aspect=aspect
        )
        for stride, of_level in zip(strides, sizes, strict=True)
    ]
    return np.concatenate(levels)
