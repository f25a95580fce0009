"""Face parts drawn from 68 landmarks: label maps for photographs that have points and no masks.

Rendered faces (`synthetic_parts`) have exact masks of 13 parts; photographs with 68 points can tell
fewer. `CLASSES` is what both can tell; `FROM_RENDERED` says what becomes of the renderer's parts:

    skin             inside of the jaw line (points 0-16) and the brows, for both. Points do not
                     show hair, beards, glasses and hands in front of it: photographs call them skin
    forehead         ignored in photographs: above the brows nobody can tell skin from hair. In
                     rendered faces it is known, and kept
    ear, neck, hair, `other`, with the background: beyond the jaw line they have no points. Where
    cloth            the renderer's skin runs on below the jaw line, it is `other` too
    glasses          ignored in rendered faces: photographs show what they cover

A brow has one line of points, so it is drawn as a band of fixed thickness below that line: in
photographs the dark band lies 0.00 to 0.10 units below it, in rendered faces -0.01 to 0.09. A nose
has points on its ridge and base alone, and is widened from there, by numbers fitted on rendered
faces, whose points and masks are both known. `experiments.studies.face_part_agreement` measures how
well drawn and true masks agree there; docs/segmentation_data.md has the table.
"""

import numpy as np
from PIL import Image, ImageDraw

from jaxgen.data.builders.label_ids import IGNORE
from jaxgen.data.synthetic.stored import PARTS

CLASSES = ("other", "skin", "brow", "eye", "nose", "upper lip", "lower lip", "mouth")
PALETTE = (
    (40, 40, 48), (232, 190, 160), (112, 66, 20), (0, 114, 178), (230, 159, 0), (213, 94, 0),
    (204, 121, 167), (120, 0, 30),
)  # fmt: skip
# Part of the renderer (`stored.PARTS`) -> class.
FROM_RENDERED = {
    "background": 0, "ear": 0, "neck": 0, "hair": 0, "cloth": 0, "skin": 1, "brow": 2, "eye": 3,
    "nose": 4, "upper_lip": 5, "lower_lip": 6, "mouth": 7, "glasses": IGNORE,
}  # fmt: skip
# All lengths are fractions of the distance from the brows to the base of the nose, which neither
# turning the head nor opening the mouth changes much.
BROW_THICKNESS, BROW_DROP = 0.10, 0.045
NOSE_ROOT, NOSE_BASE = 0.08, 0.05  # by how much the nose is wider than its points
FOREHEAD = 1.2  # height of what is ignored above the brows
_FINE = 5  # masks are drawn this many times larger; odd, so that a fine pixel is in the middle


def part_mask(points: np.ndarray, size: int) -> np.ndarray:
    """Label map of one face.

    Args:
        points: [68, 2] iBUG landmarks, pixels of the image.
        size: side of the image.

    Returns:
        [size, size] uint8, positions in `CLASSES`, 255 = ignore.
    """
    points = np.asarray(points, np.float64)
    unit, up = _frame(points)
    mask = Image.new("L", (_FINE * size, _FINE * size), 0)
    draw = ImageDraw.Draw(mask)

    def fill(polygon, value):
        # From pixel centres at integers to the corner of the fine image.
        draw.polygon([tuple(p) for p in (np.asarray(polygon) + 0.5) * _FINE - 0.5], fill=value)

    jaw, brows = points[:17], points[17:27]
    outline = np.concatenate([jaw, brows[::-1]])
    fill(_arch(points, unit, up), IGNORE)
    fill(outline, CLASSES.index("skin"))
    fill(_nose(points, unit), CLASSES.index("nose"))
    for eye in (points[36:42], points[42:48]):
        fill(eye, CLASSES.index("eye"))
    for brow in (points[17:22], points[22:27]):
        fill(_band(brow - BROW_DROP * unit * up, BROW_THICKNESS * unit), CLASSES.index("brow"))
    outer, inner = points[48:60], points[60:68]
    fill(np.concatenate([outer[:7], inner[4::-1]]), CLASSES.index("upper lip"))
    lower = np.concatenate([outer[6:], outer[:1], inner[:1], inner[:3:-1]])
    fill(lower, CLASSES.index("lower lip"))
    fill(inner, CLASSES.index("mouth"))
    return np.asarray(mask)[_FINE // 2 :: _FINE, _FINE // 2 :: _FINE].copy()


def rendered_mask(parts: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Label map of a rendered face in the same classes.

    Args:
        parts: [S, S] uint8, positions in `stored.PARTS`.
        points: [68, 2] its landmarks, pixels.

    Returns:
        [S, S] uint8, positions in `CLASSES`, 255 = ignore.
    """
    mask = np.array([FROM_RENDERED[name] for name in PARTS], np.uint8)[parts]
    beyond = part_mask(points, len(parts)) == CLASSES.index("other")
    return np.where(beyond & (mask == CLASSES.index("skin")), CLASSES.index("other"), mask)


def _frame(points):
    """Length of the unit, and the direction from the chin to the brows."""
    middle = points[17:27].mean(0)
    up = middle - points[8]
    return np.linalg.norm(middle - points[33]), up / np.linalg.norm(up)


def _arch(points, unit, up):
    """The upper end of the forehead: half an ellipse over the ends of the jaw, left to right."""
    left, right = points[0], points[16]
    centre = (left + right) / 2
    height = (points[17:27].mean(0) - centre) @ up + FOREHEAD * unit
    angle = np.linspace(0, np.pi, 25)[:, None]
    return centre + np.cos(angle) * (left - centre) + np.sin(angle) * height * up


def _nose(points, unit):
    """From the root of the nose, widened, to its wings and base."""
    across = points[35] - points[31]
    across = across / max(np.linalg.norm(across), 1e-6)
    root, left, right = points[27], points[31], points[35]
    return [
        root - NOSE_ROOT * unit * across, root + NOSE_ROOT * unit * across,
        right + NOSE_BASE * unit * across, *points[34:30:-1], left - NOSE_BASE * unit * across,
    ]  # fmt: skip


def _band(line, thickness):
    """A polygon around a line of points, with half the thickness on either side."""
    along = np.gradient(line, axis=0)
    normal = np.stack([along[:, 1], -along[:, 0]], 1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    return np.concatenate([line + normal * thickness / 2, (line - normal * thickness / 2)[::-1]])
