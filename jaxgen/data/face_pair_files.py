"""The crops of jaxgen.data.face_pairs as files: cut once, read by row, never all in memory.

FOLDER/SPLIT holds one .npy file an array. They are written part by part, so that a stopped job
goes on where it was; `complete.json` comes last and says what the crops were made with.
"""

import io
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from jaxgen.data import array_batches, face_pairs, hashing
from jaxgen.training import hosts
from jaxgen.training.batches import ZippedBatches
from jaxgen.training.config import flatten
from jaxgen.training.errors import ConfigError
from jaxgen.training.files import write_atomically

NAMES = ("image", "low", "paired", "is_face", "box", "face_box", "height")
READ = ("image", "low", "paired", "box", "face_box")  # by a training step
_SCENES_PER_PART = 16
_log = logging.getLogger(__name__)


def write_split(
    folder: Path,
    scenes: Sequence[Mapping[str, Any]],
    proposals: face_pairs.Proposals,
    settings,
    *,
    seed: int,
    facts: Mapping[str, Any],
    max_corrupt: int = 0,
) -> None:
    """Cuts the crops of a split, unless the folder holds them already.

    Several processes share the scenes; the first one joins what they have cut.

    Args:
        folder: of the split.
        scenes: by position {"image" uint8 [H, W, 3], "boxes" [T, 4], "ignored" bool [T], "name"}.
        proposals: image -> (boxes [P, 4], scores [P]) of a detector.
        settings: config.crops.
        seed: of everything that is drawn.
        facts: of `facts_of`; crops made with others are cut again.
        max_corrupt: scenes that may be unreadable, for each process; they are named and left out.

    Raises:
        ConfigError: no scene, or no face or no background among the crops.
        ValueError: more scenes cannot be read or have bad boxes; the message names the last.
    """
    if not len(scenes):
        raise ConfigError(f"no picture to cut crops from for {folder}")
    if hosts.agree(_read_json(folder / "complete.json") == facts):
        return
    parts = folder / "parts"
    if hosts.is_first() and _read_json(parts / "made_with.json") != facts:
        shutil.rmtree(folder, ignore_errors=True)
        parts.mkdir(parents=True)
        write_atomically(parts / "made_with.json", json.dumps(facts).encode())
    hosts.wait_for_all("cutting crops")
    starts = range(0, len(scenes), _SCENES_PER_PART)
    files = [parts / f"{start:06d}.npz" for start in starts]
    own = slice(hosts.index(), None, hosts.count())
    unreadable = 0

    def cut(position):
        nonlocal unreadable
        try:
            return [cut_scene(scenes[position], proposals, settings, seed=seed)]
        except ValueError as error:
            unreadable += 1
            if unreadable > max_corrupt:
                raise
            _log.warning("no crops of an unreadable picture: %s", error)
            return []

    with tqdm(
        total=len(starts[own]) * _SCENES_PER_PART,
        unit="image",
        desc=f"crops, {folder.name}",
        disable=not hosts.is_first(),
    ) as progress:
        for start, file in zip(starts[own], files[own], strict=True):
            positions = range(start, min(start + _SCENES_PER_PART, len(scenes)))
            if not file.exists():
                cuts = [crops for i in positions for crops in cut(i)]
                cuts = cuts or [face_pairs.crops_of(None, None, face_pairs.NOTHING, settings)]
                buffer = io.BytesIO()
                joined = {name: np.concatenate([c[name] for c in cuts]) for name in NAMES}
                np.savez(buffer, **joined)
                write_atomically(file, buffer.getvalue())
            progress.update(_SCENES_PER_PART)
    hosts.wait_for_all("crops are cut")
    is_face = np.concatenate([_read(file, "is_face") for file in files])
    if is_face.all() or not is_face.any():
        raise ConfigError(
            f"{folder}: {is_face.sum()} of {len(is_face)} crops show a face; both faces and "
            "backgrounds are needed. Lower config.crops.least_height or least_real, or use more "
            "pictures (config.data.validation_fraction for the held-out ones)."
        )
    hosts.wait_for_all("crops are counted")
    if hosts.is_first():
        _join(files, folder)
        write_atomically(folder / "complete.json", json.dumps(facts).encode())
        shutil.rmtree(parts)
    hosts.wait_for_all("crops are joined")
    _log.info("%s: %d crops, %d of them faces", folder, len(is_face), is_face.sum())


def facts_of(scenes: Sequence, settings, seed: int, made_with: Mapping[str, Any]) -> dict[str, Any]:
    """What the crops of a split hang on, as JSON has it.

    Args:
        scenes: of the split.
        settings: config.crops.
        seed: of everything that is drawn.
        made_with: JSON-able facts about the proposals, such as the detector's step.
    """
    found = {"settings": settings.to_dict(), "seed": seed, "scenes": len(scenes), **made_with}
    return json.loads(json.dumps(found))


