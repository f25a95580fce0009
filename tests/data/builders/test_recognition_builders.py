"""Builders of recognition sets: official layouts, protocols, labels in files, bad input."""

import csv
import shutil

import numpy as np
import pytest
from absl import logging
from PIL import Image

from jaxgen.data import face_alignment, recognition_sets, verification_pairs
from jaxgen.data.builders import cfp, duplicates, face_labels, multipie

CLASSES = tuple(range(-90, 91, 15))


@pytest.fixture
def opened(tmp_path):
    """opened(name, folder, split, **options) -> Faces of a freshly prepared set."""

    def open_it(name, folder, split, *, classes=CLASSES, size=24, **options):
        config = {"name": name, "manual_dir": str(folder), "data_dir": str(tmp_path / "tfds")}
        config |= {"validation_fraction": 0, "options": options}
        return recognition_sets.open_faces(config, split, size=size, classes=classes)

    return open_it


def write_csv(path, header, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header.split(","), *rows])


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


def test_given_splits_are_taken(tmp_path, people, opened):
    root = tmp_path / "given"
    for person, split in (("p0", "train"), ("p1", "train"), ("p2", "test")):
        shutil.copytree(people / person, root / split / person)
    assert opened("identity_folder", root, "test").people == ("p2",)
    shutil.copytree(people / "p3", root / "train" / "p2")
    with pytest.raises(ValueError, match="'p2' is in train/ and in test/"):
        opened("identity_folder", root, "train")


