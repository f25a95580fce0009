"""The digits that need no files: scikit-learn's, and the drawn ones."""

import numpy as np
import pytest

from jaxgen.data import labelled_images
from jaxgen.data.builders import synthetic_digits
from jaxgen.data.synthetic import digits


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return str(tmp_path_factory.mktemp("tfds"))


def load(place, name, split, *, size=32, channels=3, **options):
    config = {
        "name": name, "data_dir": place, "validation_fraction": 0.0, "options": options,
    }  # fmt: skip
    return labelled_images.open_images(config, split, size=size, channels=channels)


def test_uci_digits_are_all_there_and_in_one_split_only(place):
    from sklearn import datasets

    parts = [load(place, "uci_digits", split, size=8, channels=1) for split in ("train", "test")]
    names = [set(part.name) for part in parts]
    assert not names[0] & names[1] and len(names[0] | names[1]) == 1797
    assert 550 < len(names[1]) < 650  # a third
    original = datasets.load_digits()
    for part in parts:
        rows = [int(name.split("/")[1]) for name in part.name]
        np.testing.assert_array_equal(part.label, original.target[rows])
        # 17 levels, 16 is white.
        expected = np.round(original.images[rows] * 255 / 16)
        np.testing.assert_array_equal(part.image[..., 0], expected)
        assert set(part.label) == set(range(10))


def test_synthetic_digits_have_every_class_equally_often(place):
    train = load(place, "synthetic_digits", "train", config="tiny")
    test = load(place, "synthetic_digits", "test", config="tiny")
    assert train.image.shape == (100, 32, 32, 3) and test.image.shape == (40, 32, 32, 3)
    np.testing.assert_array_equal(np.bincount(train.label), [10] * 10)
    np.testing.assert_array_equal(np.bincount(test.label), [4] * 10)
    assert (train.image[:40] != test.image).any((1, 2, 3)).all()
    # Coloured, with contrast, and no two alike.
    assert (train.image.std((1, 2)).max(1) > 8).all()
    assert np.abs(train.image.astype(int) - train.image[..., :1]).mean() > 5
    assert len(np.unique(train.image.reshape(100, -1), axis=0)) == 100


def test_a_picture_depends_on_seed_split_and_number_alone(place, tmp_path):
    stored = load(place, "synthetic_digits", "test", config="tiny")
    row = stored.name.index("test/000013")
    glyphs = digits.load_glyphs()
    number = sorted(synthetic_digits.SyntheticDigitsConfig(name="x").pictures).index("test")
    again = digits.draw_digit(np.random.default_rng([0, number, 13]), glyphs, 3)
    np.testing.assert_array_equal(stored.image[row], again)
    other = digits.draw_digit(np.random.default_rng([1, number, 13]), glyphs, 3)
    assert (other != again).any()


def test_the_middle_shows_the_digit():
    """The drawn coverage is the digit's own glyph, roughly: nearest plain glyph names it."""
    glyphs = digits.load_glyphs()
    plain = np.stack([np.asarray(glyphs[0][d].resize((32, 32)), float).ravel() for d in range(10)])
    plain = (plain - plain.mean(1, keepdims=True)) / plain.std(1, keepdims=True)
    hits = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        mask = digits._draw_row(rng, glyphs[rng.integers(len(glyphs))], seed % 10)
        hits.append((plain @ (mask - mask.mean()).ravel()).argmax() == seed % 10)
    assert np.mean(hits) > 0.6


def test_ink_can_be_told_from_the_ground():
    for seed in range(300):
        rng = np.random.default_rng(seed)
        ground = digits._ground(rng)
        ink = digits._ink(rng, ground, False)
        gap = (ink.mean((0, 1)) - ground.mean((0, 1))) @ [0.299, 0.587, 0.114]
        assert abs(gap) > 0.15


@pytest.mark.parametrize("name", ["uci_digits", "synthetic_digits"])
def test_an_unknown_option_is_refused(place, name):
    with pytest.raises(ValueError, match=f"data set {name} has no option 'pictures'"):
        load(place, name, "train", pictures=3)


def test_an_unknown_variant_is_refused(place):
    with pytest.raises(ValueError, match="huge"):
        load(place, "synthetic_digits", "train", config="huge")


def test_light_digits_are_lighter_than_their_ground():
    glyphs = digits.load_glyphs()
    for seed in range(30):
        rng = np.random.default_rng(seed)
        mask = digits._draw_row(rng, glyphs[rng.integers(len(glyphs))], 4)
        picture = digits.draw_digit(np.random.default_rng(seed), glyphs, 4, light_on_dark=True)
        assert np.corrcoef(mask.ravel(), picture.mean(-1).ravel())[0, 1] > 0.3
