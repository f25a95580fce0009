"""Sets that TFDS itself provides, converted to the form that their readers want.

TFDS downloads and prepares them (most need the extra `prepare`, that is TensorFlow, for this one
step). Their images are stored as they are; boxes of faces are tight boxes around the labelled
points.
"""

import io

import numpy as np
from PIL import Image

from jaxgen.data.builders import images
from jaxgen.data.builders.wider_face import FLAGS, clean_boxes

NUM_POINTS = {"the300w_lp": 68, "aflw2k3d": 68, "celeb_a": 5}
_CELEB_A_POINTS = ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")


def the300w_lp(record, index) -> dict:
    """300W-LP: 68 points, stored as fractions of the image side."""
    return _example("the300w_lp", record, index, _from_fractions(record, "landmarks_2d"))


def aflw2k3d(record, index) -> dict:
    """AFLW2000-3D: 68 points, stored as fractions of the image side."""
    points = _from_fractions(record, "landmarks_68_3d_xy_normalized")
    return _example("aflw2k3d", record, index, points)


def celeb_a(record, index) -> dict:
    """CelebA: five points (left and right as seen in the picture), in pixels."""
    marks = record["landmarks"]
    points = [(marks[f"{name}_x"], marks[f"{name}_y"]) for name in _CELEB_A_POINTS]
    return _example("celeb_a", record, index, np.array(points, np.float32))


def classified(record, index) -> dict:
    """A classified image, such as one of `mnist` and `svhn_cropped`; its place is its name."""
    name = f"{index:06d}"
    return {"image": record["image"], "label": int(record["label"]), "name": name, "group": name}


def wider_face(record, index) -> dict:
    """WIDER FACE: boxes in pixels, edge to edge, and their flags; see builders/wider_face.py.

    TFDS stores boxes as fractions of the image, and leaves those without area in.
    """
    faces = record["faces"]
    with Image.open(io.BytesIO(record["image"])) as image:  # reads the header only
        width, height = image.size
    y0, x0, y1, x1 = np.asarray(faces["bbox"], np.float64).reshape(-1, 4).T
    written = np.stack([x0 * width, y0 * height, (x1 - x0) * width, (y1 - y0) * height], 1)
    boxes, keep = clean_boxes(written, width, height)
    flags = np.stack([np.asarray(faces[name], np.int32) for name in FLAGS], 1)
    name = record["image/filename"].decode().removesuffix(".jpg") or f"wider_face/{index:06d}"
    return {
        "image": record["image"],
        "boxes": boxes[keep],
        "flags": flags[keep],
        "name": name,
        "group": name,
    }


def _from_fractions(record, key):
    with Image.open(io.BytesIO(record["image"])) as image:  # reads the header only
        return (np.asarray(record[key]) * image.size).astype(np.float32)


def _example(data_set, record, index, points):
    name = f"{data_set}/{index:06d}"
    return {
        "image": record["image"],
        "points": points,
        "visible": np.ones(len(points), bool),
        "box": images.tight_box(points),
        "source_matrix": np.eye(3)[:2],
        "name": name,
        "group": name,
        "subset": "",
    }