def test_yaws_and_landmarks_come_from_files(people, opened):
    points = 40 + 0.5 * face_alignment.TEMPLATE
    write_csv(
        people / "points.csv",
        "name,frame,face,point,x,y",
        [("p0/0.jpg", 0, 0, k, x, y) for k, (x, y) in enumerate(points)],
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
    logging.use_absl_handler()
    opened("identity_folder", root, "train", duplicates="warn")
    with pytest.raises(ValueError, match="duplicates"):
        opened("identity_folder", root, "train", duplicates="maybe")
    pairs = duplicates.find_duplicates(root.glob("train/*/*"), root.glob("test/*/*"))
    assert [(a.name, b.name) for a, b in pairs] == [("0.jpg", "copy.jpg")]


def test_files_of_one_size_need_not_be_alike(tmp_path):
    for name, text in (("a", "one"), ("b", "two"), ("c", "three"), ("d", "two")):
        (tmp_path / name).write_text(text)
    a, b, c, d = (tmp_path / name for name in "abcd")
    assert duplicates.find_duplicates([a, b], [c, d]) == [(b, d)]


# --------------------------------------------------------------------------------- CFP


def write_cfp(root, save_image, people=range(1, 5), protocol_people=5):
    """Official layout with two frontal and two profile pictures a person; the first looks right."""
    rng = np.random.default_rng(0)
    for person in people:
        for kind in cfp.KINDS:
            for k in (1, 2):
                save_image(
                    root / "Data" / "Images" / f"{person:03d}" / kind / f"{k:02d}.jpg",
                    seed=[person, k, kind == "profile"],
                )
                points = fiducials(flip=kind == "profile" and k == 2)
                path = root / "Data" / "Fiducials" / f"{person:03d}" / kind / f"{k:02d}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("\n".join(f"{x:.2f},{y:.2f}" for x, y in points))
    for kind in cfp.KINDS:
        path = root / "Protocol" / f"Pair_list_{kind[0].upper()}.txt"
        path.parent.mkdir(exist_ok=True)
        listed = [(p, k) for p in range(1, protocol_people + 1) for k in (1, 2)]
        path.write_text(
            "".join(
                f"{n} ../Data/Images/{p:03d}/{kind}/{k:02d}.jpg\n"
                for n, (p, k) in enumerate(listed, 1)
            )
        )
    for kind in ("FF", "FP"):
        for fold in range(1, 11):
            for name in ("same", "diff"):
                path = root / "Protocol" / "Split" / kind / f"{fold:02d}" / f"{name}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                pairs = rng.integers(1, 2 * protocol_people + 1, (350, 2))
                path.write_text("".join(f"{a},{b}\n" for a, b in pairs))
    return root


def fiducials(*, flip=False):
    """30 points of a face whose left half is seen; the middle line is x = 50."""
    points = np.full((30, 2), 50.0)
    points[:, 1] = np.linspace(30, 75, 30)
    points[12:18] = [(30, 30), (34, 28), (38, 28), (42, 30), (38, 32), (34, 32)]
    points[25] = 40, 60
    points[8], points[21] = (50, 78), (50, 48)
    return np.array([90, 0]) + points * (-1, 1) if flip else points


def test_five_points_of_cfp():
    frontal = cfp.five_points(fiducials(), "frontal")
    np.testing.assert_allclose(
        frontal, [(36, 30), (64, 30), (50, 48), (40, 60), (60, 60)], atol=1e-9
    )
    turned = fiducials() @ np.array([[0, 1], [-1, 0]])
    np.testing.assert_allclose(
        cfp.five_points(turned, "frontal"), frontal @ np.array([[0, 1], [-1, 0]]), atol=1e-9
    )
    right, left = (cfp.five_points(fiducials(flip=f), "profile") for f in (False, True))
    np.testing.assert_allclose(right[[0, 2, 3]], [(36, 30), (50, 48), (40, 60)])
    np.testing.assert_allclose(left[[1, 2, 4]], [(54, 30), (40, 48), (50, 60)])
    assert np.isnan(right[[1, 4]]).all() and np.isnan(left[[0, 3]]).all()


def test_cfp_splits_people_by_number(tmp_path, save_image, opened):
    root = write_cfp(tmp_path / "cfp", save_image)
    ranges = dict(train_people="1-2", test_people="3-3")
    train, test, everybody = (opened("cfp", root, s, **ranges) for s in ("train", "test", "all"))
    assert train.people == ("001", "002") and test.people == ("003",)
    assert len(everybody.people) == 4
    assert test.name == [f"003/{kind}/0{k}" for kind in cfp.KINDS for k in (1, 2)]
    np.testing.assert_array_equal(test.yaw, [0, 0, 90, -90])
    assert test.subset == ["frontal", "frontal", "profile", "profile"]


def test_cfp_pairs_whose_people_are_there(tmp_path, save_image, opened):
    root = write_cfp(tmp_path / "cfp", save_image)
    ranges = dict(train_people="1-2", test_people="3-4")
    faces = opened("cfp", root, "all", **ranges)
    config = {"name": "cfp", "manual_dir": str(root), "options": ranges}
    for kind in ("FF", "FP"):
        pairs = verification_pairs.cfp_pairs(config, faces, kind)
        assert len(pairs.same) + pairs.dropped == 7000 and pairs.dropped > 1000  # person 5
        wanted = [faces.subset[row] for row in pairs.second]
        assert set(wanted) == {"frontal" if kind == "FF" else "profile"}
        # Two pictures a person: number 5 is the first of person 3.
        text = (root / "Protocol" / "Split" / kind / "01" / "same.txt").read_text()
        listed = [tuple(map(int, line.split(","))) for line in text.split()]
        one, other = next(pair for pair in listed if max(pair) <= 8)
        assert pairs.same[0] and pairs.fold[0] == 0
        for number, row, k in (
            (one, pairs.first[0], "frontal"),
            (other, pairs.second[0], wanted[0]),
        ):
            assert faces.name[row] == f"{(number + 1) // 2:03d}/{k}/{2 - number % 2:02d}"
    with pytest.raises(ValueError, match="FF"):
        verification_pairs.cfp_pairs(config, faces, "PP")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("Split/FP/03/diff.txt", "1,2\n" * 349 + "1;2\n", r"FP/03/diff.txt, line 350: expected"),
        ("Split/FP/03/diff.txt", "1,2\n" * 349, "349 pairs, but the protocol has 350"),
        ("Split/FP/03/diff.txt", "1,99\n" * 350, "line 1: the protocol names no picture '99'"),
        ("Pair_list_P.txt", "1 nothing\n", "Pair_list_P.txt, line 1"),
        ("Split/FP/07/same.txt", None, "07/same.txt: this list of the protocol cannot be read"),
    ],
)
def test_broken_protocol_lists(tmp_path, save_image, opened, name, text, message):
    root = write_cfp(tmp_path / "cfp", save_image)
    path = root / "Protocol" / name
    path.unlink() if text is None else path.write_text(text)
    ranges = dict(train_people="1-2", test_people="3-4")
    config = {"name": "cfp", "manual_dir": str(root), "options": ranges}
    faces = opened("cfp", root, "all", **ranges)
    with pytest.raises(ValueError, match=message):
        verification_pairs.cfp_pairs(config, faces, "FP")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_people": "1-3", "test_people": "3-4"}, "overlap"),
        ({"test_people": "401-500", "train_people": "1-4"}, "it holds 001 to 004"),
        ({"train_people": "all"}, "a range like 1-320, got 'all'"),
    ],
)
def test_bad_ranges_of_people(tmp_path, save_image, opened, options, message):
    root = write_cfp(tmp_path / "cfp", save_image)
    with pytest.raises(ValueError, match=message):
        opened("cfp", root, "train", **options)


