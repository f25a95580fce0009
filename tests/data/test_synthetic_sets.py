import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest

from jaxgen.data import splits
from jaxgen.data.builders import (
    synthetic_crowds,
    synthetic_examples,
    synthetic_faces,
    synthetic_multipie,
    synthetic_parts,
)
from jaxgen.data.synthetic import crowd
from jaxgen.data.synthetic.stored import PARTS

BUILDERS = {
    "faces": synthetic_faces.SyntheticFaces,
    "multipie": synthetic_multipie.SyntheticMultipie,
    "parts": synthetic_parts.SyntheticParts,
    "crowds": synthetic_crowds.SyntheticCrowds,
}


@pytest.fixture(scope="module")
def prepare(tmp_path_factory):
    """Prepares the tiny configuration of a set once."""
    built = {}

    def get(name):
        if name not in built:
            built[name] = BUILDERS[name](
                config="tiny", data_dir=tmp_path_factory.mktemp(name), file_format="array_record"
            )
            built[name].download_and_prepare()
        return built[name]

    return get


def test_faces_hold_different_people_in_their_splits(prepare):
    builder = prepare("faces")
    groups = {}
    for split in ("train", "validation", "test", "unlabelled"):
        faces = builder.as_data_source(split)
        groups[split] = {face["group"] for face in faces}
        shapes = np.stack([face["identity"] for face in faces])
        people = np.array([sorted(groups[split]).index(face["group"]) for face in faces])
        for person in range(len(groups[split])):
            own = shapes[people == person]
            assert len(own) == 2
            np.testing.assert_array_equal(own[0], own[1])
        assert len(np.unique(shapes, axis=0)) == len(groups[split])
    assert sum(map(len, groups.values())) == len(set.union(*groups.values()))


def test_faces_are_windows_around_their_box(prepare):
    for face in prepare("faces").as_data_source("train"):
        assert face["image"].shape == (64, 64, 3)
        assert face["image"].std() > 10
        side = (face["box"][2:] - face["box"][:2]).max() / 64
        assert 0.5 < side < 0.64
        np.testing.assert_allclose(face["box"][:2], face["points"].min(0), atol=1e-4)
        assert face["subset"].decode() == synthetic_examples.pose_range(face["angles"][0])


def test_multipie_has_the_shape_of_the_protocol(prepare):
    builder = prepare("multipie")
    train, gallery, probe = (list(builder.as_data_source(s)) for s in ("train", "gallery", "probe"))
    assert {f["person"] for f in train} == set(range(6))
    assert sorted(f["person"] for f in gallery) == [6, 7]
    assert all((f["yaw"], f["illumination"], f["emotion"]) == (0, 0, 0) for f in gallery)
    assert sorted((f["person"], f["yaw"]) for f in probe) == [
        (person, yaw) for person in (6, 7) for yaw in (-45, 0, 45)
    ]
    for face in train + gallery + probe:
        assert face["angles"][0] == face["yaw"]
    names = [f["name"] for f in train + gallery + probe]
    assert len(set(names)) == len(names)


def test_masks_cover_the_face_and_know_their_parts(prepare):
    builder = prepare("parts")
    assert builder.info.features["mask"].names == list(PARTS)
    seen = set()
    for face in builder.as_data_source("train"):
        mask = face["mask"][..., 0]
        assert mask.max() < len(PARTS)
        seen |= {PARTS[part] for part in np.unique(mask)}
        x, y = np.round(face["points"][29]).astype(int)
        if face["visible"][29]:
            assert PARTS[mask[y, x]] in ("nose", "glasses")
    assert {"background", "skin", "eye", "nose", "upper_lip", "lower_lip", "neck"} <= seen


def test_crowds_have_boxes_inside_the_picture_within_the_sizes(prepare):
    count = 0
    for scene in prepare("crowds").as_data_source("train"):
        boxes = scene["boxes"]
        assert len(boxes) == len(scene["seen"]) == len(scene["yaw"])
        count += len(boxes)
        heights = boxes[:, 3] - boxes[:, 1]
        assert (heights > 4).all() and (heights < 66).all()
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        assert (centres > 0).all() and (centres < 128).all()
        assert (scene["seen"] >= crowd.MIN_SEEN).all()
    assert count >= 4


def test_held_out_crowds_show_people_of_their_own(tmp_path):
    config = synthetic_crowds.SyntheticCrowdsConfig(
        name="many", size=64, scenes=dict(train=40, test=1), people=dict(train=20, test=2),
        heights=(6, 30), sprite_size=32,
    )  # fmt: skip
    builder = synthetic_crowds.SyntheticCrowds(
        config=config, data_dir=tmp_path, file_format="array_record"
    )
    builder.download_and_prepare()
    part = splits.Part(None, ("train",), "validation", 0.1, 1.0, 0)
    people = {True: set(), False: set()}
    for scene in builder.as_data_source("train"):
        assert len(scene["person"]) == len(scene["boxes"])
        people[part.takes(scene["group"].decode())] |= set(scene["person"].tolist())
    assert people[True] == {18, 19} and people[False] == set(range(18))


