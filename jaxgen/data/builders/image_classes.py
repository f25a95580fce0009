"""Your own classes: a folder of images with one folder a class.

    train/cat/a.jpg  train/dog/b.png  test/cat/c.jpg  ...     the split is given
    cat/a.jpg  dog/b.png  ...                                 a share of every set is held out
    train/a.jpg  train/b.jpg  ...                             without labels: a target domain

The names of the folders are the classes, in alphabetical order. `train`, `test` and, if wanted,
`validation` lie side by side; a split with images directly inside has no labels (-1), and the
classes are then those of the other splits. Without split folders, `test_fraction` of the images
become `test`, by a hash of their names. Images are turned upright, shrunk to at most `max_side`
pixels (0: never), and stored without loss or as they are.
"""

import functools
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from jaxgen.data import hashing
from jaxgen.data.builders import class_sets, images

SPLITS = ("train", "validation", "test")


class ImageClasses(class_sets.ClassBuilder):
    """Classified images of the user."""

    VERSION = tfds.core.Version("1.0.0")
    LAYOUT = "  {train,test}/CLASS/*.jpg or *.png, or CLASS/*.jpg, or train/*.jpg without labels"
    CHANNELS = 3
    OPTIONS = {"test_fraction": 0.2, "max_side": 256}  # noqa: RUF012

    @classmethod
    def files(cls, manual_dir, options):
        """Every image."""
        if not 0 <= options["test_fraction"] < 1:
            raise ValueError(
                "option test_fraction of image_classes is at least 0 and below 1, got "
                f"{options['test_fraction']}"
            )
        found = list_splits(manual_dir, options["test_fraction"])
        return [path for listed in found.values() for path, _ in listed]

    @property
    def classes(self):
        """Names of the folders, over all splits."""
        found = {name for listed in self._listed.values() for _, name in listed}
        return tuple(sorted(found - {None}))

    def split_parts(self, split):
        """Checks that the folder of a split is there, and that the classes agree."""
        listed = self._listed
        if split in SPLITS and split not in listed:
            raise ValueError(
                f"{self.builder_config.manual_dir} holds no images of {split!r}; it has "
                f"{sorted(listed)}. Expected:\n{self.LAYOUT}"
            )
        trained = {name for _, name in listed.get("train", [])}
        if trained and None not in trained:
            for other in set(listed) - {"train"}:
                new = {name for _, name in listed[other]} - trained - {None}
                if new:
                    raise ValueError(
                        f"{self.builder_config.manual_dir}: {other}/ has the classes "
                        f"{sorted(new)}, which train/ lacks"
                    )
        return (split,)

    def splits(self):
        """The splits that are there."""
        return {split: self._examples(found) for split, found in self._listed.items()}

    @functools.cached_property
    def _listed(self):
        config = self.builder_config
        return list_splits(config.manual_dir, config.options["test_fraction"])

    def _examples(self, listed):
        root, options = self.builder_config.manual_dir, self.builder_config.options
        for path, name in listed:
            yield {
                "image": _stored(path, options["max_side"]),
                "label": -1 if name is None else name,
                "name": path.relative_to(root).as_posix(),
            }


def list_splits(root: Path, test_fraction: float) -> dict[str, list[tuple[Path, str | None]]]:
    """Split -> its images, each with the name of its class, None where there are no classes.

    Raises:
        ValueError: a class folder is empty, or images lie beside class folders.
    """
    given = {split: _list(root / split) for split in SPLITS if (root / split).is_dir()}
    if not given:
        found = _list(root)
        is_labelled = any(name is not None for _, name in found)
        given = {"train": [], "test": []}
        for path, name in found:
            hashed = hashing.uniform(f"test/{path.relative_to(root).as_posix()}")
            is_test = is_labelled and hashed < test_fraction
            given["test" if is_test else "train"].append((path, name))
    return {split: listed for split, listed in given.items() if listed}


def _list(folder) -> list[tuple[Path, str | None]]:
    below = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    found = images.list_images(folder)
    if not below:
        return [(path, None) for path in found]
    loose = [path.name for path in found if path.parent == folder]
    if loose:
        raise ValueError(
            f"{folder}: {loose[0]} lies beside the folders of the classes; move it into one"
        )
    of_class = {path.name: images.list_images(path) for path in below}
    for name, inside in of_class.items():
        if not inside:
            raise ValueError(f"{folder / name}: the folder of this class holds no image")
    return [(path, name) for name, inside in of_class.items() for path in inside]


def _stored(path, max_side) -> bytes:
    image = images.open_image(path, upright=True)
    if max_side and max(image.size) > max_side:
        image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    elif images.is_plain(path, ("JPEG", "PNG")):
        return path.read_bytes()
    return class_sets.png(np.asarray(image))
