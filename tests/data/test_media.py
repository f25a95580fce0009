"""Images, folders and videos of any kind, and what happens with broken ones."""

import sys

import numpy as np
import pytest
from PIL import Image

from jaxgen.data import media
from jaxgen.data.builders.images import to_rgb

HEIGHT, WIDTH = 48, 64
ONE = 1 << 16  # 1.0 in the fixed-point numbers of an MP4 header


def quarters():
    """Red upper left, green upper right, blue lower left, white lower right."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[: HEIGHT // 2, : WIDTH // 2, 0] = 255
    image[: HEIGHT // 2, WIDTH // 2 :, 1] = 255
    image[HEIGHT // 2 :, : WIDTH // 2, 2] = 255
    image[HEIGHT // 2 :, WIDTH // 2 :] = 255
    return image


def save(path, array=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(quarters() if array is None else array).save(path, **options)
    return path


def save_video(path, count=5, *, rotation=0, rate=10, title=""):
    """Frame i is `quarters` with brightness rising with i."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        container.metadata["title"] = title
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.bit_rate = 4_000_000
        if rotation:
            stream.set_display_rotation(rotation)
        for i in range(count):
            image = (quarters() * (0.5 + 0.1 * i)).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def frames(*inputs, **options):
    return list(media.read_frames(media.find_media(inputs), **options))


# Finding files.


def test_a_folder_is_searched_to_any_depth_in_natural_order(tmp_path):
    for name in ("f10.png", "f2.jpg", "sub/f1.png", "B.png", ".hidden.png", ".cache/x.png"):
        save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    found = media.find_media([tmp_path])
    assert [file.name for file in found] == ["B.png", "f2.jpg", "f10.png", "sub/f1.png"]


def test_natural_order_counts_and_is_total():
    names = ["a10", "a9", "A1", "a01", "a1", "b", "1", "10"]
    expected = ["1", "10", "A1", "a01", "a1", "a9", "a10", "b"]
    assert sorted(names, key=media.natural_key) == expected
    assert sorted(reversed(names), key=media.natural_key) == expected


def test_files_keep_the_order_in_which_they_are_given(tmp_path):
    files = [save(tmp_path / name) for name in ("b.png", "a.png")]
    assert [frame.name for frame in frames(*files)] == ["b.png", "a.png"]


def test_tags_of_a_video_in_another_encoding_do_no_harm(tmp_path):
    path = save_video(tmp_path / "a.mkv", title="OOOO")
    stored = path.read_bytes()
    assert b"OOOO" in stored
    path.write_bytes(stored.replace(b"OOOO", "Möwe".encode("latin-1")))
    assert len(frames(path)) == 5


def test_inputs_that_give_nothing_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"gone: there is no such file or folder"):
        media.find_media([tmp_path / "gone"])
    with pytest.raises(ValueError, match=r"a folder without an image or video"):
        media.find_media([tmp_path])
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ValueError, match=r"notes.txt: the ending is that of no image.*\.jpg"):
        media.find_media([tmp_path / "notes.txt"])
    with pytest.raises(ValueError, match="no input"):
        media.find_media([])


def test_two_files_of_one_name_are_refused(tmp_path):
    first, second = save(tmp_path / "a/x.png"), save(tmp_path / "b/x.png")
    with pytest.raises(ValueError, match=r"would both be named 'x.png': give the folder above"):
        media.find_media([first, second])


# Images.


def test_an_image_is_one_frame(tmp_path):
    (frame,) = frames(save(tmp_path / "a.png"))
    assert frame.name == "a.png" and frame.index == 0 and frame.timestamp is None
    assert np.array_equal(frame.image, quarters())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_comes_out_upright(tmp_path, orientation):
    # How a camera stores the upright picture under each tag: undo its transposition.
    stored = {
        1: lambda x: x,
        2: lambda x: x[:, ::-1],
        3: lambda x: x[::-1, ::-1],
        4: lambda x: x[::-1],
        5: lambda x: x.swapaxes(0, 1),
        6: lambda x: np.rot90(x, 1),
        7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
        8: lambda x: np.rot90(x, -1),
    }[orientation](quarters())
    exif = Image.Exif()
    exif[0x0112] = orientation
    (frame,) = frames(save(tmp_path / "a.png", np.ascontiguousarray(stored), exif=exif))
    assert np.array_equal(frame.image, quarters())


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK", "I;16"])
def test_every_kind_of_pixel_becomes_rgb(tmp_path, mode):
    grey = np.linspace(0, 255, 256).astype(np.uint8).reshape(16, 16)
    if mode == "I;16":
        image = Image.fromarray(grey.astype(np.uint16) * 257)
    else:
        image = Image.fromarray(np.repeat(grey[..., None], 3, -1)).convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(path)
    (frame,) = frames(path)
    assert frame.image.shape == (16, 16, 3) and frame.image.dtype == np.uint8
    tolerance = {"1": 255, "P": 50}.get(mode, 2)
    assert np.abs(frame.image.astype(int) - grey[..., None]).max() <= tolerance
    assert frame.image.max() > 250 and frame.image.min() < 5


