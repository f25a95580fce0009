"""Batches of aligned faces: single pictures, or sets of pictures of one person.

    image uint8 [B, S, S, C]     or [P, n, S, S, C] for sets of n pictures of P people
    identity int32 [B]           or [P]
    pose int32, yaw float32 [B]  or [P, n]; -1 and NaN where unknown
    mask bool [P, n]             sets only: False where a person has fewer than n pictures

Training crops are random parts of the aligned face, mirrored or not; a mirror image has the
mirrored pose. Evaluation sees the middle. Training batches are endless, resumable Grain iterators,
see `jaxgen.data.array_batches`.
"""

import numpy as np

from jaxgen.data import array_batches
from jaxgen.data.recognition_sets import UNKNOWN, Faces


def image_batches(
    faces: Faces, *, batch_size, size, seed, flip=0.5, jitter=1.0, process_index=0, process_count=1
):
    """Endless batches of single pictures, every picture equally often.

    Args:
        faces: of training.
        batch_size: pictures per batch of THIS process.
        size: side of the crops in pixels.
        seed: of order and crops.
        flip: probability of a mirror image.
        jitter: how far crops move from the middle, as a share of the room there is, in [0, 1].
        process_index: whose rows of every batch of the run to read, see `global_order`.
        process_count: number of processes.

    Raises:
        ValueError: crops larger than the faces, or mirrored poses that are no class.
    """
    change = _Crops(faces, size, flip, jitter)
    return array_batches.batches(
        {"row": np.arange(len(faces.identity))},
        batch_size=batch_size,
        seed=seed,
        process_index=process_index,
        process_count=process_count,
        change=change.images,
    )


def set_batches(
    faces: Faces,
    *,
    people,
    images,
    size,
    seed,
    flip=0.5,
    jitter=1.0,
    process_index=0,
    process_count=1,
):
    """Endless batches of sets, every person equally often.

    A set holds different pictures of its person, drawn anew each time. Of a person with fewer, all
    are there and the mask is False in what remains (which repeats them, so that statistics of a
    batch see faces).

    Args:
        faces: of training.
        people: sets per batch of THIS process.
        images: pictures per set.
        size, seed, flip, jitter, process_index, process_count: as of `image_batches`.

    Raises:
        ValueError: as of `image_batches`; or a person without a picture.
    """
    if images < 1:
        raise ValueError(f"a set holds one picture or more, got {images}")
    change = _Crops(faces, size, flip, jitter, images)
    return array_batches.batches(
        {"person": np.arange(len(faces.people))},
        batch_size=people,
        seed=seed,
        process_index=process_index,
        process_count=process_count,
        change=change.sets,
    )


def evaluation_batches(faces: Faces, *, batch_size, size, process_index=0, process_count=1):
    """Every picture's middle once, in order, with `index` and `valid`; see `array_batches`.

    Returns:
        An iterable of batches {"image" [B, S, S, C], "identity", "pose", "yaw", "index", "valid"}.
    """
    arrays = {"image": middle(faces.image, size)}
    arrays |= {key: getattr(faces, key) for key in ("identity", "pose", "yaw")}
    return array_batches.evaluation_batches(
        arrays, batch_size=batch_size, process_index=process_index, process_count=process_count
    )


def middle(images: np.ndarray, size: int) -> np.ndarray:
    """The middle `size` x `size` pixels of aligned faces [..., A, A, C], as a view."""
    side = images.shape[-2]
    _check_size(side, size)
    start = (side - size) // 2
    return images[..., start : start + size, start : start + size, :]


def mirrored_classes(classes) -> np.ndarray:
    """Class of the mirror image of each pose class. [K] yaws -> [K] int32.

    Raises:
        ValueError: a mirrored yaw is no class.
    """
    classes = np.asarray(classes, np.float64)
    distance = np.abs(classes[:, None] + classes)
    if (distance.min(1) > 1e-3).any():
        lacking = -classes[distance.min(1) > 1e-3][0]
        raise ValueError(
            f"mirror images need the pose class {lacking:g}, which {[float(c) for c in classes]} "
            "lacks: add it to config.pose.classes, or set config.data.flip=0"
        )
    return distance.argmin(1).astype(np.int32)


class _Crops:
    """Changes of batches of row or person numbers into batches of pictures."""

    def __init__(self, faces, size, flip, jitter, images=1):
        if not 0 <= flip <= 1:
            raise ValueError(f"config.data.flip is a probability, got {flip}")
        if not 0 <= jitter <= 1:
            raise ValueError(f"jitter is a share of the room around the middle, got {jitter}")
        _check_size(faces.image.shape[1], size)
        self._faces, self._size, self._flip, self._images = faces, size, flip, images
        # Crops start in [low, high], around the middle that evaluation sees.
        middle = (faces.image.shape[1] - size) // 2
        self._low = middle - round(jitter * middle)
        self._high = middle + round(jitter * (faces.image.shape[1] - size - middle))
        self._mirrored = mirrored_classes(faces.classes) if flip > 0 else None
        self._rows = faces.rows_of_people()
        empty = [name for name, r in zip(faces.people, self._rows, strict=True) if not len(r)]
        if empty:
            raise ValueError(f"{empty[0]!r} has no picture: a set needs one or more")

    def images(self, rng, batch, own):
        """Random crops of the own rows of a batch."""
        identity = self._faces.identity[batch["row"][own]]
        return {**self._crop(rng, batch["row"], own), "identity": identity}

    def sets(self, rng, batch, own):
        """Random crops of random pictures of the own people of a batch."""
        people, count = batch["person"], self._images
        rows = np.empty((len(people), count), np.int64)
        mask = np.zeros((len(people), count), bool)
        for place, person in enumerate(people):
            pictures = rng.permutation(self._rows[person])
            rows[place] = np.resize(pictures, count)  # repeats where there are fewer
            mask[place, : len(pictures)] = True
        crops = self._crop(rng, rows.ravel(), slice(own.start * count, own.stop * count))
        shape = (own.stop - own.start, count)
        shaped = {key: value.reshape(*shape, *value.shape[1:]) for key, value in crops.items()}
        return {**shaped, "identity": people[own].astype(np.int32), "mask": mask[own]}

    def _crop(self, rng, rows, own):
        """Draws for all rows, as every process does, and crops the own ones."""
        faces, size = self._faces, self._size
        places = rng.integers(self._low, self._high + 1, (len(rows), 2))[own]
        flips = (rng.random(len(rows)) < self._flip)[own]
        rows = rows[own]
        image = np.empty((len(rows), size, size, faces.image.shape[3]), np.uint8)
        for place, (row, (y, x), flip) in enumerate(zip(rows, places, flips, strict=True)):
            crop = faces.image[row, y : y + size, x : x + size]
            image[place] = crop[:, ::-1] if flip else crop
        pose, yaw = faces.pose[rows], faces.yaw[rows]
        if flips.any():
            known = flips & (pose != UNKNOWN)
            pose = np.where(known, self._mirrored[pose], pose)
            yaw = np.where(flips, -yaw, yaw)
        return {"image": image, "pose": pose, "yaw": yaw}


def _check_size(side, size):
    if not 1 <= size <= side:
        raise ValueError(f"crops of {size} pixels do not fit into aligned faces of {side}")
