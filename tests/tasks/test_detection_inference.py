"""Whole pictures by tiles, with a detector that boxes bright patches in place of a network."""

import numpy as np
import pytest
from ml_collections import ConfigDict
from scipy import ndimage

from jaxgen.kernels import boxes as kernels
from jaxgen.tasks import detection_inference as inference
from jaxgen.tasks.tiny_faces_detector import Detections

TILE, OVERLAP = 128, 32
CONFIG = ConfigDict(
    dict(
        detector=dict(
            train=dict(size=64),
            inference=dict(
                tile=TILE,
                overlap=OVERLAP,
                enlarge=1.0,
                tiles=4,
                smallest=TILE,
                most=0,
                nms_iou=0.35,
            ),
        )
    )
)


class Patches:
    """Boxes every bright patch of a tile, whole or not, and remembers what it was given."""

    def __init__(self):
        self.shapes = []

    def __call__(self, images):
        self.shapes.append(images.shape)
        rows = 40
        boxes, valid = (
            np.zeros((len(images), rows, 4), np.float32),
            np.zeros((len(images), rows), bool),
        )
        for number, image in enumerate(images):
            labels, _ = ndimage.label(image[..., 0] > 200)
            for row, (y, x) in enumerate(ndimage.find_objects(labels)[:rows]):
                boxes[number, row] = np.subtract([x.start, y.start, x.stop, y.stop], 0.5)
                valid[number, row] = True
        return Detections(boxes, np.where(valid, 0.9, 0).astype(np.float32), valid)


def picture(height, width, *patches):
    image = np.full((height, width, 3), 40, np.uint8)
    for x, y, side in patches:
        image[y : y + side, x : x + side] = 255
    return image


def find(image, detect=None, config=CONFIG):
    ((_, found),) = inference.detect_pictures(config, detect or Patches(), [("a", image)])
    return found


def sorted_boxes(boxes):
    return np.array(sorted(np.round(boxes, 2).tolist()))


def test_small_faces_are_found_once_each_wherever_they_lie():
    rng = np.random.default_rng(0)
    places = [(x, y) for x in range(3, 380, 40) for y in range(3, 300, 40)]
    patches = [(x + rng.integers(8), y + rng.integers(8), rng.integers(6, 24)) for x, y in places]
    found = find(picture(330, 410, *patches))
    expected = [[x - 0.5, y - 0.5, x + side - 0.5, y + side - 0.5] for x, y, side in patches]
    np.testing.assert_allclose(sorted_boxes(found.boxes), sorted_boxes(expected))
    assert (found.scores > 0.8).all()


def test_a_face_that_fills_the_picture_is_found_once():
    found = find(picture(700, 900, (150, 50, 600), (20, 660, 16)))
    expected = [[149.5, 49.5, 749.5, 649.5], [19.5, 659.5, 35.5, 675.5]]
    np.testing.assert_allclose(sorted_boxes(found.boxes), sorted_boxes(expected), atol=8)


@pytest.mark.parametrize("size", [(128, 128), (128, 100), (700, 900), (300, 129), (60, 60)])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_faces_are_seen_at_the_size_of_training(size, share):
    """A detector knows no larger faces than its training crops showed."""

    class Learned(Patches):
        def __call__(self, images):
            found = super().__call__(images)
            sides = (found.boxes[..., 2:] - found.boxes[..., :2]).max(-1)
            return found._replace(valid=found.valid & (sides <= 64))

    side = int(share * min(size))
    corner = (np.array(size[::-1]) - side) // 2
    image = picture(*size, (*corner, side))
    config = ConfigDict(CONFIG.to_dict())
    config.detector.inference.smallest = 0
    found = find(image, Learned(), config)
    assert len(found.boxes) == 1
    # A pixel and a half of the smallest picture.
    expected = np.array([*corner, *(corner + side)]) - 0.5
    np.testing.assert_allclose(found.boxes[0], expected, atol=1.5 * max(1, max(size) / 64))


def test_a_picture_keeps_every_face_or_the_best():
    image = picture(300, 300, (20, 20, 10), (60, 90, 12), (200, 200, 14))
    assert len(find(image).boxes) == 3
    config = ConfigDict(CONFIG.to_dict())
    config.detector.inference.most = 2
    assert len(find(image, config=config).boxes) == 2


