"""Aligned faces of known people, in memory: what recognition trains and is measured on.

A set that a config names is prepared once, its faces are aligned as `jaxgen.data.face_alignment`
says, and every picture gets the number of its person and the class of its pose. People are never
cut: validation holds out all pictures of some people of the training split.

Sets that take more than a moment to align are aligned once into a file beside the prepared set;
what does not fit into memory well is mapped from there and behaves alike.
"""

import hashlib
import io
import itertools
import json
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxgen.data import face_alignment, hashing, splits
from jaxgen.data.builders import images, registry
from jaxgen.training import hosts

UNKNOWN = -1  # pose class of a picture without a known yaw
_SMALL, _MAPPED = 2**20, 2**30  # bytes of aligned pictures that need a file, and a mapping of it
_CHUNK, _THREADS = 256, 2
_log = logging.getLogger(__name__)


class Faces(NamedTuple):
    """Pictures of people.

    Attributes:
        image: [N, A, A, C] uint8, aligned; A is `face_alignment.aligned_side` of what is seen.
        identity: [N] int32, positions in `people`.
        yaw: [N] float32 degrees, positive when the nose points to the image's right; NaN unknown.
        pose: [N] int32, positions in `classes`; -1 where the yaw is unknown.
        name: N unique ids.
        subset: N names of parts of the set ("frontal", a template's id, ...), or "".
        people: names of the people, each with a picture.
        classes: yaws of the pose classes, in degrees.
    """

    image: np.ndarray
    identity: np.ndarray
    yaw: np.ndarray
    pose: np.ndarray
    name: list[str]
    subset: list[str]
    people: tuple[str, ...]
    classes: tuple[float, ...]

    def select(self, rows: np.ndarray) -> "Faces":
        """The pictures of some rows. People keep their numbers, also those left without one."""
        rows = np.asarray(rows)
        return self._replace(
            **{key: getattr(self, key)[rows] for key in ("image", "identity", "yaw", "pose")},
            **{key: [getattr(self, key)[row] for row in rows] for key in ("name", "subset")},
        )

    def rows_of_people(self) -> list[np.ndarray]:
        """The rows of each person, by number."""
        order = np.argsort(self.identity, kind="stable")
        ends = np.searchsorted(self.identity[order], np.arange(len(self.people) + 1))
        return [order[a:b] for a, b in itertools.pairwise(ends)]


def open_faces(
    data_config, split: str, *, size: int, classes: Sequence[float], channels: int = 3
) -> Faces:
    """Opens one split of the set that a config names, preparing the set on first use.

    Args:
        data_config: mapping with the keys of `sources.open_source` (but label_fraction);
            `name` is one of `registry.RECOGNITION`. Where a set has no validation split,
            `validation_fraction` (0.1 if None) of the training PEOPLE are held out, at least one;
            where it has one, that split is used, whatever the fraction, and a log says so.
            `outside_poses` says what happens to pictures whose yaw is farther from every class
            than half of the widest gap between neighbours: "error" (the default), "drop", or
            "keep", with a pose of -1.
        split: "train" (or the name given as train_split), "validation", "gallery", "probe", or
            any other split of the set.
        size: side in pixels of what the network sees; aligned pictures are larger by 110 / 96.
        classes: yaws of the pose classes in degrees, increasing.
        channels: 1 for grey, 3 for RGB.

    Raises:
        ValueError: files, options, split, poses or pictures are wrong; the message says which.
    """
    if size < 1 or channels not in (1, 3):
        raise ValueError(f"faces need size >= 1 and 1 or 3 channels, got {size} and {channels}")
    part = _open_part(data_config, split)
    records, convert = splits.stored_records(part), part.data_set.convert
    labels = []
    for start in range(0, len(records), _CHUNK):
        chunk = range(start, min(start + _CHUNK, len(records)))
        read = splits.read_together(records, chunk)
        labels += [_label(convert(r, row)) for row, r in zip(chunk, read, strict=True)]
    taken = _people_of_split(part, [label["group"] for label in labels])
    yaw = np.array([label["yaw"] for label in labels], np.float32)
    pose, outside = pose_classes(yaw, classes)
    # By name: the stored order is another for every version of the set.
    rows = [row for row, label in enumerate(labels) if label["group"] in taken]
    rows = np.array(sorted(rows, key=lambda row: labels[row]["name"]), np.int64)
    pose = np.where(outside, np.int32(UNKNOWN), pose)
    if outside[rows].any():
        rows = _without_outside(data_config, rows, outside, labels, classes)
    if not len(rows):
        raise ValueError(f"{data_config['name']}: {split!r} holds no picture")
    chosen = [labels[row] for row in rows]
    people = tuple(sorted({label["group"] for label in chosen}))
    number = {person: k for k, person in enumerate(people)}
    side = face_alignment.aligned_side(size)
    return Faces(
        image=_aligned(part, records, convert, rows, side, channels),
        identity=np.array([number[label["group"]] for label in chosen], np.int32),
        yaw=yaw[rows],
        pose=pose[rows],
        name=[label["name"] for label in chosen],
        subset=[label["subset"] for label in chosen],
        people=people,
        classes=tuple(float(c) for c in classes),
    )


