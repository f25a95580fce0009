"""Face parts from points: geometry of the drawn masks, agreement with the renderer, real faces."""

import numpy as np
import pytest

from jaxgen.data import label_maps
from jaxgen.data.builders import part_polygons, pts
from jaxgen.data.synthetic.stored import PARTS

CLASS = {name: number for number, name in enumerate(part_polygons.CLASSES)}


@pytest.fixture(scope="module")
def face():
    """A drawn face, mirror-symmetric about x = 63.5 in an image of 128 pixels: [68, 2]."""
    angle = np.linspace(np.pi, 0, 17)
    jaw = np.stack([40 * np.cos(angle), 12 + 45 * np.sin(angle)], 1)
    brow = np.stack([np.linspace(-32, -8, 5), [-24, -28, -29, -28, -26]], 1)
    bridge = np.stack([np.zeros(4), [-14, -6, 2, 10]], 1)
    base = np.stack([[-9, -5, 0, 5, 9], [16, 18, 19, 18, 16]], 1)
    eye = np.array([(-28, -12), (-23, -16), (-17, -16), (-12, -12), (-17, -9), (-23, -9)])
    outer = [(-16, 32), (-9, 28), (-3, 26), (0, 27), (3, 26), (9, 28), (16, 32), (9, 39), (4, 41),
             (0, 42), (-4, 41), (-9, 39)]  # fmt: skip
    inner = [(-13, 32), (-5, 31), (0, 31), (5, 31), (13, 32), (5, 36), (0, 37), (-5, 36)]
    mirror = np.array([-1, 1])
    right_eye = (eye * mirror)[[3, 2, 1, 0, 5, 4]]
    parts = [jaw, brow, (brow * mirror)[::-1], bridge, base, eye, right_eye, outer, inner]
    return np.concatenate(parts) + 63.5


def test_every_part_lies_at_its_points(face):
    mask = part_polygons.part_mask(face, 128)
    assert mask.shape == (128, 128) and mask.dtype == np.uint8
    inside = {
        "eye": face[36:42].mean(0), "nose": face[29], "mouth": face[[62, 66]].mean(0),
        "upper lip": face[[51, 62]].mean(0), "lower lip": face[[57, 66]].mean(0),
        "brow": face[19] + (0, 2), "skin": face[8] - (0, 5), "other": face[8] + (0, 6),
    }  # fmt: skip
    for name, (x, y) in inside.items():
        assert mask[round(y), round(x)] == CLASS[name], name
    assert mask[round(face[27, 1]) - 22, 64] == 255  # the forehead
    assert mask[0, 0] == mask[127, 127] == CLASS["other"]


def test_a_mirrored_face_has_the_mirrored_mask(face):
    from jaxgen.data import flip_pairs

    mask = part_polygons.part_mask(face, 128)
    np.testing.assert_allclose(face[flip_pairs.for_points(68)] * (-1, 1) + (127, 0), face)
    # Sides of polygons may fall on either neighbour.
    assert (mask != mask[:, ::-1]).mean() < 0.01


def test_masks_scale_with_the_face(face):
    small = part_polygons.part_mask((face + 0.5) / 2 - 0.5, 64)
    large = part_polygons.part_mask(face, 128)[::2, ::2]
    assert (small == large).mean() > 0.95
    moved = part_polygons.part_mask(face + np.array([3, 5]), 128)
    np.testing.assert_array_equal(moved[5:, 3:], part_polygons.part_mask(face, 128)[:-5, :-3])


def test_rendered_parts_map_to_the_common_classes(face):
    assert set(part_polygons.FROM_RENDERED) == set(PARTS)
    assert set(part_polygons.FROM_RENDERED.values()) == {*range(8), 255}
    drawn = part_polygons.part_mask(face, 128)
    parts = np.full((128, 128), PARTS.index("skin"), np.uint8)  # skin down to the shoulders
    parts[drawn == CLASS["eye"]] = PARTS.index("eye")
    parts[:5] = PARTS.index("glasses")
    parts[-5:] = PARTS.index("cloth")
    mask = part_polygons.rendered_mask(parts, face)
    assert (mask[:5] == 255).all() and (mask[-5:] == CLASS["other"]).all()
    middle = slice(5, -5)
    assert (mask[middle][drawn[middle] == CLASS["other"]] == CLASS["other"]).all()
    assert (mask[middle][drawn[middle] == 255] == CLASS["skin"]).all()  # the forehead is known
    assert (mask[drawn == CLASS["eye"]] == CLASS["eye"]).all()


@pytest.fixture
def place(tmp_path):
    return {
        "name": "face_parts",
        "manual_dir": str(tmp_path / "300w"),
        "data_dir": str(tmp_path / "tfds"),
        "options": {"allow_partial": True},
    }


def test_a_folder_of_points(tmp_path, place, save_image, save_pts, face):
    root = tmp_path / "300w/helen"
    for folder, count in (("trainset", 9), ("testset", 2)):
        for i in range(count):
            save_image(root / folder / f"{i // 2}_{i}.jpg", size=(160, 150), seed=i)
            save_pts(root / folder / f"{i // 2}_{i}.pts", face + 8)
    scenes = label_maps.open_scenes(place, "test")
    assert len(scenes) == 2 and scenes.classes == part_polygons.CLASSES
    scene = scenes[0]
    assert scene["image"].shape == (128, 128, 3)
    assert set(np.unique(scene["label"])) == {*range(8), 255}
    # The face fills 1 / 1.7 of the crop, as that of the renderer.
    rows, columns = np.nonzero((scene["label"] > 0) & (scene["label"] < 255))
    assert np.ptp(rows) == pytest.approx(128 / 1.7, abs=3)
    assert rows.mean() == pytest.approx(64, abs=6) and columns.mean() == pytest.approx(64, abs=2)
    train = label_maps.open_scenes({**place, "validation_fraction": 0.4}, "train").names
    held = label_maps.open_scenes({**place, "validation_fraction": 0.4}, "validation").names
    assert len(train) + len(held) == 9
    photos = [{name.rpartition("_")[0] for name in part} for part in (train, held)]
    assert not photos[0] & photos[1]
    with pytest.raises(ValueError, match="test: found 2 of 330"):
        label_maps.open_scenes({**place, "options": {}}, "test")
    with pytest.raises(ValueError, match="is a square"):
        label_maps.open_scenes({**place, "options": {"size": (64, 80)}}, "test")
    (root / "testset/0_1.pts").unlink()
    with pytest.raises(ValueError, match=r"0_1\.pts: there is no such label file"):
        label_maps.open_scenes(place, "test")


def test_real_helen_masks(real_data):
    folder = real_data / "300w/helen/testset"
    if not folder.is_dir():
        pytest.skip(f"no HELEN test faces in {folder}")
    counts = []
    for path in sorted(folder.glob("*.pts"))[:60]:
        mask = part_polygons.part_mask(pts.read_pts(path, 68), 256)
        counts.append(np.bincount(mask.ravel(), minlength=256))
    share = np.mean(counts, 0) / 256**2
    # Every part is there, in proportions of a face in a crop of 1.7 boxes.
    assert 0.15 < share[CLASS["skin"]] < 0.3
    for name in ("brow", "eye", "nose", "upper lip", "lower lip"):
        assert 0.002 < share[CLASS[name]] < 0.06, name
    assert share[CLASS["other"]] > 0.4 and 0.05 < share[255] < 0.25
