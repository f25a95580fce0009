"""The two domains that a CyCADA config names, as sets and as batches.

A set is `labelled_images.LabelledImages` (classification, in memory) or `label_maps.Scenes`
(segmentation, read when asked). `Translated...` sets have the same labels under other images.
"""

import io
import itertools
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from jaxgen.data import text_files
from jaxgen.data.builders.images import open_image
from jaxgen.tasks.cycada_source import open_builder, source_facts
from jaxgen.training import hosts
from jaxgen.training.batches import ZippedBatches
from jaxgen.training.errors import ConfigError
from jaxgen.training.files import write_atomically

TRANSLATED_SPLITS = ("train", "validation")
MARKER = "complete.json"
_log = logging.getLogger(__name__)


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
            ValueError: files of them are damaged or missing.
        """
        if not is_translated(self._config, folder):
            raise ConfigError(
                f"{folder} does not hold all images of config.source as they are now: add "
                "'translation' to config.stages, which translates them again."
            )
        opened = self.open("source", split)
        if is_segmentation(self._config):
            left_out = _read_marker(folder / MARKER).get("left_out", {}).get(split, [])
            return TranslatedScenes(opened, folder / split, left_out=len(left_out))
        return opened._replace(image=read_translated(folder / f"{split}.npz", opened.image.shape))


def open_split(config, domain: str, split: str) -> Any:
    """A split of a domain.

    Args:
        config: the section config.source or config.target names the set.
        domain: "source" or "target".
        split: "train", "validation", "test" (which is the section's test_split), or a name that
            the data set knows.

    A target of images may lack classes of the source, as folders of a few test images do: they
    are matched by name.

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
        if domain == "target" and 0 < len(opened.classes) < config.model.num_classes:
            opened = _in_classes_of_source(config, opened)
    found, expected = len(opened.classes), config.model.num_classes
    if found and found != expected:
        raise ConfigError(
            f"config.{domain}.name={section['name']!r} has {found} classes, "
            f"config.model.num_classes is {expected}: "
            + (
                f"set config.model.num_classes={found}."
                if domain == "source"
                else f"a target has those of the source. It has {list(opened.classes)}."
            )
        )
    if len_of(opened) == 0:
        raise ConfigError(f"config.{domain}.name={section['name']!r}: {split!r} holds no image.")
    return opened


def _in_classes_of_source(config, target):
    """A target of images with the numbers of the source's classes, where it has no others."""
    classes = tuple(open_builder(config, "source").info.features["label"].names)
    if not set(target.classes) <= set(classes):
        return target
    numbers = np.array([classes.index(name) for name in target.classes], np.int32)
    label = np.where(target.label < 0, -1, numbers[target.label]).astype(np.int32)
    return target._replace(label=label, classes=classes)


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


def check_comparable(config, target: Any, split: str) -> None:
    """Raises ConfigError where the criteria without labels, which compare images, have one."""
    if is_segmentation(config) or len(target.image) > 1:
        return  # of a scene, pixels are compared
    raise ConfigError(
        f"config.target.name={config.target.name!r}: {split!r} holds one image, and criteria that "
        "need no label compare two or more: add images, or change "
        "config.target.validation_fraction."
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
    """Scenes whose images were translated and lie in a folder, by position.

    Args:
        scenes: the originals.
        folder: of the translated images.
        left_out: number of scenes that could not be read when they should have been translated.

    Raises:
        ValueError: the folder holds another number of images.
    """

    def __init__(self, scenes: Any, folder: Path, *, left_out: int = 0):
        found = sum(1 for _ in folder.glob("*.png"))
        if found + left_out != len(scenes):
            raise ValueError(
                f"{folder} holds {found} translated images, the source split "
                f"{len(scenes) - left_out}: delete {folder.parent} to translate again."
            )
        self._scenes, self._folder = scenes, folder
        self.classes, self.palette, self.labelled = scenes.classes, scenes.palette, True

    def __len__(self):
        return len(self._scenes)

    def __getitem__(self, position) -> dict:
        return self.read(position)

    def read(self, position, *, with_label=True) -> dict:
        """One scene; without its label map if that is not asked for."""
        position = range(len(self))[position]
        scene = self._scenes.read(position, with_label=with_label)  # first: it knows its name
        picture = np.asarray(open_image(self._folder / f"{position:06d}.png"))
        return {**scene, "image": picture}


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

    Training scenes that cannot be read are left out, up to config.data.max_corrupt, as training
    leaves them out.

    Args:
        config: of the run.
        domains: of the run.
        folder: receives one .npz or one folder of PNG files a split; `complete.json` comes last.
        translate: uint8 [N, H, W, C] -> the same.
        step: of the generators. A folder that holds this step's images is left alone.

    Raises:
        ValueError: more scenes cannot be read, or one of the validation part.
    """
    marker = folder / MARKER
    if hosts.agree(is_translated(config, folder) and translated_step(folder) == step):
        return
    # All processes translate together; the first one writes.
    if hosts.is_first():
        folder.mkdir(parents=True, exist_ok=True)
        marker.unlink(missing_ok=True)
    left_out: dict[str, list[int]] = {}
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
            for old in (folder / split).glob("*.png"):  # positions may mean other scenes now
                old.unlink()
        left_out[split] = []
        limit = config.data.max_corrupt if split == "train" else 0
        readable = _readable(opened, split, limit, left_out[split])
        for positions, images in _by_shape(readable, config.evaluate.batch_size):
            translated = translate(images)
            if hosts.is_first():
                for position, image in zip(positions, translated, strict=True):
                    Image.fromarray(image).save(folder / split / f"{position:06d}.png")
    if hosts.is_first():
        facts = {"step": step, "source": source_facts(config), "left_out": left_out}
        write_atomically(marker, json.dumps(facts).encode())
    hosts.wait_for_all("the source is translated")


def is_translated(config, folder: Path) -> bool:
    """Whether a folder holds all images of the config's source, translated."""
    found = _read_marker(folder / MARKER)
    return isinstance(found, dict) and found.get("source") == source_facts(config)


def translated_step(folder: Path) -> int:
    """The step of the generators that translated a folder's images."""
    return int(text_files.read_json(folder / MARKER)["step"])


def _readable(scenes: Any, split: str, limit: int, left_out: list) -> Iterator[tuple]:
    """Positions and images; positions of unreadable scenes go to `left_out`, up to a limit."""
    for position in range(len(scenes)):
        try:
            image = scenes.read(position, with_label=False)["image"]
        except ValueError as error:
            left_out.append(position)
            if len(left_out) > limit:
                raise ValueError(
                    f"{error}. That is scene {len(left_out)} of {split!r} that cannot be "
                    f"translated; {limit} may be left out (config.data.max_corrupt, of 'train')."
                ) from error
            _log.warning(
                "not translated: %s (%d of at most config.data.max_corrupt=%d)",
                *(error, len(left_out), limit),
            )
            continue
        yield position, image


def _by_shape(
    pictures: Iterable[tuple[int, np.ndarray]], most: int
) -> Iterator[tuple[list[int], np.ndarray]]:
    """Positions and images [N, H, W, 3] of neighbours of one size, `most` at a time."""
    for _, same in itertools.groupby(pictures, key=lambda pair: pair[1].shape):
        while batch := list(itertools.islice(same, most)):
            yield [position for position, _ in batch], np.stack([image for _, image in batch])


def _read_marker(path: Path) -> Any:
    """What a marker says; one that cannot be read says nothing."""
    try:
        return text_files.read_json(path)
    except (OSError, ValueError):
        return None
