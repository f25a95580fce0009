"""The two domains that a CyCADA config names, as sets and as batches.

A set is `labelled_images.LabelledImages` (classification, in memory) or `label_maps.Scenes`
(segmentation, read when asked). `Translated...` sets have the same labels under other images.
"""

import io
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from jaxgen.data import text_files
from jaxgen.data.builders.images import open_image
from jaxgen.training import hosts
from jaxgen.training.batches import ZippedBatches
from jaxgen.training.errors import ConfigError
from jaxgen.training.files import write_atomically

TRANSLATED_SPLITS = ("train", "validation")
MARKER = "complete.json"


class Domains:
    """Both domains of a config; each split is opened and decoded once.

    Args:
        config: the sections config.source and config.target name the sets.
    """

    def __init__(self, config):
        self._config, self._opened = config, {}

    def open(self, domain: str, split: str) -> Any:
        """A split of a domain, see `open_split`."""
        if (domain, split) not in self._opened:
            self._opened[domain, split] = open_split(self._config, domain, split)
        return self._opened[domain, split]

    def translated(self, folder: Path, split: str) -> Any:
        """The source split under its translated images, which `write_translated` has written.

        Raises:
            ConfigError: they are not all there, or those of another source.
        """
        if not is_translated(self._config, folder):
            raise ConfigError(
                f"{folder} does not hold all images of config.source as they are now: add "
                "'translation' to config.stages, which translates them again."
            )
        opened = self.open("source", split)
        if is_segmentation(self._config):
            return TranslatedScenes(opened, folder / split)
        return opened._replace(image=read_translated(folder / f"{split}.npz", opened.image.shape))


def open_split(config, domain: str, split: str) -> Any:
    """A split of a domain.

    Args:
        config: the section config.source or config.target names the set.
        domain: "source" or "target".
        split: "train", "validation", "test" (which is the section's test_split), or a name that
            the data set knows.

    Raises:
        ConfigError: the set has other classes than the network, or a source without labels.
        ValueError: files or options are wrong.
    """
    section = config[domain].to_dict()
    split = section["test_split"] if split == "test" else split
    data = {**section, "data_dir": config.data.data_dir}
    if is_segmentation(config):
        from jaxgen.data import label_maps

        data |= {"cache": config.data.cache, "max_corrupt": config.data.max_corrupt}
        opened = label_maps.open_scenes(data, split)
    else:
        from jaxgen.data import labelled_images

        opened = labelled_images.open_images(
            data, split, size=config.data.size, channels=config.data.channels
        )
        if domain == "source" and (opened.label < 0).any():
            raise ConfigError(
                f"config.source.name={section['name']!r}: {int((opened.label < 0).sum())} images "
                f"of {split!r} have no label; a source needs all of them."
            )
    if opened.classes and len(opened.classes) != config.model.num_classes:
        raise ConfigError(
            f"config.{domain}.name={section['name']!r} has {len(opened.classes)} classes: set "
            f"config.model.num_classes={len(opened.classes)} (now {config.model.num_classes})."
        )
    if len_of(opened) == 0:
        raise ConfigError(f"config.{domain}.name={section['name']!r}: {split!r} holds no image.")
    return opened


def check_domains(source: Any, target: Any) -> None:
    """Raises ValueError where source and target have different classes."""
    from jaxgen.data import labelled_images

    labelled_images.compare_classes(source, target)


def check_labelled(config, target: Any, split: str) -> None:
    """Raises ConfigError where the stage "target" would learn from images without labels."""
    if is_segmentation(config):
        missing = 0 if target.labelled else len(target)
    else:
        missing = int((target.label < 0).sum())
    if missing:
        raise ConfigError(
            f"config.target.name={config.target.name!r}: {missing} images of {split!r} have no "
            "label, from which the stage 'target' learns: leave 'target' out of config.stages."
        )


def is_segmentation(config) -> bool:
    """Whether labels are maps of pixels."""
    return config.data.task == "segmentation"


def len_of(opened: Any) -> int:
    """Number of images of a set."""
    return len(opened.image) if hasattr(opened, "image") else len(opened)


def training_batches(config, train: Any, *, source: Any, target: Any = None) -> ZippedBatches:
    """Endless batches of this process: {"source": {"image", "label"}, "target": {"image"}}.

    Args:
        config: of the run.
        train: the stage's `train` section.
        source: set with labels.
        target: set whose labels are not read, or None.
    """
    streams = {"source": _stream(config, train, source, seed=config.seed, with_labels=True)}
    if target is not None:
        streams["target"] = _stream(config, train, target, seed=config.seed + 1, with_labels=False)
    return ZippedBatches(streams)


