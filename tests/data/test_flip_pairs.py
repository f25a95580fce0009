"""Flip tables are involutions that swap left and right of real face layouts."""

import itertools

import numpy as np
import pytest

from jaxgen.data import crop, flip_pairs


@pytest.mark.parametrize("num_points", sorted(flip_pairs.TABLES))
def test_tables_are_their_own_inverse(num_points):
    order = flip_pairs.for_points(num_points)
    assert order.shape == (num_points,)
    np.testing.assert_array_equal(order[order], np.arange(num_points))


def test_counts_of_points_on_the_middle_line():
    # 68: chin, nose bridge (4) and base, lips (4).  98: the same.  29: nose (2), lips (4), chin.
    # 19: nose, mouth, chin.  5: nose.
    fixed = {k: int((flip_pairs.for_points(k) == np.arange(k)).sum()) for k in flip_pairs.TABLES}
    assert fixed == {68: 10, 98: 10, 29: 7, 19: 3, 5: 1}


# Closed curves of a face: a mirror image has the same edges.
CURVES = {
    68: [(36, 42), (42, 48), (48, 60), (60, 68)],
    98: [(60, 68), (68, 76), (76, 88), (88, 96), (33, 42), (42, 51)],
}


@pytest.mark.parametrize("num_points", CURVES)
def test_curves_are_mirrored_to_curves(num_points):
    order = flip_pairs.for_points(num_points)
    edges = set()
    for start, end in CURVES[num_points]:
        ring = [*range(start, end), start]
        edges |= {frozenset(edge) for edge in itertools.pairwise(ring)}
    assert {frozenset(order[list(edge)].tolist()) for edge in edges} == edges


def test_pairs_of_cofw_are_those_of_its_authors():
    order = flip_pairs.for_points(29)
    pairs = {(a, b) for a, b in enumerate(order.tolist()) if a < b}
    brows, eyes = {(0, 1), (2, 3), (4, 6), (5, 7)}, {(8, 9), (10, 11), (12, 14), (13, 15)}
    assert pairs == brows | eyes | {(16, 17), (18, 19), (22, 23)}


def test_a_flip_swaps_left_and_right():
    """The subject's right eye (36-41) is on the left of the picture, flipped or not."""
    points = np.random.default_rng(0).uniform(0, 79, (68, 2))
    points[36:42, 0], points[42:48, 0] = 20, 60
    box = (-0.5, -0.5, 79.5, 79.5)
    matrix = crop.crop_matrix(box, size=80, margin=1, flip=True)
    order = flip_pairs.for_points(68)
    mirrored = crop.transform_points(matrix, points)[order]
    np.testing.assert_allclose(mirrored[36:42, 0], 79 - 60)
    np.testing.assert_allclose(mirrored[42:48, 0], 79 - 20)
    np.testing.assert_allclose(crop.transform_points(matrix, mirrored)[order], points)


def test_pairs_from_a_file(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("# eyes\n0,1\n\n3, 4  # mouth\n")
    np.testing.assert_array_equal(flip_pairs.for_points(7, path), [1, 0, 2, 4, 3, 5, 6])


@pytest.mark.parametrize("text", ["0;1", "0,1,2", "left,right", "0"])
def test_a_bad_line_names_file_and_line(tmp_path, text):
    path = tmp_path / "pairs.csv"
    path.write_text(f"2,3\n{text}\n")
    with pytest.raises(ValueError, match=r"pairs\.csv:2"):
        flip_pairs.read_pairs(path)


def test_impossible_pairs():
    with pytest.raises(ValueError, match="point 9"):
        flip_pairs.permutation([(0, 9)], 5)
    with pytest.raises(ValueError, match="point 1 twice"):
        flip_pairs.permutation([(0, 1), (1, 2)], 5)
    with pytest.raises(ValueError, match=r"config\.data\.flip_pairs"):
        flip_pairs.for_points(7)
