"""Crops with boxes for detectors: geometry, padding, resuming, files that break in mid epoch."""

import chex
import numpy as np
import pytest

from jaxgen.data import detection_batches
from jaxgen.data.augment import OFF, Settings
from jaxgen.kernels.anchors import level_anchors, match


class Scenes:
    """Grey pictures with one bright square each, which is the face."""

    def __init__(self, count=6, *, broken=None, faces=1):
        self.count, self.broken, self.faces = count, broken, faces

    def __len__(self):
        return self.count

    def __getitem__(self, position):
        if position == self.broken:
            raise ValueError("holiday/7.jpg: not a readable image (truncated)")
        image = np.full((96, 128, 3), 60, np.uint8)
        x, y = 20 + 12 * position, 30 + 5 * position
        image[y : y + 16, x : x + 12] = 250
        box = np.array([[x - 0.5, y - 0.5, x + 11.5, y + 15.5]], np.float32)
        boxes = np.repeat(box, self.faces, 0)
        return {"image": image, "boxes": boxes, "ignored": np.zeros(len(boxes), bool)}


def batches(scenes, **options):
    shared = dict(batch_size=4, size=64, seed=0, max_boxes=3, num_threads=0)
    return detection_batches.training_batches(scenes, **shared | options)


def test_boxes_stay_on_their_faces():
    stream = batches(Scenes(), settings=Settings(flip=0.5))
    checked = 0
    for _ in range(8):
        batch = next(stream)
        chex.assert_shape(batch["image"], (4, 64, 64, 3))
        chex.assert_shape(batch["boxes"], (4, 3, 4))
        for image, boxes, is_face in zip(
            batch["image"], batch["boxes"], batch["is_face"], strict=True
        ):
            for x0, y0, x1, y1 in boxes[is_face]:
                rows, columns = np.nonzero(image[..., 0] > 150)
                found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                np.testing.assert_allclose(np.add([x0, y0, x1, y1], 0.5), found, atol=1.1)
                checked += 1
    assert checked > 15


def test_the_same_seed_gives_the_same_and_resuming_goes_on():
    stream, again = batches(Scenes()), batches(Scenes())
    chex.assert_trees_all_equal(next(stream), next(again))
    state = stream.get_state()
    expected = [next(stream) for _ in range(3)]
    again.set_state(state)
    for batch in expected:
        chex.assert_trees_all_equal(next(again), batch)


def test_an_image_without_faces_is_a_crop_without_boxes():
    batch = next(batches(Scenes(faces=0)))
    assert not batch["is_face"].any() and not batch["is_ignored"].any()
    assert not batch["boxes"].any()


def test_more_faces_than_places_keep_the_largest():
    boxes = np.array([[0, 0, 4, 5], [0, 0, 9, 12], [0, 0, 30, 40], [0, 0, 8, 9]], np.float32)
    ignored = np.array([False, False, True, False])
    padded = detection_batches.pad_boxes(boxes, ignored, 3)
    # The last place holds what is around the others: neither face nor background.
    np.testing.assert_allclose(padded["boxes"], boxes[[1, 3, 2]])
    assert padded["is_face"].tolist() == [True, True, False]
    assert padded["is_ignored"].tolist() == [False, False, True]


@pytest.mark.parametrize("places", [1, 3, 16, 64])
def test_no_face_becomes_background_for_want_of_places(places):
    rng = np.random.default_rng(places)
    low = rng.uniform(0, 120, (200, 2))
    boxes = np.concatenate([low, low + rng.uniform(4, 8, (200, 2))], 1).astype(np.float32)
    is_ignored = rng.random(200) < 0.3
    padded = detection_batches.pad_boxes(boxes, is_ignored, places)
    faces, around = padded["boxes"][padded["is_face"]], padded["boxes"][padded["is_ignored"]]
    kept = (boxes[:, None] == faces).all(-1).any(1)
    assert len(faces) == kept.sum() >= places - max(1, places // 4)
    inside = (boxes[:, None, :2] >= around[:, :2]) & (boxes[:, None, 2:] <= around[:, 2:])
    assert (kept | inside.all(-1).any(1)).all()
    anchors = level_anchors((32, 32), stride=4, sizes=(6,))
    wanted = match(anchors, boxes, ~is_ignored, is_ignored)
    found = match(anchors, padded["boxes"], padded["is_face"], padded["is_ignored"])
    lost = np.asarray(found.negative & wanted.positive).sum() / np.asarray(wanted.positive).sum()
    assert lost < 0.03  # anchors that reach out of the box around their face


def test_crop_boxes():
    boxes = np.array(
        [[9.5, 9.5, 19.5, 19.5], [-5.5, 9.5, 10.5, 19.5], [39.5, 9.5, 49.5, 19.5]], np.float32
    )
    options = dict(corner=np.zeros(2), side=40, size=80, least_height=4.0)
    found, ignored = detection_batches.crop_boxes(boxes, np.zeros(3, bool), flip=False, **options)
    # Twice as large; the second is cut at the border, and its centre is still inside.
    np.testing.assert_allclose(found, [[19.5, 19.5, 39.5, 39.5], [-0.5, 19.5, 21.5, 39.5]])
    assert ignored.tolist() == [False, False]
    flipped, _ = detection_batches.crop_boxes(boxes[:1], np.zeros(1, bool), flip=True, **options)
    np.testing.assert_allclose(flipped, [[39.5, 19.5, 59.5, 39.5]])
    _, small = detection_batches.crop_boxes(
        boxes[:1], np.zeros(1, bool), flip=False, **options | {"least_height": 21.0}
    )
    assert small.tolist() == [True]


def test_the_least_height_is_that_in_the_crop():
    box = np.array([[10.0, 10, 18, 18]])
    options = dict(corner=np.zeros(2), flip=False, least_height=10.0)
    for side, size, is_small in ((50, 200, False), (200, 100, True)):  # 32 and 4 pixels
        _, ignored = detection_batches.crop_boxes(
            box, np.zeros(1, bool), side=side, size=size, **options
        )
        assert ignored.tolist() == [is_small]


def test_a_face_whose_centre_is_cut_away_is_ignored():
    boxes = np.array([[-20.5, 0, 5, 20]], np.float32)
    found, ignored = detection_batches.crop_boxes(
        boxes, np.zeros(1, bool), corner=np.zeros(2), side=40, size=40, flip=False, least_height=1
    )
    assert len(found) == 1 and ignored.all()


def test_a_corrupt_file_in_mid_epoch_is_one_clear_error():
    stream = batches(Scenes(broken=3), num_threads=2)
    with pytest.raises(ValueError, match=r"holiday/7\.jpg: not a readable image"):
        for _ in range(10):
            next(stream)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": (0.0, 1.0)}, "crop is"),
        ({"crop": (0.5, 1.5)}, "crop is"),
        ({"max_boxes": 0}, "max_boxes 0"),
        ({"process_count": 9}, "cannot feed 9 processes"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        batches(Scenes(), **options)


def test_appearance_changes_leave_the_boxes():
    plain = next(batches(Scenes(), settings=OFF))
    noisy = next(batches(Scenes(), settings=Settings(colour=0.3, noise=8.0)))
    np.testing.assert_array_equal(plain["boxes"], noisy["boxes"])
    assert (plain["image"] != noisy["image"]).any()
