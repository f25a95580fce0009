"""The GAN's stages from crops to report, on a few random pictures, and their order."""

import json
import shutil

import jax
import numpy as np
import pytest

from experiments.configs.tiny_faces import gan_sections
from jaxgen.tasks import (
    tiny_faces_gan_evaluation,
    tiny_faces_gan_report,
    tiny_faces_gan_stages,
    tiny_faces_rescoring,
)
from jaxgen.training import hosts, mesh
from jaxgen.training.errors import ConfigError


def scenes(count, seed):
    rng = np.random.default_rng(seed)
    boxes = np.array([[10, 10, 40, 44], [60, 60, 68, 69]], np.float32)
    return [
        {
            "image": rng.integers(0, 256, (96, 96, 3)).astype(np.uint8),
            "boxes": boxes,
            "ignored": np.zeros(2, bool),
            "name": f"{seed}/{number}",
        }
        for number in range(count)
    ]


def tiny():
    config = gan_sections.gan_sections()
    gan_sections.shrink_gan(config)
    config.seed = 0
    config.generator.update(width=1 / 32, blocks=0)
    config.discriminator.stages = 1
    for section in (config.generator, config.discriminator, config.gan):
        section.train.update(steps=2, validate_every=2, checkpoint_every=2, batch_size=4)
    return config


