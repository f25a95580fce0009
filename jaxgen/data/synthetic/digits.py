"""Pictures of digits as on house numbers: printed, coloured, cluttered.

A picture shows one whole digit in its middle. Others may stand at its sides, cut off, as in the
cropped pictures of SVHN. Typeface, weight, size, slant, colours, light and camera are drawn at
random; a picture depends on its random numbers alone. Pixels are uint8 RGB.

The typefaces come with matplotlib, so that pictures are alike on every machine.
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

SIDE = 32
_CELL = 96  # side of a stored glyph in pixels
_HEIGHT = 60  # of the digit inside
_FINE = 2 * SIDE  # side of the picture while digits are drawn
_TYPEFACES = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono",
    "DejaVuSansMono-Bold", "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic",
    "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "cmss10", "cmr10", "cmtt10",
)  # fmt: skip
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
_STROKES = (0, 2, 4)  # pixels of a glyph that are added around its outline


def load_glyphs() -> list[list[Image.Image]]:
    """White digits on black, `_CELL` pixels square: [typeface and weight][digit]."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    fonts = [ImageFont.truetype(folder / f"{name}.ttf", _CELL) for name in _TYPEFACES]
    return [
        [_glyph(font, str(digit), stroke) for digit in range(10)]
        for font in fonts
        for stroke in _STROKES
    ]


def draw_digit(
    rng: np.random.Generator, glyphs, digit: int, *, light_on_dark: bool = False
) -> np.ndarray:
    """One picture.

    Args:
        rng: every choice is drawn from it.
        glyphs: from `load_glyphs`.
        digit: the one in the middle, 0 to 9.
        light_on_dark: True for digits that are lighter than their ground, as lit numbers are.

    Returns:
        uint8 [32, 32, 3].
    """
    mask = _draw_row(rng, glyphs[rng.integers(len(glyphs))], digit)
    ground = _ground(rng)
    if light_on_dark:
        ground *= min(1.0, 0.45 / float((ground @ _LUMINANCE).mean()))
    ink = _ink(rng, ground, light_on_dark)
    picture = ground + (ink - ground) * mask[..., None]
    return _photograph(rng, picture)


def _glyph(font, text, stroke) -> Image.Image:
    left, top, right, bottom = font.getbbox(text)
    image = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(image).text((-left, -top), text, fill=255, font=font)
    # One height for all digits and typefaces; a narrow digit stays narrow.
    width = round(_HEIGHT * image.width / image.height)
    image = image.resize((min(width, _HEIGHT), _HEIGHT), Image.Resampling.LANCZOS)
    cell = Image.new("L", (_CELL, _CELL))
    cell.paste(image, ((_CELL - image.width) // 2, (_CELL - image.height) // 2))
    return cell.filter(ImageFilter.MaxFilter(stroke + 1)) if stroke else cell


def _draw_row(rng, glyphs, digit) -> np.ndarray:
    """Coverage of the digit and its neighbours: [SIDE, SIDE] float32 in [0, 1]."""
    height = rng.uniform(0.7, 1.0) * _FINE
    shape = _shape(rng, height / _HEIGHT)
    centre = _FINE / 2 + rng.uniform(-0.04, 0.04, 2) * _FINE
    step = rng.uniform(0.75, 1.0) * height  # from one digit to the next
    row = [(digit, 0)]
    row += [(int(rng.integers(10)), side) for side in (-1, 1) if rng.random() < 0.5]
    inverse, masks = np.linalg.inv(shape), []
    for value, side in row:
        place = centre + shape @ (side * step * _HEIGHT / height, 0.0)
        masks.append(_place(glyphs[value], inverse, place))
    mask = np.maximum.reduce(masks).reshape(SIDE, 2, SIDE, 2).mean((1, 3))
    return mask.astype(np.float32) / 255


def _shape(rng, scale) -> np.ndarray:
    """[2, 2] from glyph to picture: rotation, shear, width."""
    turn, shear = rng.uniform(-0.22, 0.22), rng.uniform(-0.25, 0.25)
    width = rng.uniform(0.75, 1.2)
    cos, sin = np.cos(turn), np.sin(turn)
    return scale * np.array([[cos, -sin], [sin, cos]]) @ np.array([[width, shear], [0, 1]])


def _place(glyph, inverse, place) -> np.ndarray:
    """The glyph with its middle at `place` (x, y): [_FINE, _FINE] uint8."""
    shift = _CELL / 2 - inverse @ place
    matrix = (*inverse[0], shift[0], *inverse[1], shift[1])
    moved = glyph.transform(
        (_FINE, _FINE), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
    )
    return np.asarray(moved)


def _ground(rng) -> np.ndarray:
    """A wall: a slope between two colours, and now and then an edge. [SIDE, SIDE, 3] float32."""
    first, second = _colour(rng), _colour(rng)
    second = first + rng.uniform(0, 0.6) * (second - first)
    ramp = _ramp(rng)
    wall = first + (second - first) * ramp[..., None]
    if rng.random() < 0.4:  # the rim of the plate, a window frame
        inside = _ramp(rng) < rng.uniform(0.7, 0.95)
        wall = np.where(inside[..., None], wall, _colour(rng))
    return wall.astype(np.float32)


def _ink(rng, ground, light_on_dark) -> np.ndarray:
    """A colour that can be told from the ground's mean, somewhat uneven. [SIDE, SIDE, 3]."""
    mean = ground.mean((0, 1))
    inks = [_colour(rng) for _ in range(6)]
    # The first that is well lighter or darker; else black or white, whichever is further away.
    inks.append(np.full(3, float(mean @ _LUMINANCE < 0.5)))

    def contrast(ink):
        lighter = (ink - mean) @ _LUMINANCE
        return lighter if light_on_dark else abs(lighter)

    ink = next(ink for ink in inks if contrast(ink) > 0.25)
    return (ink * (1 + rng.uniform(-0.25, 0.25) * (_ramp(rng)[..., None] - 0.5))).astype(np.float32)


def _photograph(rng, picture) -> np.ndarray:
    """Light, blur, noise and JPEG: [SIDE, SIDE, 3] in [0, 1] -> uint8."""
    light = 1 + rng.uniform(0, 0.5) * (_ramp(rng) - 0.7)
    pixels = np.clip(255 * picture * light[..., None], 0, 255).astype(np.uint8)
    image = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.0)))
    noise = rng.uniform(0, 14) * rng.standard_normal((SIDE, SIDE, 3), np.float32)
    pixels = np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=int(rng.integers(50, 96)))
    return np.asarray(Image.open(stream))


def _ramp(rng) -> np.ndarray:
    """A slope from 0 to 1 in a random direction. [SIDE, SIDE]."""
    turn = rng.uniform(0, 2 * np.pi)
    line = np.arange(SIDE) / (SIDE - 1) - 0.5
    return np.clip(0.5 + line * np.cos(turn) + line[:, None] * np.sin(turn), 0, 1)


def _colour(rng) -> np.ndarray:
    """sRGB in [0, 1]: between grey and any hue. [3]."""
    grey, hue = rng.random(), rng.random(3)
    return grey + rng.uniform(0, 0.9) * (hue - grey)
