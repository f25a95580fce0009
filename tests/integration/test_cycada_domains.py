"""CyCADA on own folders and on scenes: what they may be, what they show, refusals."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from experiments import cycada
from experiments.configs.cycada import camvid, default
from jaxgen.data import hashing, label_maps, media
from jaxgen.tasks import cycada_data, cycada_pictures, cycada_predict, cycada_stages
from jaxgen.tasks.cycada_schema import check_config
from jaxgen.training.errors import ConfigError

from .cycada_runs import results, train

COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}
DOCS = Path(__file__).parents[2] / "docs" / "cycada.md"


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


def test_classes_that_only_the_target_has_are_named(tmp_path):
    config = own_folders(tmp_path)
    (tmp_path / "target" / "train" / "violet").mkdir()
    source = tmp_path / "target" / "train" / "blue" / "blue0.png"
    shutil.copy(source, tmp_path / "target" / "train" / "violet" / "violet.png")
    with pytest.raises(ConfigError, match=r"a target has those of the source. It has .*violet"):
        cycada_data.open_split(config, "target", "train")


def test_test_images_of_a_target_may_lack_classes(tmp_path):
    """Labels are matched by the names of the folders, not by their places."""
    config = own_folders(tmp_path, labelled=False)
    for name in ("green", "red"):
        shutil.copytree(tmp_path / "source" / "train" / name, tmp_path / "target" / "test" / name)
    config.target.test_split = "test"
    domains = cycada_data.Domains(config)
    cycada_stages.check_sets(config, domains)
    test = domains.open("target", "test")
    assert test.classes == domains.open("source", "train").classes == ("blue", "green", "red")
    for name, label in zip(test.name, test.label, strict=True):
        assert test.classes[label] == Path(name).parts[1]
    assert (domains.open("target", "train").label == -1).all()


def test_one_target_image_to_compare_is_refused_before_training(tmp_path):
    config = own_folders(tmp_path, labelled=False)
    held_out = [
        path
        for path in sorted((tmp_path / "target" / "train").iterdir())
        if hashing.is_held_out(f"train/{path.name}", config.target.validation_fraction)
    ]
    for path in held_out[1:]:
        path.unlink()
    with pytest.raises(ConfigError, match="'validation' holds one image"):
        cycada_stages.check_sets(config, cycada_data.Domains(config))


def test_recipe_of_the_docs_for_own_folders_works(tmp_path):
    text = DOCS.read_text()
    recipe = text.split("## Your own source and target")[1].split("```python")[1].split("```")[0]
    for domain in ("source", "target"):
        assert recipe.count(f'"/path/to/{domain}"') == 1
        recipe = recipe.replace(f"/path/to/{domain}", str(tmp_path / domain))
    found = {}
    exec(recipe, found)
    config = found["get_config"]()
    write_classes(tmp_path / "source", 12)
    write_classes(tmp_path / "target", 12, labelled=False)
    config.data.data_dir = str(tmp_path / "prepared")
    config.model.num_classes = len(COLOURS)
    check_config(config)
    cycada_stages.check_order(config, tmp_path)
    cycada_stages.check_networks(config)
    cycada_stages.check_sets(config, cycada_data.Domains(config))


def test_commands_of_the_docs_are_the_measured_ones():
    lines = set(DOCS.read_text().splitlines())
    records = (DOCS.parent / "results" / "cycada.jsonl").read_text().splitlines()
    for dataset in ("mnist->usps", "usps->mnist"):
        wanted = {
            "study": "cycada_digits",
            "dataset": dataset,
            "method": "pixel+feature",
            "variant": "features=16,blocks=2,semantic=none",
            "seed": 0,
            "steps": 3000,
        }
        found = {r["command"] for r in map(json.loads, records) if wanted.items() <= r.items()}
        assert len(found) == 1 and found <= lines


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
    photos = tmp_path / "target" / "images"
    (photos / "00_broken.png").write_bytes(b"no picture")  # named and skipped
    folder = cycada_predict.predict_files(config, workdir, cycada.open_devices(config), str(photos))
    assert not list(folder.glob("00_broken*"))
    with Image.open(folder / "0.png") as label:
        assert label.size == (28, 20) and np.asarray(label).max() <= 1
    assert (folder / "0_colour.png").exists()
    (folder / "notes.png").write_bytes(b"")  # not written by us
    cycada_predict.predict_files(
        config, workdir, cycada.open_devices(config), str(photos / "1.png")
    )
    found = {path.name for path in folder.glob("*.png")}
    assert found == {"1.png", "1_colour.png", "notes.png"}


def test_unlabelled_scenes_are_reported_in_the_colours_of_the_source(tmp_path):
    config = scenes(tmp_path, labelled=False)
    config.stages, config.target.test_split = "source", ""
    workdir = train(config, tmp_path / "run")
    assert "miou" not in results(workdir) and results(workdir)["entropy"] >= 0
    assert (workdir / "report" / "panels.png").exists()


# ------------------------------------------------------------------- translated once


def darker(images):
    """Stands for a generator."""
    return images // 2


def translate(config, folder, step=1):
    cycada_data.write_translated(config, cycada_data.Domains(config), folder, darker, step=step)


def remove_first(folder):
    sorted(path for path in folder.rglob("*.png") if path.parent.name != "labels")[0].unlink()


def rename_first(folder):
    first = sorted(path for path in folder.rglob("*.png") if path.parent.name != "labels")[0]
    first.rename(first.with_name("zzz.png"))
    label = folder / "labels" / first.name
    if label.exists():
        label.rename(label.with_name("zzz.png"))


@pytest.mark.parametrize("kind", [own_folders, scenes])
@pytest.mark.parametrize("change", [remove_first, rename_first])
def test_source_with_other_files_is_translated_again(tmp_path, kind, change):
    """TFDS stores examples by a hash of their names: one less moves the positions of others."""
    config, folder = kind(tmp_path), tmp_path / "translated"
    translate(config, folder)
    assert cycada_data.is_translated(config, folder)
    before = (folder / "complete.json").stat().st_mtime_ns
    for path in (tmp_path / "source").rglob("*.png"):
        os.utime(path, (1, 1))  # a copy of the files is the same source
    translate(config, folder)
    assert (folder / "complete.json").stat().st_mtime_ns == before
    change(tmp_path / "source")
    assert not cycada_data.is_translated(config, folder)
    with pytest.raises(ConfigError, match="does not hold all images of"):
        cycada_data.Domains(config).translated(folder, "train")
    translate(config, folder)
    check_pairs(config, folder)


def check_pairs(config, folder):
    """Every translated image is that of its own original."""
    domains = cycada_data.Domains(config)
    for split in ("train", "validation"):
        translated, plain = domains.translated(folder, split), domains.open("source", split)
        if hasattr(plain, "image"):
            np.testing.assert_array_equal(translated.image, darker(plain.image))
            continue
        assert len(list((folder / split).iterdir())) == len(plain)
        for found, original in zip(translated, plain, strict=True):
            np.testing.assert_array_equal(found["image"], darker(original["image"]))


def test_missing_translated_scene_is_named(tmp_path):
    config, folder = scenes(tmp_path), tmp_path / "translated"
    translate(config, folder)
    (folder / "train" / "000001.png").unlink()
    with pytest.raises(ValueError, match=r"holds \d+ translated images, the source split \d+"):
        cycada_data.Domains(config).translated(folder, "train")


@pytest.fixture
def damaged(tmp_path, monkeypatch):
    """(config of scenes, names of two training scenes that cannot be read)."""
    config = scenes(tmp_path)
    names = cycada_data.open_split(config, "source", "train").names[:2]
    read = label_maps.Scenes.read

    def damaged_read(self, position, **options):
        scene = read(self, position, **options)
        if scene["name"] in names and scene["image"].mean() > 80:  # of the source
            raise ValueError(f"{scene['name']}: not a readable image")
        return scene

    monkeypatch.setattr(label_maps.Scenes, "read", damaged_read)
    return config, names


def test_unreadable_scenes_are_left_out_of_the_translation(tmp_path, damaged, caplog):
    config, names = damaged
    config.data.max_corrupt = 2
    domains, folder = cycada_data.Domains(config), tmp_path / "translated"
    source, target = (domains.open(domain, "train") for domain in ("source", "target"))
    pictures = cycada_pictures.example_images(config, source, target)
    assert len(pictures["source"]) == cycada_pictures.EXAMPLES
    cycada_data.write_translated(config, domains, folder, darker, step=1)
    assert all(f"not translated: {name}" in caplog.text for name in names)
    translated = domains.translated(folder, "train")
    assert len(translated) == len(source)
    np.testing.assert_array_equal(translated[2]["image"], darker(source[2]["image"]))
    with pytest.raises(ValueError, match=f"{names[0]}: not a readable image"):
        translated[0]
    batches = cycada_data.training_batches(config, config.task.train, source=translated)
    for _ in range(6):
        next(batches)
    assert "left out" in caplog.text


def test_more_unreadable_scenes_than_allowed_stop_the_translation(tmp_path, damaged):
    config, names = damaged
    config.data.max_corrupt = 1
    with pytest.raises(ValueError, match=f"{names[1]}: .* scene 2 of 'train' .*; 1 may be left"):
        translate(config, tmp_path / "translated")


# ------------------------------------------------------------------------------- predict


def test_label_maps_of_files_that_share_a_name_are_kept_apart():
    def named(*files):
        return [str(name) for name in cycada_predict.output_names([Path(f) for f in files])]

    assert named("a.jpg", "x/a.jpg", "a.v2.jpg") == ["a", "x/a", "a.v2"]
    assert named("a.jpg", "a.png", "b.png") == ["a.jpg", "a.png", "b.png"]
    assert named("a.jpg", "a_colour.jpg") == ["a.jpg", "a_colour.jpg"]


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
    frames = media.read_frames(media.find_pictures(str(tmp_path)))
    cycada_predict.classify(config, predict, frames, "0123456789")
    np.testing.assert_array_equal(seen[0][0, ..., 0], np.asarray(upright))


def test_scenes_are_seen_at_the_size_of_the_target_set(tmp_path):
    """At half of it here: the label map has blocks of 2 x 2, and the size of the file."""
    picture = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
    config = camvid.get_config()
    config.source.options.size = (10, 90)
    config.target.options.size = (20, 28)
    config.data.size = 16

    def predict(images):
        return np.eye(2)[(images[..., 0] > 127).astype(int)]

    palette = [(0, 0, 0), (255, 255, 255)]
    cycada_predict.segment(config, predict, Image.fromarray(picture), tmp_path / "out", palette)
    cycada_predict.segment(config, predict, Image.fromarray(picture), tmp_path / "a.v2", palette)
    assert (tmp_path / "a.v2.png").exists() and (tmp_path / "a.v2_colour.png").exists()
    with Image.open(tmp_path / "out.png") as found:
        label = np.asarray(found)
    assert label.shape == (40, 56) and 0 < label.mean() < 1
    np.testing.assert_array_equal(label, label[::2, ::2].repeat(2, 0).repeat(2, 1))
