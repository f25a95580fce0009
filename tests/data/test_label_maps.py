"""Scenes in memory: decoding, caching, pickling, rendered masks, damaged records."""

import pickle

import numpy as np
import pytest

from jaxgen.data import label_maps
from jaxgen.data.builders import class_sets
from jaxgen.data.synthetic.stored import PARTS


def make_scenes(records, **options):
    options = {"classes": ("sky", "road"), "palette": np.eye(2, 3), "labelled": True, **options}
    return label_maps.Scenes(records, **options)


def stored(count=3, **more):
    rng = np.random.default_rng(0)
    return [
        {
            "image": class_sets.png(rng.integers(0, 256, (6, 8, 3), np.uint8)),
            "label": class_sets.png(rng.choice(np.array([0, 1, 255], np.uint8), (6, 8))),
            "name": f"scene {i}".encode(),
            **more,
        }
        for i in range(count)
    ]


def test_a_scene_is_read_whole_or_without_its_label():
    scenes = make_scenes(stored(), positions=[2, 0])
    assert len(scenes) == 2 and scenes.names == ["scene 2", "scene 0"]
    scene = scenes[0]
    assert scene["image"].shape == (6, 8, 3) and scene["image"].dtype == np.uint8
    assert scene["label"].shape == (6, 8) and scene["label"].dtype == np.uint8
    assert scene["name"] == "scene 2" and set(np.unique(scene["label"])) <= {0, 1, 255}
    assert set(scenes.read(1, with_label=False)) == {"image", "name"}
    assert [scene["name"] for scene in scenes] == scenes.names  # iteration ends
    with pytest.raises(IndexError):
        scenes[2]
    assert scenes[-1]["name"] == "scene 0"


def test_a_cached_scene_is_decoded_once_and_stays_what_it_was():
    class Counting(list):
        reads = 0

        def __getitem__(self, position):
            Counting.reads += 1
            return super().__getitem__(position)

    scenes = make_scenes(Counting(stored()), cache=True)
    first = scenes[1]
    first["image"] = None  # a caller's own dict
    np.testing.assert_array_equal(scenes[1]["label"], first["label"])
    assert scenes[1]["image"] is not None and Counting.reads == 1


def test_scenes_can_be_sent_to_another_process():
    scenes = make_scenes(stored())
    again = pickle.loads(pickle.dumps(scenes))  # our own bytes, as Grain's workers send them
    np.testing.assert_array_equal(again[1]["label"], scenes[1]["label"])
    assert again.classes == scenes.classes


def test_masks_of_rendered_faces_become_the_common_classes():
    mask = np.zeros((64, 64), np.uint8)
    mask[20:40] = PARTS.index("nose")
    mask[50:] = PARTS.index("glasses")
    points = np.random.default_rng(0).uniform(10, 54, (68, 2)).astype(np.float32)
    (record,) = stored(1, mask=class_sets.png(mask), points=points)
    del record["label"]
    (scene,) = make_scenes([record])
    assert (scene["label"][20:40] == 4).all() and (scene["label"][50:] == 255).all()
    assert (scene["label"][:20] == 0).all()


def test_a_damaged_record_is_named():
    records = stored(2)
    records[0]["image"] = records[0]["image"][:40]
    records[1]["label"] = b"nothing"
    scenes = make_scenes(records)
    with pytest.raises(ValueError, match="scene 0: not a readable image"):
        scenes[0]
    with pytest.raises(ValueError, match="scene 1: the stored label map is damaged"):
        scenes[1]
