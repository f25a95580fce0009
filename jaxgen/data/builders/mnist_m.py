"""MNIST-M: the digits of MNIST over patches of photographs, made from your own files.

Layout: the four files of MNIST (see `mnist_idx`), and a folder of photographs of any size:

    train-images-idx3-ubyte.gz  ...  photos/NAME.jpg

A picture is |patch - digit|, channel by channel (Ganin et al., "Domain-Adversarial Training of
Neural Networks", section 5.2.4): inside the stroke the photograph is inverted. The published set
used the 500 photographs of BSDS500; with those, results are comparable in kind, but the patches
are drawn anew. Picture i of a split depends on the seed, the split and i alone.

Options: `photos`, the folder, absolute or below the folder of MNIST; `side`, 28 or 32 pixels
(a digit of 32 has a border of 2); `seed`.
"""

import functools
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from jaxgen.data import hashing
from jaxgen.data.builders import class_sets, images, mnist_idx

MAX_PHOTOS = 500  # kept in memory, at most MAX_SIDE pixels wide and high
MAX_SIDE = 512


class MnistM(mnist_idx.MnistIdx):
    """Digits of MNIST over photographs."""

    VERSION = tfds.core.Version("1.0.0")
    LAYOUT = f"{mnist_idx.MnistIdx.LAYOUT}\n  photos/ (option photos): any photographs"
    CHANNELS = 3
    OPTIONS = {  # noqa: RUF012
        **mnist_idx.MnistIdx.OPTIONS,
        "photos": "photos",
        "side": 28,
        "seed": 0,
    }

    @classmethod
    def files(cls, manual_dir, options):
        """The files of MNIST and the photographs."""
        if options["side"] not in (28, 32):
            raise ValueError(f"option side of mnist_m is 28 or 32, got {options['side']!r}")
        digits = super().files(manual_dir, options)
        if not digits:
            return []
        photos = _photos(manual_dir, options)
        if not photos:
            raise ValueError(
                f"{_folder(manual_dir, options)} holds no photographs: set the option photos of "
                "mnist_m (--config.target.options.photos=FOLDER) to a folder of them"
            )
        return [*digits, *photos]

    def _digits(self, split):
        digits, labels = self.read_checked(split)
        options = self.builder_config.options
        border = (options["side"] - 28) // 2
        digits = np.pad(digits, ((0, 0), (border, border), (border, border)))
        return _blended(digits, labels, self._opened, seed=options["seed"], split=split)

    @functools.cached_property
    def _opened(self):
        root, options = self.builder_config.manual_dir, self.builder_config.options
        return [_open_photo(path, options["side"]) for path in _photos(root, options)]


def blend(digit: np.ndarray, patch: np.ndarray) -> np.ndarray:
    """|patch - digit|. digit: uint8 [S, S]; patch: uint8 [S, S, 3] -> uint8 [S, S, 3]."""
    return np.abs(patch.astype(np.int16) - digit[..., None]).astype(np.uint8)


def random_patch(rng: np.random.Generator, photos, side: int) -> np.ndarray:
    """A square of one of the photographs, each uint8 [H, W, 3]. -> uint8 [side, side, 3]."""
    photo = photos[rng.integers(len(photos))]
    top, left = (rng.integers(length - side + 1) for length in photo.shape[:2])
    return photo[top : top + side, left : left + side]


def _blended(digits, labels, photos, *, seed, split):
    number = sorted(MnistM.COUNTS).index(split)
    for i, (digit, label) in enumerate(zip(digits, labels, strict=True)):
        rng = np.random.default_rng([seed, number, i])
        pixels = blend(digit, random_patch(rng, photos, len(digit)))
        yield {
            "image": class_sets.png(pixels),
            "label": int(label),
            "name": f"{split}/{i:06d}",
        }


def _folder(root, options) -> Path:
    return root / Path(options["photos"]).expanduser()


def _photos(root, options) -> list[Path]:
    """The photographs that are used: all, or those that hash first."""
    folder = _folder(root, options)
    found = images.list_images(folder)
    chosen = sorted(found, key=lambda path: hashing.uniform(path.relative_to(folder).as_posix()))
    return chosen[:MAX_PHOTOS]


def _open_photo(path, side) -> np.ndarray:
    photo = images.open_image(path)
    photo.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.BOX)
    if min(photo.size) < side:
        raise ValueError(f"{path}: a photograph needs {side} x {side} pixels, got {photo.size}")
    return np.asarray(photo)
