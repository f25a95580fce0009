"""Image files: all modes become RGB, broken files are named, windows keep their geometry."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxgen.data import crop
from jaxgen.data.builders import images


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "LA", "1", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path, save_image, mode):
    path = tmp_path / ("image.tiff" if mode == "CMYK" else "image.png")
    save_image(path, mode=mode)
    image = images.open_image(path)
    assert image.mode == "RGB" and image.size == (90, 80)


def test_grey_keeps_its_values_and_transparency_becomes_black(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    read = np.asarray(images.open_image(tmp_path / "grey.png"))
    np.testing.assert_array_equal(read, np.repeat(grey[..., None], 3, 2))
    Image.fromarray((grey.astype(np.int32) * 257).astype(np.uint16)).save(tmp_path / "deep.png")
    assert (
        np.abs(np.asarray(images.open_image(tmp_path / "deep.png")) - read.astype(int)).max() <= 1
    )
    Image.new("RGBA", (8, 8), (200, 100, 50, 0)).save(tmp_path / "clear.png")
    assert not np.asarray(images.open_image(tmp_path / "clear.png")).any()


def test_own_photographs_stand_upright(tmp_path, save_image):
    path = tmp_path / "turned.jpg"
    save_image(path)
    image = Image.open(path)
    exif = image.getexif()
    exif[274] = 6  # the camera was held sideways
    image.save(path, exif=exif)
    assert images.open_image(path).size == (90, 80)
    assert images.open_image(path, upright=True).size == (80, 90)


def test_truncated_and_foreign_files_are_named(tmp_path, save_image):
    path = tmp_path / "cut.jpg"
    save_image(path)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(ValueError, match=r"cut\.jpg: not a readable image"):
        images.open_image(path)
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(ValueError, match=r"text\.jpg: not a readable image"):
        images.open_image(tmp_path / "text.jpg")
    with pytest.raises(ValueError, match=r"gone\.jpg: there is no such image"):
        images.open_image(tmp_path / "gone.jpg")


@settings(max_examples=30, deadline=None)
@given(
    x=st.floats(60, 240), y=st.floats(60, 140), longer=st.floats(20, 70), size=st.integers(48, 320)
)
def test_a_window_keeps_points_on_their_pixels(x, y, longer, size):
    rows, columns = np.mgrid[:200, :300]
    sigma = longer / 8
    spot = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
    image = Image.fromarray(np.repeat(spot.round().astype(np.uint8)[..., None], 3, 2))
    box = (x - longer / 2, y - longer / 3, x + longer / 2, y + longer / 3)
    window, matrix = images.face_window(image, box, margin=2.0, size=size)
    assert max(window.size) <= size
    mass = np.asarray(window)[..., 0].astype(float)
    rows, columns = np.mgrid[: mass.shape[0], : mass.shape[1]]
    found = np.array([(columns * mass).sum(), (rows * mass).sum()]) / mass.sum()
    np.testing.assert_allclose(found, crop.transform_points(matrix, [(x, y)])[0], atol=0.05)


def test_a_window_is_never_enlarged_and_may_hang_over_the_edge():
    image = Image.new("RGB", (50, 40))
    window, matrix = images.face_window(image, (-10, -10, 20, 20), margin=2.0, size=320)
    assert window.size == (36, 36)
    np.testing.assert_allclose(matrix, np.eye(3)[:2])
    whole, matrix = images.face_window(image, (100, 100, 120, 120), margin=1.0, size=320)
    assert whole is image
    np.testing.assert_allclose(matrix, np.eye(3)[:2])


def test_boxes():
    np.testing.assert_array_equal(images.whole_box(40, 20), [-0.5, -0.5, 39.5, 19.5])
    points = [[3, 9], [np.nan, np.nan], [7, 1], [5, np.nan]]
    np.testing.assert_array_equal(images.tight_box(points), [3, 1, 7, 9])
