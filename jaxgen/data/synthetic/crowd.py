"""Scenes with many faces: drawn people pasted far to near, with exact boxes.

People are drawn once (see `render.draw`) and pasted at many sizes; far ones first. NumPy and
Pillow on the host: a scene needs a changing number of pastes. Pixels are (x, y), centres at
integers; light is linear and premultiplied by alpha, [H, W, 4].
"""

import dataclasses

import numpy as np
from PIL import Image

MIN_SEEN = 0.3  # share of a face that must stay uncovered


@dataclasses.dataclass(frozen=True)
class Sprite:
    """A cut-out: light [S, S, 4] float32; face_box [4] in its pixels, None for what is no face.

    `person` is a number, -1 where it is nobody.
    """

    light: np.ndarray
    face_box: np.ndarray | None
    yaw: float = 0.0
    person: int = -1


@dataclasses.dataclass(frozen=True)
class Face:
    """A face of a scene: box [4] in pixels, seen: share that nothing covers, yaw in degrees.

    `person` is the number of the sprite.
    """

    box: np.ndarray
    seen: float
    yaw: float
    person: int


def face_heights(rng, limits) -> np.ndarray:
    """Heights in pixels of the faces of one scene, small ones first: a few large or many small."""
    least, most = limits
    kind = rng.choice(3, p=[0.3, 0.4, 0.3])
    count = rng.integers(*[(1, 5), (4, 18), (15, 61)][kind])
    top = most * [1.0, 0.5, 0.2][kind]
    low = max(least, top * [0.15, 0.08, 0.1][kind])
    return np.sort(np.exp(rng.uniform(np.log(low), np.log(max(top, low * 1.5)), count)))


def compose(rng, behind, people, distractors, limits):
    """Fills a background with people and other things.

    Args:
        rng: np.random.Generator.
        behind: [H, W, 3] linear light.
        people: sequence of Sprite with a face.
        distractors: sequence of Sprite without.
        limits: (least, most) height of a face in pixels.

    Returns:
        [H, W, 3] float32 linear light, list of Face.
    """
    height, width = behind.shape[:2]
    image = np.array(behind, np.float32)
    owner = np.zeros((height, width), np.int32)  # who is in front; 0 is the background
    heights = face_heights(rng, limits)
    things = [(size, True) for size in heights]
    things += [(size, False) for size in rng.choice(heights, rng.poisson(0.3 * len(heights) + 0.7))]
    placed, claimed = [], []
    for size, is_face in sorted(things, key=lambda thing: thing[0]):
        pool = people if is_face else distractors
        sprite = pool[rng.integers(len(pool))]
        reference = sprite.face_box if is_face else pool_box(sprite)
        scale = size / (reference[3] - reference[1])
        center = _free_place(rng, size, claimed, (height, width))
        if center is None:
            continue
        light, reference, flipped = _resized(rng, sprite.light, reference, scale)
        corner = np.round(center - (reference[:2] + reference[2:]) / 2).astype(int)
        box = reference + np.tile(corner, 2)
        if is_face:
            yaw = -sprite.yaw if flipped else sprite.yaw
            placed.append((len(placed) + 1, box, yaw, sprite.person))
        paste(image, owner, light, corner, len(placed) if is_face else -1)
        claimed.append(box)
    faces = [Face(box, _seen(owner, number, box), *who) for number, box, *who in placed]
    return image, [face for face in faces if face.seen >= MIN_SEEN]


def pool_box(sprite) -> np.ndarray:
    """Where the thing itself is in its sprite: the middle half."""
    side = len(sprite.light)
    return np.array([0.25, 0.25, 0.75, 0.75]) * side - 0.5


def paste(image, owner, light, corner, number):
    """Draws a sprite over the image, in place, and notes whose pixels they are now.

    Args:
        image: [H, W, 3]; owner: [H, W] int32.
        light: [h, w, 4] premultiplied.
        corner: (x, y) of the sprite's upper left pixel; it may lie outside.
        number: who it is.
    """
    height, width = owner.shape
    x0, y0 = np.maximum(corner, 0)
    x1, y1 = np.minimum(np.add(corner, light.shape[1::-1]), (width, height))
    if x0 >= x1 or y0 >= y1:
        return
    part = light[y0 - corner[1] : y1 - corner[1], x0 - corner[0] : x1 - corner[0]]
    alpha = part[..., 3:]
    area = (slice(y0, y1), slice(x0, x1))
    image[area] = image[area] * (1 - alpha) + part[..., :3]
    owner[area] = np.where(alpha[..., 0] > 0.5, number, owner[area])


