"""Sets of classified images that fit into memory, decoded once to one size.

Digits and other small pictures: 60,000 of 28 x 28 take 47 MB. Larger pictures are shrunk (or
enlarged) to a square by Pillow's BILINEAR filter, which averages over all pixels that it shrinks
together; the aspect is not kept. Grey is the luminance of ITU-R 601, Pillow's "L".
"""

import io
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxgen.data import splits
from jaxgen.data.builders import images, registry

_CHUNK = 512  # records that are read and decoded together
_THREADS = 2


class LabelledImages(NamedTuple):
    """One split of a set.

    Attributes:
        image: [N, S, S, C] uint8.
        label: [N] int32, positions in `classes`; -1 where there is no label.
        name: N unique ids.
        classes: names of the classes; () where the whole set has none.
    """

    image: np.ndarray
    label: np.ndarray
    name: list[str]
    classes: tuple[str, ...]


def open_images(data_config, split: str, *, size: int, channels: int) -> LabelledImages:
    """Opens one split of the set that a config names, preparing the set on first use.

    Args:
        data_config: mapping with the keys of `sources.open_source`; `name` is one of
            `registry.CLASSES`. A tenth of training is held out as "validation" unless
            validation_fraction says otherwise.
        split: "train", "validation", "test" or any other split of the set.
        size: side of the images in pixels.
        channels: 1 for grey, 3 for RGB.

    Raises:
        ValueError: files, options or split are wrong; the message says which and what to do.
    """
    if size < 1 or channels not in (1, 3):
        raise ValueError(f"images need size >= 1 and 1 or 3 channels, got {size} and {channels}")
    part = splits.open_part(
        data_config, split, sets=registry.CLASSES, is_labelled=lambda data_set: True
    )
    records, convert = splits.stored_records(part), part.data_set.convert
    count = len(records)
    image = np.empty((count, size, size, channels), np.uint8)
    label, name, group = np.empty(count, np.int32), [""] * count, [""] * count

    def load(start):
        rows = range(start, min(start + _CHUNK, count))
        for row, record in zip(rows, splits.read_together(records, rows), strict=True):
            example = convert(record, row)
            label[row], name[row], group[row] = (example[k] for k in ("label", "name", "group"))
            if part.takes(group[row]):  # decoding takes half of the time
                data, shape = example["image"], dict(size=size, channels=channels)
                image[row] = decode(data, **shape, name=name[row])

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(load, range(0, count, _CHUNK)))
    chosen = part.choose(count, lambda row: {"name": name[row], "group": group[row]})
    return LabelledImages(
        image[chosen],
        label[chosen],
        [name[row] for row in chosen],
        tuple(part.data_set.builder.info.features["label"].names),
    )


def compare_classes(source, target) -> None:
    """Checks that two domains have the same classes in the same order.

    A target without any class (a folder of images without labels) fits every source.

    Args:
        source: LabelledImages, or another set with `classes`.
        target: the same.

    Raises:
        ValueError: they differ; the message names the classes.
    """
    if source.classes == target.classes or not target.classes:
        return
    of_source, of_target = set(source.classes), set(target.classes)
    raise ValueError(
        "source and target must have the same classes in the same order: only the source has "
        f"{sorted(of_source - of_target)}, only the target has {sorted(of_target - of_source)} "
        f"(source: {list(source.classes)}, target: {list(target.classes)}). Rename the "
        "class folders of one of them"
    )


def decode(data: bytes, *, size: int, channels: int, name: str) -> np.ndarray:
    """An image file as [size, size, channels] uint8; `name` is for the error.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            picture = image if image.mode in ("L", "RGB") else images.to_rgb(image)
    except images.UNREADABLE as error:
        raise ValueError(
            f"{name}: the stored image is damaged ({error}); delete the prepared data set and "
            "start again"
        ) from error
    return as_square(picture, size=size, channels=channels)


def as_square(picture: Image.Image, *, size: int, channels: int) -> np.ndarray:
    """A picture in grey or RGB as [size, size, channels] uint8."""
    mode = {1: "L", 3: "RGB"}[channels]
    picture = picture if picture.mode == mode else picture.convert(mode)
    if picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(picture).reshape(size, size, channels)
