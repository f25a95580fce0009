"""300-VW: 114 labelled videos, 68 points a frame.

Layout: `NNN/vid.avi` and `NNN/annot/NNNNNN.pts` for every frame, counted from 1. The published
protocol has 50 training videos and 64 test videos in three categories: well lit (31), mildly
unconstrained (19), challenging (14). A video is a group: validation holds out whole videos. The
face box is the tight box around the points. Neighbouring frames are nearly alike, so only every
tenth is stored; set the option `every_nth` to 1 for the published protocol (218,595 frames).
"""

import tensorflow_datasets as tfds
from PIL import Image

from jaxgen.data import media
from jaxgen.data.builders import face_sets, images, pts

# fmt: off
TRAIN = (
    1, 2, 3, 4, 7, 9, 10, 11, 13, 15, 16, 17, 18, 19, 20, 22, 25, 27, 28, 29, 31, 33, 34, 35, 37,
    39, 41, 43, 44, 46, 47, 48, 49, 53, 57, 59, 112, 113, 115, 119, 120, 123, 138, 143, 144, 160,
    204, 205, 223, 225,
)
CATEGORIES = {
    "category_1": (
        114, 124, 125, 126, 150, 158, 401, 402, 505, 506, 507, 508, 509, 510, 511, 514, 515, 518,
        519, 520, 521, 522, 524, 525, 537, 538, 540, 541, 546, 547, 548,
    ),
    "category_2": (
        203, 208, 211, 212, 213, 214, 218, 224, 403, 404, 405, 406, 407, 408, 409, 412, 550, 551,
        553,
    ),
    "category_3": (410, 411, 516, 517, 526, 528, 529, 530, 531, 533, 557, 558, 559, 562),
}
# fmt: on
VIDEOS = {"train": TRAIN, **CATEGORIES}


class W300vw(face_sets.FaceBuilder):
    """68-point faces of 300-VW."""

    VERSION = tfds.core.Version("1.0.0")
    FOLDER = "300VW_Dataset_2015_12_14"
    LAYOUT = "  NNN/vid.avi + NNN/annot/NNNNNN.pts for each of the 114 videos"
    NUM_POINTS = 68
    OPTIONS = {  # noqa: RUF012
        **face_sets.FaceBuilder.OPTIONS,
        "every_nth": 10,
        "allow_partial": False,
    }

    @classmethod
    def files(cls, manual_dir, options):
        """Every video and label file."""
        if options["every_nth"] < 1:
            raise ValueError("config.data.options.every_nth must be 1 or more")
        return sorted([*manual_dir.glob("*/vid.avi"), *manual_dir.glob("*/annot/*.pts")])

    def split_parts(self, split):
        """The stored splits of a split; raises where one of its videos is missing."""
        parts = tuple(CATEGORIES) if split == "test" else (split,)
        missing = [v for part in parts for v in VIDEOS.get(part, ()) if not self._path(v).exists()]
        if missing and not self.builder_config.options["allow_partial"]:
            raise ValueError(
                f"300-VW {split!r} is not complete: {self.builder_config.manual_dir} lacks the "
                f"videos {', '.join(f'{v:03d}' for v in missing)}. Add them, or set "
                "config.data.options.allow_partial=True and do not compare with published results"
            )
        return tuple(p for p in parts if p not in VIDEOS or self._present(p)) or parts

    def faces(self):
        """The splits of which there is a video."""
        present = {split: self._present(split) for split in VIDEOS}
        return {split: self._faces(split, videos) for split, videos in present.items() if videos}

    def _path(self, video):
        return self.builder_config.manual_dir / f"{video:03d}" / "vid.avi"

    def _present(self, split):
        return [video for video in VIDEOS[split] if self._path(video).exists()]

    def _faces(self, split, videos):
        every = self.builder_config.options["every_nth"]
        for path in map(self._path, videos):
            labels = {int(p.stem): p for p in (path.parent / "annot").glob("*.pts")}
            seen = 0
            for frame in media.read_video(path, every=every):
                seen, label = frame.index + 1, labels.get(frame.index + 1)
                if label is None:
                    continue  # a frame that the authors have not labelled
                points = pts.read_pts(label, 68)
                yield face_sets.Face(
                    image=Image.fromarray(frame.image),
                    name=f"{path.parent.name}#{label.stem}",
                    group=path.parent.name,
                    box=images.tight_box(points),
                    points=points,
                    subset="" if split == "train" else split,
                )
            if not labels or max(labels) > seen + every - 1:
                raise ValueError(
                    f"{path}: labels reach frame {max(labels, default=0)}, but the video has about "
                    f"{seen}: one of the two is cut off"
                )
