"""What the builders of manually downloaded sets share: one form of example, one cache rule.

A builder lists `Face` records from an official layout; this file turns each into a stored example:

    image uint8 [H, W, 3]           the window around the face, see `images.face_window`
    points float32 [K, 2]           (x, y) in stored pixels, NaN where a point has no label
    visible bool [K]                False where a point is hidden; it may still be labelled
    box float32 [4]                 face box in stored pixels
    source_matrix float64 [2, 3]    pixels of the original file -> stored pixels
    name, group, subset             file id; person, photo or video; named part of a test set

Unlabelled sets have no points, visible and subset. TFDS keeps a prepared set by its config name, so
that name holds a digest of the options and of every file's name, size and time: changed data are
prepared anew and never read from an old copy.
"""

import abc
import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from PIL import Image

from jaxgen.data import crop
from jaxgen.data.builders import images


@dataclasses.dataclass(frozen=True)
class Face:
    """One face of one image.

    Attributes:
        image: path of the file, or a picture decoded from a video.
        name: unique id of the face.
        group: faces of one group are never split between training and validation.
        box: [4] in image pixels; None takes the builder's `default_box`.
        points: [K, 2] in image pixels, NaN where unlabelled; None in unlabelled sets.
        visible: [K] bool; None means all.
        subset: named parts of a test set, joined by "+".
    """

    image: Path | Image.Image
    name: str
    group: str
    box: np.ndarray | None = None
    points: np.ndarray | None = None
    visible: np.ndarray | None = None
    subset: str = ""


@dataclasses.dataclass(eq=False, kw_only=True)
class ManualConfig(tfds.core.BuilderConfig):
    """Where the files lie and how they are stored; the name is a digest of both."""

    manual_dir: Path
    options: dict


class ManualBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Base of the builders over files that the user has downloaded.

    Class attributes:
        FOLDER: name of the folder that the official archives unpack to; "" for own data.
        LAYOUT: what must lie in the folder; printed when something is missing.
        NUM_POINTS: landmarks per face; 0 in unlabelled sets.
        OPTIONS: option -> default. `window_margin` and `window_size` are described in
            `images.face_window`.
        UPRIGHT: whether pictures are turned by their EXIF tag.
    """

    VERSION = tfds.core.Version("1.0.0")
    FOLDER = ""
    LAYOUT = ""
    NUM_POINTS = 0
    OPTIONS = {"window_margin": 2.0, "window_size": 320}  # noqa: RUF012 (read only)
    UPRIGHT = False

    @classmethod
    def from_folder(cls, manual_dir, *, data_dir=None, options=None) -> "ManualBuilder":
        """A builder over one folder.

        Args:
            manual_dir: the folder described by `LAYOUT`.
            data_dir: where prepared sets are kept; None is TFDS's default.
            options: changes to `OPTIONS`.

        Raises:
            ValueError: an unknown option, or the folder lacks what every use needs.
        """
        unknown = sorted(set(options or {}) - set(cls.OPTIONS))
        if unknown:
            raise ValueError(
                f"data set {cls.name} has no option {unknown[0]!r}; config.data.options (for "
                f"unlabelled faces config.unlabelled.options) may hold {sorted(cls.OPTIONS)}"
            )
        options = {**cls.OPTIONS, **(options or {})}
        manual_dir = Path(manual_dir).resolve()
        files = cls.files(manual_dir, options)
        if not files:
            raise ValueError(f"{manual_dir} holds no files of {cls.name}. Expected:\n{cls.LAYOUT}")
        config = ManualConfig(
            name=_digest(manual_dir, files, options), manual_dir=manual_dir, options=options
        )
        # TFDS warns of every config that is no class attribute; ours depend on the user's files.
        with _log_errors_only():
            return cls(data_dir=data_dir, config=config, file_format="array_record")

    @classmethod
    @abc.abstractmethod
    def files(cls, manual_dir: Path, options: dict) -> list[Path]:
        """Every file that the set is made from; a change in any of them prepares it anew."""

    @abc.abstractmethod
    def faces(self) -> dict[str, Iterable[Face]]:
        """The splits that the files allow, each with its faces."""

    @property
    def num_points(self) -> int:
        """Landmarks per face; 0 in unlabelled sets."""
        return self.NUM_POINTS

    def split_parts(self, split: str) -> tuple[str, ...]:
        """The stored splits whose sum is the split that the user asked for.

        Raises:
            ValueError: it is not all there.
        """
        return (split,)

    def default_box(self, width: int, height: int) -> np.ndarray:
        """Box of a face that has none of its own: the whole image. -> [4]."""
        return images.whole_box(width, height)

    def require(self, split: str, found: int, expected: int) -> None:
        """Raises ValueError where an official split has another count than published."""
        if found != expected and not self.builder_config.options["allow_partial"]:
            raise ValueError(
                f"{self.name} {split!r} has {found} faces in {self.builder_config.manual_dir}, but "
                f"{expected} are published. Complete it, or set "
                "config.data.options.allow_partial=True and do not compare with published results"
            )

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "box": tfds.features.Tensor(shape=(4,), dtype=np.float32),
            "source_matrix": tfds.features.Tensor(shape=(2, 3), dtype=np.float64),
            "name": tfds.features.Text(),
            "group": tfds.features.Text(),
        }
        if self.num_points:
            features |= {
                "points": tfds.features.Tensor(shape=(self.num_points, 2), dtype=np.float32),
                "visible": tfds.features.Tensor(shape=(self.num_points,), dtype=np.bool_),
                "subset": tfds.features.Text(),
            }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        del dl_manager  # nothing is downloaded
        return {split: self._examples(faces) for split, faces in self.faces().items()}

    def _generate_examples(self):  # the generators above are complete
        raise NotImplementedError

    def _examples(self, faces: Iterable[Face]) -> Iterator[tuple[str, dict]]:
        for face in faces:
            yield face.name, self._stored(face)

    def _stored(self, face: Face) -> dict:
        """One face in the form of the module docstring."""
        image = face.image
        if isinstance(image, Path):
            image = images.open_image(image, upright=self.UPRIGHT)
        box = self.default_box(*image.size) if face.box is None else face.box
        options = self.builder_config.options
        window, matrix = images.face_window(
            image, box, margin=options["window_margin"], size=options["window_size"]
        )
        # A file that is stored whole is stored as it is: a second JPEG round would only add noise.
        as_is = window is image and isinstance(face.image, Path) and _plain_jpeg(face.image)
        example = {
            "image": face.image.read_bytes() if as_is else images.encode(window),
            "box": crop.transform_points(matrix, np.reshape(box, (2, 2))).ravel(),
            "source_matrix": matrix,
            "name": face.name,
            "group": face.group,
        }
        example["box"] = example["box"].astype(np.float32)
        if self.num_points:
            points = np.asarray(face.points)
            visible = np.ones(len(points), bool) if face.visible is None else face.visible
            example |= {
                "points": crop.transform_points(matrix, points).astype(np.float32),
                "visible": np.asarray(visible, bool),
                "subset": face.subset,
            }
        return example


@contextlib.contextmanager
def _log_errors_only():
    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _plain_jpeg(path: Path) -> bool:
    """Whether a file decodes to its RGB pixels by itself, without conversion or turning."""
    with Image.open(path) as image:
        return image.format == "JPEG" and image.mode == "RGB" and image.getexif().get(274, 1) == 1


def _digest(root: Path, files: Iterable[Path], options: dict) -> str:
    """Short name of one state of the files and options."""
    listing = []
    for path in sorted(files):
        stat = path.stat()
        inside = path.relative_to(root) if path.is_relative_to(root) else path
        listing.append((str(inside), stat.st_size, stat.st_mtime_ns))
    text = json.dumps([listing, sorted(options.items())], default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
