"""`.pts` files: 1-based to 0-based, and every malformed file named by line."""

import numpy as np
import pytest

from jaxgen.data.builders import pts

GOOD = ["version: 1", "n_points: 3", "{", "1.000 1.000", "10.5 20.25", "3 4", "}"]


def write(folder, lines):
    path = folder / "face.pts"
    path.write_text("\n".join(lines))
    return path


def test_coordinates_become_zero_based_and_keep_fractions(tmp_path):
    points = pts.read_pts(write(tmp_path, GOOD), 3)
    np.testing.assert_array_equal(points, [[0, 0], [9.5, 19.25], [2, 3]])


def test_variants_of_white_space_are_read(tmp_path):
    lines = ["version:  1 ", "n_points:\t3", "{ ", "", *GOOD[3:], "", ""]
    assert pts.read_pts(write(tmp_path, [line + "\r" for line in lines]), 3).shape == (3, 2)


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (1, "version", "1: expected 'version"),
        (2, "n_points: 4", "2: expected 'n_points: 3'"),
        (2, "points 3", "2: expected 'n_points: 3'"),
        (3, "[", "3: expected '{'"),
        (5, "10.5", "5: expected two numbers"),
        (5, "10.5 20.5 3", "5: expected two numbers"),
        (5, "10.5 left", "5: expected two numbers"),
        (5, "nan 20", "5: expected two numbers"),
        (5, "inf 20", "5: expected two numbers"),
        (5, "", "7: 2 points"),
        (7, "7 8", "7: the file ends before"),
    ],
)
def test_each_fault_names_file_and_line(tmp_path, line, text, message):
    lines = [*GOOD]
    lines[line - 1] = text
    with pytest.raises(ValueError, match=r"face\.pts:" + message):
        pts.read_pts(write(tmp_path, lines), 3)


@pytest.mark.parametrize("length", range(7))
def test_a_cut_off_file_is_refused(tmp_path, length):
    with pytest.raises(ValueError, match=r"face\.pts:\d"):
        pts.read_pts(write(tmp_path, GOOD[:length]), 3)


def test_a_file_of_another_mark_up_is_refused(tmp_path):
    with pytest.raises(ValueError, match="n_points: 68"):
        pts.read_pts(write(tmp_path, GOOD), 68)
