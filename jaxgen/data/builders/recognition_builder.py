"""What the builders of recognition sets share: one form of stored example.

    image uint8 [H, W, 3]     the picture, or the part around the face where that is much smaller
    name str                  unique id: the path below the set's folder
    group str                 name of the person; people are never cut between splits
    identity int              position of the person among all people of the set, by name
    yaw float                 degrees, positive when the nose points to the image's right, or NaN
    points5 float32 [5, 2]    see `jaxgen.data.face_alignment`, in stored pixels; NaN unknown
    box float32 [4]           face box in stored pixels, used where no points are known
    subset str                a part of the set, such as "frontal", or the id of a template

Every set takes these options:

    max_side      longer pictures are stored as the part around the face, shrunk to that side
    landmarks     CSV of 5 or 68 points a picture, see `face_labels`; from 68 points come five, and
                  the yaw where none is known (`jaxgen.data.head_pose`). A picture that it lacks
                  needs points of its own, a box, or a `face_box`
    yaws          CSV of yaws, which go before those of landmarks
    boxes         CSV or JSON of face boxes, see `jaxgen.data.face_boxes`
    face_box      (x0, y0, x1, y1) as fractions of a picture without points and box of its own
    duplicates    what to do where one file is in training and test: "error", "warn" or "ignore"
"""

import abc
import dataclasses
import functools
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from jaxgen.data import crop, face_alignment, face_boxes
from jaxgen.data.builders import duplicates, face_labels, images, manual

OPTIONS = {
    "max_side": 256,
    "landmarks": "",
    "yaws": "",
    "boxes": "",
    "face_box": (0.0, 0.0, 1.0, 1.0),
    "duplicates": "error",
}
_FILES = {
    "landmarks": face_labels.read_landmarks,
    "yaws": face_labels.read_yaws,
    "boxes": face_boxes.read_face_boxes,
}
_SURROUNDINGS = 1.25  # of the aligned square that is stored of a large picture


@dataclasses.dataclass(frozen=True)
class Picture:
    """One picture of one person.

    Attributes:
        path: of the file.
        person: name.
        name: unique id; None takes the path below the set's folder.
        yaw: degrees; NaN unknown.
        points: [5, 2] in pixels, NaN unknown; None for all unknown.
        box: [4]; None for unknown.
        subset: named part.
    """

    path: Path
    person: str
    name: str | None = None
    yaw: float = float("nan")
    points: np.ndarray | None = None
    box: np.ndarray | None = None
    subset: str = ""


class RecognitionBuilder(manual.ManualBuilder, skip_registration=True):
    """Base of the builders of recognition sets over the user's files.

    Class attributes:
        UPRIGHT: whether pictures are turned by their EXIF tag. Points and boxes of the user's own
            files, and of our networks, are of the upright picture.
    """

    UPRIGHT = False
    VERSION = tfds.core.Version("1.0.0")
    OPTIONS = OPTIONS
    NOUN = "pictures"

    @abc.abstractmethod
    def pictures(self) -> dict[str, list[Picture]]:
        """The splits that the files allow, each with its pictures. "train" is trained on."""

    @classmethod
    @abc.abstractmethod
    def picture_files(cls, manual_dir: Path, options: dict) -> list[Path]:
        """Every file that the set is made from but those that options name."""

    @classmethod
    def files(cls, manual_dir, options):
        """Every picture, and the files that options name."""
        found = cls.picture_files(manual_dir, options)
        named = [manual_dir / options[key] for key in _FILES if options[key]]
        for path in named:
            if not path.is_file():
                raise ValueError(f"{path}: there is no such file (an option of {cls.name})")
        return [*found, *named] if found else []

    def split_parts(self, split):
        """Checks that the files of a split are there."""
        known = self.known_splits
        if split not in known and split != "validation":
            raise ValueError(
                f"{self.name} in {self.builder_config.manual_dir} has no split {split!r}, only "
                f"{sorted(known)}. Expected:\n{self.LAYOUT}"
            )
        return (split,)

    @property
    def known_splits(self) -> set[str]:
        """Splits with a picture; of a prepared set without a look at its files."""
        return set(self.info.splits) or set(self._listed)

    def splits(self):
        """The pictures as they are stored."""
        rule = self.builder_config.options["duplicates"]
        others = {split: {p.path for p in listed} for split, listed in self._listed.items()}
        for split in ("train", "validation"):
            own = others.pop(split, set())
            # One and the same file in two splits is the protocol's wish.
            rest = set().union(*others.values()) - own
            duplicates.check_duplicates(sorted(own), sorted(rest), rule=rule)
        return {split: self._examples(listed) for split, listed in self._listed.items()}

    @functools.cached_property
    def _listed(self) -> dict[str, list[Picture]]:
        return {split: listed for split, listed in self.pictures().items() if listed}

    def _info(self):
        tensor = tfds.features.Tensor
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    "name": tfds.features.Text(),
                    "group": tfds.features.Text(),
                    "subset": tfds.features.Text(),
                    "identity": tfds.features.Scalar(np.int32),
                    "yaw": tfds.features.Scalar(np.float32),
                    "points5": tensor(shape=(5, 2), dtype=np.float32),
                    "box": tensor(shape=(4,), dtype=np.float32),
                }
            ),
        )

    def _examples(self, listed: Iterable[Picture]):
        root, options = self.builder_config.manual_dir, self.builder_config.options
        landmarks, yaws, boxes = (
            read(root / options[key]) if options[key] else None for key, read in _FILES.items()
        )
        people = sorted({p.person for listed in self._listed.values() for p in listed})
        identity = {person: number for number, person in enumerate(people)}
        for picture in listed:
            path = picture.path.relative_to(root).as_posix()
            picture = _labelled(picture, (landmarks or {}).get(path), (yaws or {}).get(path))
            if picture.box is None and boxes and boxes.of(path):
                picture = dataclasses.replace(picture, box=boxes.of(path)[0].box)
            if landmarks and not _is_placed(picture, options):
                raise ValueError(
                    f"{root / options['landmarks']} has no landmarks of {path!r}, and nothing else "
                    "says where its face is: add them, or take the picture away"
                )
            yield {
                **_stored(picture, options, upright=self.UPRIGHT),
                "name": picture.name or path,
                "group": picture.person,
                "subset": picture.subset,
                "identity": identity[picture.person],
                "yaw": picture.yaw,
            }