def _stream(config, train, opened, *, seed, with_labels):
    shared = dict(
        batch_size=train.batch_size // jax.process_count(),
        seed=seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    if is_segmentation(config):
        from jaxgen.data import scene_batches

        return scene_batches.training_batches(
            opened,
            crop_size=config.data.size,
            scale=(1 - config.augment.scale, 1 + config.augment.scale),
            flip=config.augment.flip,
            with_labels=with_labels,
            max_corrupt=config.data.max_corrupt,
            **shared,
        )
    from jaxgen.data import array_batches

    arrays = {"image": opened.image} | ({"label": opened.label} if with_labels else {})
    return array_batches.batches(arrays, **shared)


# ----------------------------------------------------------------------- translated source


class TranslatedScenes(Sequence):
    """Scenes whose images were translated and lie in a folder, by position."""

    def __init__(self, scenes: Any, folder: Path):
        self._scenes, self._folder = scenes, folder
        self.classes, self.palette, self.labelled = scenes.classes, scenes.palette, True

    def __len__(self):
        return len(self._scenes)

    def __getitem__(self, position) -> dict:
        return self.read(position)

    def read(self, position, *, with_label=True) -> dict:
        """One scene; without its label map if that is not asked for."""
        position = range(len(self))[position]
        picture = np.asarray(open_image(self._folder / f"{position:06d}.png"))
        return {**self._scenes.read(position, with_label=with_label), "image": picture}


def read_translated(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Translated images of a set in memory, uint8 of a shape.

    Raises:
        ValueError: the file is damaged, or has images of another shape.
    """
    again = f"delete {path.parent} to translate again."
    try:
        with np.load(path, allow_pickle=False) as stored:
            images = stored["image"]
    except Exception as error:  # of NumPy, zipfile or zlib
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(
            f"{path}: no whole file of translated images ({reason}): {again}"
        ) from error
    if images.shape != shape:
        raise ValueError(
            f"{path} holds images of shape {images.shape}, the source split {shape}: {again}"
        )
    return images


def write_translated(
    config,
    domains: Domains,
    folder: Path,
    translate: Callable[[np.ndarray], np.ndarray],
    *,
    step: int,
) -> None:
    """Translates the source once, training and validation part.

    Args:
        config: of the run.
        domains: of the run.
        folder: receives one .npz or one folder of PNG files a split; `complete.json` comes last.
        translate: uint8 [N, H, W, C] -> the same.
        step: of the generators. A folder that holds this step's images is left alone.
    """
    marker = folder / MARKER
    facts = {"step": step, "source": _source_facts(config)}
    if hosts.agree(_read_marker(marker) == facts):
        return
    # All processes translate together; the first one writes.
    if hosts.is_first():
        folder.mkdir(parents=True, exist_ok=True)
        marker.unlink(missing_ok=True)
    for split in TRANSLATED_SPLITS:
        opened = domains.open("source", split)
        if hasattr(opened, "image"):  # in memory
            images = translate(opened.image)
            if hosts.is_first():
                buffer = io.BytesIO()
                np.savez_compressed(buffer, image=images)
                write_atomically(folder / f"{split}.npz", buffer.getvalue())
            continue
        if hosts.is_first():
            (folder / split).mkdir(exist_ok=True)
        for positions, images in _by_shape(opened, config.evaluate.batch_size):
            translated = translate(images)
            if hosts.is_first():
                for position, image in zip(positions, translated, strict=True):
                    Image.fromarray(image).save(folder / split / f"{position:06d}.png")
    if hosts.is_first():
        write_atomically(marker, json.dumps(facts).encode())
    hosts.wait_for_all("the source is translated")


def is_translated(config, folder: Path) -> bool:
    """Whether a folder holds all images of the config's source, translated."""
    found = _read_marker(folder / MARKER)
    return isinstance(found, dict) and found.get("source") == _source_facts(config)


def translated_step(folder: Path) -> int:
    """The step of the generators that translated a folder's images."""
    return int(text_files.read_json(folder / MARKER)["step"])


def _source_facts(config) -> dict:
    """What decides which images a source has, in what order and shape."""
    section = config.source.to_dict()
    facts = {key: section[key] for key in ("name", "train_split", "validation_fraction", "options")}
    facts |= {key: config.data[key] for key in ("task", "size", "channels")}
    return json.loads(json.dumps(facts, default=str))  # as a marker gives them back


def _by_shape(scenes: Sequence, most: int) -> Iterator[tuple[list[int], np.ndarray]]:
    """Positions and images [N, H, W, 3] of neighbours of one size, `most` at a time."""
    pictures = ((position, scenes[position]["image"]) for position in range(len(scenes)))
    for _, same in itertools.groupby(pictures, key=lambda pair: pair[1].shape):
        while batch := list(itertools.islice(same, most)):
            yield [position for position, _ in batch], np.stack([image for _, image in batch])


def _read_marker(path: Path) -> Any:
    """What a marker says; one that cannot be read says nothing."""
    try:
        return text_files.read_json(path)
    except (OSError, ValueError):
        return None
