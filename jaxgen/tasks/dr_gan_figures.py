"""Pictures of DR-GAN's report."""

import re
from collections.abc import Mapping

import numpy as np

from jaxgen.data.recognition_sets import Faces
from jaxgen.tasks.dr_gan_evaluation import Drawn
from jaxgen.training.figures import Line, curves, image_grid


def by_yaw(numbers: Mapping[str, float], last: str):
    """Rank-1 over |yaw| of each method that has been measured.

    Args:
        numbers: of the report.
        last: the method whose figures have no suffix: "dr_gan", or "recogniser" where it is alone.
    """
    lines = {}
    for method, suffix in _suffixes(last):
        found = _numbered(numbers, rf"rank1_yaw_([\d.]+){suffix}")
        if found:
            lines[method] = Line(*map(np.array, zip(*sorted(found), strict=True)))
    return curves(lines, x="yaw, degrees", y="rank-1, %", y_limits=(0, 102))


def by_images(numbers: Mapping[str, float], last: str):
    """Rank-1 over the number of fused images, learned and equal weights; as `by_yaw`."""
    lines = {}
    for method, suffix in _suffixes(last):
        for name, weights in ((method, ""), (f"{method}, equal weights", "_equal")):
            found = _numbered(numbers, rf"rank1_images_(\d+){weights}{suffix}")
            if found and (weights == "" or method == "dr_gan"):
                lines[name] = Line(*map(np.array, zip(*sorted(found), strict=True)))
    return curves(lines, x="fused pictures of a person", y="rank-1, %", y_limits=(0, 102))


def strips(config, images: np.ndarray, drawn: Drawn):
    """One row a person: the picture, then the synthetic faces with their similarities.

    Args:
        config: pose.classes are the yaws.
        images: uint8 [N, S, S, C].
        drawn: of those pictures.
    """
    pictures, captions = [], []
    for image, faces, similarities in zip(images, drawn.image, drawn.similarity, strict=True):
        pictures += [shown(image), *map(shown, faces)]
        captions.append("picture")
        captions += [
            f"{yaw:+g}°: {similarity:.2f}"
            for yaw, similarity in zip(config.pose.classes, similarities, strict=True)
        ]
    return image_grid(
        pictures, captions=captions, columns=1 + drawn.image.shape[1], cell=1.0, smooth=True
    )


def quality(images: np.ndarray, faces: Faces, confidence: np.ndarray, *, people=4, pictures=8):
    """Pictures of some people, the most trusted first, with their confidences."""
    rows = [own for own in faces.rows_of_people() if len(own)][:people]
    columns = min(pictures, *map(len, rows))
    shown_rows = []
    for own in rows:
        order = own[np.argsort(-confidence[own], kind="stable")]
        shown_rows += list(order[np.linspace(0, len(order) - 1, columns).astype(int)])
    captions = [f"{confidence[row]:.2f}" for row in shown_rows]
    return image_grid(
        [shown(images[row]) for row in shown_rows],
        captions=captions,
        columns=columns,
        cell=1.0,
        smooth=True,
    )


def shown(image: np.ndarray) -> np.ndarray:
    """An image that matplotlib draws: grey ones get three channels."""
    return image.repeat(3, -1) if image.shape[-1] == 1 else image


def _suffixes(last):
    """Pairs of method and the suffix of its figures, whether or not it has been measured."""
    before = [("recogniser", "_recogniser")] if last != "recogniser" else []
    return [*before, (last, "")]


def _numbered(numbers, pattern):
    """(number in the name, value) of every figure whose whole name fits a pattern."""
    matches = ((re.fullmatch(pattern, name), value) for name, value in numbers.items())
    return [(float(match[1]), value) for match, value in matches if match]
