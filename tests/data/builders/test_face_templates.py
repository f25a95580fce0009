"""Templates, sets of pictures compared with sets: lists of any size, and broken ones."""

import numpy as np
import pytest

from jaxgen.data import verification_pairs
from jaxgen.data.builders import face_labels

from .made_files import write_csv

CLASSES = tuple(range(-90, 91, 15))


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
