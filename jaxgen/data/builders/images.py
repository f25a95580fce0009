"""Opening image files and cutting the part around a face that is worth storing.

Photographs have millions of pixels and a face needs a few hundred: builders store a window around
the face box, so that prepared sets stay small and read fast. Pixel centres are at integers.
"""

import io
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

# What Pillow's readers raise for damaged files, each format its own.
UNREADABLE = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, OverflowError),
    *(struct.error, zlib.error, MemoryError, NotImplementedError, Image.DecompressionBombError),
)
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def open_image(source, *, upright=False, name=None) -> Image.Image:
    """Reads a whole image as RGB; grey, palette and RGBA files are converted.

    Args:
        source: a path, or the bytes of a file.
        upright: turn the picture as its EXIF tag asks. For a user's own photographs, which
            annotation tools show upright; the published sets were marked on the raw pixels.
        name: what to call the image in an error; by default the path.

    Raises:
        ValueError: the file is truncated or no image; the message names it.
    """
    data = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with Image.open(data) as image:
            image.load()
            image = ImageOps.exif_transpose(image) if upright else image
            return to_rgb(image)
    except FileNotFoundError:
        raise ValueError(f"{name or source}: there is no such image") from None
    except UNREADABLE as error:
        raise ValueError(f"{name or source}: not a readable image ({error})") from error


def is_plain(path: Path, formats: tuple[str, ...]) -> bool:
    """Whether a file of these formats decodes to its RGB pixels by itself, without turning."""
    with Image.open(path) as image:
        return image.format in formats and image.mode == "RGB" and image.getexif().get(274, 1) == 1


def to_rgb(image: Image.Image) -> Image.Image:
    """Grey, 16-bit, palette and transparent images as 8-bit RGB; transparency becomes black.

    Raises:
        ValueError: pixels have 32 bits, and what is black and white is not known.
    """
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, np.float64)
        # 16-bit files may come as 32-bit integers, but what else these mean nobody knows.
        if image.mode == "F" or (image.mode == "I" and not 255 < values.max() < 2**16):
            raise ValueError("pixels of 32 bits: save it with 8 or 16 bits a channel")
        # Keep the bright 8 bits.
        return Image.fromarray(np.clip(values / 256, 0, 255).astype(np.uint8)).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "black"), image).convert("RGB")
    return image.convert("RGB")


def whole_box(width, height) -> np.ndarray:
    """The box of a whole image, edge to edge. -> [4] float32."""
    return np.array([-0.5, -0.5, width - 0.5, height - 0.5], np.float32)


def tight_box(points) -> np.ndarray:
    """Smallest box around the labelled points. [K, 2], NaN where unlabelled -> [4] float32."""
    points = np.asarray(points, np.float64)
    return np.concatenate([np.nanmin(points, 0), np.nanmax(points, 0)]).astype(np.float32)


def face_window(image: Image.Image, box, *, margin, size):
    """The part of an image around a face, shrunk with antialiasing if it is large.

    Args:
        image: RGB.
        box: [4] face box in image pixels.
        margin: side of the window as a multiple of the box's longer side.
        size: longest side of the result in pixels; smaller windows are never enlarged.

    Returns:
        The window, and its [2, 3] float64 matrix from image pixels to window pixels.
    """
    x0, y0, x1, y1 = (float(v) for v in box)
    half = margin * max(x1 - x0, y1 - y0) / 2
    x, y = (x0 + x1) / 2 + 0.5, (y0 + y1) / 2 + 0.5  # counted from the corner of the image
    left, top = max(0, math.floor(x - half)), max(0, math.floor(y - half))
    right, bottom = min(image.width, math.ceil(x + half)), min(image.height, math.ceil(y + half))
    if left >= right or top >= bottom:  # the face lies outside: keep all there is
        left, top, right, bottom = 0, 0, image.width, image.height
    longest = max(right - left, bottom - top)
    shape = [max(1, round(side * min(1, size / longest))) for side in (right - left, bottom - top)]
    window = image
    if (left, top, right, bottom) != (0, 0, *image.size) or shape != list(image.size):
        window = image.resize(shape, Image.Resampling.LANCZOS, box=(left, top, right, bottom))
    zoom_x, zoom_y = shape[0] / (right - left), shape[1] / (bottom - top)
    matrix = [
        [zoom_x, 0, (0.5 - left) * zoom_x - 0.5],
        [0, zoom_y, (0.5 - top) * zoom_y - 0.5],
    ]
    return window, np.array(matrix, np.float64)


def encode(image: Image.Image) -> bytes:
    """JPEG without chroma subsampling, at a quality that leaves nothing to see."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=95, subsampling=0)
    return stream.getvalue()


def list_images(folder) -> list[Path]:
    """Every image below a folder, in a fixed order; hidden files are left out."""
    found = (p for p in Path(folder).rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    return sorted(p for p in found if not p.name.startswith("."))
