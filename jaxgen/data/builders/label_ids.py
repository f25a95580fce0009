"""From a label file to class numbers: every pixel is a known class, `IGNORE`, or an error.

A label map is uint8 [H, W]: 0 .. K - 1 are the classes of the set, 255 (`IGNORE`) is left out of
training and measurement. Published files hold other numbers, or colours; each set has a table from
these to its classes. What the table does not name is refused with the file, the value and the
place: a wrong table would otherwise train silently on wrong labels.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from jaxgen.data.builders import images

IGNORE = 255


def open_label(
    path: Path, *, before_decoding: Callable[[Image.Image], None] | None = None
) -> Image.Image:
    """Opens and decodes a label file.

    Args:
        path: the file.
        before_decoding: called with the image when only its header has been read; it may raise
            ValueError with the reason why the file is of a wrong kind.

    Raises:
        ValueError: it is missing or damaged.
    """
    try:
        with Image.open(path) as image:
            if before_decoding is not None:
                before_decoding(image)
            image.load()
            return image
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such label file") from None
    except images.UNREADABLE as error:
        raise ValueError(f"{path}: not a readable label file ({error})") from error


def read_ids(path: Path) -> np.ndarray:
    """Numbers of a grey or indexed label file, as they are. -> [H, W] int32.

    Raises:
        ValueError: the file holds colours, or cannot be read.
    """
    image = open_label(path)
    if image.mode not in ("L", "P", "I", "I;16"):
        raise ValueError(
            f"{path}: expected one class number a pixel (a grey or indexed PNG), found {image.mode}"
        )
    return np.asarray(image, np.int32)


def map_ids(ids: np.ndarray, table: Mapping[int, int], path: Path) -> np.ndarray:
    """Numbers of a file -> classes of the set.

    Args:
        ids: [H, W] whole numbers.
        table: number in the file -> class, or `IGNORE`.
        path: named in errors.

    Returns:
        [H, W] uint8.

    Raises:
        ValueError: a number that the table does not name.
    """
    known = np.array(sorted(table))
    place = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    unknown = known[place] != ids
    if unknown.any():
        y, x = np.argwhere(unknown)[0]
        raise ValueError(
            f"{path}: label {ids[y, x]} at x={x}, y={y} is outside of the map, which knows "
            f"{_ranges(known)} ({unknown.sum()} such pixels)"
        )
    return np.array([table[number] for number in known.tolist()], np.uint8)[place]


def map_colours(pixels: np.ndarray, table: Mapping[tuple[int, int, int], int], path: Path):
    """Colours of a file -> classes of the set, as `map_ids`. pixels: [H, W, 3] -> [H, W] uint8."""
    known = {_packed(np.array(colour)).item(): number for colour, number in table.items()}
    packed = _packed(pixels)
    unknown = ~np.isin(packed, list(known))
    if unknown.any():
        y, x = np.argwhere(unknown)[0]
        raise ValueError(
            f"{path}: the colour {tuple(pixels[y, x].tolist())} at x={x}, y={y} is outside of the "
            f"map of {len(known)} colours ({unknown.sum()} such pixels)"
        )
    return map_ids(packed, known, path)


def _packed(colours: np.ndarray) -> np.ndarray:
    """[..., 3] -> [...] one number a colour."""
    return colours.astype(np.int32) @ np.array([65536, 256, 1])


def _ranges(numbers: np.ndarray) -> str:
    """Increasing whole numbers in short: 0-12, 15."""
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    return ", ".join(f"{r[0]}-{r[-1]}" if len(r) > 1 else str(r[0]) for r in runs)
