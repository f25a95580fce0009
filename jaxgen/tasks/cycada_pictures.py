"""Pictures of a translation in progress: original, translated, and back again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxgen.data import corrupt
from jaxgen.tasks import cycada_data
from jaxgen.training import hosts

EXAMPLES = 10
_GAP = 2  # white pixels between images


def example_images(config, source: Any, target: Any) -> dict[str, np.ndarray]:
    """A few images of both domains, the same in every grid: {"source", "target"} [N, S, S, C].

    In the place of a scene that cannot be read is the next one, as in training.

    Raises:
        ValueError: more than config.data.max_corrupt scenes cannot be read.
    """
    size = config.data.size

    def some(opened):
        count = cycada_data.len_of(opened)
        rows = np.linspace(0, count - 1, min(EXAMPLES, count)).astype(int)
        if not cycada_data.is_segmentation(config):
            return opened.image[rows]
        read = corrupt.Reader(
            lambda position, rng: opened.read(position, with_label=False),
            *(count, config.data.max_corrupt),
        )
        return np.stack([_middle(read(row, None)["image"], size) for row in rows])

    return {"source": some(source), "target": some(target)}


def grid(
    translate: Callable[[str, np.ndarray], np.ndarray], examples: dict[str, np.ndarray]
) -> np.ndarray:
    """Six rows: source, as target, and back; target, as source, and back.

    Args:
        translate: (domain that comes out, uint8 [N, H, W, C]) -> the same.
        examples: of `example_images`.

    Returns:
        uint8 [H', W', C].
    """
    rows = []
    for name, other in (("source", "target"), ("target", "source")):
        there = translate(other, examples[name])
        rows += [examples[name], there, translate(name, there)]
    longest = max(len(row) for row in rows)
    return np.concatenate([_line(row, longest) for row in rows])


def save_grid(folder: Path, step: int, translate: Callable, examples: dict) -> None:
    """Writes FOLDER/step_000123.png, enlarged if it is small. All processes translate."""
    picture = grid(translate, examples)
    if not hosts.is_first():
        return
    folder.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
    factor = max(1, 900 // image.width)
    image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    image.save(folder / f"step_{step:06d}.png")


def _line(images, count):
    blank = np.full_like(images[:1], 255).repeat(count - len(images), 0)
    padded = np.pad(
        np.concatenate([images, blank]),
        ((0, 0), (0, _GAP), (0, _GAP), (0, 0)),
        constant_values=255,
    )
    return np.concatenate(list(padded), axis=1)


def _middle(image, size):
    """The middle of a scene, filled up where it is smaller."""
    h, w = image.shape[:2]
    y, x = max(0, (h - size) // 2), max(0, (w - size) // 2)
    part = image[y : y + size, x : x + size]
    fill = ((0, size - part.shape[0]), (0, size - part.shape[1]), (0, 0))
    return np.pad(part, fill, mode="edge")
