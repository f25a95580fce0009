"""From scenes to training batches of a detector: square crop, mirror, colour, padded boxes.

    image uint8 [B, S, S, 3]
    boxes float32 [B, M, 4]    (x0, y0, x1, y1) pixels of the crop, cut at its border; else 0
    is_face bool [B, M]        True for faces to be found
    is_ignored bool [B, M]     True for what is neither face nor background: invalid faces, faces
                               too small to be learned, faces whose centre the crop leaves out, and
                               boxes around faces for which M is too few

A square of a random part of the picture becomes the crop, in one resampling (bilinear, averaging
where it shrinks). So a face is seen at many sizes, and tiny ones are enlarged now and then.

Iterators are Grain's: `get_state()` returns a small JSON-able dict, and `set_state()` resumes at
exactly the next batch.
"""

import math

import numpy as np
from PIL import Image

from jaxgen.data import augment as augmentation
from jaxgen.data import corrupt, global_order

# Share of the crops that are placed so that some face is in them.
_AIMED = 0.75


def crop_boxes(boxes, ignored, *, corner, side, size, flip, least_height):
    """Boxes of a picture as seen in a square crop of it.

    Args:
        boxes: [N, 4] float pixels of the picture.
        ignored: [N] bool.
        corner: (x, y) of the square's upper left corner, an edge and not a pixel centre.
        side: of the square, in pixels of the picture.
        size: of the crop, in its own pixels.
        flip: whether the crop is mirrored left to right.
        least_height: faces lower than this in the crop are ignored.

    Returns:
        [K, 4] float32 in pixels of the crop, cut at its border, and [K] bool, ignored. Boxes with
        no area in the crop are left out.
    """
    zoom = size / side
    moved = (boxes + 0.5 - np.tile(corner, 2)) * zoom - 0.5
    if flip:
        moved = np.stack(
            [size - 1 - moved[:, 2], moved[:, 1], size - 1 - moved[:, 0], moved[:, 3]], 1
        )
    cut = np.clip(moved, -0.5, size - 0.5)
    centres = (moved[:, :2] + moved[:, 2:]) / 2
    inside = ((centres >= -0.5) & (centres <= size - 0.5)).all(1)
    tall = moved[:, 3] - moved[:, 1] >= least_height
    seen = (cut[:, 2:] - cut[:, :2] > 0.5).all(1)  # of a pixel
    return cut[seen].astype(np.float32), (ignored | ~inside | ~tall)[seen]


def training_example(scene, rng, *, size, max_boxes, crop, least_height, settings) -> dict:
    """One training example.

    Args:
        scene: of `face_scenes.FaceScenes`.
        rng: np.random.Generator.
        size: side of the crop in pixels.
        max_boxes: M, see `pad_boxes`.
        crop: (least, most) side of the square, as a share of the picture's shorter side.
        least_height: faces lower than this in the crop are ignored, in pixels.
        settings: `augment.Settings`; flip and appearance are used.

    Returns:
        The fields of the module docstring without the batch axis.
    """
    image, boxes = scene["image"], scene["boxes"]
    height, width = image.shape[:2]
    side = min(height, width) * crop[0] * (crop[1] / crop[0]) ** rng.random()
    corner = _draw_corner(rng, boxes[~scene["ignored"]], side, width, height)
    flip = bool(rng.random() < settings.flip)
    window = (*corner, *np.minimum(corner + side, (width, height)))  # not beyond, by rounding
    picture = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR, box=window)
    picture = np.asarray(picture)[:, ::-1] if flip else np.asarray(picture)
    seen, ignored = crop_boxes(
        boxes,
        scene["ignored"],
        corner=corner,
        side=side,
        size=size,
        flip=flip,
        least_height=least_height,
    )
    picture = augmentation.change_appearance(rng, settings, np.ascontiguousarray(picture))
    return {"image": picture, **pad_boxes(seen, ignored, max_boxes)}


