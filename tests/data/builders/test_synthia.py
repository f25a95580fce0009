"""SYNTHIA on made folders: seasons, blocks, labels in 16 bits."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from jaxgen.data.builders import synthia

from .made_files import SHAPE, config_of, load


def save_16_bit(path, values):
    """A PNG of 16 bits a channel, with four of the format's filters. values: [H, W, 2 or 3]."""
    rows = values.astype(">u2").reshape(len(values), -1).view(np.uint8).astype(int)
    step, above, lines = 2 * values.shape[2], np.zeros(rows.shape[1], int), []
    for number, row in enumerate(rows):
        left = np.concatenate([np.zeros(step, int), row[:-step]])
        base = (0, left, above, (left + above) // 2)[number % 4]
        lines.append(bytes([number % 4]) + ((row - base) % 256).astype(np.uint8).tobytes())
        above = row
    kind = {2: 4, 3: 2}[values.shape[2]]
    header = struct.pack(">IIBBBBB", values.shape[1], len(values), 16, kind, 0, 0, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for name, data in (
            (b"IHDR", header), (b"IDAT", zlib.compress(b"".join(lines))), (b"IEND", b""),
        ):  # fmt: skip
            crc = struct.pack(">I", zlib.crc32(name + data))
            file.write(struct.pack(">I", len(data)) + name + data + crc)


@pytest.mark.parametrize("channels", [2, 3])
def test_the_first_of_16_bit_channels_is_read_whole(tmp_path, channels):
    values = np.random.default_rng(0).integers(0, 65536, (9, 7, channels))
    save_16_bit(tmp_path / "a.png", values)
    np.testing.assert_array_equal(synthia.read_first_channel(tmp_path / "a.png"), values[..., 0])


@pytest.fixture
def small_synthia(tmp_path, save_image):
    root = tmp_path / "synthia"
    labels = {}
    for season in ("FALL", "WINTER", "WINTERNIGHT"):
        folder = root / f"SYNTHIA-SEQS-01-{season}"
        for frame in (0, 1, 150, 250, 350):
            for view in ("Omni_F", "Omni_B"):
                inside = f"Stereo_Left/{view}/{frame:06d}.png"
                save_image(folder / "RGB" / inside, size=SHAPE[::-1])
                rng = np.random.default_rng(frame)
                values = rng.integers(0, 16, (*SHAPE, 3))
                values[..., 1:] = rng.integers(0, 1000, (*SHAPE, 2))
                save_16_bit(folder / "GT/LABELS" / inside, values)
                labels[f"{folder.name}/Stereo_Left/{view}/{frame:06d}"] = values[..., 0]
    return root, labels


def test_synthia_seasons_and_blocks(small_synthia, tmp_path, monkeypatch):
    root, labels = small_synthia
    monkeypatch.setattr(synthia, "PUBLISHED_SEASONS", {"WINTER": 10, "FALL": 11})
    options = {"seasons": ("WINTER",), "test_fraction": 0.5}
    config = config_of("synthia", root, tmp_path, **options)
    parts = {split: load(config, split) for split in ("train", "test")}
    assert len(parts["train"]) + len(parts["test"]) == 10
    names = [*parts["train"], *parts["test"]]
    assert all(name.startswith("SYNTHIA-SEQS-01-WINTER/") for name in names)
    # All views of a block of frames are on one side.
    blocks = [{int(name[-6:]) // 100 for name in part} for part in parts.values()]
    assert not blocks[0] & blocks[1]
    for name, scene in {**parts["train"], **parts["test"]}.items():
        number = labels[name]
        expected = np.where(number == 15, 12, number - 1)
        expected[(number == 0) | (number == 13) | (number == 14)] = 255
        np.testing.assert_array_equal(scene["label"], expected)
    config["options"] = {"seasons": ("FALL",)}
    with pytest.raises(ValueError, match=r"'FALL' has 10 scenes .* but 11 are published"):
        load(config, "train")
    config["options"] = {"seasons": ("FALL",), "allow_partial": True, "test_fraction": 0.0}
    assert len(load(config, "train")) == 10


def test_synthia_refuses_labels_of_8_bits(small_synthia, tmp_path):
    root, _ = small_synthia
    label = root / "SYNTHIA-SEQS-01-FALL/GT/LABELS/Stereo_Left/Omni_F/000000.png"
    Image.fromarray(np.zeros((*SHAPE, 3), np.uint8)).save(label)
    config = config_of("synthia", root, tmp_path, test_fraction=0.0)
    with pytest.raises(ValueError, match=r"Omni_F/000000\.png: .*2 or 3 channels of 16 bits, got"):
        load(config, "train")
