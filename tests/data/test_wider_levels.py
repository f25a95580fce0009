"""The official levels of WIDER FACE, in MATLAB files of their nested form."""

import numpy as np
import pytest

from jaxgen.data import wider_levels


def cell(values):
    """A MATLAB column of cells."""
    array = np.empty((len(values), 1), object)
    for row, value in enumerate(values):
        array[row, 0] = value
    return array


def write_level(path, events):
    """events: {event: {file: (boxes x y w h, counted from 1)}}."""
    from scipy.io import savemat

    savemat(
        path,
        {
            "event_list": cell(list(events)),
            "file_list": cell([cell(list(files)) for files in events.values()]),
            "face_bbx_list": cell(
                [cell([np.array(b, float) for b, _ in f.values()]) for f in events.values()]
            ),
            "gt_list": cell(
                [cell([np.array(c).reshape(-1, 1) for _, c in f.values()]) for f in events.values()]
            ),
        },
    )


def test_levels_by_image(tmp_path):
    events = {
        "0--Parade": {
            "0_Parade_a": ([[10, 20, 6, 8], [1, 2, 3, 4]], [2]),
            "0_Parade_b": ([[5, 5, 5, 5]], []),
        },
        "1--Dancing": {"x": ([[7, 8, 9, 10]], [1])},
    }
    for level in wider_levels.LEVELS:
        write_level(tmp_path / f"wider_{level}_val.mat", events)
    found = wider_levels.read_levels(tmp_path)["hard"]
    assert found.keys() == {"0--Parade/0_Parade_a", "0--Parade/0_Parade_b", "1--Dancing/x"}
    first = found["0--Parade/0_Parade_a"]
    np.testing.assert_allclose(first.boxes, [[9.5, 19.5, 15.5, 27.5], [0.5, 1.5, 3.5, 5.5]])
    assert first.counted.tolist() == [False, True]
    assert found["0--Parade/0_Parade_b"].counted.tolist() == [False]
    assert found["1--Dancing/x"].counted.tolist() == [True]


def test_missing_and_wrong_files_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"wider_easy_val\.mat: no such file"):
        wider_levels.read_levels(tmp_path)
    path = tmp_path / "wider_easy_val.mat"
    path.write_bytes(b"not MATLAB, not MATLAB, not MATLAB" * 10)
    with pytest.raises(ValueError, match=r"wider_easy_val\.mat: not a readable MATLAB file"):
        wider_levels.read_level(path)
    write_level(path, {"e": {"f": ([[1, 2, 3, 4]], [2])}})
    with pytest.raises(ValueError, match="e/f counts face 2 of 1"):
        wider_levels.read_level(path)