@pytest.mark.parametrize("side", [20, 26, 32, 40, 60, 100, 127, 128, 200])
def test_no_size_falls_between_the_passes(side):
    found = find(picture(300, 500, (211, 67, side)))
    assert len(found.boxes) == 1
    np.testing.assert_allclose(found.boxes[0, 2:] - found.boxes[0, :2], side, atol=6)


@pytest.mark.parametrize("mirrored", [False, True])
def test_what_a_tile_shows_of_a_longer_face_does_not_replace_it(mirrored):
    # 31 of its 60 columns lie in the first (mirrored: the last) tile, one less than tiles overlap.
    image = picture(24, 416, (97, 2, 20), (117, 2, 20), (137, 2, 20))
    found = find(image[:, ::-1] if mirrored else image)
    assert len(found.boxes) == 1
    expected = [258.5, 1.5, 318.5, 21.5] if mirrored else [96.5, 1.5, 156.5, 21.5]
    np.testing.assert_allclose(found.boxes[0], expected, atol=3)


def test_a_picture_smaller_than_a_tile():
    found = find(picture(40, 30, (5, 6, 20)))
    np.testing.assert_allclose(found.boxes, [[4.5, 5.5, 24.5, 25.5]])


def test_a_picture_without_faces():
    found = find(picture(200, 150))
    assert found.boxes.shape == (0, 4) and found.scores.shape == (0,)


def test_a_very_wide_picture_needs_no_more_memory_and_no_other_program():
    detect = Patches()
    found = find(picture(64, 20_000, (19_980, 30, 15), (9_000, 10, 20), (0, 0, 10)), detect)
    expected = [
        [19_979.5, 29.5, 19_994.5, 44.5],
        [8_999.5, 9.5, 9_019.5, 29.5],
        [-0.5, -0.5, 9.5, 9.5],
    ]
    np.testing.assert_allclose(sorted_boxes(found.boxes), sorted_boxes(expected), atol=0.01)
    assert set(detect.shapes) == {(4, TILE, TILE, 3)}


def test_tiles_are_made_when_they_are_asked_for():
    image = picture(2160, 3840)  # 4K: 23 x 41 tiles at full size
    stream = inference.picture_tiles(CONFIG, image)
    first = next(stream)
    assert first.image.shape == (TILE, TILE, 3)
    rest = sum(1 for _ in stream)
    assert 900 < rest < 1200  # smaller passes add little


def test_enlarged_pictures_give_boxes_in_their_own_pixels():
    config = ConfigDict(CONFIG.to_dict())
    config.detector.inference.enlarge = 2.0
    found = find(picture(100, 100, (30, 40, 12)), config=config)
    np.testing.assert_allclose(found.boxes, [[29.5, 39.5, 41.5, 51.5]], atol=0.6)


def test_pictures_share_batches_and_stay_in_order():
    images = [(key, picture(100, 100, *([(10 * key, 20, 15)] * (key > 0)))) for key in range(6)]
    detect = Patches()
    found = list(inference.detect_pictures(CONFIG, detect, images))
    assert [key for key, _ in found] == list(range(6))
    assert [len(each.boxes) for _, each in found] == [0, 1, 1, 1, 1, 1]
    np.testing.assert_allclose(found[3][1].boxes[0, 0], 29.5)
    assert len(detect.shapes) == 2  # six tiles, four at a time


def test_suppression_on_the_host_is_that_of_the_kernel():
    rng = np.random.default_rng(4)
    low = rng.uniform(0, 40, (24, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 20, (24, 2))], 1).astype(np.float32)
    scores = rng.uniform(0.1, 1, 24).astype(np.float32)
    kept = inference.suppress(boxes, scores, iou_threshold=0.4)
    best = kernels.top_k(boxes, scores, k=24, floor=0.0)
    expected = kernels.nms(best, iou_threshold=0.4, k=24)
    np.testing.assert_allclose(boxes[kept], np.asarray(expected.boxes)[: len(kept)])
    assert expected.valid.sum() == len(kept) < 24
