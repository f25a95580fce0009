"""CFP in its official layout: people, five points, protocol lists; and pairs drawn without."""

import numpy as np
import pytest

from jaxgen.data import recognition_sets, verification_pairs
from jaxgen.data.builders import cfp

CLASSES = tuple(range(-90, 91, 15))


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


def test_a_set_that_does_not_say_what_is_frontal_is_named_as_the_cause():
    faces = drawn(40)[0]._replace(subset=[""] * 40 * 14)
    with pytest.raises(ValueError, match=r"by their `subset`.*have '' there.*identification"):
        verification_pairs.drawn_pairs(faces, "FF")


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