def pad_boxes(boxes, ignored, max_boxes: int) -> dict:
    """Boxes [K, 4] and ignored [K] as boxes [M, 4], is_face [M] and is_ignored [M].

    Of more than M boxes the largest faces keep their places. The others are not background: a few
    ignored boxes, each around those in one part of the crop, take the last places.
    """
    if len(boxes) > max_boxes:
        # Faces before ignored boxes, large before small.
        order = np.lexsort([-(boxes[:, 3] - boxes[:, 1]), ignored])
        boxes, ignored = boxes[order], ignored[order]
        across = math.isqrt(max(1, max_boxes // 4))  # parts of the crop from side to side
        kept = max_boxes - across**2
        around = _boxes_around(boxes[kept:], across)
        boxes = np.concatenate([boxes[:kept], around])
        ignored = np.concatenate([ignored[:kept], np.ones(len(around), bool)])
    count = len(boxes)
    padded = np.zeros((max_boxes, 4), np.float32)
    padded[:count] = boxes
    is_ignored = np.zeros(max_boxes, bool)
    is_ignored[:count] = ignored
    return {
        "boxes": padded,
        "is_face": (np.arange(max_boxes) < count) & ~is_ignored,
        "is_ignored": is_ignored,
    }


def training_batches(
    scenes,
    *,
    batch_size,
    size,
    seed,
    max_boxes=64,
    crop=(0.3, 1.0),
    least_height=4.0,
    settings=augmentation.OFF,
    process_index=0,
    process_count=1,
    num_threads=2,
    max_corrupt=0,
):
    """Endless shuffled training batches.

    Args:
        scenes: `face_scenes.FaceScenes`.
        batch_size: examples per batch of THIS process.
        size: side of the crop in pixels.
        seed: of the order and of the crops; resuming needs the same.
        max_boxes: boxes of a crop, see `pad_boxes`.
        crop: (least, most) side of the cropped square, as a share of the picture's shorter side.
        least_height: faces lower than this in the crop are ignored, in pixels.
        settings: `augment.Settings`; flip and appearance are used.
        process_index: whose rows of every batch of the run to read, see `global_order`.
        process_count: number of processes.
        num_threads: threads that read ahead; 0 reads when asked.
        max_corrupt: scenes that may be unreadable, see `corrupt`.

    Returns:
        A Grain iterator, see the module docstring. A scene that cannot be read, beyond
        max_corrupt, stops it with a ValueError that names the file.

    Raises:
        ValueError: sizes or shares out of range.
    """
    import grain

    if min(size, batch_size, max_boxes) < 1:
        raise ValueError(
            f"size {size}, batch_size {batch_size} and max_boxes {max_boxes} must be 1 or more"
        )
    if not 0 < crop[0] <= crop[1] <= 1:
        raise ValueError(f"crop is (least, most) with 0 < least <= most <= 1, got {tuple(crop)}")
    if len(scenes) < process_count:
        raise ValueError(f"{len(scenes)} scenes cannot feed {process_count} processes")

    def load(position, rng):
        return training_example(
            scenes[position],
            rng,
            size=size,
            max_boxes=max_boxes,
            crop=crop,
            least_height=least_height,
            settings=settings,
        )

    reader = corrupt.Reader(load, len(scenes), max_corrupt)
    examples = grain.MapDataset.range(len(scenes)).seed(global_order.seed_of_run(seed))
    examples = examples.shuffle().repeat().random_map(reader)
    examples = global_order.of_process(examples, batch_size, process_index, process_count)
    batches = examples.batch(batch_size, drop_remainder=True)
    # Elements are whole batches: a few ready ahead hide a slow one without much memory.
    ahead = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=4 if num_threads else 0)
    return corrupt.CountedBatches(iter(batches.to_iter_dataset(ahead)), reader)


def _boxes_around(boxes, across):
    """One box around all in each part of the area that the centres span. [K, 4] -> [P, 4]."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    low, high = centres.min(0), centres.max(0)
    cells = ((centres - low) / np.maximum(high - low, 1e-6) * across).astype(int)
    cells = np.minimum(cells, across - 1) @ (across, 1)
    parts = [boxes[cells == cell] for cell in np.unique(cells)]
    return np.stack([np.r_[part[:, :2].min(0), part[:, 2:].max(0)] for part in parts])


def _draw_corner(rng, faces, side, width, height):
    """Upper left corner of a square that lies in the picture and often shows a face."""
    room = np.array([width - side, height - side])
    if not len(faces) or rng.random() >= _AIMED:
        return rng.random(2) * room
    target = faces[rng.integers(len(faces))]
    centre = (target[:2] + target[2:]) / 2 + 0.5
    # Every corner whose square holds the centre and stays in the picture.
    low, high = np.maximum(centre - side, 0), np.minimum(centre, room)
    return low + rng.random(2) * (high - low)
