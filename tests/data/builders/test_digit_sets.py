"""MNIST, USPS, SVHN, MNIST-M: small files in the official formats, whole and broken; real ones."""

import gzip
import struct

import numpy as np
import pytest

from jaxgen.data import labelled_images
from jaxgen.data.builders import mnist_idx, mnist_m, svhn_mat, usps


def load(name, root, tmp_path, split="train", *, size=28, channels=1, **options):
    config = {
        "name": name, "manual_dir": str(root), "data_dir": str(tmp_path / "tfds"),
        "validation_fraction": 0.0, "options": {"allow_partial": True, **options},
    }  # fmt: skip
    found = labelled_images.open_images(config, split, size=size, channels=channels)
    order = np.argsort(found.name)
    assert found.classes == tuple("0123456789")
    return found.image[order], found.label[order]


def digits(count, side=28, seed=0):
    rng = np.random.default_rng(seed)
    shape = (count, side, side)
    return rng.integers(0, 256, shape).astype(np.uint8), (np.arange(count) % 10).astype(np.uint8)


# MNIST


def idx(array):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


def save_mnist(root, *, packed=True, count=12):
    root.mkdir(exist_ok=True)
    for seed, stem in enumerate(("train", "t10k")):
        for kind, array in zip(
            ("images-idx3-ubyte", "labels-idx1-ubyte"), digits(count, seed=seed), strict=True
        ):
            name = f"{stem}-{kind}" + (".gz" if packed else "")
            data = idx(array)
            (root / name).write_bytes(gzip.compress(data) if packed else data)
    return root


@pytest.mark.parametrize("packed", [True, False])
def test_mnist_pixels_and_labels_are_exact(tmp_path, packed):
    root = save_mnist(tmp_path / "mnist", packed=packed)
    for seed, split in enumerate(("train", "test")):
        images, labels = load("mnist", root, tmp_path, split)
        np.testing.assert_array_equal(images[..., 0], digits(12, seed=seed)[0])
        np.testing.assert_array_equal(labels, digits(12, seed=seed)[1])


def test_a_part_of_mnist_must_be_allowed(tmp_path):
    root = save_mnist(tmp_path / "mnist")
    with pytest.raises(ValueError, match=r"'train' has 12 images .* but 60000 are published"):
        load("mnist", root, tmp_path, allow_partial=False)


def test_one_split_may_be_absent_until_it_is_asked_for(tmp_path):
    root = save_mnist(tmp_path / "mnist")
    (root / "t10k-labels-idx1-ubyte.gz").unlink()
    assert len(load("mnist", root, tmp_path)[0]) == 12
    with pytest.raises(ValueError, match=r"lacks files of 'test'.*\n.*train-images"):
        load("mnist", root, tmp_path, "test")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: gzip.compress(data)[:-40], "not a whole gzip file"),
        (lambda data: b"no gzip at all", "not a whole gzip file"),
        (lambda data: gzip.compress(b"\0\0\x0d\3" + data[4:]), "begins with 00000803, .* 00000d03"),
        (lambda data: gzip.compress(data[:3]), "begins with 00000803"),
        (lambda data: gzip.compress(b""), "with nothing"),
        (lambda data: gzip.compress(data[:-1]), r"announces 9408 values .* but 9407 follow"),
        (lambda data: gzip.compress(idx(digits(11)[0])), "has 11 images, .* 12 labels"),
    ],
)
def test_a_damaged_idx_file_is_named(tmp_path, spoil, message):
    root = save_mnist(tmp_path / "mnist")
    path = root / "train-images-idx3-ubyte.gz"
    path.write_bytes(spoil(gzip.decompress(path.read_bytes())))
    with pytest.raises(ValueError, match=message) as error:
        load("mnist", root, tmp_path)
    assert path.name in str(error.value)


def test_a_label_that_is_no_digit_is_refused(tmp_path):
    root = save_mnist(tmp_path / "mnist")
    (root / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.full(12, 11, np.uint8))))
    with pytest.raises(ValueError, match="the label 11 is no digit"):
        load("mnist", root, tmp_path)


# USPS


def save_usps(root, split, lines):
    root.mkdir(exist_ok=True)
    (root / f"zip.{split}.gz").write_bytes(gzip.compress("\n".join(lines).encode()))


def usps_line(digit, values):
    return f"{digit:.4f} " + " ".join(f"{v:.4f}" for v in values)


@pytest.fixture
def small_usps(tmp_path):
    values = np.linspace(-1, 1, 256)
    lines = [usps_line(digit, np.roll(values, digit)) for digit in (6, 0, 9)]
    save_usps(tmp_path / "usps", "train", lines)
    save_usps(tmp_path / "usps", "test", lines[:1])
    return tmp_path / "usps"


