"""Builders of people in official folders and own ones: protocols, labels in files, bad input."""

import shutil

import numpy as np
import pytest
from PIL import Image

from jaxgen.data import face_alignment, recognition_sets
from jaxgen.data.builders import duplicates, multipie

from .made_files import write_csv

CLASSES = tuple(range(-90, 91, 15))


# ---------------------------------------------------------------------------- Multi-PIE


def pie_name(identity, camera="051", *, session="01", recording="01", light="07"):
    return f"{identity:03d}_{session}_{recording}_{camera}_{light}.png"


@pytest.fixture
def pie(tmp_path, save_image):
    """Two people to train on and two to test, in folders of two shapes."""
    names = [pie_name(identity, camera) for identity in (1, 200) for camera in ("051", "200")]
    for identity in (201, 346):
        names += [pie_name(identity, camera) for camera in ("051", "090", "110", "081")]
        names += [pie_name(identity, session="02"), pie_name(identity, recording="02")]
        names += [pie_name(identity, light="00")]
    for number, name in enumerate(names):
        folder = f"session01/multiview/{name[:3]}" if number % 2 else "flat"
        save_image(tmp_path / "pie" / folder / name, seed=number)
    save_image(tmp_path / "pie" / "montage.png")
    return tmp_path / "pie"


def test_multipie_follows_the_protocol(pie, opened):
    train, gallery, probe = (opened("multipie", pie, s) for s in ("train", "gallery", "probe"))
    assert train.people == ("001", "200") and gallery.people == probe.people == ("201", "346")
    np.testing.assert_array_equal(train.yaw, [0, 60, 0, 60])
    assert gallery.name == ["201_01_01_051_07", "346_01_01_051_07"]  # of the first visit
    assert probe.name[:3] == ["201_01_01_051_00", "201_01_01_090_07", "201_02_01_051_07"]
    np.testing.assert_array_equal(probe.yaw[:3], [0, -60, 0])
    assert gallery.subset == ["light_07"] * 2


def test_multipie_chooses_cameras_recordings_and_lights(pie, opened):
    everything = opened("multipie", pie, "probe", cameras="", recordings="")
    assert len(everything.name) == 2 * 5 and -90 in everything.yaw  # 081 looks from above
    assert len(opened("multipie", pie, "probe", cameras="051", lights="07").name) == 2
    with pytest.raises(ValueError, match="'052'"):
        opened("multipie", pie, "probe", cameras="052")


def test_multipie_cameras_stand_on_an_arc():
    assert len(multipie.YAWS) == 13 and multipie.YAWS["051"] == 0
    nine = {"041", "050", "051", "080", "090", "130", "140", "190", "200"}
    assert set(multipie.NINE) == nine
    yaws = sorted(multipie.YAWS[camera] for camera in nine)
    assert yaws == [-60, -45, -30, -15, 0, 15, 30, 45, 60]


def test_multipie_needs_a_frontal_picture_of_each(pie, opened):
    for path in pie.rglob("346_*_051_07.png"):
        path.unlink()
    with pytest.raises(ValueError, match="person 346 has no frontal neutral picture"):
        opened("multipie", pie, "gallery")


def test_multipie_refuses_the_same_picture_twice(pie, opened):
    shutil.copy(next(pie.rglob(pie_name(1))), pie / pie_name(1))
    with pytest.raises(ValueError, match=r"001_01_01_051_07\.png: the same picture as"):
        opened("multipie", pie, "train")


# ------------------------------------------------------------------- folders of people


@pytest.fixture
def people(tmp_path, save_image):
    """Five people with two pictures each."""
    for number in range(10):
        save_image(tmp_path / "people" / f"p{number // 2}" / f"{number}.jpg", seed=number)
    return tmp_path / "people"


def test_people_are_held_out_whole(people, opened):
    train, test = (
        opened("identity_folder", people, s, test_fraction=0.4) for s in ("train", "test")
    )
    assert len(train.people) == 3 and len(test.people) == 2
    assert set(train.people) | set(test.people) == {f"p{k}" for k in range(5)}
    assert len(train.name) == 6 and np.isnan(train.yaw).all()
    everybody = opened("casia_webface", people, "train")
    assert len(everybody.people) == 5


def in_splits(people, root, **splits):
    """The folder with each of these people in one split."""
    for person, split in splits.items():
        shutil.copytree(people / person, root / split / person)
    return root


def test_given_splits_are_taken(tmp_path, people, opened):
    root = in_splits(people, tmp_path / "given", p0="train", p1="train", p2="test")
    assert opened("identity_folder", root, "test").people == ("p2",)
    shutil.copytree(people / "p3", root / "train" / "p2")
    with pytest.raises(ValueError, match="'p2' is in train/ and in test/"):
        opened("identity_folder", root, "train")


