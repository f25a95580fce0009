"""Faces of known people: people stay whole, poses, galleries, pictures, caches, bad input."""

import numpy as np
import pytest
from PIL import Image

from jaxgen.data import face_alignment, recognition_sets

CLASSES = (-45.0, 0.0, 45.0)
TINY = {"name": "synthetic_multipie", "options": {"config": "tiny"}}


def open_tiny(multipie, split, *, size=32, **config):
    return recognition_sets.open_faces({**TINY, **config}, split, size=size, classes=CLASSES)


def made_faces(yaws, people=None, *, side=22, classes=CLASSES):
    """Faces without files: yaws by person."""
    identity = np.repeat(np.arange(len(yaws)), [len(own) for own in yaws]).astype(np.int32)
    yaw = np.concatenate(yaws).astype(np.float32)
    return recognition_sets.Faces(
        image=np.random.default_rng(0).integers(0, 256, (len(yaw), side, side, 3), np.uint8),
        identity=identity,
        yaw=yaw,
        pose=recognition_sets.pose_classes(yaw, classes)[0],
        name=[f"{person}/{row}" for row, person in enumerate(identity)],
        subset=[""] * len(yaw),
        people=people or tuple(f"p{k}" for k in range(len(yaws))),
        classes=classes,
    )


# --------------------------------------------------------------------- the embedded set


def test_validation_holds_whole_people_out(multipie):
    train, validation = (open_tiny(multipie, s) for s in ("train", "validation"))
    count = multipie.builder_config.people
    assert len(train.people) == count - 1 and len(validation.people) == 1  # however few there are
    assert not set(train.people) & set(validation.people)
    assert train.image.shape == (3 * (count - 1), 37, 37, 3) and train.image.dtype == np.uint8
    np.testing.assert_array_equal(train.identity, np.repeat(np.arange(count - 1), 3))
    assert train.name == sorted(train.name)
    np.testing.assert_array_equal(np.sort(train.yaw[:3]), CLASSES)
    np.testing.assert_array_equal(train.yaw, np.array(CLASSES)[train.pose])
    with pytest.raises(ValueError, match="cannot be split"):
        open_tiny(multipie, "train", validation_fraction=0.95)


def test_gallery_and_probe_share_their_numbers(multipie):
    gallery, probe = (open_tiny(multipie, s) for s in ("gallery", "probe"))
    gallery, probe = recognition_sets.number_together(gallery, probe.select(np.arange(3, 6)))
    assert gallery.people == probe.people
    for part in (gallery, probe):
        for name, person in zip(part.name, part.identity, strict=True):
            assert name.startswith(part.people[person])
    everybody = set(open_tiny(multipie, "train").people) | set(
        open_tiny(multipie, "validation").people
    )
    assert not everybody & set(gallery.people)


def test_rendered_faces_lie_where_the_template_says(multipie):
    """Eyes and mouth at the same heights in every pose, and all 68 points inside."""
    side = face_alignment.SIDE
    for face in multipie.as_data_source("train"):
        five = face_alignment.five_points(face["points"])
        matrix = face_alignment.alignment(five)
        moved = five @ matrix[:, :2].T + matrix[:, 2]
        np.testing.assert_allclose(moved[:2, 1].mean(), face_alignment.TEMPLATE[0, 1], atol=4)
        np.testing.assert_allclose(moved[3:, 1].mean(), face_alignment.TEMPLATE[3, 1], atol=4)
        everything = face["points"] @ matrix[:, :2].T + matrix[:, 2]
        assert (everything > 0).all() and (everything < side - 1).all()


def test_grey_is_the_luminance_of_colour(multipie):
    colour = open_tiny(multipie, "gallery").image
    grey = recognition_sets.open_faces(TINY, "gallery", size=32, classes=CLASSES, channels=1).image
    assert grey.shape == (2, 37, 37, 1)
    expected = colour @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(grey[..., 0], expected, atol=1)


def test_the_file_of_aligned_faces_changes_nothing(multipie, monkeypatch):
    plain = open_tiny(multipie, "train")
    monkeypatch.setattr(recognition_sets, "_SMALL", 0)
    first = open_tiny(multipie, "train")
    monkeypatch.setattr(recognition_sets, "_MAPPED", 0)
    monkeypatch.setattr(recognition_sets, "_fill", None)  # it must not be needed again
    mapped = open_tiny(multipie, "train")
    assert isinstance(mapped.image, np.memmap)
    np.testing.assert_array_equal(first.image, plain.image)
    np.testing.assert_array_equal(mapped.image, plain.image)


def test_a_set_that_is_closed_to_writing_is_aligned_in_memory(multipie, monkeypatch):
    monkeypatch.setattr(recognition_sets, "_SMALL", 0)
    monkeypatch.setattr(recognition_sets.os, "access", lambda folder, mode: False)
    faces = open_tiny(multipie, "probe", size=20)
    assert faces.image.shape == (6, 23, 23, 3) and faces.image.std() > 10


# ------------------------------------------------------------------------- poses


