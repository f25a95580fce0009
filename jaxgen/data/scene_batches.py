"""From scenes to training batches: scale, crop, mirror, shuffle; deterministic and resumable.

    image uint8 [B, h, w, 3]
    label uint8 [B, h, w]     class numbers, 255 = ignore; left out for unlabelled training

Scale, crop and mirroring are one resampling of the stored picture: bilinear (antialiased where it
shrinks) for the image and nearest for the label, over the same window. Where a scene is smaller
than the crop, the rest is black and its label 255.

Iterators are Grain's: `get_state()` returns a small JSON-able dict, and `set_state()` resumes at
exactly the next batch. Whole images are evaluated by `jaxgen.data.tiles`.
"""

import numpy as np
from PIL import Image

from jaxgen.data import corrupt, global_order
from jaxgen.data.builders.label_ids import IGNORE


def training_example(scene, rng, *, crop_size, flip, scale, with_labels=True) -> dict:
    """One training example.

    Args:
        scene: image uint8 [H, W, 3] and, `with_labels`, label uint8 [H, W].
        rng: np.random.Generator.
        crop_size: (height, width) in pixels.
        flip: probability of mirroring left to right.
        scale: (least, most) enlargement, drawn evenly on a logarithmic axis.
        with_labels: whether `label` is made.

    Returns:
        image uint8 [h, w, 3]; label uint8 [h, w].

    Raises:
        ValueError: label and image differ in size.
    """
    image, (low, high) = scene["image"], scale
    if with_labels and scene["label"].shape != image.shape[:2]:
        raise ValueError(f"label {scene['label'].shape} and image {image.shape} differ in size")
    zoom = low * (high / low) ** rng.random()
    rows = _draw_span(rng, image.shape[0], crop_size[0], zoom)
    columns = _draw_span(rng, image.shape[1], crop_size[1], zoom)
    mirrored = rng.random() < flip
    bilinear, nearest = Image.Resampling.BILINEAR, Image.Resampling.NEAREST
    example = {"image": _window(image, rows, columns, crop_size, mirrored, bilinear, 0)}
    if with_labels:
        label = _window(scene["label"], rows, columns, crop_size, mirrored, nearest, IGNORE)
        example["label"] = label
    return example


def training_batches(
    scenes,
    *,
    batch_size,
    crop_size,
    seed,
    flip=0.5,
    scale=(1.0, 1.0),
    with_labels=True,
    process_index=0,
    process_count=1,
    num_threads=2,
    max_corrupt=0,
):
    """Endless shuffled training batches.

    Args:
        scenes: `label_maps.Scenes`.
        batch_size: examples per batch of THIS process.
        crop_size: side of a square crop, or (height, width), in pixels.
        seed: of the order and of the crops; resuming needs the same.
        flip: probability of mirroring left to right.
        scale: (least, most) enlargement of the stored picture.
        with_labels: False leaves the label maps unread, as for a target domain.
        process_index: whose rows of every batch of the run to read, see `global_order`.
        process_count: number of processes.
        num_threads: threads that read ahead; 0 reads when asked.
        max_corrupt: scenes that may be unreadable, see `corrupt`.

    Returns:
        A Grain iterator, see the module docstring.

    Raises:
        ValueError: labels of unlabelled scenes, or sizes, shares and probabilities out of range.
    """
    import grain

    size = tuple(crop_size) if isinstance(crop_size, tuple | list) else (crop_size, crop_size)
    if with_labels and not scenes.labelled:
        raise ValueError(
            "these scenes have no labels: they can only be the target, not the source of labels"
        )
    if min(*size, batch_size) < 1:
        raise ValueError(f"crop_size {size} and batch_size {batch_size} must be 1 or more")
    if not 0 < scale[0] <= scale[1]:
        raise ValueError(f"scale is (least, most) with 0 < least <= most, got {tuple(scale)}")
    if not 0 <= flip <= 1:
        raise ValueError(f"flip is a probability, got {flip}")
    if len(scenes) < process_count:
        raise ValueError(f"{len(scenes)} scenes cannot feed {process_count} processes")

    def load(position, rng):
        scene = scenes.read(position, with_label=with_labels)
        try:
            return training_example(
                scene, rng, crop_size=size, flip=flip, scale=scale, with_labels=with_labels
            )
        except ValueError as error:
            raise ValueError(f"{scene['name']}: {error}") from error

    reader = corrupt.Reader(load, len(scenes), max_corrupt)
    examples = grain.MapDataset.range(len(scenes)).seed(global_order.seed_of_run(seed))
    examples = examples.shuffle().repeat().random_map(reader)
    examples = global_order.of_process(examples, batch_size, process_index, process_count)
    batches = examples.batch(batch_size, drop_remainder=True)
    # Elements are whole batches: a few ready ahead hide a slow one without much memory.
    ahead = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=4 if num_threads else 0)
    return corrupt.CountedBatches(iter(batches.to_iter_dataset(ahead)), reader)


def _draw_span(rng, length, side, zoom):
    """Where the crop lies along one axis.

    Returns:
        (start, stop) of the stored picture that is seen, and (first, last) pixels of the crop that
        it fills.
    """
    full = max(1, round(length * zoom))  # the enlarged picture's length
    place = rng.random()
    if full <= side:
        first = round(place * (side - full))
        return (0.0, float(length)), (first, first + full)
    # A whole pixel: at a zoom of 1 the crop is then an exact copy.
    width = side * length / full
    start = min(round(place * (length - width)), length - width)
    return (start, start + width), (0, side)


def _window(values, rows, columns, size, mirrored, resampling, fill) -> np.ndarray:
    """One axis-parallel window of a picture, resampled once, on a canvas of the crop's size."""
    (top, bottom), (first_row, last_row) = rows
    (left, right), (first, last) = columns
    shape = (last - first, last_row - first_row)
    box = (left, top, right, bottom)
    seen = np.asarray(Image.fromarray(values).resize(shape, resampling, box=box))
    canvas = np.full((*size, *values.shape[2:]), fill, np.uint8)
    canvas[first_row:last_row, first:last] = seen
    return canvas[:, ::-1] if mirrored else canvas
