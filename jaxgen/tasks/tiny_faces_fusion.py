"""Which rule makes one score of two: chosen on held-out scenes, for every second look alike.

What a second look is worth depends on the detector, the sizes of the faces and the classifier, so
with config.gan.fusion.rule="chosen" each stage that can look twice (discriminator, gan) chooses
for itself: among all `candidates`, the best AP of faces below 16 pixels on the validation scenes,
as long as the AP of faces of 16 to 32 pixels, of larger ones, and of all together (WIDER FACE's)
lose no more than 0.1 points each. Of all together, because scores that rank small boxes well among
each other may rank them wrongly among the others. The detector alone is one of the candidates.

    WORKDIR/STAGE/fusion.json   the choice, its figures, and what it hangs on
    WORKDIR/STAGE/fusion.npz    scene, box, detector, gan, face [P]: every proposal with both
                                scores and the face that it finds, -1 for none
"""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxgen.data import face_pairs, text_files
from jaxgen.metrics import detection
from jaxgen.tasks.tiny_faces_evaluation import GroundTruth
from jaxgen.tasks.tiny_faces_rescoring import Fusion, Look, join
from jaxgen.training import hosts
from jaxgen.training.errors import ConfigError
from jaxgen.training.files import write_atomically

FILE = "fusion.json"
SIDES = (12.0, 16.0, 20.0, 24.0, 32.0)  # pixels
WEIGHTS = tuple(step / 10 for step in range(1, 11))
HEIGHTS = {"small": (0, 16), "middle": (16, 32), "large": (32, np.inf)}  # in pixels
MOST_LOST = 0.1  # points of AP of all but small faces


class Figures(NamedTuple):
    """AP in percent; NaN where there is no such face."""

    small: float
    middle: float
    large: float
    all: float  # WIDER FACE's


class Choice(NamedTuple):
    """The best rule, what it reaches and what the detector alone does."""

    fusion: Fusion
    figures: Figures
    alone: Figures


def candidates() -> list[Fusion]:
    """All rules that are tried; the first one is the detector alone."""
    means = [Fusion("mean_logit", weight, side) for side in SIDES for weight in WEIGHTS]
    products = [Fusion("product", 1.0, side) for side in SIDES]
    return [Fusion("mean_logit", 0.0, SIDES[-1]), *means, *products]


def choose(looks: Sequence[Look], truth: GroundTruth, *, most: int, nms_iou: float) -> Choice:
    """The best candidate. Where there is no small face to find, that is the detector alone.

    Args:
        looks: of every scene, at all boxes up to the largest of SIDES.
        truth: of the same scenes.
        most: as of `tiny_faces_rescoring.join`.
        nms_iou: the same.
    """

    def measure(fusion):
        opinions = [join(seen, fusion, most=most, nms_iou=nms_iou) for seen in looks]
        predictions = [np.concatenate([o.boxes, o.scores[:, None]], 1) for o in opinions]
        facts = predictions, truth.boxes, truth.counted
        by_height = {
            name: detection.average_precision(*facts, heights=heights)
            for name, heights in HEIGHTS.items()
        }
        return Figures(**by_height, all=detection.wider_average_precision(*facts))

    first, *others = candidates()
    alone = measure(first)
    best = Choice(first, alone, alone)
    for fusion in others:
        figures = measure(fusion)
        lost = np.subtract(alone, figures)[1:]
        # NaN, where there is no such face, is neither better nor lost.
        if figures.small > best.figures.small and not (lost > MOST_LOST).any():
            best = best._replace(fusion=fusion, figures=figures)
    return best


def gather(looks: Mapping[int, Look]) -> list[Look]:
    """Looks of all processes, in the order of their scenes, without pictures.

    Args:
        looks: scene -> Look; every scene from 0 on belongs to one process.
    """
    tables = {}
    for scene, seen in looks.items():
        moves = seen.moved is not None
        rows = [seen.boxes, seen.boxes if seen.moved is None else seen.moved]
        columns = [seen.scores, seen.face_probability, np.full(len(seen.boxes), float(moves))]
        table = np.concatenate([*rows, np.stack(columns, 1)], 1)
        # A first row for the shape of the picture.
        shape = np.array([[*seen.shape, *np.zeros(9)]])
        tables[scene] = np.concatenate([shape, table]).astype(np.float32)
    found = []
    for table in hosts.gather_lists(tables, width=11):
        (height, width), table = table[0, :2].astype(int), table[1:]
        moved = table[:, 4:8] if table[:, 10].any() else None
        found.append(Look(table[:, :4], table[:, 8], table[:, 9], moved, (height, width), {}, {}))
    return found


def write(folder: Path, choice: Choice, looks: Sequence[Look], truth: GroundTruth, facts) -> None:
    """Writes both files, see the module. `facts` are JSON-able: what the choice hangs on."""
    if not hosts.is_first():
        return
    figures = {
        f"ap_{name}{suffix}": value if np.isfinite(value) else None
        for suffix, of in (("", choice.figures), ("_alone", choice.alone))
        for name, value in of._asdict().items()
    }
    content = {"fusion": choice.fusion._asdict(), "figures": figures, "made_with": facts}
    faces = []
    for seen, boxes in zip(looks, truth.boxes, strict=True):
        table = face_pairs.overlaps(seen.boxes, boxes)
        best = table.max(1, initial=0)
        faces.append(np.where(best >= 0.5, table.argmax(1), -1) if len(boxes) else best - 1)
    buffer = io.BytesIO()
    np.savez(
        buffer,
        scene=np.repeat(np.arange(len(looks)), [len(seen.boxes) for seen in looks]),
        box=np.concatenate([seen.boxes for seen in looks]),
        detector=np.concatenate([seen.scores for seen in looks]),
        gan=np.concatenate([seen.face_probability for seen in looks]),
        face=np.concatenate(faces).astype(np.int32),
    )
    write_atomically(folder / "fusion.npz", buffer.getvalue())
    write_atomically(folder / FILE, (json.dumps(content, indent=2) + "\n").encode())


def read(folder: Path) -> dict[str, Any] | None:
    """The content of FOLDER/fusion.json; None where there is none that can be read."""
    try:
        content = text_files.read_json(folder / FILE)
        return content if isinstance(content, dict) and "made_with" in content else None
    except (OSError, ValueError):
        return None


def settings_of(config, folder: Path, step: int) -> Any:
    """How a stage joins two scores: config.gan.fusion, or what was chosen for it.

    Args:
        config: of the run.
        folder: of the stage.
        step: of its checkpoint.

    Raises:
        ConfigError: nothing has been chosen, or for another checkpoint.
    """
    if config.gan.fusion.rule != "chosen":
        return config.gan.fusion
    content = read(folder)
    if content is None or content["made_with"].get("step") != step:
        raise ConfigError(
            f'config.gan.fusion.rule="chosen", but {folder / FILE} is missing or of another '
            "checkpoint: run --mode=train (finished stages are left alone), or set "
            "config.gan.fusion.rule to mean_logit."
        )
    return Fusion(**content["fusion"])
