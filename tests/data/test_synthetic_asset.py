import importlib.resources
import zipfile

import numpy as np
import pytest

from jaxgen.data.synthetic import asset, expressions, makehuman
from jaxgen.data.synthetic.identities import detail_sliders


@pytest.fixture(scope="module")
def head():
    return asset.load_head()


def test_the_asset_is_small_free_of_pickles_and_has_its_licence():
    assert asset.ASSET.stat().st_size < 2e6
    with zipfile.ZipFile(asset.ASSET) as archive:
        assert all(name.endswith(".npy") for name in archive.namelist())
    np.load(asset.ASSET, allow_pickle=False)
    notice = importlib.resources.files("jaxgen.data") / "assets" / "LICENSE.md"
    assert "CC0" in notice.read_text()


def test_arrays_fit_together(head):
    vertices, hair = len(head.mean), len(head.hair_base)
    assert head.triangles.max() == vertices + hair - 1
    assert len(head.material) == len(head.triangles) < 2**14
    assert head.identity.shape == (60, vertices, 3)
    assert head.expression.shape == (len(expressions.UNITS), vertices, 3)
    assert head.jaw_corners.max() < vertices
    np.testing.assert_allclose(head.landmark_weights.sum(1), 1, atol=1e-3)
    np.testing.assert_allclose(head.jaw_weights.sum(-1), 1, atol=1e-3)
    # Every vertex knows each of its triangles.
    counts = np.bincount(head.triangles.ravel(), minlength=vertices + hair)
    np.testing.assert_array_equal((head.neighbours < len(head.triangles)).sum(1), counts)


def test_left_and_right_of_the_mean_face_mirror_each_other(head):
    pairs = [(37, 46), (40, 43), (49, 55), (32, 36), (20, 25), (4, 14), (7, 11), (61, 65)]
    right, left = (head.marks[np.array(side) - 1] for side in zip(*pairs, strict=True))
    np.testing.assert_allclose(left * [-1, 1, 1], right, atol=0.03)


def test_a_blink_shuts_the_lids_and_an_open_jaw_parts_the_lips(head):
    def gap(shape, upper, lower):
        points = (shape[head.landmark_corners] * head.landmark_weights[..., None]).sum(1)
        return points[upper - 18, 1] - points[lower - 18, 1]

    def shape(**units):
        weights = np.asarray(expressions.mix_units(**units))
        return head.mean + np.tensordot(weights, head.expression, 1)

    for upper, lower in ((38, 42), (39, 41), (44, 48), (45, 47)):
        assert abs(gap(shape(eyeBlink=1.0), upper, lower)) < 0.25 * gap(head.mean, upper, lower)
    assert gap(shape(jawOpen=0.6), 63, 67) > gap(head.mean, 63, 67) + 0.1


def test_quantised_arrays_come_back_within_half_a_code():
    values = np.random.default_rng(0).normal(size=(5, 7, 3)) * np.logspace(-3, 0, 5)[:, None, None]
    codes, scales = asset.quantise(values)
    back = asset.dequantise({"x_codes": codes, "x_scales": scales}, "x")
    assert codes.dtype == np.int8
    assert (np.abs(back - values) <= 0.501 * scales[:, None, None]).all()


def test_makehuman_files_are_read(tmp_path):
    (tmp_path / "a.obj").write_text(
        "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
        "g body\nf 1/1 2/2 3/3 4/4\ng other\nf 4/4 3/3 2/2 1/1\n"
    )
    mesh = makehuman.read_mesh(tmp_path / "a.obj")
    np.testing.assert_array_equal(mesh.quads, [[0, 1, 2, 3], [3, 2, 1, 0]])
    assert list(mesh.groups) == ["body", "other"]
    (tmp_path / "chin-incr.target").write_text("# comment\n2 0.5 0 -1\n")
    found = makehuman.read_targets(tmp_path, 4)
    np.testing.assert_array_equal(found["chin-incr"][2], [0.5, 0, -1])
    with pytest.raises(FileNotFoundError, match="targets"):
        makehuman.read_targets(tmp_path / "nowhere", 4)


def test_opposite_targets_become_one_slider():
    from jaxgen.data.synthetic.identities import SPREADS

    names = ["eye-trans-in", "eye-trans-out", "eye-trans-up", "eye-trans-down", "head-oval"]
    targets = {folder: {} for folder in SPREADS} | {"eyes": dict.fromkeys(names)}
    sliders = detail_sliders(targets)
    assert sorted((minus, plus) for _, minus, plus in sliders.values()) == [
        ("", "head-oval"), ("eye-trans-down", "eye-trans-up"), ("eye-trans-in", "eye-trans-out"),
    ]  # fmt: skip
