"""A user's pictures without labels: a folder of images, or a folder of videos.

They are the unlabelled side of semi-supervised training. The one split is "train". A face box
comes from, in this order of preference:

  - `boxes`: a CSV or JSON file as described in `jaxgen.data.face_boxes`, with one line a face, in
    the folder of the pictures or below the current one; pictures that it does not name are left
    out;
  - `face_box`: (x0, y0, x1, y1) as fractions of the picture's width and height, for pictures that
    were all cut with the same framing. The default is the whole picture.

Photographs are turned upright by their EXIF tag, videos by their display matrix.
"""

from pathlib import Path, PurePosixPath

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from jaxgen.data import face_boxes, media
from jaxgen.data.builders import face_sets, images

_OPTIONS = {**face_sets.FaceBuilder.OPTIONS, "boxes": "", "face_box": (0.0, 0.0, 1.0, 1.0)}


class _Unlabelled(face_sets.FaceBuilder, skip_registration=True):
    """What the two share: where boxes come from."""

    UPRIGHT = True

    @classmethod
    def _with_boxes(cls, manual_dir, options, found):
        """The files found and the file of boxes, checked for names that do not exist."""
        x0, y0, x1, y1 = options["face_box"]
        if not (x0 < x1 and y0 < y1):
            raise ValueError(
                "config.unlabelled.options.face_box is (x0, y0, x1, y1) as fractions with x0 < x1 "
                f"and y0 < y1, got {options['face_box']}"
            )
        if not options["boxes"] or not found:
            return found
        path = _box_file(manual_dir, options["boxes"])
        names = {file.relative_to(manual_dir).as_posix() for file in found}
        absent = face_boxes.read_face_boxes(path).names - names
        if absent:
            raise ValueError(f"{path}: {manual_dir} holds no {min(absent)!r}")
        return [*found, path]

    def default_box(self, width, height):
        """The part of the picture that `face_box` names."""
        fractions = np.reshape(self.builder_config.options["face_box"], (2, 2))
        return (fractions * (width, height) - 0.5).ravel()

    def _boxes(self):
        name = self.builder_config.options["boxes"]
        if not name:
            return None
        return face_boxes.read_face_boxes(_box_file(self.builder_config.manual_dir, name))

    def faces(self):
        """One split, "train"."""
        return {"train": self._all_faces()}


class ImageFolder(_Unlabelled):
    """Images at any depth below a folder."""

    VERSION = tfds.core.Version("1.0.0")
    LAYOUT = "  any images (jpg, png, webp, bmp, tif), in folders of any depth"
    # group_by says which faces belong together: "file" each image for itself, "folder" those of
    # one folder, "stem" those of one name before the last "_" (person_01.jpg, person_02.jpg).
    OPTIONS = {**_OPTIONS, "group_by": "file"}  # noqa: RUF012

    @classmethod
    def files(cls, manual_dir, options):
        """Every image, and the file of boxes."""
        if options["group_by"] not in ("file", "folder", "stem"):
            raise ValueError(
                "config.unlabelled.options.group_by is file, folder or stem, got "
                f"{options['group_by']!r}"
            )
        return cls._with_boxes(manual_dir, options, images.list_images(manual_dir))

    def _all_faces(self):
        root, boxes = self.builder_config.manual_dir, self._boxes()
        for path in images.list_images(root):
            name = path.relative_to(root).as_posix()
            group = _group(name, self.builder_config.options["group_by"])
            if boxes is None:
                yield face_sets.Face(image=path, name=name, group=group)
                continue
            for number, face in enumerate(boxes.of(name)):
                unique = name if number == 0 else f"{name}#{number}"
                yield face_sets.Face(image=path, name=unique, group=group, box=face.box)


class VideoFolder(_Unlabelled):
    """Frames of the videos at any depth below a folder; a video is a group.

    `every_seconds` is the time between the frames taken. In the file of boxes, `frame` counts all
    frames of the video from 0; a line without it holds for every frame.
    """

    VERSION = tfds.core.Version("1.0.0")
    LAYOUT = f"  any videos ({' '.join(media.VIDEO_SUFFIXES)}), in folders of any depth"
    OPTIONS = {**_OPTIONS, "every_seconds": 1.0}  # noqa: RUF012

    @classmethod
    def files(cls, manual_dir, options):
        """Every video, and the file of boxes."""
        if options["every_seconds"] < 0:
            raise ValueError("config.unlabelled.options.every_seconds must be 0 or more")
        return cls._with_boxes(manual_dir, options, _videos(manual_dir))

    def _all_faces(self):
        root, boxes = self.builder_config.manual_dir, self._boxes()
        every = self.builder_config.options["every_seconds"]
        for path in _videos(root):
            name, due = path.relative_to(root).as_posix(), 0.0
            for frame in media.read_video(path, name=name):
                seconds = frame.index / 25 if frame.timestamp is None else frame.timestamp
                if seconds + 1e-6 < due:
                    continue
                due = seconds + every
                picture = Image.fromarray(frame.image)
                found = [None] if boxes is None else [f.box for f in boxes.of(name, frame.index)]
                for number, box in enumerate(found):
                    unique = f"{name}#{frame.index:06d}" + (f"#{number}" if number else "")
                    yield face_sets.Face(image=picture, name=unique, group=name, box=box)


def _box_file(manual_dir, name):
    """Beside the pictures, or, where there is none, a path as every other argument is one."""
    beside = manual_dir / name
    return beside if beside.exists() else Path(name).absolute()


def _videos(root):
    found = (p for p in root.rglob("*") if media.is_video(p) and not p.name.startswith("."))
    return sorted(found)


def _group(name: str, group_by: str) -> str:
    path = PurePosixPath(name)
    if group_by == "folder":
        return str(path.parent)
    stem = str(path.with_suffix(""))
    return (stem.rpartition("_")[0] or stem) if group_by == "stem" else name