def _free_place(rng, size, claimed, shape):
    """A centre where a face covers little of those behind it; None if there is no such place."""
    height, width = shape
    for _ in range(30):
        # Nearer, larger people stand lower in the picture.
        depth = 0.25 + 0.35 * size / (0.5 * height)
        center = np.array(
            [rng.uniform(0, width), height * np.clip(rng.normal(depth, 0.18), 0.03, 0.97)]
        )
        margin = 0.45 * size
        if (center < margin).any() or (center > (width - margin, height - margin)).any():
            continue
        # Head and shoulders: what the person will hide.
        low, high = center - 0.8 * size, center + size * np.array([0.8, 1.6])
        if all(_overlap(box, low, high) < 0.45 for box in claimed):
            return center
    return None


def _overlap(box, low, high):
    """Share of a box [4] inside the rectangle from `low` to `high`."""
    inner = np.minimum(box[2:], high) - np.maximum(box[:2], low)
    return np.prod(np.maximum(inner, 0)) / np.prod(box[2:] - box[:2])


def _resized(rng, light, box, scale):
    """A sprite at another size, perhaps mirrored, with its lower end drawn out to a body."""
    side = max(int(round(len(light) * scale)), 4)
    exact = side / len(light)
    channels = [
        np.asarray(Image.fromarray(light[..., c]).resize((side, side), Image.Resampling.BILINEAR))
        for c in range(4)
    ]
    result = np.stack(channels, -1)
    box = (box + 0.5) * exact - 0.5
    flipped = bool(rng.integers(2))
    if flipped:
        result = result[:, ::-1]
        box = np.array([side - 1 - box[2], box[1], side - 1 - box[0], box[3]])
    body = np.repeat(result[-1:], int(1.2 * side), 0)
    return np.concatenate([result, body]), box, flipped


def _seen(owner, number, box):
    """Share of the ellipse in a face's box that still belongs to it."""
    height, width = owner.shape
    x0, y0 = np.maximum(np.floor(box[:2]).astype(int), 0)
    x1, y1 = np.minimum(np.ceil(box[2:]).astype(int) + 1, (width, height))
    y, x = np.mgrid[y0:y1, x0:x1]
    center, half = (box[:2] + box[2:]) / 2, np.maximum((box[2:] - box[:2]) / 2, 1)
    inside = ((x - center[0]) / half[0]) ** 2 + ((y - center[1]) / half[1]) ** 2 <= 1
    return float((owner[y0:y1, x0:x1] == number)[inside].mean()) if inside.any() else 0.0


def blob(rng, side=96) -> Sprite:
    """A thing that is no face: a shaded ball, disc or egg, plain or dotted, often skin-coloured."""
    y, x = (np.mgrid[0:side, 0:side] + 0.5) / side * 2 - 1
    turn = rng.uniform(0, np.pi)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    radius = 0.5 * np.array([1, rng.uniform(0.5, 1)])
    distance = np.hypot(u / radius[0], v / radius[1])
    alpha = np.clip((1 - distance) * side / 4, 0, 1)
    skin = np.array([0.6, 0.35, 0.25]) * rng.uniform(0.2, 1.2)
    color = skin if rng.uniform() < 0.5 else rng.uniform(0.02, 0.9, 3)
    lamp = rng.normal(size=2)
    shade = 0.35 + 0.65 * np.sqrt(np.clip(1 - distance**2, 0, 1))
    shade = shade * (1 + 0.4 * (x * lamp[0] + y * lamp[1]))
    light = color * np.clip(shade, 0.05, 2)[..., None]
    for _ in range(rng.integers(0, 5)):
        place, size = rng.uniform(-0.4, 0.4, 2), rng.uniform(0.03, 0.15)
        spot = np.clip((size - np.hypot(x - place[0], y - place[1])) * side / 4, 0, 1)
        light += (rng.uniform(0, 0.8, 3) - light) * spot[..., None]
    return Sprite(
        np.concatenate([light * alpha[..., None], alpha[..., None]], -1).astype(np.float32), None
    )