def test_cfp_needs_its_points(tmp_path, save_image, opened):
    root = write_cfp(tmp_path / "cfp", save_image)
    ranges = dict(train_people="1-2", test_people="3-4")
    path = root / "Data" / "Fiducials" / "002" / "frontal" / "01.txt"
    path.write_text("1,2\n3,4\n")
    with pytest.raises(ValueError, match=r"002/frontal/01.txt: expected 30 points"):
        opened("cfp", root, "train", **ranges)
    path.unlink()
    with pytest.raises(ValueError, match=r"002/frontal/01.txt.*(missing|No such file)"):
        opened("cfp", root, "train", **ranges)


# ------------------------------------------------------------------------- drawn pairs


def drawn(people, *, kind="FP", **options):
    """Faces of CFP's shape without pictures, and their drawn pairs."""
    kinds = ["frontal"] * 10 + ["profile"] * 4
    count = people * len(kinds)
    faces = recognition_sets.Faces(
        image=np.zeros((count, 1, 1, 3), np.uint8),
        identity=np.repeat(np.arange(people), 14).astype(np.int32),
        yaw=np.zeros(count, np.float32),
        pose=np.zeros(count, np.int32),
        name=[f"{p:03d}/{k}/{n}" for p in range(people) for n, k in enumerate(kinds)],
        subset=kinds * people,
        people=tuple(f"{p:03d}" for p in range(people)),
        classes=(0.0,),
    )
    return faces, verification_pairs.drawn_pairs(faces, kind, **options)


@pytest.mark.parametrize("kind", ["FF", "FP"])
def test_drawn_folds_have_the_shape_of_the_protocol(kind):
    faces, pairs = drawn(40, kind=kind)
    assert len(pairs.same) == 2 * 40 * 7 and pairs.same.mean() == 0.5
    np.testing.assert_array_equal(np.bincount(pairs.fold), np.full(10, 56))
    first, second = faces.identity[pairs.first], faces.identity[pairs.second]
    np.testing.assert_array_equal(first == second, pairs.same)
    people = [set(first[pairs.fold == f]) | set(second[pairs.fold == f]) for f in range(10)]
    assert sum(map(len, people)) == 40 and len(set.union(*people)) == 40
    assert {faces.subset[r] for r in pairs.first} == {"frontal"}
    assert {faces.subset[r] for r in pairs.second} == {"frontal" if kind == "FF" else "profile"}
    both = list(zip(pairs.first, pairs.second, strict=True))
    assert len(set(both)) == len(both) and all(a != b for a, b in both)
    for mine, again in zip(pairs[:4], drawn(40, kind=kind)[1][:4], strict=True):
        np.testing.assert_array_equal(mine, again)


def test_as_many_pairs_as_there_are():
    _, pairs = drawn(20, per_person=1000)
    assert pairs.same.sum() == 20 * 40 and (~pairs.same).sum() == 20 * 10 * 4
    with pytest.raises(ValueError, match="19 people cannot fill 10 folds"):
        drawn(19)


# --------------------------------------------------------------------------- templates


@pytest.fixture
def templates(tmp_path, save_image):
    """Three templates of two people with 2, 1 and 3 pictures."""
    root = tmp_path / "ijb"
    rows = [("1", "ann", "a.jpg"), ("1", "ann", "b.jpg"), ("2", "ann", "a.jpg")]
    rows += [("30", "bob", f"{k}.jpg") for k in range(3)]
    for name in {row[2] for row in rows}:
        save_image(root / name, seed=len(name))
    header = "template_id,subject_id,path,x0,y0,x1,y1"
    write_csv(root / "templates.csv", header, [(*row, 10, 10, 70, 75) for row in rows])
    write_csv(root / "pairs.csv", "template_a,template_b,same", [("1", "2", 1), ("1", "30", 0)])
    return root


