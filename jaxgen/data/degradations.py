"""Worse pictures by a given strength, for tests of how far a recogniser trusts them.

Unlike the random changes of `jaxgen.data.augment`, a strength in [0, 1] says exactly how bad a
picture becomes: 0 leaves it alone, 1 leaves hardly anything of a face.

    blur        Gaussian, sigma up to 8 % of the side
    noise       of the camera, standard deviation up to 100 grey levels
    occlusion   a rectangle of one random colour over up to 80 % of the picture
"""

import math

import numpy as np
from PIL import Image, ImageFilter

KINDS = ("blur", "noise", "occlusion")
_SIGMA, _NOISE, _COVERED = 0.08, 100.0, 0.8


def degrade(images: np.ndarray, kind: str, strength, *, seed: int) -> np.ndarray:
    """Makes pictures worse.

    Args:
        images: [N, S, S, C] uint8, C is 1 or 3.
        kind: one of `KINDS`.
        strength: in [0, 1], one number or [N].
        seed: of noise, place and colour; picture i depends on the seed and i alone.

    Returns:
        [N, S, S, C] uint8.

    Raises:
        ValueError: an unknown kind, a strength out of range, or other arrays than pictures.
    """
    if images.ndim != 4 or images.dtype != np.uint8:
        raise ValueError(
            f"pictures are uint8 [N, S, S, C], got {images.dtype} {list(images.shape)}"
        )
    change = {"blur": _blur, "noise": _add_noise, "occlusion": _occlude}.get(kind)
    if change is None:
        raise ValueError(f"pictures are made worse by one of {KINDS}, got {kind!r}")
    strengths = np.broadcast_to(np.asarray(strength, np.float64), (len(images),))
    if not ((strengths >= 0) & (strengths <= 1)).all():
        raise ValueError(f"strength must be in [0, 1], got {strength}")
    result = np.array(images)
    for row in np.flatnonzero(strengths > 0):
        rng = np.random.default_rng([seed, int(row)])
        result[row] = change(rng, result[row], float(strengths[row]))
    return result


def _blur(rng, image, strength):
    del rng
    sigma = ImageFilter.GaussianBlur(strength * _SIGMA * len(image))
    channels = [Image.fromarray(channel).filter(sigma) for channel in np.moveaxis(image, -1, 0)]
    return np.stack([np.asarray(channel) for channel in channels], -1)


def _add_noise(rng, image, strength):
    noisy = image + strength * _NOISE * rng.standard_normal(image.shape)
    return np.clip(np.round(noisy), 0, 255).astype(np.uint8)


def _occlude(rng, image, strength):
    height, width, channels = image.shape
    aspect = math.exp(rng.uniform(-0.5, 0.5))
    area = strength * _COVERED
    tall, wide = min(1.0, math.sqrt(area * aspect)), min(1.0, math.sqrt(area / aspect))
    # What one side cannot give, the other does: the covered share is exact up to rounding.
    tall, wide = (area / wide if wide == 1 else tall), (area / tall if tall == 1 else wide)
    rows, columns = max(1, round(tall * height)), max(1, round(wide * width))
    top, left = rng.integers(0, height - rows + 1), rng.integers(0, width - columns + 1)
    image = image.copy()
    image[top : top + rows, left : left + columns] = rng.integers(0, 256, channels)
    return image
