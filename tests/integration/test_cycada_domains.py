"""CyCADA on own folders and on scenes: what they may be, what they show, refusals."""

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from experiments import cycada
from experiments.configs.cycada import camvid, default
from jaxgen.tasks import cycada_data, cycada_predict, cycada_stages
from jaxgen.training.errors import ConfigError

from .cycada_runs import results, train

COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}


# ------------------------------------------------------------------------------ own data


def write_classes(folder, count, *, labelled=True, dark=1.0):
    rng = np.random.default_rng(len(str(folder)))
    for name, colour in COLOURS.items():
        for number in range(count):
            path = folder / "train" / (name if labelled else "")
            path.mkdir(parents=True, exist_ok=True)
            pixels = rng.normal(np.array(colour) * dark, 10, (12, 12, 3)).clip(0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(path / f"{name}{number}.png")


def own_folders(root, **target):
    write_classes(root / "source", 12)
    write_classes(root / "target", 12, **target)
    config = default.get_config("smoke")
    config.data.update(size=16, data_dir=str(root / "prepared"))
    config.model.num_classes = 3
    config.stages = "source,feature"
    for domain in ("source", "target"):
        config[domain].update(name="image_classes", manual_dir=str(root / domain))
        config[domain].options = ConfigDict()
        config[domain].validation_fraction = 0.3
    config.target.test_split = ""
    return config


def test_own_folders_without_target_labels(tmp_path):
    config = own_folders(tmp_path, labelled=False, dark=0.5)
    workdir = train(config, tmp_path / "run")
    found = results(workdir)
    assert "accuracy" not in found and found["entropy"] >= 0
    assert found["split"] == "validation"
    assert "no labels" in (workdir / "report" / "index.html").read_text()


def test_source_without_labels_is_refused(tmp_path):
    config = own_folders(tmp_path)
    write_classes(tmp_path / "bare", 4, labelled=False)
    config.source.manual_dir = str(tmp_path / "bare")
    with pytest.raises(ConfigError, match="have no label"):
        train(config, tmp_path / "run")


def test_target_without_labels_has_no_stage_of_its_own(tmp_path):
    config = own_folders(tmp_path, labelled=False)
    config.stages = "source,target,feature"
    with pytest.raises(ConfigError, match="have no label, from which the stage 'target' learns"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run" / "source").exists()


def test_other_classes_in_the_target_are_named(tmp_path):
    config = own_folders(tmp_path)
    (tmp_path / "target" / "train" / "blue").rename(tmp_path / "target" / "train" / "violet")
    with pytest.raises(ValueError, match="violet"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run" / "source").exists()


def test_number_of_classes_is_named(tmp_path):
    config = own_folders(tmp_path)
    config.model.num_classes = 10
    with pytest.raises(ConfigError, match=r"config.model.num_classes=3"):
        train(config, tmp_path / "run")


def test_missing_domain_is_named(tmp_path):
    config = own_folders(tmp_path)
    config.target.manual_dir = str(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="nowhere"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run" / "source").exists()


# -------------------------------------------------------------------------------- scenes


def write_scenes(folder, count, *, dark=1.0, labelled=True):
    """Left half one class, right half another, in colours of their own; some pixels unknown."""
    rng = np.random.default_rng(count)
    (folder / "images").mkdir(parents=True)
    if labelled:
        (folder / "labels").mkdir()
        (folder / "classes.txt").write_text("left\nright\n")
    for number in range(count):
        label = np.zeros((20, 28), np.uint8)
        label[:, rng.integers(8, 20) :] = 1
        pixels = np.where(label[..., None] == 0, (210, 60, 60), (60, 60, 210)) * dark
        pixels = rng.normal(pixels, 8).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        label[:3] = 255
        if labelled:
            Image.fromarray(label).save(folder / "labels" / f"{number}.png")


def scenes(root, **target):
    """A config of all stages on small scenes, a few steps each."""
    write_scenes(root / "source", 20)
    write_scenes(root / "target", 21, dark=0.6, **target)
    config = camvid.get_config()
    smoke = default.get_config("smoke")
    for stage in ("task", "translation", "alignment"):
        config[stage].train = smoke[stage].train
    config.translation.generator = smoke.translation.generator
    config.translation.generator.blocks = 0
    config.translation.discriminator.update(features=4, layers=2)
    config.alignment.update(hidden=8, warmup_steps=0, gate=0.0, window=1)
    config.stages = "source,target,translation,pixel,pixel_feature"
    config.data.update(size=16, data_dir=str(root / "prepared"))
    config.model.num_classes = 2
    for domain in ("source", "target"):
        config[domain].update(name="scene_folder", manual_dir=str(root / domain))
        config[domain].options = ConfigDict()
        config[domain].update(train_split="train", test_split="test", validation_fraction=0.3)
    config.evaluate.batch_size = 8
    return config


def test_scenes_end_to_end(tmp_path):
    config = scenes(tmp_path)
    workdir = train(config, tmp_path / "run")
    found = results(workdir)
    for metric in ("miou", "fwiou", "pixel_accuracy"):
        assert 0 <= found[f"{metric}_source_only"] <= 100
        assert found[metric] == found[f"{metric}_pixel+feature"]
    assert found["miou"] == pytest.approx((found["iou_left"] + found["iou_right"]) / 2)
    assert 0 <= found["label_flip_rate"] <= 100 and found["gate_open_pixel+feature"] == 100
    domains = cycada_data.Domains(config)
    translated = domains.translated(cycada_stages.translated_folder(workdir), "validation")
    plain = domains.open("source", "validation")
    assert len(translated) == len(plain)
    np.testing.assert_array_equal(translated[1]["label"], plain[1]["label"])
    assert translated[1]["image"].shape == plain[1]["image"].shape
    folder = cycada_predict.predict_files(
        config, workdir, cycada.open_devices(config), str(tmp_path / "target" / "images")
    )
    with Image.open(folder / "0.png") as label:
        assert label.size == (28, 20) and np.asarray(label).max() <= 1
    assert (folder / "0_colour.png").exists()


def test_unlabelled_scenes_are_reported_in_the_colours_of_the_source(tmp_path):
    config = scenes(tmp_path, labelled=False)
    config.stages, config.target.test_split = "source", ""
    workdir = train(config, tmp_path / "run")
    assert "miou" not in results(workdir) and results(workdir)["entropy"] >= 0
    assert (workdir / "report" / "panels.png").exists()


# ------------------------------------------------------------------------------- predict


def test_photographs_are_turned_upright_before_they_are_classified(tmp_path):
    rng = np.random.default_rng(0)
    upright = Image.fromarray(rng.integers(0, 256, (16, 16), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "a.png", exif=exif)
    seen = []

    def predict(pictures):
        seen.append(pictures)
        return np.eye(10)[:1]

    config = default.get_config("smoke")
    cycada_predict.classify(config, predict, [tmp_path / "a.png"], "0123456789")
    np.testing.assert_array_equal(seen[0][0, ..., 0], np.asarray(upright))


def test_scenes_are_seen_at_the_size_of_the_training_set(tmp_path):
    """At half of it here: the label map has blocks of 2 x 2, and the size of the file."""
    picture = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    config = camvid.get_config()
    config.source.options.size = (20, 28)
    config.data.size = 16

    def predict(images):
        return np.eye(2)[(images[..., 0] > 127).astype(int)]

    palette = [(0, 0, 0), (255, 255, 255)]
    cycada_predict.segment(config, predict, tmp_path / "a.png", tmp_path / "out", palette)
    with Image.open(tmp_path / "out.png") as found:
        label = np.asarray(found)
    assert label.shape == (40, 56) and 0 < label.mean() < 1
    np.testing.assert_array_equal(label, label[::2, ::2].repeat(2, 0).repeat(2, 1))