def list_people(folder: Path) -> list[Picture]:
    """The pictures of a folder that holds one folder a person, people in alphabetical order.

    Raises:
        ValueError: a person's folder is empty, or pictures lie beside the folders.
    """
    below = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    loose = [p for p in images.list_images(folder) if p.parent == folder]
    if loose:
        raise ValueError(f"{loose[0]}: lies beside the folders of the people; move it into one")
    found = {path.name: images.list_images(path) for path in below}
    empty = [person for person, listed in found.items() if not listed]
    if empty:
        raise ValueError(f"{folder / empty[0]}: the folder of this person holds no picture")
    return [Picture(path, person) for person, listed in found.items() for path in listed]


def _labelled(picture, landmarks, yaw):
    """The picture with what the user's files say of it."""
    if landmarks is not None:
        five = landmarks if len(landmarks) == 5 else face_alignment.five_points(landmarks)
        picture = dataclasses.replace(picture, points=five)
        if yaw is None and np.isnan(picture.yaw) and len(landmarks) == 68:
            from jaxgen.data import head_pose  # it starts JAX, which other sets do not need

            try:
                yaw = float(head_pose.head_pose(landmarks)[0])
            except ValueError as error:
                raise ValueError(f"{picture.path}: {error}") from error
    return picture if yaw is None else dataclasses.replace(picture, yaw=yaw)


def _is_placed(picture, options) -> bool:
    """Whether something but the frame of the picture says where the face is."""
    is_pointed = picture.points is not None and np.isfinite(picture.points).any()
    is_boxed = picture.box is not None or tuple(options["face_box"]) != OPTIONS["face_box"]
    return is_pointed or is_boxed


def _stored(picture, options, *, upright) -> dict:
    """Image, points and box as they are stored."""
    image = images.open_image(picture.path, upright=upright)
    points = np.full((5, 2), np.nan) if picture.points is None else picture.points
    box = picture.box
    if box is None:
        fractions = np.reshape(options["face_box"], (2, 2))
        box = (fractions * image.size - 0.5).ravel()
    matrix, side = np.eye(3)[:2], options["max_side"]
    if side and max(image.size) > side:
        around = box
        if np.isfinite(points).any():
            frame = crop.invert(face_alignment.alignment(points))
            last = face_alignment.SIDE - 1
            corners = crop.transform_points(frame, [(0, 0), (last, 0), (0, last), (last, last)])
            around = images.tight_box(corners)
        window, matrix = images.face_window(image, around, margin=_SURROUNDINGS, size=side)
        data = images.encode(window)
    elif images.is_plain(picture.path, ("JPEG", "PNG")):
        data = picture.path.read_bytes()
    else:
        data = images.encode(image)
    return {
        "image": data,
        "points5": crop.transform_points(matrix, points).astype(np.float32),
        "box": crop.transform_points(matrix, np.reshape(box, (2, 2))).ravel().astype(np.float32),
    }
