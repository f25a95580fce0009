"""A user's own points: any count, missing cells, several faces a picture, errors by line."""

from pathlib import Path

import numpy as np
import pytest

from jaxgen.data import crop, flip_pairs, pipeline, sources
from jaxgen.data.builders import points_csv

HEADER = "image,split,group,box_x0,box_y0,box_x1,box_y1,nose_x,nose_y,left_x,left_y,right_x,right_y"
LINES = [
    "a/1.jpg,train,anna,10,12,70,72.5,40,50,30.25,40,50,40",
    "a/1.jpg,train,bert,,,,,60,20,,,70,30",
    "2.png,test,,,,,,40,50,-4,40,120,40",
]


@pytest.fixture
def place(tmp_path, save_image):
    root = tmp_path / "own"
    save_image(root / "a" / "1.jpg")
    save_image(root / "2.png", mode="RGBA", seed=1)
    (root / "points.csv").write_text("\n".join([HEADER, *LINES]))
    return {
        "name": "points_csv",
        "manual_dir": str(root),
        "data_dir": str(tmp_path / "tfds"),
        "validation_fraction": 0.0,
    }


def write(place, text):
    (Path(place["manual_dir"]) / "points.csv").write_text(text)


def load(place, split):
    return {example["name"]: example for example in sources.open_source(place, split)}


def original(example, values):
    back = crop.invert(example["source_matrix"])
    return crop.transform_points(back, np.reshape(values, (-1, 2)))


def test_points_boxes_groups_and_splits(place):
    train = load(place, "train")
    assert set(train) == {"a/1.jpg", "a/1.jpg#1"}
    first, second = train["a/1.jpg"], train["a/1.jpg#1"]
    assert (first["group"], second["group"]) == ("anna", "bert")
    np.testing.assert_allclose(
        original(first, first["points"]), [[40, 50], [30.25, 40], [50, 40]], atol=1e-4
    )
    np.testing.assert_allclose(original(first, first["box"]), [[10, 12], [70, 72.5]], atol=1e-4)
    np.testing.assert_allclose(
        original(second, second["points"]), [[60, 20], [np.nan] * 2, [70, 30]], atol=1e-4
    )
    np.testing.assert_allclose(original(second, second["box"]), [[60, 20], [70, 30]], atol=1e-4)
    (test,) = load(place, "test").values()  # points outside the picture are kept
    np.testing.assert_allclose(original(test, test["points"])[:, 0], [40, -4, 120], atol=1e-4)


def test_missing_points_are_masked_in_batches(place):
    source = sources.open_source(place, "train")
    assert source.num_points == 3
    order = flip_pairs.permutation([(1, 2)], 3)
    batch = next(
        pipeline.labelled_batches(
            source, batch_size=2, size=32, margin=1.5, seed=0, flip_order=order, num_threads=0
        )
    )
    assert sorted(batch["mask"].sum(1)) == [2, 3] and np.isfinite(batch["points"]).all()


def test_the_optional_columns_may_be_absent(place):
    write(place, "image,tip_x,tip_y,root_x,root_y\na/1.jpg,40,50,30,20\n2.png,40,50,30,20\n")
    found = load(place, "train")
    assert set(found) == {"a/1.jpg", "2.png"} and found["2.png"]["group"] == "2.png"


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("image", "pairs NAME_x,NAME_y"),
        ("picture,a_x,a_y", "must have image"),
        ("image,a_x,a_y,b_x", "pairs NAME_x,NAME_y"),
        ("image,a_y,a_x", "pairs NAME_x,NAME_y"),
        ("image,a_x,a_y,a_x,a_y", "appears twice"),
        ("image,box_x0,box_y0,a_x,a_y", "has not all of"),
    ],
)
def test_bad_headers(place, header, message):
    write(place, header + "\n" + ",".join("1" * len(header.split(","))))
    with pytest.raises(ValueError, match=rf"points\.csv:1: .*{message}"):
        load(place, "train")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("gone.jpg,,,,,,,1,2,3,4,5,6", "there is no image .*gone.jpg"),
        (",,,,,,,1,2,3,4,5,6", "the image is empty"),
        ("2.png,,,,,,,1,2,3,4,5", "12 cells, but the header has 13"),
        ("2.png,,,,,,,1,2,3,4,5,six", "right_y is 'six', not a finite number"),
        ("2.png,,,,,,,1,2,3,4,inf,6", "right_x is 'inf', not a finite number"),
        ("2.png,,,,,,,1,2,3,,5,6", "only one of its two coordinates"),
        ("2.png,,,,,,,1,2,,,,", "at least two labelled points"),
        ("2.png,,,9,9,3,3,1,2,3,4,5,6", "the box needs"),
        ("2.png,,,9,,30,30,1,2,3,4,5,6", "the box needs"),
        ("2.png,my split,,,,,,1,2,3,4,5,6", "a split is a plain word"),
    ],
)
def test_bad_lines_are_named(place, line, message):
    write(place, "\n".join([HEADER, LINES[0], line]))
    with pytest.raises(ValueError, match=rf"points\.csv:3: .*{message}"):
        load(place, "train")


def test_nothing_below_the_header_and_no_table(place, tmp_path):
    write(place, HEADER + "\n")
    with pytest.raises(ValueError, match="no line below the header"):
        load(place, "train")
    with pytest.raises(ValueError, match=r"no files of points_csv.*\n.*points\.csv"):
        load({**place, "manual_dir": str(tmp_path / "own" / "a")}, "train")


def test_an_unknown_split_is_named(place):
    with pytest.raises(
        ValueError, match=r"no line has the split 'final'; it has \['train', 'test'\]"
    ):
        load(place, "final")


@pytest.mark.parametrize("place_of_text", ["docs", "docstring"])
def test_the_printed_example_can_be_read(tmp_path, save_image, place_of_text):
    text = points_csv.__doc__
    if place_of_text == "docs":
        text = (Path(__file__).parents[3] / "docs" / "data.md").read_text()
    lines = [line.strip() for line in text.splitlines()]
    first = next(row for row, line in enumerate(lines) if line.startswith("image,split,group"))
    table = [line for line in lines[first : first + 5] if line.count(",") == 10]
    for line in table[1:]:
        save_image(tmp_path / line.split(",")[0])
    (tmp_path / "points.csv").write_text("\n".join(table))
    names, faces = points_csv.read_table(tmp_path / "points.csv", tmp_path)
    assert names == ["nose", "left_eye"] and len(faces) == len(table) - 1 == 3
    assert np.isnan(faces[2].points[1]).all()