def test_usps_values_become_grey(small_usps, tmp_path):
    images, labels = load("usps", small_usps, tmp_path, size=16)
    np.testing.assert_array_equal(labels, [6, 0, 9])
    # -1 is black, 1 is white, rows run from the top left.
    np.testing.assert_array_equal(images[1].ravel(), np.arange(256))
    assert len(load("usps", small_usps, tmp_path, "test", size=16)[0]) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (usps_line(3, np.zeros(255)), r"zip\.train\.gz:2: .* got 256 fields"),
        (usps_line(3, np.zeros(257)), r"zip\.train\.gz:2: .* got 258 fields"),
        (usps_line(10, np.zeros(256)), "a digit from 0 to 9"),
        (usps_line(3, np.full(256, 1.5)), r"outside of \[-1, 1\]"),
        (usps_line(3, np.full(256, np.nan)), r"'nan' is not finite"),
        (usps_line(3, np.zeros(256)).replace("0.0000", "dark", 1), "is no number"),
    ],
)
def test_a_wrong_usps_line_is_named(small_usps, tmp_path, line, message):
    save_usps(small_usps, "train", [usps_line(1, np.zeros(256)), line])
    with pytest.raises(ValueError, match=message):
        load("usps", small_usps, tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        # Without the time: both processes of the tests must find the same names of cases.
        (
            gzip.compress(usps_line(1, np.zeros(256)).encode(), mtime=0)[:-20],
            "not a whole text file",
        ),
        (gzip.compress(b"\n", mtime=0), "no line with a digit"),
    ],
)
def test_a_damaged_usps_file_is_named(small_usps, tmp_path, data, message):
    (small_usps / "zip.train.gz").write_bytes(data)
    with pytest.raises(ValueError, match=rf"zip\.train\.gz: .*{message}"):
        load("usps", small_usps, tmp_path)


# SVHN


def save_svhn(path, **content):
    from scipy import io

    images = np.random.default_rng(1).integers(0, 256, (32, 32, 3, 5)).astype(np.uint8)
    labels = np.array([[10], [1], [9], [10], [4]], np.uint8)
    path.parent.mkdir(exist_ok=True)
    io.savemat(path, {"X": images, "y": labels, **content})
    return images


def test_svhn_label_ten_is_zero(tmp_path):
    images = save_svhn(tmp_path / "svhn" / "train_32x32.mat")
    found, labels = load("svhn", tmp_path / "svhn", tmp_path, size=32, channels=3)
    np.testing.assert_array_equal(labels, [0, 1, 9, 0, 4])
    np.testing.assert_array_equal(found, np.transpose(images, (3, 0, 1, 2)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"y": np.array([[10], [1]], np.uint8)}, "one label from 1 to 10 for each"),
        ({"y": np.zeros((5, 1), np.uint8)}, "one label from 1 to 10 for each"),
        ({"X": np.zeros((32, 32, 5))}, r"X is float64 \[32, 32, 5\]"),
    ],
)
def test_other_content_of_an_svhn_file_is_refused(tmp_path, content, message):
    save_svhn(tmp_path / "svhn" / "train_32x32.mat", **content)
    with pytest.raises(ValueError, match=rf"train_32x32\.mat: .*{message}"):
        load("svhn", tmp_path / "svhn", tmp_path)


