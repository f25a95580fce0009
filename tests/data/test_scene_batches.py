"""Scene batches: form, agreement of pixels and labels, padding, determinism, resuming, shards."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from jaxgen.data import scene_batches


class Patchwork:
    """Scenes whose grey values say which class each pixel has: 20 x class."""

    labelled = True

    def __init__(self, count=7, shape=(40, 56), block=8):
        self.shape, self.count, self.block = shape, count, block

    def __len__(self):
        return self.count

    def read(self, position, *, with_label=True):
        rng = np.random.default_rng(position)
        coarse = rng.integers(0, 11, [n // self.block for n in self.shape], np.uint8)
        label = coarse.repeat(self.block, 0).repeat(self.block, 1)
        scene = {"image": np.repeat(20 * label[..., None], 3, 2), "name": f"scene {position}"}
        return {**scene, "label": label} if with_label else scene


def batches(scenes, **options):
    defaults = dict(batch_size=3, crop_size=24, seed=5, scale=(0.7, 1.6), num_threads=0)
    return scene_batches.training_batches(scenes, **{**defaults, **options})


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for key in first:
        np.testing.assert_array_equal(first[key], second[key])


def test_batches_have_the_documented_form():
    batch = next(batches(Patchwork(), crop_size=(24, 32)))
    forms = {key: (value.shape, value.dtype.name) for key, value in batch.items()}
    assert forms == {"image": ((3, 24, 32, 3), "uint8"), "label": ((3, 24, 32), "uint8")}
    assert list(next(batches(Patchwork(), with_labels=False))) == ["image"]


def test_labels_are_never_mixed():
    label = np.where(np.arange(40)[None] // 4 % 2, 200, 3).astype(np.uint8).repeat(40, 0)
    scene = {"image": np.zeros((40, 40, 3), np.uint8), "label": label}
    for zoom in (0.7, 1.5):
        found = scene_batches.training_example(
            scene, np.random.default_rng(0), crop_size=(24, 24), flip=0.5, scale=(zoom, zoom)
        )
        assert set(np.unique(found["label"])) == {3, 200}


def test_half_of_the_scales_are_below_the_geometric_mean():
    rng = SimpleNamespace(random=lambda: 0.5)
    image = np.repeat(np.arange(64, dtype=np.uint8)[None, :, None], 64, 0).repeat(3, 2)
    found = scene_batches.training_example(
        {"image": image}, rng, crop_size=(256, 256), flip=0.0, scale=(0.5, 2.0), with_labels=False
    )
    assert (found["image"][128] > 0).any(-1).sum() in (62, 63)  # 64 pixels, of which one is black


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_labels_lie_on_their_pixels(flip):
    """Away from borders of blocks, the image says the label, at every scale."""
    stream = batches(Patchwork(), flip=flip, scale=(0.6, 2.0), batch_size=40)
    batch = next(stream)
    agree = np.abs(batch["image"][..., 0].astype(int) - 20 * batch["label"].astype(int)) <= 2
    inside = np.ones_like(agree)
    for axis in (1, 2):
        for shift in (-1, 1):
            inside &= np.roll(batch["label"], shift, axis) == batch["label"]
    inside[:, [0, -1]] = inside[:, :, [0, -1]] = False
    assert inside.mean() > 0.4
    assert agree[inside].mean() > 0.999


def test_without_scale_and_flip_a_crop_is_an_exact_part():
    scenes = Patchwork(count=1)
    batch = next(batches(scenes, scale=(1, 1), flip=0, crop_size=16, batch_size=20))
    whole = scenes.read(0)["label"]
    windows = np.lib.stride_tricks.sliding_window_view(whole, (16, 16)).reshape(-1, 16, 16)
    for image, label in zip(batch["image"], batch["label"], strict=True):
        assert (windows == label).all((1, 2)).any()
        np.testing.assert_array_equal(image[..., 0], 20 * label)
    assert len(np.unique(batch["label"].reshape(20, -1), axis=0)) > 10  # not always the same part


def test_a_mirrored_crop_is_the_mirror_image():
    scene = Patchwork().read(3)
    options = dict(crop_size=(24, 24), scale=(0.8, 1.2))
    pair = [
        scene_batches.training_example(scene, np.random.default_rng(2), flip=flip, **options)
        for flip in (0.0, 1.0)
    ]
    for key in ("image", "label"):
        np.testing.assert_array_equal(pair[0][key][:, ::-1], pair[1][key])


def test_a_small_scene_is_filled_up_with_ignored_black():
    batch = next(batches(Patchwork(shape=(16, 24)), crop_size=32, scale=(1, 1), batch_size=12))
    outside = batch["label"] == 255
    np.testing.assert_array_equal((~outside).sum((1, 2)), 16 * 24)
    assert not batch["image"][outside].any()
    np.testing.assert_array_equal(batch["image"][..., 0][~outside], 20 * batch["label"][~outside])


@pytest.mark.parametrize("threads", [0, 2])
def test_a_resumed_stream_goes_on_with_the_next_batch(threads):
    stream = batches(Patchwork(), num_threads=threads)
    for _ in range(4):  # into the second pass over 7 scenes
        next(stream)
    state = json.loads(json.dumps(stream.get_state()))
    expected = [next(stream) for _ in range(3)]
    resumed = batches(Patchwork())
    resumed.set_state(state)
    for batch in expected:
        assert_equal(next(resumed), batch)


def test_the_seed_decides_and_processes_share_without_overlap():
    assert_equal(next(batches(Patchwork())), next(batches(Patchwork())))
    other = next(batches(Patchwork(), seed=6))
    assert (next(batches(Patchwork()))["image"] != other["image"]).any()
    whole = dict(crop_size=(40, 56), scale=(1, 1), flip=0)
    shares = [
        next(batches(Patchwork(8), batch_size=4, process_index=i, process_count=2, **whole))
        for i in range(2)
    ]
    seen = np.concatenate([share["label"] for share in shares])
    assert len(np.unique(seen.reshape(8, -1), axis=0)) == 8


def test_bad_requests_and_bad_scenes():
    scenes = Patchwork()
    for options, message in (
        (dict(scale=(1.2, 0.8)), "least <= most"),
        (dict(flip=1.5), "probability"),
        (dict(crop_size=0), "1 or more"),
        (dict(process_count=9), "cannot feed 9"),
    ):
        with pytest.raises(ValueError, match=message):
            batches(scenes, **options)
    scenes.labelled = False
    with pytest.raises(ValueError, match="no labels"):
        batches(scenes)
    next(batches(scenes, with_labels=False))

    class Wrong(Patchwork):
        def read(self, position, *, with_label=True):
            scene = super().read(position)
            return {**scene, "label": scene["label"][:-1]}

    with pytest.raises(ValueError, match=r"scene \d: label .* differ in size"):
        next(batches(Wrong()))