def pose_classes(yaw: np.ndarray, classes: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """The nearest class of each yaw.

    Args:
        yaw: [N] degrees, NaN where unknown.
        classes: increasing yaws in degrees.

    Returns:
        [N] int32 classes, -1 where the yaw is unknown, and [N] bool, True where the yaw is outside:
        farther from its class than half of the widest gap between two classes.
    """
    classes = np.asarray(classes, np.float64)
    if classes.ndim != 1 or not classes.size or not (np.diff(classes) > 0).all():
        raise ValueError(f"pose classes are increasing yaws in degrees, got {list(classes)}")
    distance = np.abs(np.asarray(yaw, np.float64)[:, None] - classes)
    known = np.isfinite(distance).all(1)
    pose = np.where(known, distance.argmin(1), UNKNOWN).astype(np.int32)
    reach = np.diff(classes).max(initial=0) / 2 or 180.0  # a single class takes every pose
    return pose, known & (distance.min(1) > reach + 1e-3)


def number_together(*parts: Faces) -> tuple[Faces, ...]:
    """The same sets with one numbering of people for all, as identification needs it."""
    people = tuple(sorted(set().union(*(part.people for part in parts))))
    number = {person: k for k, person in enumerate(people)}
    return tuple(
        part._replace(
            identity=np.array([number[name] for name in part.people], np.int32)[part.identity],
            people=people,
        )
        for part in parts
    )


def gallery_and_probes(faces: Faces, *, limit: float = 10.0) -> tuple[Faces, Faces]:
    """One frontal picture of each person as the gallery, all others as probes.

    The gallery picture is the one with the smallest |yaw|, the first by name among equals.

    Args:
        faces: of people who are to be identified.
        limit: degrees of yaw up to which a picture is frontal.

    Raises:
        ValueError: a person has no frontal picture; the message names the person.
    """
    gallery = []
    for person, rows in zip(faces.people, faces.rows_of_people(), strict=True):
        frontal = [row for row in rows if abs(faces.yaw[row]) <= limit]
        if np.isnan(faces.yaw[rows]).all():
            raise ValueError(
                f"{person!r} has no picture whose yaw is known, so none is frontal for the "
                "gallery: give the option `yaws` or `landmarks` of this set, or leave the person "
                "out"
            )
        if not frontal:
            raise ValueError(
                f"{person!r} has no frontal picture (|yaw| <= {limit:g} degrees) for the gallery, "
                f"only yaws {sorted({float(y) for y in faces.yaw[rows]})}: add one, or leave the "
                "person out"
            )
        gallery.append(min(frontal, key=lambda row: (abs(faces.yaw[row]), faces.name[row])))
    probes = np.setdiff1d(np.arange(len(faces.name)), gallery)
    if not len(probes):
        raise ValueError("every person has a single picture: nothing is left to identify")
    return faces.select(np.array(gallery)), faces.select(probes)


def _open_part(data_config, split) -> splits.Part:
    """A split; people are held out of the training split only where a set brings none for it."""
    ask = dict(sets=registry.RECOGNITION, is_labelled=lambda data_set: True)
    part = splits.open_part(data_config, split, **ask)
    has_own = "validation" in part.data_set.builder.info.splits
    if not (has_own and part.held_out and part.split in ("train", "validation")):
        return part
    _log.info(
        "%s has a validation split: it is used, and config.data.validation_fraction is not",
        part.data_set.builder.name,
    )
    return splits.open_part({**data_config, "validation_fraction": 0.0}, split, **ask)


def _label(example) -> dict:
    yaw = example.get("yaw", np.nan)
    return {**{key: example[key] for key in ("name", "group", "subset")}, "yaw": float(yaw)}


def _people_of_split(part, groups) -> set[str]:
    """The people of a split: held out ones are those whose names hash first, at least one."""
    people = sorted(set(groups), key=lambda name: hashing.uniform(f"validation/{name}"))
    if part.held_out == 0 or part.split not in ("train", "validation"):
        return set(people)
    count = max(1, round(part.held_out * len(people)))
    if count >= len(people):
        raise ValueError(
            f"{len(people)} people cannot be split at config.data.validation_fraction="
            f"{part.held_out}: {count} would be held out"
        )
    return set(people[:count] if part.split == "validation" else people[count:])


def _without_outside(data_config, rows, outside, labels, classes):
    rule = data_config.get("outside_poses", "error")
    if rule not in ("error", "drop", "keep"):
        raise ValueError(f'config.data.outside_poses is "error", "drop" or "keep", got {rule!r}')
    if rule != "error":
        return rows if rule == "keep" else rows[~outside[rows]]
    first = labels[rows[outside[rows]][0]]
    raise ValueError(
        f"{first['name']}: a yaw of {first['yaw']:g} degrees is outside of the pose classes "
        f"{[float(c) for c in classes]} ({int(outside[rows].sum())} such pictures). Add classes to "
        'config.pose.classes, or leave them out by config.data.outside_poses="drop"'
    )


# ------------------------------------------------------------------------------- pictures


def _aligned(part, records, convert, rows, side, channels) -> np.ndarray:
    """The aligned pictures of some records: [N, side, side, channels] uint8."""
    shape = (len(rows), side, side, channels)
    size = np.prod(shape, dtype=np.int64)
    folder = Path(part.data_set.builder.data_path) / "aligned"
    if size > _SMALL:
        with hosts.first_alone("aligning faces"):
            stored = _stored_aligned(part, folder, records, convert, rows, shape)
        if stored is not None:
            return np.load(stored, mmap_mode="r" if size > _MAPPED else None, allow_pickle=False)
    array = np.empty(shape, np.uint8)
    _fill(array, records, convert, rows)
    return array


def _stored_aligned(part, folder, records, convert, rows, shape) -> Path | None:
    """The file of the aligned pictures, made if it is missing; None where none can be made."""
    if not _is_writable(folder):
        return None
    _, side, _, channels = shape
    chosen = hashlib.sha256(rows.tobytes()).hexdigest()
    facts = json.dumps([face_alignment.VERSION, part.stored, side, channels, chosen])
    digest = hashlib.sha256(facts.encode()).hexdigest()[:12]
    path = folder / f"{digest}.npy"
    if not path.exists():
        unfinished = path.with_suffix(f".{os.getpid()}.tmp")
        array = np.lib.format.open_memmap(unfinished, mode="w+", dtype=np.uint8, shape=shape)
        _fill(array, records, convert, rows)
        array.flush()
        unfinished.replace(path)
    return path


def _is_writable(folder):
    """Makes a folder beside a prepared set, which may be shared and closed to writing."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def _fill(array, records, convert, rows):
    def load(start):
        chunk = [int(row) for row in rows[start : start + _CHUNK]]
        read = splits.read_together(records, chunk)
        for place, (row, record) in enumerate(zip(chunk, read, strict=True), start):
            array[place] = _picture(convert(record, row), *array.shape[2:])

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(load, range(0, len(rows), _CHUNK)))


def _picture(example, side, channels):
    """One aligned face: by its points if it has any, by its box otherwise."""
    name = example["name"]
    try:
        with Image.open(io.BytesIO(example["image"])) as opened:
            image = np.asarray(images.to_rgb(opened))
    except images.UNREADABLE as error:
        raise ValueError(
            f"{name}: the stored image is damaged ({error}); delete the prepared data set and "
            "start again"
        ) from error
    try:
        points = example.get("points5")
        if points is None:
            points = face_alignment.five_points(example["points"])
        if np.isfinite(points).any():
            matrix = face_alignment.alignment(points, side=side)
        else:
            matrix = face_alignment.box_alignment(example["box"], side=side)
        face = face_alignment.align(image, matrix, side=side)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    if channels == 1:
        return np.asarray(Image.fromarray(face).convert("L"))[..., None]
    return face