def proposals(image):
    return np.array([[70, 10, 90, 30]], np.float32), np.array([0.5], np.float32)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(config, workdir, devices) after all stages."""
    config, workdir = tiny(), tmp_path_factory.mktemp("gan")
    devices = mesh.data_mesh(jax.devices()[:1])
    everything = {"train": scenes(4, 0), "validation": scenes(2, 1)}

    tiny_faces_gan_stages.cut_crops(config, workdir, everything, proposals, {"step": 1})
    tiny_faces_gan_stages.train_generator(config, workdir, devices)
    tiny_faces_gan_stages.train_discriminator(config, workdir, devices)
    tiny_faces_gan_stages.train_gan(config, workdir, devices)
    return config, workdir, devices


def test_every_stage_leaves_its_results(run):
    (config, workdir, _), seen = run, set()
    for stage in tiny_faces_gan_stages.GAN_STAGES:
        assert tiny_faces_gan_stages.is_done(config, workdir, stage)
    for stage in ("generator", "gan"):
        assert (workdir / stage / "pictures" / "step_000002.png").exists()
    lines = (workdir / "gan" / "metrics.jsonl").read_text().splitlines()
    names = set().union(*map(json.loads, lines))
    assert {"train/adversarial", "train/classification", "train/pixel"} <= names
    assert {"validation/psnr", "validation/face_accuracy_super_resolved"} <= names
    # Both classifiers choose their checkpoint in the same way.
    for stage in ("discriminator", "gan"):
        for line in map(json.loads, (workdir / stage / "metrics.jsonl").read_text().splitlines()):
            if "validation/class_loss" in line:
                assert line["validation/criterion"] == line["validation/class_loss"]
                seen.add(stage)
    assert seen == {"discriminator", "gan"}


def test_a_stage_needs_those_before_it(run, tmp_path):
    config, _, devices = run
    assert tiny_faces_gan_stages.rescoring_variables(config, tmp_path, devices) is None
    with pytest.raises(ConfigError, match="'generator' has no checkpoint"):
        tiny_faces_gan_stages.train_gan(config, tmp_path, devices)
    with pytest.raises(ConfigError, match='stage "crops"'):
        tiny_faces_gan_stages.train_generator(config, tmp_path, devices)
    assert tiny_faces_gan_report.measure(config, tmp_path, devices).numbers == {}


def test_stages_that_learned_from_other_crops_are_refused(run, tmp_path):
    config, workdir, devices = run
    again, everything = tmp_path / "run", {"train": scenes(4, 0), "validation": scenes(2, 1)}
    shutil.copytree(workdir, again)
    tiny_faces_gan_stages.train_generator(config, again, devices)  # nothing has changed
    changed = config.copy_and_resolve_references()
    changed.crops.margin = 1.2
    before = (again / "crops" / "train" / "image.npy").read_bytes()
    learned = "generator, discriminator, gan"
    with pytest.raises(
        ConfigError, match=rf"settings.margin 1.5, now 1.2\), and {learned} learned"
    ):
        tiny_faces_gan_stages.cut_crops(changed, again, everything, proposals, {"step": 1})
    assert (again / "crops" / "train" / "image.npy").read_bytes() == before
    # Whoever cuts them elsewhere and puts them there is stopped by each stage.
    tiny_faces_gan_stages.cut_crops(changed, tmp_path, everything, proposals, {"step": 1})
    shutil.rmtree(again / "crops")
    shutil.copytree(tmp_path / "crops", again / "crops")
    for stage in ("generator", "discriminator", "gan"):
        train = getattr(tiny_faces_gan_stages, f"train_{stage}")
        with pytest.raises(ConfigError, match=rf"{stage}' learned from other crops than.*delete"):
            train(config, again, devices)
    began = json.loads((workdir / "gan" / "began_from.json").read_text())
    assert (began["generator"]["step"], began["discriminator"]["step"]) == (2, 2)


def test_a_network_that_was_trained_anew_is_noticed(run, tmp_path):
    config, workdir, devices = run
    shutil.copytree(workdir, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "generator")
    other = config.copy_and_resolve_references()
    other.generator.optimiser.learning_rate = 0.5
    tiny_faces_gan_stages.train_generator(other, tmp_path / "run", devices)
    with pytest.raises(ConfigError, match=r"'gan' began from another 'generator'.*delete"):
        tiny_faces_gan_stages.train_gan(config, tmp_path / "run", devices)


def test_held_out_crops_without_a_pair_are_refused(run, tmp_path):
    config, workdir, devices = run
    shutil.copytree(workdir / "crops", tmp_path / "crops")
    path = tmp_path / "crops" / "validation" / "paired.npy"
    np.save(path, np.zeros_like(np.load(path)))
    with pytest.raises(ConfigError, match=r"none of the .* lower config.crops.high"):
        tiny_faces_gan_stages.train_generator(config, tmp_path, devices)


def test_a_new_discriminator_needs_no_classifier_before_it(run, tmp_path):
    config, workdir, devices = run
    for folder in ("crops", "generator"):
        shutil.copytree(workdir / folder, tmp_path / folder)
    config = config.copy_and_resolve_references()
    config.gan.discriminator_start = "new"
    tiny_faces_gan_stages.train_gan(config, tmp_path, devices)
    assert tiny_faces_gan_stages.is_done(config, tmp_path, "gan")
    assert (
        json.loads((tmp_path / "gan" / "began_from.json").read_text())["discriminator"]["step"] == 0
    )
    report = tiny_faces_gan_report.measure(config, tmp_path, devices)
    assert "face_accuracy_super_resolved" in report.numbers
    assert "face_accuracy_bicubic" not in report.numbers
    # Going on from a classifier would be another run.
    shutil.copytree(workdir / "discriminator", tmp_path / "discriminator")
    config.gan.discriminator_start = "classifier"
    with pytest.raises(ConfigError, match=r"began from step 0 of 'discriminator'.*delete"):
        tiny_faces_gan_stages.train_gan(config, tmp_path, devices)


def test_batches_that_the_devices_cannot_share_are_refused(run):
    config, workdir, _ = run
    with pytest.raises(ConfigError, match="multiple of 16"):
        tiny_faces_gan_stages.train_generator(config, workdir, mesh.data_mesh())


def test_trained_networks_score_boxes_anew(run):
    config, workdir, devices = run
    variables, stage, step = tiny_faces_gan_stages.rescoring_variables(config, workdir, devices)
    assert (stage, step) == ("gan", 2) and variables.generator is not None
    variables = hosts.fetch(variables)
    compiled = tiny_faces_rescoring.compile_rescore(config)
    rng = np.random.default_rng(0)
    low = rng.integers(0, 256, (11, 4, 4, 3)).astype(np.uint8)  # more than a batch of 8
    found = compiled(variables, low)
    assert found.face_probability.shape == (11,) and found.offsets is None
    alone = compiled(variables, low[9:])
    np.testing.assert_allclose(found.face_probability[9:], alone.face_probability, rtol=1e-5)


def test_report_measures_what_there_is(run):
    config, workdir, devices = run
    report = tiny_faces_gan_report.measure(config, workdir, devices)
    for name in ("psnr", "psnr_faces"):
        names = {name, f"{name}_bicubic", f"{name}_coarse", f"{name}_warm_start"}
        assert names <= set(report.numbers)
    assert 0 <= report.numbers["face_accuracy_super_resolved"] <= 100
    assert set(report.meanings) <= set(report.numbers)
    names = [picture.name for picture in report.pictures]
    assert names[:2] == ["super_resolution", "face_accuracy"]
    (table,) = report.tables
    assert table.rows[0][0] == "faces"
    # In each of two pictures, a face of 34 and one of 9 pixels.
    assert table.rows[0][1:] == (4, 0, 2, 0, 2)


def test_psnr_of_faces_leaves_backgrounds_out():
    crops = {
        "is_face": np.array([True, True, False]),
        "paired": np.array([True, False, True]),
    }
    found = {"psnr_final": np.array([20.0, 5, 40]), "psnr_coarse": np.array([10.0, 5, 30])}
    numbers = tiny_faces_gan_evaluation.psnr_numbers(found, crops)
    assert numbers == {
        "psnr": 30,
        "psnr_coarse": 20,
        "psnr_faces": 20,
        "psnr_faces_coarse": 10,
    }
    crops["paired"][:] = False
    assert tiny_faces_gan_evaluation.psnr_numbers(found, crops) == {}


def test_accuracy_weighs_both_classes_alike_and_knows_sizes():
    crops = {
        "is_face": np.array([True, True, True, False, False]),
        "height": np.array([8.0, 9.0, 40.0, 8.0, 9.0]),
    }
    logits = np.array([1.0, -1.0, 1.0, -1.0, 1.0])
    everything = np.ones(5, bool)
    found = tiny_faces_gan_evaluation.accuracy_by_height(logits, crops, everything)
    np.testing.assert_allclose(found["all"], 100 * (2 / 3 + 1 / 2) / 2)
    assert found["height_0_8"] == 100 and found["height_8_16"] == 0
    assert np.isnan(found["height_32_inf"])  # no background of that size
    loss = tiny_faces_gan_evaluation.class_loss(np.zeros(2), np.array([True, False]))
    np.testing.assert_allclose(loss, np.log(2))


def test_some_of_the_crops_that_validate_the_generator_are_paired():
    paired = np.zeros(2000, bool)
    paired[[43, 977]] = True
    rows = tiny_faces_gan_evaluation.validated_rows(paired)
    assert paired[rows].sum() == 2 and 300 < len(rows) < 400
    often = np.arange(2000) % 3 == 0
    np.testing.assert_array_equal(
        tiny_faces_gan_evaluation.validated_rows(often),
        tiny_faces_gan_evaluation.validated_rows(~often),
    )
