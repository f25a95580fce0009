"""COFW: 29 points with occlusion flags, 1,345 training and 507 test faces.

Layout: `COFW_train_color.mat` and `COFW_test_color.mat`, MATLAB 7.3 files, which need the extra
`cofw` (h5py). Per face they hold the image, `phis` (29 x, 29 y, 29 flags: 1 is occluded) and
`bboxes` (x, y, width, height), all 1-based: 1 is subtracted. Occluded points are labelled and part
of the usual protocol; they are not `visible`.
"""

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from jaxgen.data import text_files
from jaxgen.data.builders import face_sets, images

_MOST_VALUES = 10**8  # of an array; the largest picture has a twentieth of them

# split -> (file, ending of its variables, published number of faces)
FILES = {
    "train": ("COFW_train_color.mat", "Tr", 1345),
    "test": ("COFW_test_color.mat", "T", 507),
}


class Cofw(face_sets.FaceBuilder):
    """29-point faces of COFW."""

    VERSION = tfds.core.Version("1.0.0")
    FOLDER = "COFW"
    LAYOUT = "\n".join(f"  {name}" for name, *_ in FILES.values())
    NUM_POINTS = 29
    OPTIONS = {**face_sets.FaceBuilder.OPTIONS, "allow_partial": False}  # noqa: RUF012

    @classmethod
    def files(cls, manual_dir, options):
        """The `.mat` files that are there."""
        del options
        return [path for name, *_ in FILES.values() if (path := manual_dir / name).exists()]

    def split_parts(self, split):
        """Checks the number of faces in the file."""
        if split in FILES:
            name, ending, expected = FILES[split]
            path, found = self.builder_config.manual_dir / name, 0
            if path.exists():
                with _open(path) as content:
                    found = _variables(content, path, ending)[1].shape[1]
            self.require(split, found, expected)
        return (split,)

    def faces(self):
        """The splits whose file is there."""
        root = self.builder_config.manual_dir
        return {
            split: self._faces(split, root / name, ending)
            for split, (name, ending, _) in FILES.items()
            if (root / name).exists()
        }

    def _faces(self, split, path, ending):
        with _open(path) as content:
            pictures, labels, boxes = _variables(content, path, ending)
            for row in range(labels.shape[1]):
                try:
                    picture = _picture(content[pictures[0, row]])
                except Exception as error:  # whatever h5py finds in a damaged file
                    raise _damaged(path, error) from error
                x, y, hidden = np.reshape(labels[:, row], (3, 29))
                left, top, width, height = boxes[:, row] - (1, 1, 0, 0)
                yield face_sets.Face(
                    image=images.to_rgb(Image.fromarray(picture)),
                    name=f"cofw_{split}/{row + 1:04d}",
                    group=f"cofw_{split}/{row + 1:04d}",
                    box=np.array([left, top, left + width, top + height]),
                    points=np.stack([x, y], 1) - 1.0,
                    visible=hidden == 0,
                )


def _open(path):
    try:
        import h5py
    except ModuleNotFoundError:
        raise ValueError(
            f"{path} is a MATLAB 7.3 file; reading it needs h5py: pip install 'jaxgen[cofw]'"
        ) from None
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise _damaged(path, error) from error


def _variables(content, path, ending):
    """References to the pictures [1, N], labels [87, N] and boxes [4, N]."""
    names = [f"{name}{ending}" for name in ("Is", "phis", "bboxes")]
    try:
        missing = [name for name in names if name not in content]
        if missing:
            raise ValueError(f"it lacks the variable {missing[0]!r}")
        pictures, labels, boxes = (_read(content[name]) for name in names)
    except Exception as error:  # whatever h5py finds in a damaged file
        raise _damaged(path, error) from error
    count = labels.shape[-1]
    if [a.shape for a in (pictures, labels, boxes)] != [(1, count), (87, count), (4, count)]:
        raise ValueError(f"{path}: its variables are not of {count} faces each")
    if not all((np.abs(array) <= text_files.FARTHEST).all() for array in (labels, boxes)):
        raise ValueError(f"{path}: a point or box is not finite, or far away")
    return pictures, labels, boxes


def _picture(stored) -> np.ndarray:
    """[H, W, 3] or [H, W] uint8; HDF5 shows MATLAB's arrays with their axes reversed."""
    if stored.dtype != np.uint8 or stored.ndim not in (2, 3):
        raise ValueError(f"a picture is {stored.dtype} of shape {stored.shape}")
    return np.ascontiguousarray(np.transpose(_read(stored)))


def _read(stored) -> np.ndarray:
    if stored.size > _MOST_VALUES:  # before memory is reserved for them
        raise ValueError(f"{stored.name} announces {list(stored.shape)} values")
    return stored[()]


def _damaged(path, error) -> ValueError:
    reason = " ".join(str(error).split())[:200]
    return ValueError(f"{path}: not a readable MATLAB 7.3 file ({reason}); download it again")