def test_no_two_given_splits_share_a_person(tmp_path, people, opened):
    root = in_splits(people, tmp_path / "given", p0="train", p1="validation", p2="test")
    assert opened("identity_folder", root, "validation").people == ("p1",)
    shutil.copytree(people / "p3", root / "validation" / "p2")
    with pytest.raises(ValueError, match="'p2' is in validation/ and in test/"):
        opened("identity_folder", root, "train")


def test_a_given_validation_split_goes_before_a_fraction(tmp_path, people):
    splits = dict(p0="train", p1="train", p2="validation", p3="test")
    root = in_splits(people, tmp_path / "given", **splits)
    data = {"name": "identity_folder", "manual_dir": str(root), "validation_fraction": 0.5}
    data["data_dir"] = str(tmp_path / "tfds")
    found = {
        split: recognition_sets.open_faces(data, split, size=24, classes=CLASSES).people
        for split in ("train", "validation", "test")
    }
    assert found == {"train": ("p0", "p1"), "validation": ("p2",), "test": ("p3",)}


@pytest.mark.parametrize("name", ["identity_folder", "face_templates"])
def test_photographs_are_stored_upright(name, tmp_path, save_image, opened):
    """Points and boxes belong to what a viewer shows, not to the camera's rows."""
    upright = save_image(tmp_path / "plain.png", size=(80, 100), seed=3)
    turned = Image.fromarray(upright).transpose(Image.Transpose.ROTATE_90)
    tag = turned.getexif()
    tag[274] = 6  # "turn by 90 degrees clockwise to show"
    (tmp_path / "set" / "test" / "ann").mkdir(parents=True)
    turned.save(tmp_path / "set" / "test" / "ann" / "1.png", exif=tag)
    points = np.array([5.0, 20]) + 0.6 * face_alignment.TEMPLATE
    rows = [("test/ann/1.png", k, x, y) for k, (x, y) in enumerate(points)]
    write_csv(tmp_path / "set" / "points.csv", "name,point,x,y", rows)
    row = [("1", "ann", "test/ann/1.png")]
    write_csv(tmp_path / "set" / "templates.csv", "template_id,subject_id,path", row)
    faces = opened(name, tmp_path / "set", "test", landmarks="points.csv")
    matrix = face_alignment.alignment(points, side=28)
    expected = face_alignment.align(upright, matrix, side=28).astype(int)
    assert np.abs(faces.image[0] - expected).mean() < 3  # stored once as JPEG


def test_yaws_and_landmarks_come_from_files(people, opened):
    points = 40 + 0.5 * face_alignment.TEMPLATE
    write_csv(
        people / "points.csv",
        "name,frame,face,point,x,y",
        [
            (path.relative_to(people).as_posix(), 0, 0, k, x, y)
            for path in sorted(people.glob("*/*.jpg"))
            for k, (x, y) in enumerate(points)
        ],
    )
    write_csv(people / "yaws.csv", "name,yaw", [("p0/0.jpg", 31), ("p0/1.jpg", -14.5)])
    files = {"landmarks": "points.csv", "yaws": "yaws.csv"}
    faces = opened("casia_webface", people, "train", **files)
    np.testing.assert_array_equal(faces.yaw[:3], np.float32([31, -14.5, np.nan]))
    assert [CLASSES[p] for p in faces.pose[:2]] == [30, -15] and faces.pose[2] == -1
    matrix = face_alignment.alignment(points, side=28)
    with Image.open(people / "p0" / "0.jpg") as image:
        expected = face_alignment.align(np.asarray(image), matrix, side=28)
    np.testing.assert_array_equal(faces.image[0], expected)


def test_68_points_give_the_pose_too(tmp_path, multipie, opened):
    """What LaplaceKL predicts feeds DR-GAN: points of rendered people, one file a picture."""
    rows, truth = [], {}
    for number, face in enumerate(multipie.as_data_source("probe")):
        name = f"{face['group'].decode()}/{number}.png"
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(face["image"]).save(tmp_path / "set" / name)
        rows += [(name, k, x, y) for k, (x, y) in enumerate(face["points"])]
        truth[name] = face["yaw"]
    write_csv(tmp_path / "set" / "points.csv", "name,point,x,y", rows)
    faces = opened("casia_webface", tmp_path / "set", "train", landmarks="points.csv")
    np.testing.assert_allclose(faces.yaw, [truth[name] for name in faces.name], atol=15)
    plain = {face["group"].decode(): face for face in multipie.as_data_source("probe")}
    assert faces.people == tuple(sorted(plain))


def test_large_pictures_are_stored_around_the_face(tmp_path, save_image, opened):
    """The aligned face is the same whether or not the picture was cut before."""
    points = np.array([300.0, 200]) + 2 * face_alignment.TEMPLATE
    save_image(tmp_path / "set" / "ann" / "1.png", size=(900, 700))
    rows = [("ann/1.png", k, x, y) for k, (x, y) in enumerate(points)]
    write_csv(tmp_path / "set" / "points.csv", "name,point,x,y", rows)
    whole, cut = (
        opened(
            "casia_webface", tmp_path / "set", "train", size=96, landmarks="points.csv", max_side=m
        )
        for m in (0, 256)
    )
    difference = np.abs(whole.image.astype(int) - cut.image)
    assert difference.mean() < 3 and whole.image.std() > 20