@pytest.mark.parametrize("spoil", [lambda d: d[: len(d) // 2], lambda d: b"text" * 99])
def test_a_corrupted_mat_file_is_one_clear_error(tmp_path, spoil):
    path = tmp_path / "svhn" / "train_32x32.mat"
    save_svhn(path)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match=r"train_32x32\.mat: not a readable MATLAB file"):
        load("svhn", tmp_path / "svhn", tmp_path)


def test_a_mat_file_of_something_else_is_refused(tmp_path):
    from scipy import io

    (tmp_path / "svhn").mkdir()
    io.savemat(tmp_path / "svhn" / "train_32x32.mat", {"digitStruct": np.zeros(3)})
    with pytest.raises(ValueError, match="lacks the variable 'X'"):
        load("svhn", tmp_path / "svhn", tmp_path)


# MNIST-M


def test_a_blended_digit_inverts_the_photograph_inside_the_stroke():
    digit = np.array([[0, 255], [100, 0]], np.uint8)
    patch = np.array([[[9, 8, 7], [30, 60, 90]], [[90, 100, 110], [255, 0, 1]]], np.uint8)
    expected = [[[9, 8, 7], [225, 195, 165]], [[10, 0, 10], [255, 0, 1]]]
    np.testing.assert_array_equal(mnist_m.blend(digit, patch), expected)


@pytest.fixture
def photographed(tmp_path, save_image):
    root = save_mnist(tmp_path / "mnist", count=6)
    for seed in range(3):
        save_image(root / "photos" / f"{seed}.png", size=(60, 50), seed=seed)
    return root


def test_mnist_m_is_fixed_by_its_seed(photographed, tmp_path):
    first, labels = load("mnist_m", photographed, tmp_path, channels=3)
    again, _ = load("mnist_m", photographed, tmp_path / "again", channels=3)
    other, _ = load("mnist_m", photographed, tmp_path, channels=3, seed=1)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(labels, digits(6)[1])
    assert (first != other).any((1, 2, 3)).all()


def test_mnist_m_shows_the_photograph_around_the_digit(photographed, tmp_path):
    """With a border of 2, the frame of every picture is a piece of one of the photographs."""
    pictures, _ = load("mnist_m", photographed, tmp_path, size=32, channels=3, side=32)
    photos = [mnist_m._open_photo(p, 32) for p in sorted((photographed / "photos").iterdir())]
    windows = {
        photo[top, left : left + 32].tobytes()
        for photo in photos
        for top in range(50)
        for left in range(60 - 31)
    }
    for picture in pictures:
        assert picture[0].tobytes() in windows and picture[-1].tobytes() in windows


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"photos": "elsewhere"}, "elsewhere holds no photographs: set the option photos"),
        ({"side": 64}, "option side of mnist_m is 28 or 32, got 64"),
        ({"photo": "x"}, "no option 'photo'"),
    ],
)
def test_mnist_m_options(photographed, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        load("mnist_m", photographed, tmp_path, channels=3, **options)


def test_a_small_photograph_is_refused(photographed, tmp_path, save_image):
    save_image(photographed / "photos" / "tiny.png", size=(20, 90))
    with pytest.raises(ValueError, match=r"tiny\.png: a photograph needs 28 x 28 pixels"):
        load("mnist_m", photographed, tmp_path, channels=3)


# All


@pytest.mark.parametrize("name", ["mnist", "usps", "svhn", "mnist_m"])
def test_a_missing_or_empty_domain_is_named(tmp_path, name):
    with pytest.raises(ValueError, match=r"no folder for data set .*\n"):
        load(name, tmp_path / "nowhere", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty holds no files of .*\n"):
        load(name, tmp_path / "empty", tmp_path)


def test_real_mnist(real_data):
    train, labels = mnist_idx.MnistIdx.read(real_data / "mnist", "train")
    test, test_labels = mnist_idx.MnistIdx.read(real_data / "mnist", "test")
    assert train.shape == (60_000, 28, 28) and test.shape == (10_000, 28, 28)
    assert (train.min(), train.max()) == (0, 255)
    np.testing.assert_array_equal(
        np.bincount(labels), [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    )
    np.testing.assert_array_equal(
        np.bincount(test_labels), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    )
    np.testing.assert_allclose([train.mean() / 255, train.std() / 255], [0.1307, 0.3081], atol=1e-4)


@pytest.fixture(scope="module")
def real_usps(real_data, tmp_path_factory):
    config = {
        "name": "usps", "manual_dir": str(real_data / "usps"),
        "data_dir": str(tmp_path_factory.mktemp("tfds")), "validation_fraction": 0.0,
    }  # fmt: skip
    return {
        split: labelled_images.open_images(config, split, size=20, channels=1)
        for split in ("train", "test")
    }


def test_real_usps(real_usps):
    train, test = real_usps["train"], real_usps["test"]
    assert train.image.shape == (7291, 20, 20, 1) and test.image.shape == (2007, 20, 20, 1)
    np.testing.assert_array_equal(
        np.bincount(train.label), [1194, 1005, 731, 658, 652, 556, 664, 645, 542, 644]
    )
    np.testing.assert_array_equal(
        np.bincount(test.label), [359, 264, 198, 166, 200, 160, 170, 147, 166, 177]
    )
    assert train.image.min() == 0 and train.image.max() == 255


def test_both_show_the_same_digits_upright(real_data, real_usps):
    """Class means of one set name the digits of the other, far above the chance of 10 %."""
    images, labels = mnist_idx.MnistIdx.read(real_data / "mnist", "test")
    images = images[:, 4:24, 4:24]  # digits of MNIST stand in a box of 20, those of USPS fill it
    other = real_usps["train"]
    sets = [(images, labels), (other.image[..., 0], other.label)]
    for train, test in (sets, sets[::-1]):
        assert _agreement(train, test) > 0.5
        mirrored = (test[0][:, :, ::-1], test[1])
        assert _agreement(train, mirrored) < _agreement(train, test) - 0.2


def _agreement(train, test):
    """Share of the test digits whose nearest class mean of the training set is right."""
    means = np.stack([_unit(train[0][train[1] == digit].mean(0).ravel()) for digit in range(10)])
    nearest = (_unit(test[0].reshape(len(test[0]), -1)) @ means.T).argmax(1)
    return (nearest == test[1]).mean()


def _unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_published_counts():
    assert mnist_idx.MnistIdx.COUNTS == {"train": 60_000, "test": 10_000}
    assert usps.Usps.COUNTS == {"train": 7291, "test": 2007}
    assert svhn_mat.SvhnMat.COUNTS == {"train": 73_257, "test": 26_032}