def test_poses_go_to_the_nearest_class():
    pose, outside = recognition_sets.pose_classes(np.array([-67, -30, 10, np.nan, 22, 70]), CLASSES)
    np.testing.assert_array_equal(pose, [0, 0, 1, -1, 1, 2])
    np.testing.assert_array_equal(outside, [False, False, False, False, False, True])
    assert not recognition_sets.pose_classes(np.array([-170.0, 90]), (0,))[1].any()
    with pytest.raises(ValueError, match="increasing"):
        recognition_sets.pose_classes(np.zeros(2), (0, 0))


def test_poses_outside_of_the_classes_are_refused_dropped_or_kept(multipie):
    def open_narrow(**config):
        return recognition_sets.open_faces(
            {**TINY, **config}, "train", size=16, classes=(-15, 0, 15)
        )

    with pytest.raises(ValueError, match=r"yaw of -?45 degrees is outside .* \(\d+ such pictures"):
        open_narrow()
    narrow = open_narrow(outside_poses="drop")
    assert len(narrow.name) == len(narrow.people) > 1 and (narrow.yaw == 0).all()
    wide = open_narrow(outside_poses="keep")
    assert set(wide.name) > set(narrow.name)
    np.testing.assert_array_equal(wide.pose[np.abs(wide.yaw) > 30], -1)
    with pytest.raises(ValueError, match="outside_poses"):
        open_narrow(outside_poses="ignore")


# ------------------------------------------------------------------------- galleries


def test_the_gallery_is_the_most_frontal_picture_of_each():
    faces = made_faces([[-45, 3, 45], [0, 8, 44]])
    gallery, probes = recognition_sets.gallery_and_probes(faces)
    np.testing.assert_array_equal(gallery.yaw, [3, 0])
    np.testing.assert_array_equal(gallery.identity, [0, 1])
    np.testing.assert_array_equal(probes.yaw, [-45, 45, 8, 44])
    assert not set(gallery.name) & set(probes.name)


def test_people_without_a_frontal_picture_are_named():
    faces = made_faces([[0, 45], [-45, 45, np.nan]], people=("ann", "bob"))
    with pytest.raises(ValueError, match="'bob' has no frontal picture"):
        recognition_sets.gallery_and_probes(faces)


def test_people_without_a_known_yaw_are_named_with_the_options():
    faces = made_faces([[0, 30], [np.nan, np.nan]])
    with pytest.raises(ValueError, match=r"'p1'.*whose yaw is known.*`yaws` or `landmarks`"):
        recognition_sets.gallery_and_probes(faces)


def test_people_with_one_picture_have_no_probe():
    gallery, probes = recognition_sets.gallery_and_probes(made_faces([[0], [0, 45]]))
    assert len(gallery.name) == 2 and probes.identity.tolist() == [1]
    with pytest.raises(ValueError, match="single picture"):
        recognition_sets.gallery_and_probes(made_faces([[0], [0]]))


# ------------------------------------------------------------------------- bad input


def test_sizes_colours_and_formats_may_be_mixed(tmp_path, save_image):
    for number, (size, mode, ending) in enumerate(
        [((90, 80), "RGB", "jpg"), ((40, 64), "L", "png"), ((700, 500), "L", "jpg"),
         ((30, 30), "P", "png")]
    ):  # fmt: skip
        save_image(
            tmp_path / "people" / f"p{number % 2}" / f"{number}.{ending}", size=size, mode=mode
        )
    config = {
        "name": "identity_folder",
        "manual_dir": str(tmp_path / "people"),
        "validation_fraction": 0,
    }
    config |= {"data_dir": str(tmp_path / "tfds"), "options": {"test_fraction": 0}}
    for channels in (1, 3):
        faces = recognition_sets.open_faces(
            config, "train", size=24, classes=CLASSES, channels=channels
        )
        assert faces.image.shape == (4, 28, 28, channels)
        assert np.isnan(faces.yaw).all() and (faces.pose == recognition_sets.UNKNOWN).all()


@pytest.mark.parametrize(
    ("config", "split", "options", "message"),
    [
        ({"name": "nobody"}, "train", {}, "'cfp'.*got 'nobody'"),
        ({"name": "cfp"}, "train", {}, "no folder for data set 'cfp'"),
        (TINY, "tset", {}, "tset"),
        (TINY, "train", {"channels": 2}, "1 or 3 channels"),
        (TINY, "train", {"size": 0}, "size >= 1"),
    ],
)
def test_bad_configs(multipie, config, split, options, message):
    with pytest.raises(ValueError, match=message):
        recognition_sets.open_faces(config, split, **{"size": 16, "classes": CLASSES, **options})


def test_a_damaged_picture_is_named(multipie, monkeypatch):
    monkeypatch.setattr(Image, "open", lambda data: (_ for _ in ()).throw(OSError("broken")))
    with pytest.raises(ValueError, match=r"\d+_.*the stored image is damaged"):
        open_tiny(multipie, "gallery", size=20)