def changes(folder: Path, facts: Mapping[str, Any]) -> list[str]:
    """In what other facts the crops of a folder were made with; [] where there are none."""
    before = _read_json(folder / "complete.json")
    if before is None or before == facts:
        return []
    old, new = (dict(flatten(each)) for each in (before, facts))
    return [
        f"{key} {old.get(key)}, now {new.get(key)}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


def cut_scene(scene: Mapping[str, Any], proposals, settings, *, seed: int) -> dict:
    """The crops of one scene, see `face_pairs.crops_of`; they depend on its name and the seed."""
    image, name = scene["image"], scene["name"]
    true_boxes = np.asarray(scene["boxes"], np.float32).reshape(-1, 4)
    rng = np.random.default_rng([seed, int(hashing.uniform(f"crops/{name}") * 2**32)])
    proposed, scores = proposals(image)
    try:
        choice = face_pairs.choose(
            rng,
            image.shape[:2],
            true_boxes,
            np.asarray(scene["ignored"], bool),
            proposed,
            scores,
            least_height=settings.least_height,
            jitter=settings.jitter,
            copies=settings.copies,
            per_image=settings.per_image,
        )
        return face_pairs.crops_of(rng, image, choice, settings)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def open_split(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of a split, mapped from disk: name -> [N, ...].

    Raises:
        ConfigError: there are none.
    """
    arrays = {}
    for name in NAMES:
        path = folder / f"{name}.npy"
        try:
            arrays[name] = np.load(path, mmap_mode="r", allow_pickle=False)
            len(arrays[name])  # a single value has no length
        except Exception as error:  # NumPy parses the header as Python source, without running it
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise ConfigError(
                f'{path}: no complete crops ({reason}): run the stage "crops" (config.stages).'
            ) from error
    count = len(arrays["is_face"])
    for name, array in arrays.items():
        if len(array) != count:
            raise ConfigError(
                f"{folder / name}.npy holds {len(array)} crops and is_face.npy {count}: delete the "
                'folder and run the stage "crops" (config.stages) again.'
            )
    return arrays


def training_batches(
    crops: Mapping[str, np.ndarray],
    *,
    batch_size: int,
    unpaired: float,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
) -> ZippedBatches:
    """Endless batches {"face", "background"} of half the batch each, see tasks/tiny_faces.py.

    Args:
        crops: of `open_split`.
        batch_size: rows of THIS process, even.
        unpaired: largest share of unpaired crops among the faces, and among the backgrounds.
        seed: of the order.
        process_index: whose rows of every batch of the run to read.
        process_count: number of processes.

    Raises:
        ConfigError: no face or no background is left, or an odd batch.
    """
    if batch_size % 2:
        raise ConfigError(
            f"a process reads {batch_size} crops a step, half of them faces: make every "
            "train.batch_size of generator, discriminator and gan a multiple of twice the "
            "number of processes."
        )
    streams = {}
    for number, (name, wanted) in enumerate((("face", True), ("background", False))):
        rows = _rows(crops, wanted, unpaired, seed)
        if len(rows) < process_count:
            raise ConfigError(
                f"only {len(rows)} crops of {name}s can be learned from: cut more "
                "(config.crops.least_real, config.crops.least_height, config.crops.unpaired)."
            )
        streams[name] = array_batches.batches(
            {key: Rows(crops[key], rows) for key in READ},
            batch_size=batch_size // 2,
            seed=2 * seed + number,
            process_index=process_index,
            process_count=process_count,
        )
    return ZippedBatches(streams)


class Rows:
    """Chosen rows of an array on disk, read when asked for."""

    def __init__(self, array: np.ndarray, rows: np.ndarray):
        self._array, self._rows = array, rows

    def __len__(self):
        return len(self._rows)

    def __getitem__(self, places):
        return np.asarray(self._array[self._rows[places]])


def _rows(crops, is_face, unpaired, seed):
    """Rows of a class; of the unpaired ones no more than their share."""
    mine = np.asarray(crops["is_face"]) == is_face
    paired = np.asarray(crops["paired"])
    with_pair, without = np.flatnonzero(mine & paired), np.flatnonzero(mine & ~paired)
    if unpaired < 1:
        most = int(unpaired / (1 - unpaired) * len(with_pair))
        if len(without) > most:
            without = np.random.default_rng(seed).choice(without, most, replace=False)
    return np.sort(np.concatenate([with_pair, without]))


def _join(files: Sequence[Path], folder: Path) -> None:
    """Writes the arrays of all parts one after the other, one file an array."""
    lengths = [len(_read(file, "is_face")) for file in files]
    for name in NAMES:
        # One array of one part in memory at a time.
        first = _read(files[0], name)
        temporary = folder / f".{name}.npy"
        shape = (sum(lengths), *first.shape[1:])
        joined = np.lib.format.open_memmap(temporary, "w+", first.dtype, shape)
        place = 0
        for file, length in zip(files, lengths, strict=True):
            joined[place : place + length] = _read(file, name)
            place += length
        joined.flush()
        del joined
        temporary.replace(folder / f"{name}.npy")


def _read(file, name):
    with np.load(file, allow_pickle=False) as part:
        return part[name]


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None