def test_templates_of_any_size(templates, opened):
    faces = opened("face_templates", templates, "test")
    assert faces.subset == ["1", "1", "2", "30", "30", "30"] and faces.people == ("ann", "bob")
    config = {"name": "face_templates", "manual_dir": str(templates)}
    pairs = verification_pairs.template_pairs(config, faces)
    assert pairs.templates == ("1", "2", "30")
    np.testing.assert_array_equal(pairs.mask.sum(1), [2, 1, 3])
    np.testing.assert_array_equal(pairs.rows, [[0, 1, 0], [2, 2, 2], [3, 4, 5]])
    np.testing.assert_array_equal(pairs.first, [0, 0])
    np.testing.assert_array_equal(pairs.second, [1, 2])
    np.testing.assert_array_equal(pairs.same, [True, False])


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("templates.csv", "2,bob,b.jpg", "template '2' holds 'ann' and 'bob'"),
        ("templates.csv", "7,eve,none.jpg", "line 8: there is no picture"),
        ("templates.csv", "1,ann,b.jpg", "in the template already"),
        ("templates.csv", "9,eve,a.jpg,1,2,x,4", "a box is four numbers"),
        ("templates.csv", "9,,a.jpg", "line 8: subject_id is empty"),
        ("pairs.csv", "1,99,0", "line 4: template '99' has no picture"),
        ("pairs.csv", "1,2,yes", "same is 0 or 1"),
    ],
)
def test_broken_lists_of_templates(templates, opened, name, line, message):
    with (templates / name).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match=message):
        faces = opened("face_templates", templates, "test")
        config = {"name": "face_templates", "manual_dir": str(templates)}
        verification_pairs.template_pairs(config, faces)


def test_sets_without_a_picture_are_named():
    rows, mask = verification_pairs.padded([[4], [5, 6]])
    np.testing.assert_array_equal(rows, [[4, 4], [5, 6]])
    np.testing.assert_array_equal(mask, [[True, False], [True, True]])
    with pytest.raises(ValueError, match="set 1 holds no picture"):
        verification_pairs.padded([[0], []])


def test_landmarks_may_not_come_twice(tmp_path):
    write_csv(tmp_path / "l.csv", "name,point,x,y", [("a", 0, 1, 1), ("a", 0, 1, 1)])
    with pytest.raises(ValueError, match="line 3: point 0 of 'a' comes twice"):
        face_labels.read_landmarks(tmp_path / "l.csv")


# --------------------------------------------------------------------------- real files


def test_the_real_cfp(tmp_path, real_data, opened):
    """Official files of a few people: splits, aligned eyes, official and drawn pairs."""
    for part in ("Images", "Fiducials"):
        (tmp_path / "cfp" / "Data" / part).mkdir(parents=True)
        for person in (*range(1, 21), 321, *range(360, 366)):
            name = f"Data/{part}/{person:03d}"
            (tmp_path / "cfp" / name).symlink_to(real_data / "cfp" / name)
    (tmp_path / "cfp" / "Protocol").symlink_to(real_data / "cfp" / "Protocol")
    options = dict(classes=(-90, 0, 90), train_people="1-20")
    faces = opened("cfp", tmp_path / "cfp", "test", **options)
    assert len(faces.people) == 7 and np.bincount(faces.pose)[1] == 70
    faces = opened("cfp", tmp_path / "cfp", "all", **options)
    assert faces.image.shape == (27 * 14, 28, 28, 3)
    config = {"name": "cfp", "manual_dir": str(tmp_path / "cfp")}
    for kind in ("FF", "FP"):
        official = verification_pairs.cfp_pairs(config, faces, kind)
        same = faces.identity[official.first] == faces.identity[official.second]
        np.testing.assert_array_equal(same, official.same)
        assert len(same) + official.dropped == 7000 and len(same) > 27 * 7
        pairs = verification_pairs.drawn_pairs(faces, kind)
        assert pairs.same.sum() == 27 * 7
