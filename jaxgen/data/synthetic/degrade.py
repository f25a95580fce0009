"""What a camera does to a picture besides blur (kernels/blur.py): grain and block compression.

Images are [H, W, 3] float32 sRGB in [0, 1], sides a multiple of 8 for `compress`.
"""

import jax.numpy as jnp
import numpy as np
from jax import random


def grain(key, image, level):
    """Sensor noise: stronger where there is light, a little coloured."""
    shot = random.normal(key, image.shape)
    grey = shot.mean(-1, keepdims=True) * 1.7
    return image + level * (0.6 * grey + 0.4 * shot) * (0.4 + jnp.sqrt(jnp.clip(image, 0, 1)))


# Standard luminance table of JPEG (ITU-T T.81, table K.1).
_TABLE = np.array(
    [[16, 11, 10, 16, 24, 40, 51, 61], [12, 12, 14, 19, 26, 58, 60, 55],
     [14, 13, 16, 24, 40, 57, 69, 56], [14, 17, 22, 29, 51, 87, 80, 62],
     [18, 22, 37, 56, 68, 109, 103, 77], [24, 35, 55, 64, 81, 104, 113, 92],
     [49, 64, 78, 87, 103, 121, 120, 101], [72, 92, 95, 98, 112, 100, 103, 99]]
) / 255  # fmt: skip


def compress(image, strength):
    """Block artefacts: the 8 x 8 cosine transform is rounded as JPEG does.

    Args:
        image: [H, W, 3].
        strength: [] in [0, 1]: 0 leaves the image alone, 1 is about JPEG quality 20.

    Returns:
        [H, W, 3].
    """
    height, width, _ = image.shape
    if height % 8 or width % 8:
        raise ValueError(f"compress works on blocks of 8 x 8 pixels, got {height} x {width}")
    n = np.arange(8)
    dct = np.sqrt(2 / 8) * np.cos(np.pi * (2 * n + 1) * n[:, None] / 16)
    dct[0] = np.sqrt(1 / 8)
    to_ycc = np.array([[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]])
    blocks = (image @ to_ycc.T.astype(np.float32)).reshape(height // 8, 8, width // 8, 8, 3)
    waves = jnp.einsum("ui,vj,aibjc->aubvc", dct, dct, blocks)
    # Chroma is rounded twice as coarsely.
    step = _TABLE[None, :, None, :, None] * np.array([1.0, 2.0, 2.0]) * (2.5 * strength + 1e-4)
    waves = jnp.round(waves / step) * step
    blocks = jnp.einsum("ui,vj,aubvc->aibjc", dct, dct, waves)
    return blocks.reshape(height, width, 3) @ jnp.asarray(np.linalg.inv(to_ycc).T, jnp.float32)
