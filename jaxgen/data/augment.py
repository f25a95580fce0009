"""Random changes of training crops.

Geometry is drawn as options of `crop.crop_matrix`, so that rotation, scale, shift and flip become
part of the one crop matrix and the source image is still sampled once. Appearance changes act on
the finished crop and leave the points alone. All randomness comes from the generator given.

`Settings()` changes nothing: this is the paper's training, "no data augmentation".
"""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFilter


@dataclasses.dataclass(frozen=True)
class Settings:
    """How far training crops may change; 0 switches a change off.

    Attributes:
        rotation: largest turn in degrees; uniform in +-rotation.
        scale: largest log factor; the face grows by exp(u), u uniform in +-scale.
        shift: largest move along each axis, as a fraction of the face box; uniform in +-shift.
        flip: probability of a mirror image.
        colour: strength; brightness moves by up to 128 * colour grey levels, contrast by a factor
            of up to exp(colour), each channel by up to exp(colour / 2).
        grey: probability of a picture without colour.
        blur: probability of a Gaussian blur, sigma up to 2 % of the crop's side.
        occlusion: probability that a rectangle or an ellipse, with sides of 10 % to 40 % of the
            crop, hides a part. Hidden points stay labelled.
        noise: largest standard deviation of pixel noise, in grey levels (0 to 255).
    """

    rotation: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    flip: float = 0.0
    colour: float = 0.0
    grey: float = 0.0
    blur: float = 0.0
    occlusion: float = 0.0
    noise: float = 0.0

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            top = 1.0 if name in ("flip", "grey", "blur", "occlusion") else math.inf
            if not 0 <= value <= top:
                raise ValueError(
                    f"config.augment.{name} must be "
                    f"{'a probability' if top == 1 else '0 or more'}, got {value}"
                )


OFF = Settings()


def settings_from(config) -> Settings:
    """Settings from a config mapping; None, "off" and {} all mean no augmentation.

    Raises:
        ValueError: an unknown key or a value out of range, by name.
    """
    if config is None or config == "off":
        return OFF
    if not isinstance(config, Mapping):
        config = config.to_dict()  # ml_collections
    known = [field.name for field in dataclasses.fields(Settings)]
    unknown = sorted(set(config) - set(known))
    if unknown:
        raise ValueError(f"config.augment has no key {unknown[0]!r}; it knows {known}")
    return Settings(**{name: float(value) for name, value in config.items()})


def draw_geometry(rng: np.random.Generator, settings: Settings) -> dict:
    """Random `rotation`, `scale`, `shift` and `flip` for `crop.crop_matrix`."""
    return {
        "rotation": rng.uniform(-settings.rotation, settings.rotation),
        "scale": math.exp(rng.uniform(-settings.scale, settings.scale)),
        "shift": rng.uniform(-settings.shift, settings.shift, 2),
        "flip": bool(rng.random() < settings.flip),
    }


def change_appearance(rng: np.random.Generator, settings: Settings, image) -> np.ndarray:
    """Occlusion, blur, colour, grey and noise, in the order in which a camera meets them.

    Args:
        rng: source of all draws.
        settings: what may change.
        image: [S, S, 3] uint8 crop; it is not written to.

    Returns:
        [S, S, 3] uint8.

    Raises:
        ValueError: the image is none.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"an image is uint8 [S, S, 3], got {image.dtype} {list(image.shape)}")
    if rng.random() < settings.occlusion:
        image = _occlude(rng, image)
    if rng.random() < settings.blur:
        sigma = rng.uniform(0.005, 0.02) * len(image)
        image = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)))
    if settings.colour > 0:
        image = _recolour(rng, settings.colour, image)
    if rng.random() < settings.grey:
        image = np.repeat(np.asarray(Image.fromarray(image).convert("L"))[..., None], 3, axis=2)
    if settings.noise > 0:
        noise = rng.standard_normal(image.shape, np.float32) * rng.uniform(0, settings.noise)
        image = np.clip(image + noise + 0.5, 0, 255).astype(np.uint8)
    return image


def _occlude(rng, image):
    """Covers one random rectangle or ellipse with one random colour."""
    picture = Image.fromarray(image)
    size = np.array(picture.size)
    half = rng.uniform(0.05, 0.2, 2) * size
    centre = rng.uniform(0, 1, 2) * size
    colour = tuple(int(c) for c in rng.integers(0, 256, 3))
    pen = ImageDraw.Draw(picture)
    shape = pen.rectangle if rng.random() < 0.5 else pen.ellipse
    shape([*(centre - half), *(centre + half)], fill=colour)
    return np.asarray(picture)


def _recolour(rng, strength, image):
    """One linear map per channel, as a table of 256 entries: as cheap as a copy."""
    bright = 128 * rng.uniform(-strength, strength)
    contrast = math.exp(rng.uniform(-strength, strength))
    gains = np.exp(rng.uniform(-strength / 2, strength / 2, 3))
    levels = np.arange(256)
    tables = [((levels - 128) * contrast + 128 + bright) * gain for gain in gains]
    lookup = np.clip(np.concatenate(tables) + 0.5, 0, 255).astype(np.uint8)
    return np.asarray(Image.fromarray(image).point(lookup.tolist()))