@pytest.mark.parametrize("name", ["default", "large", "tiny"])
def test_both_parts_of_a_pool_have_people_and_other_things(name):
    config = synthetic_crowds.SyntheticCrowds.builder_configs[name]
    blank = np.zeros((4, 4, 4), np.float32)
    count = config.people["train"]
    people = [crowd.Sprite(blank, None, person=n) for n in range(count)]
    others = people[::5] + [crowd.Sprite(blank, None)] * (count // 4 + 1)
    parts = synthetic_crowds._in_two(people, others)
    assert sum(len(part[0]) for part in parts) == count
    assert sum(len(part[1]) for part in parts) == len(others)
    own = [{each.person for each in part[0] + part[1]} - {-1} for part in parts]
    assert not own[0] & own[1] and len(own[1]) == max(1, count // 10)
    assert all(part[0] and part[1] for part in parts)


def test_boxes_of_a_crowd_are_exact():
    # A sprite that is a plain white rectangle: its box in the scene must fit the pixels.
    sprite = np.zeros((64, 64, 4), np.float32)
    sprite[20:44, 24:40] = 1
    person = crowd.Sprite(sprite, np.array([23.5, 19.5, 39.5, 43.5]))
    empty = crowd.Sprite(np.zeros((8, 8, 4), np.float32), None)
    found = 0
    for seed in range(12):
        image, faces = crowd.compose(
            np.random.default_rng(seed), np.zeros((96, 96, 3)), [person], [empty], (10, 40)
        )
        if len(faces) == 1 and faces[0].seen > 0.9:
            y, x = np.nonzero(image[..., 0] > 0.5)
            tight = np.array([x.min() - 0.5, y.min() - 0.5, x.max() + 0.5, y.max() + 0.5])
            np.testing.assert_allclose(faces[0].box, tight, atol=1.0)
            found += 1
    assert found > 0


def test_a_covered_face_is_counted_as_such():
    image, owner = np.zeros((32, 32, 3), np.float32), np.zeros((32, 32), np.int32)
    solid = np.ones((16, 16, 4), np.float32)
    box = np.array([-0.5, -0.5, 15.5, 15.5])
    crowd.paste(image, owner, solid, np.array([0, 0]), 1)
    assert crowd._seen(owner, 1, box) == 1
    crowd.paste(image, owner, solid, np.array([8, 0]), 2)
    assert crowd._seen(owner, 1, box) == pytest.approx(0.5, abs=0.05)
    crowd.paste(image, owner, solid, np.array([40, 40]), 3)  # outside: nothing happens
    assert not (owner == 3).any()


SCRIPT = """
import hashlib, json, sys
import jaxgen
from jaxgen.data.builders import synthetic_examples, synthetic_faces
numbers = json.loads(sys.argv[1])
for row, scene, picture in synthetic_examples.rendered(synthetic_faces.scene_of, numbers, size=64):
    print(hashlib.sha256(picture.image.tobytes() + picture.points.tobytes()).hexdigest())
"""


def test_pictures_depend_on_their_numbers_alone():
    numbers = [(0, 1, person, picture, 0, 50) for person in range(5) for picture in range(2)]

    def digests(rows):
        faces = synthetic_examples.rendered(synthetic_faces.scene_of, rows, size=64)
        return [
            hashlib.sha256(face.image.tobytes() + face.points.tobytes()).hexdigest()
            for _, _, face in faces
        ]

    whole = digests(numbers)
    assert len(set(whole)) == len(whole)
    assert digests(numbers[3:6]) == whole[3:6]  # other batches
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(numbers[7:9])],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.stdout.split() == whole[7:9]  # another process


def test_an_interrupted_preparation_leaves_no_half_set(tmp_path, monkeypatch):
    calls = []

    def failing(*args, **kwargs):
        calls.append(1)
        if len(calls) > 3:
            raise OSError("No space left on device")
        return original(*args, **kwargs)

    original = synthetic_examples.face_example
    monkeypatch.setattr(synthetic_examples, "face_example", failing)
    builder = synthetic_faces.SyntheticFaces(
        config="tiny", data_dir=tmp_path, file_format="array_record"
    )
    with pytest.raises(OSError, match="No space left"):
        builder.download_and_prepare()
    assert not builder.data_path.exists()
    monkeypatch.undo()
    again = synthetic_faces.SyntheticFaces(
        config="tiny", data_dir=tmp_path, file_format="array_record"
    )
    again.download_and_prepare()
    assert len(again.as_data_source("train")) == 8
