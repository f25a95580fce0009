"""MATLAB files: what SciPy reads from whole files, and one error from broken ones."""

import io
from pathlib import Path

import numpy as np
import pytest

from jaxgen.data import mat_files

scipy_io = pytest.importorskip("scipy.io")


def cell(values, shape):
    array = np.empty(len(values), object)
    array[:] = values
    return array.reshape(shape)


CONTENT = {
    "numbers": np.arange(24, dtype=np.float64).reshape(2, 3, 4) / 7,
    "bytes": np.arange(12, dtype=np.uint8).reshape(3, 4),
    "text": np.array(["one row", "another"]),
    "cells": cell(["a", np.array([[1, -2]], np.int16), cell(["deep", np.zeros((0, 4))], (1, 2))],
                  (3, 1)),
}  # fmt: skip


def assert_equal(found, expected):
    assert found.shape == expected.shape
    if expected.dtype != object:
        np.testing.assert_array_equal(found, expected)
        return
    for one, other in zip(found.ravel(), expected.ravel(), strict=True):
        assert_equal(one, other)


@pytest.mark.parametrize("packed", [False, True])
def test_agrees_with_scipy(tmp_path, packed):
    path = tmp_path / "a.mat"
    scipy_io.savemat(path, CONTENT, do_compression=packed)
    expected = scipy_io.loadmat(path)
    found = mat_files.load_mat(path, list(CONTENT))
    for name in CONTENT:
        assert_equal(found[name], expected[name])
    assert found["numbers"].dtype == np.float64 and found["bytes"].dtype == np.uint8


def test_agrees_with_scipy_on_files_of_matlab_itself():
    """SciPy comes with files that MATLAB 6 and 7 wrote on machines of both byte orders."""
    folder = Path(scipy_io.__file__).parent / "matlab" / "tests" / "data"
    read = 0
    for path in sorted(folder.glob("*_[67].*.mat")):
        kind = path.name.split("_")[0]
        if kind in ("testdouble", "testmatrix", "testmulti", "teststring", "testcell",
                    "teststringarray", "testminus", "testcellnest", "test3dmatrix"):  # fmt: skip
            expected = scipy_io.loadmat(path)
            names = [name for name in expected if not name.startswith("__")]
            for name, found in mat_files.load_mat(path, names).items():
                assert_equal(found, expected[name])
            read += 1
    if not read:
        pytest.skip("this SciPy comes without its test data")
    assert read >= 20


def test_a_wrong_type_is_an_error_and_no_crash(tmp_path):
    """Type 130 in the place of 2 made SciPy 1.17 kill the process."""
    path = tmp_path / "a.mat"
    scipy_io.savemat(path, {"X": np.zeros((4, 4), np.uint8)})
    data = bytearray(path.read_bytes())
    place = data.index(np.array([2, 16], "<u4").tobytes())  # 16 values of type uint8
    data[place] = 130
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.mat: not a readable MATLAB file \(X holds no"):
        mat_files.load_mat(path, ["X"])


@pytest.mark.parametrize("value", [np.zeros((3, 5)), cell(["a", "b", "c"], (3, 1))])
def test_announced_sizes_are_held_against_the_content(tmp_path, value):
    path = tmp_path / "a.mat"
    scipy_io.savemat(path, {"X": value})
    data = path.read_bytes()
    shape = np.array(value.shape, "<i4").tobytes()
    assert data.count(shape) == 1
    path.write_bytes(data.replace(shape, np.array([2**31 - 1, 1], "<i4").tobytes()))
    with pytest.raises(ValueError, match=r"2147483647, 1\]"):
        mat_files.load_mat(path, ["X"])


def test_other_files_and_variables_are_refused(tmp_path):
    path = tmp_path / "a.mat"
    with pytest.raises(ValueError, match=r"a\.mat: there is no such file"):
        mat_files.load_mat(path, ["X"])
    stream = io.BytesIO()
    scipy_io.savemat(stream, {"X": np.ones(3)}, format="4")
    path.write_bytes(stream.getvalue().ljust(300))
    with pytest.raises(ValueError, match="no header of version 5"):
        mat_files.load_mat(path, ["X"])
    scipy_io.savemat(path, {"X": {"a": 1.0}, "Y": 1j, "Z": 2.0})
    for name in "XY":
        with pytest.raises(ValueError, match=f"{name} holds no numbers, text or cells"):
            mat_files.load_mat(path, [name])
    assert mat_files.load_mat(path, ["Z"])["Z"] == 2  # the others are skipped
    with pytest.raises(ValueError, match="lacks the variable 'W'"):
        mat_files.load_mat(path, ["Z", "W"])
