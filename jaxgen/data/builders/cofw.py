"""COFW: 29 points with occlusion flags, 1,345 training and 507 test faces.

Layout: `COFW_train_color.mat` and `COFW_test_color.mat`, MATLAB 7.3 files, which need the extra
`cofw` (h5py). Per face they hold the image, `phis` (29 x, 29 y, 29 flags: 1 is occluded) and
`bboxes` (x, y, width, height), all 1-based: 1 is subtracted. Occluded points are labelled and part
of the usual protocol; they are not `visible`.
"""

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from jaxgen.data.builders import face_sets, images

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
                    found = _variable(content, path, "phis", ending).shape[1]
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
            pictures, labels, boxes = (
                _variable(content, path, name, ending) for name in ("Is", "phis", "bboxes")
            )
            for row in range(labels.shape[1]):
                # HDF5 shows MATLAB's arrays with their axes reversed: [3, W, H] and [W, H].
                picture = np.transpose(content[pictures[0, row]][()])
                x, y, hidden = np.reshape(labels[:, row], (3, 29))
                left, top, width, height = boxes[:, row] - (1, 1, 0, 0)
                yield face_sets.Face(
                    image=images.to_rgb(Image.fromarray(np.ascontiguousarray(picture))),
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
        raise ValueError(f"{path}: not a readable MATLAB 7.3 file ({error})") from error


def _variable(content, path, name, ending):
    if f"{name}{ending}" not in content:
        raise ValueError(f"{path}: lacks the variable {name + ending!r}")
    return content[f"{name}{ending}"]
