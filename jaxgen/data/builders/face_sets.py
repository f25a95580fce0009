"""What the builders of face sets share: one form of example.

A builder lists `Face` records from an official layout; this file turns each into a stored example:

    image uint8 [H, W, 3]           the window around the face, see `images.face_window`
    points float32 [K, 2]           (x, y) in stored pixels, NaN where a point has no label
    visible bool [K]                False where a point is hidden; it may still be labelled
    box float32 [4]                 face box in stored pixels
    source_matrix float64 [2, 3]    pixels of the original file -> stored pixels
    name, group, subset             file id; person, photo or video; named part of a test set

Unlabelled sets have no points, visible and subset.
"""

import abc
import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from jaxgen.data import crop
from jaxgen.data.builders import images, manual


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


class FaceBuilder(manual.ManualBuilder, skip_registration=True):
    """Base of the builders of face sets over the user's files.

    Class attributes:
        NUM_POINTS: landmarks per face; 0 in unlabelled sets.
        OPTIONS: `window_margin` and `window_size` are described in `images.face_window`.
        UPRIGHT: whether pictures are turned by their EXIF tag.
    """

    VERSION = tfds.core.Version("1.0.0")
    NUM_POINTS = 0
    OPTIONS = {"window_margin": 2.0, "window_size": 320}  # noqa: RUF012 (read only)
    UPRIGHT = False
    NOUN = "faces"

    @abc.abstractmethod
    def faces(self) -> dict[str, Iterable[Face]]:
        """The splits that the files allow, each with its faces."""

    @property
    def num_points(self) -> int:
        """Landmarks per face; 0 in unlabelled sets."""
        return self.NUM_POINTS

    def default_box(self, width: int, height: int) -> np.ndarray:
        """Box of a face that has none of its own: the whole image. -> [4]."""
        return images.whole_box(width, height)

    def splits(self):
        """The faces as they are stored."""
        return {split: map(self._stored, found) for split, found in self.faces().items()}

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
        as_is = (
            window is image
            and isinstance(face.image, Path)
            and images.is_plain(face.image, ("JPEG",))
        )
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
