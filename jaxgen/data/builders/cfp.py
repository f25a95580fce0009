"""Celebrities in Frontal-Profile (CFP): 500 people, 10 frontal and 4 profile pictures of each.

    Data/Images/001/frontal/01.jpg ... 10.jpg   Data/Images/001/profile/01.jpg ... 04.jpg
    Data/Fiducials/001/frontal/01.txt ...       30 points, one `x,y` a line
    Protocol/                                   pairs, see `jaxgen.data.verification_pairs`

The official protocol trains and tests in ten folds over all people. For one training run, people
are split once: options `train_people` and `test_people` are ranges of their numbers (splits "train"
and "test"), and "all" is everybody who is there.

The 30 points mark one half of the face (in a frontal picture the image's left) and its middle line:
0-8 jaw from the ear to the chin, 9-11 brow, 12-17 eye, 18-21 ridge of the nose to its tip, 22-24
below the nose, 25 corner of the mouth, 26-29 middle of the lips. Of a frontal face, eye and corner
of the mouth are mirrored in the middle line; of a profile they are the visible ones.

Yaw is the set's nominal one: 0 for frontal, 90 or -90 for profile, where the nose points. The real
yaws scatter around it (profiles by 20 degrees and more).
"""

import numpy as np
import tensorflow_datasets as tfds

from jaxgen.data import text_files
from jaxgen.data.builders import recognition_builder
from jaxgen.data.builders.recognition_builder import Picture

KINDS = ("frontal", "profile")
_MIDDLE = [8, 18, 19, 20, 21, 22, 26, 27, 28, 29]  # points on the middle line of a face


class Cfp(recognition_builder.RecognitionBuilder):
    """Frontal and profile pictures of celebrities."""

    VERSION = tfds.core.Version("1.0.0")
    FOLDER = "cfp"
    LAYOUT = (
        "  Data/Images/001/{frontal,profile}/01.jpg, Data/Fiducials/001/..., Protocol/Split/..."
    )
    OPTIONS = {  # noqa: RUF012
        **recognition_builder.OPTIONS,
        "train_people": "1-320",
        "test_people": "321-400",
    }

    @classmethod
    def picture_files(cls, manual_dir, options):
        """Every picture and its points; a lack of points is reported when they are read."""
        ranges = _ranges(options)
        if set(ranges["train"]) & set(ranges["test"]):
            raise ValueError(
                f"options train_people={options['train_people']!r} and test_people="
                f"{options['test_people']!r} of cfp overlap; a person must be in one"
            )
        found = sorted((manual_dir / "Data" / "Images").glob("[0-9]*/*/*.jpg"))
        return [file for path in found for file in (path, _fiducials(path)) if file.exists()]

    def pictures(self):
        """Train, test, and the rest, which only "all" reads."""
        ranges = _ranges(self.builder_config.options)
        found = {"train": [], "test": [], "rest": []}
        root = self.builder_config.manual_dir / "Data" / "Images"
        for path in sorted(root.glob("[0-9]*/*/*.jpg")):
            person, kind = path.parts[-3:-1]
            if kind not in KINDS:
                raise ValueError(f"{path}: pictures lie in {' or '.join(KINDS)}/")
            split = next((s for s in ranges if int(person) in ranges[s]), "rest")
            found[split].append(_picture(path, person, kind))
        for split in ranges:
            if not found[split]:
                there = sorted({p.person for listed in found.values() for p in listed})
                wanted = self.builder_config.options[f"{split}_people"]
                raise ValueError(
                    f"{root}: no person of {split}_people={wanted!r}; it holds {there[0]} to "
                    f"{there[-1]}"
                )
        return found

    def split_parts(self, split):
        """The parts of a split; "all" is everybody."""
        if split == "all":
            return tuple(part for part in ("train", "test", "rest") if part in self.known_splits)
        return super().split_parts(split)


def five_points(points: np.ndarray, kind: str) -> np.ndarray:
    """The five points of `jaxgen.data.face_alignment` from CFP's 30.

    Args:
        points: [30, 2].
        kind: "frontal" or "profile".

    Returns:
        [5, 2]; of a profile, eye and corner of the hidden side are NaN.
    """
    points = np.asarray(points, np.float64)
    seen = np.stack([points[12:18].mean(0), points[25]])  # eye, corner of the mouth
    if kind == "profile":
        five = np.full((5, 2), np.nan)
        # Looking to the image's right, a face shows the half that lies left in a frontal picture.
        five[[0, 3] if _looks_right(points) else [1, 4]] = seen
        five[2] = points[21]
        return five
    middle = points[_MIDDLE]
    centre = middle.mean(0)
    along = np.linalg.svd(middle - centre)[2][0]  # direction of the line with the least distances
    mirrored = centre + 2 * ((seen - centre) @ along)[:, None] * along - (seen - centre)
    return np.stack([seen[0], mirrored[0], points[21], seen[1], mirrored[1]])


def read_fiducials(path) -> np.ndarray:
    """A file of 30 points. -> [30, 2].

    Raises:
        ValueError: the file is missing, or holds something else; the message names it.
    """
    try:
        lines = text_files.read_text(path).split()
        points = np.array([[text_files.number(v) for v in line.split(",")] for line in lines])
    except FileNotFoundError:
        raise ValueError(f"{path}: the points of this picture are missing") from None
    except ValueError as error:
        reason = text_files.quoted(str(error), 200)
        raise ValueError(f"{path}: not a list of `x,y` ({reason})") from None
    if points.shape != (30, 2):
        raise ValueError(f"{path}: expected 30 points, got an array of shape {points.shape}")
    return points


def _picture(path, person, kind):
    points = read_fiducials(_fiducials(path))
    yaw = 0.0 if kind == "frontal" else (90.0 if _looks_right(points) else -90.0)
    name = f"{person}/{kind}/{path.stem}"
    return Picture(path, person, name=name, yaw=yaw, points=five_points(points, kind), subset=kind)


def _looks_right(points):
    """Whether the root of the nose lies right of the eye."""
    return points[18, 0] > points[12:18, 0].mean()


def _fiducials(path):
    person, kind = path.parts[-3:-1]
    return path.parents[3] / "Fiducials" / person / kind / f"{path.stem}.txt"


def _ranges(options) -> dict[str, range]:
    ranges = {}
    for split in ("train", "test"):
        value = options[f"{split}_people"]
        first, dash, last = str(value).partition("-")
        if not (dash and first.isdigit() and last.isdigit() and int(first) <= int(last)):
            raise ValueError(f"option {split}_people of cfp is a range like 1-320, got {value!r}")
        ranges[split] = range(int(first), int(last) + 1)
    return ranges