@pytest.mark.parametrize("largest, kind", [(1, np.float32), (255, np.float32), (255, np.int32)])
def test_pixels_of_32_bits_are_refused(tmp_path, largest, kind):
    """What is white in them is not known; taken for 16 bits they would all be black."""
    path = tmp_path / "a.tif"
    Image.fromarray(np.linspace(0, largest, 256).reshape(16, 16).astype(kind)).save(path)
    with pytest.raises(ValueError, match=r"a\.tif: .*32 bits: save it with 8 or 16"):
        frames(path)


def test_16_bits_stored_in_32_are_16_bits():
    grey = np.linspace(0, 65535, 256).reshape(16, 16)
    found = np.asarray(to_rgb(Image.fromarray(grey.astype(np.int32))))
    assert np.abs(found - grey[..., None] / 257).max() <= 1


def test_a_broken_image_is_named_or_skipped(tmp_path):
    whole = save(tmp_path / "a1.jpg", quality=95)
    (tmp_path / "a2.jpg").write_bytes(whole.read_bytes()[:500])
    (tmp_path / "a3.png").write_bytes(b"")
    save(tmp_path / "a4.png")
    with pytest.raises(ValueError, match=r"a2.jpg"):
        frames(tmp_path)
    errors = []
    found = frames(tmp_path, on_error=errors.append)
    assert [frame.name for frame in found] == ["a1.jpg", "a4.png"]
    assert [name in str(error) for name, error in zip(("a2.jpg", "a3.png"), errors, strict=True)]


# Videos.


def test_a_video_gives_its_frames_with_number_and_time(tmp_path):
    found = frames(save_video(tmp_path / "v.mp4"))
    assert [frame.index for frame in found] == [0, 1, 2, 3, 4]
    assert np.allclose([frame.timestamp for frame in found], [0, 0.1, 0.2, 0.3, 0.4])
    assert {frame.name for frame in found} == {"v.mp4"}
    brightness = [frame.image.mean() for frame in found]
    assert (np.diff(brightness) > 5).all()
    error = np.abs(found[4].image.astype(int) - (quarters() * 0.9)).mean()
    assert error < 12  # lossy, but the same picture


def test_every_second_frame_keeps_its_number(tmp_path):
    found = frames(save_video(tmp_path / "v.mkv"), every=2)
    assert [frame.index for frame in found] == [0, 2, 4]
    with pytest.raises(ValueError, match="every must be at least 1"):
        frames(tmp_path / "v.mkv", every=0)


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_turned_phone_video_comes_out_as_a_player_shows_it(tmp_path, rotation):
    """A display matrix of +90 turns the stored picture counter-clockwise, as in FFmpeg's docs."""
    path = save_video(tmp_path / "v.mp4", count=2, rotation=rotation)
    if rotation == 90:  # the track header in the file: x' = y, y' = -x, with y down
        data = path.read_bytes()
        start = data.index(b"tkhd") + 44
        assert np.frombuffer(data[start : start + 20], ">i4").tolist() == [0, -ONE, 0, ONE, 0]
    (first, *_) = frames(path)
    expected = np.rot90(quarters() * 0.5, rotation // 90)
    assert first.image.shape == expected.shape
    assert np.abs(first.image - expected).mean() < 12


def test_folders_may_mix_images_and_videos(tmp_path):
    save(tmp_path / "b.png")
    save_video(tmp_path / "a.mp4", count=2)
    assert [(f.name, f.index) for f in frames(tmp_path)] == [
        ("a.mp4", 0),
        ("a.mp4", 1),
        ("b.png", 0),
    ]


def test_a_broken_video_is_named_and_its_good_frames_are_kept(tmp_path):
    pytest.importorskip("av")
    (tmp_path / "no.mp4").write_bytes(b"this is text")
    with pytest.raises(ValueError, match=r"no.mp4: not a readable video"):
        frames(tmp_path / "no.mp4")
    errors = []
    save(tmp_path / "z.png")
    found = frames(tmp_path, on_error=errors.append)
    assert [frame.name for frame in found] == ["z.png"] and len(errors) == 1


def test_without_pyav_the_error_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "v.mp4").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r"pip install 'jaxgen\[video\]'"):
        frames(tmp_path / "v.mp4", on_error=lambda error: None)


@pytest.mark.parametrize("ending", ["mkv", "avi"])
def test_a_video_that_ends_too_early_is_named(tmp_path, ending, caplog):
    """These containers end without an error; the length in their header tells."""
    path = save_video(tmp_path / f"v.{ending}", count=40)
    assert len(frames(path)) == 40 and not caplog.text
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    found = frames(path)
    assert 0 < len(found) < 40
    (message,) = [record.getMessage() for record in caplog.records]
    assert f"v.{ending}: it announces 4" in message and "cut off" in message


def test_frames_before_a_broken_part_are_yielded(tmp_path):
    path = save_video(tmp_path / "v.mp4", count=40)
    data = path.read_bytes()
    hole = len(data) // 2
    path.write_bytes(data[:hole] + bytes(500) + data[hole + 500 :])
    errors = []
    found = frames(path, on_error=errors.append)
    assert [frame.index for frame in found] == list(range(len(found))) and 5 < len(found) < 40
    assert f"v.mp4: broken after frame {len(found) - 1}" in str(errors[0])
