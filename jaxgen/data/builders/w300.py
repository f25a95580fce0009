"""The 300-W family: HELEN, LFPW, AFW, iBUG and the 300-W private test, 68 points each.

Layout (the archives of ibug.doc.ic.ac.uk, unpacked side by side):

    helen/trainset  helen/testset  lfpw/trainset  lfpw/testset  afw  ibug  300w/01_Indoor ...

each with `NAME.jpg` or `NAME.png` next to `NAME.pts`. Every folder present is one split; the
protocol splits of the field are sums of them, see `PROTOCOL`. The face box is the tight box around
the 68 labelled points ("ground truth box"), for lack of a detector that everyone shares.
"""

import logging
from pathlib import Path

import tensorflow_datasets as tfds

from jaxgen.data.builders import face_sets, images, pts

# split -> (folder, official number of faces, whether NAME is PHOTO_NUMBER, named subset)
FOLDERS = {
    "helen_train": ("helen/trainset", 2000, True, ""),
    "helen_test": ("helen/testset", 330, True, "common"),
    "lfpw_train": ("lfpw/trainset", 811, False, ""),
    "lfpw_test": ("lfpw/testset", 224, False, "common"),
    "afw": ("afw", 337, True, ""),
    "ibug": ("ibug", 135, False, "challenge"),
    "private_indoor": ("300w/01_Indoor", 300, False, "indoor"),
    "private_outdoor": ("300w/02_Outdoor", 300, False, "outdoor"),
}
# Protocol split -> folders: 3148 to train on; 554 + 135 = 689 to test on; 600 private.
PROTOCOL = {
    "train": ("helen_train", "lfpw_train", "afw"),
    "common": ("helen_test", "lfpw_test"),
    "challenge": ("ibug",),
    "full": ("helen_test", "lfpw_test", "ibug"),
    "private": ("private_indoor", "private_outdoor"),
}
PROTOCOL["test"] = PROTOCOL["full"]
_log = logging.getLogger(__name__)


class W300(face_sets.FaceBuilder):
    """68-point faces of the 300-W family."""

    VERSION = tfds.core.Version("1.0.0")
    FOLDER = "300w"
    LAYOUT = "\n".join(f"  {folder}/NAME.jpg + NAME.pts" for folder, *_ in FOLDERS.values())
    NUM_POINTS = 68

    @classmethod
    def files(cls, manual_dir, options):
        """Every `.pts` file and its image."""
        del options
        labels = [p for split in FOLDERS for p in _labels(manual_dir, split)]
        return labels + [image for p in labels if (image := _image_of(p))]

    def faces(self):
        """One split per folder that is there."""
        root = self.builder_config.manual_dir
        labels = {split: _labels(root, split) for split in FOLDERS}
        return {split: _faces(root, split, paths) for split, paths in labels.items() if paths}

    def split_parts(self, split):
        """The folders of a split; raises with a count per folder where a protocol split lacks."""
        if split not in PROTOCOL and split not in FOLDERS:
            return (split,)
        root = self.builder_config.manual_dir
        parts = PROTOCOL.get(split, (split,))
        found = {part: len(_labels(root, part)) for part in FOLDERS}
        report = "\n".join(
            f"  {FOLDERS[part][0]}: found {found[part]} of {FOLDERS[part][1]}" for part in parts
        )
        complete = all(found[part] == FOLDERS[part][1] for part in parts)
        if not complete and split in PROTOCOL:
            raise ValueError(
                f"the protocol split {split!r} of 300-W is not complete in {root}:\n{report}\n"
                "Add what is missing, or name one of the folders that are there: "
                f"{[part for part in FOLDERS if found[part]]}"
            )
        if not complete:
            _log.warning("300-W in %s is not complete:\n%s", root, report)
        return parts


def _labels(root: Path, split: str) -> list[Path]:
    """Label files of one folder; the mirrored copies that some releases add are left out."""
    paths = (root / FOLDERS[split][0]).glob("*.pts")
    return sorted(p for p in paths if not p.stem.endswith("_mirror"))


def _image_of(label: Path) -> Path | None:
    candidates = (label.with_suffix(suffix) for suffix in (".jpg", ".png", ".JPG", ".PNG"))
    return next((path for path in candidates if path.exists()), None)


def _faces(root, split, labels):
    folder, _, numbered, subset = FOLDERS[split]
    for label in labels:
        image = _image_of(label)
        if image is None:
            raise ValueError(f"{label}: there is no {label.stem}.jpg or .png next to it")
        points = pts.read_pts(label, 68)
        # Several faces of one photograph stay together.
        photo = label.stem.rpartition("_")[0] if numbered else label.stem
        yield face_sets.Face(
            image=image,
            name=f"{folder}/{label.stem}",
            group=f"{folder}/{photo or label.stem}",
            box=images.tight_box(points),
            points=points,
            subset=subset,
        )