def test_boxes_come_from_a_file_or_as_fractions(people, opened):
    write_csv(people / "boxes.csv", "name,x0,y0,x1,y1", [("p0/0.jpg", 20, 10, 70, 70)])
    faces = opened("casia_webface", people, "train", boxes="boxes.csv")
    with Image.open(people / "p0" / "0.jpg") as image:
        picture = np.asarray(image)
    matrix = face_alignment.box_alignment([20, 10, 70, 70], side=28)
    expected = face_alignment.align(picture, matrix, side=28)
    np.testing.assert_array_equal(faces.image[0], expected)
    part = opened("casia_webface", people, "train", face_box=(0.5, 0.0, 1.0, 1.0))
    assert (part.image[1] != faces.image[1]).any()


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ({"loose.jpg": None}, {}, "loose.jpg: lies beside the folders"),
        ({"empty/notes.txt": ""}, {}, "empty: the folder of this person holds no picture"),
        ({}, {"yaws": "no.csv"}, "no.csv: there is no such file"),
        ({}, {"test_fraction": 1.5}, "test_fraction"),
        ({}, {"test_fraction": 0.95}, "too few to hold 5 out"),
        ({}, {"cameras": "051"}, "no option 'cameras'"),
        ({"y.csv": "name,angle\na,1\n"}, {"yaws": "y.csv"}, "line 1: the header lacks yaw"),
        ({"y.csv": "name,yaw\na,north\n"}, {"yaws": "y.csv"}, "line 2: yaw is 'north'"),
        ({"y.csv": "name,yaw\na,200\n"}, {"yaws": "y.csv"}, "beyond 180"),
        ({"y.csv": "name,yaw\na,1\na,2\n"}, {"yaws": "y.csv"}, "line 3: 'a' comes twice"),
        (
            {"l.csv": "name,point,x,y\na,0,1,1\na,1,2,2\n"},
            {"landmarks": "l.csv"},
            "'a' has 2 points; faces have 5 or 68",
        ),
        (
            {"l.csv": "name,point,x,y\n" + "".join(f"p0/0.jpg,{k},{k},{k}\n" for k in range(5))},
            {"landmarks": "l.csv"},
            r"l\.csv has no landmarks of 'p",
        ),
        (
            {"l.csv": "name,face,point,x,y\na,1,0,1,1\n"},
            {"landmarks": "l.csv"},
            "line 2: a second face",
        ),
    ],
)
def test_bad_folders_and_labels(people, save_image, opened, files, options, message):
    for name, text in files.items():
        (people / name).parent.mkdir(exist_ok=True)
        save_image(people / name) if text is None else (people / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        opened("identity_folder", people, "train", **options)


# --------------------------------------------------------------------------- duplicates


def test_a_picture_of_train_and_test_is_found(tmp_path, people, opened, caplog):
    root = tmp_path / "given"
    shutil.copytree(people / "p0", root / "train" / "p0")
    shutil.copytree(people / "p1", root / "test" / "p1")
    shutil.copy(root / "train" / "p0" / "0.jpg", root / "test" / "p1" / "copy.jpg")
    with pytest.raises(ValueError, match=r"p1/copy\.jpg = .*train/p0/0\.jpg"):
        opened("identity_folder", root, "train")
    opened("identity_folder", root, "train", duplicates="warn")
    assert "p1/copy.jpg" in caplog.text
    with pytest.raises(ValueError, match="duplicates"):
        opened("identity_folder", root, "train", duplicates="maybe")
    # Validation chooses checkpoints, so a test picture may not be there either.
    (root / "test" / "p1" / "copy.jpg").unlink()
    shutil.copytree(people / "p2", root / "validation" / "p2")
    shutil.copy(root / "test" / "p1" / "2.jpg", root / "validation" / "p2" / "copy.jpg")
    with pytest.raises(ValueError, match=r"test/p1/2\.jpg = .*validation/p2/copy\.jpg"):
        opened("identity_folder", root, "train")
    shutil.copy(root / "train" / "p0" / "0.jpg", root / "test" / "p1" / "copy.jpg")
    pairs = duplicates.find_duplicates(root.glob("train/*/*"), root.glob("test/*/*"))
    assert [(a.name, b.name) for a, b in pairs] == [("0.jpg", "copy.jpg")]


def test_files_of_one_size_need_not_be_alike(tmp_path):
    for name, text in (("a", "one"), ("b", "two"), ("c", "three"), ("d", "two")):
        (tmp_path / name).write_text(text)
    a, b, c, d = (tmp_path / name for name in "abcd")
    assert duplicates.find_duplicates([a, b], [c, d]) == [(b, d)]
