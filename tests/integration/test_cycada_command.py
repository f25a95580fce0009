"""CyCADA from data to report on the embedded digits: all stages, going on, refusals."""

import json
import shutil
from functools import partial
from pathlib import Path

import chex
import jax
import numpy as np
import pytest
from PIL import Image

from experiments import cycada
from experiments.configs.cycada import camvid, default
from jaxgen.tasks import cycada as task
from jaxgen.tasks import cycada_data, cycada_predict, cycada_report, cycada_stages
from jaxgen.tasks.cycada_schema import check_config
from jaxgen.training.errors import ConfigError
from jaxgen.training.export import read_artifact
from jaxgen.training.logging import read_metrics
from jaxgen.training.state import run_key

from .cycada_runs import results, train


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(config, workdir) of all stages of the embedded digits, a few steps each."""
    config = default.get_config("smoke")
    return config, train(config, tmp_path_factory.mktemp("cycada"))


def test_run_measures_every_method(trained):
    config, workdir = trained
    found = results(workdir)
    for method in ("source_only", "pixel", "pixel+feature", "target_only"):
        assert 0 <= found[f"accuracy_{method}"] <= 100
    assert found["accuracy"] == found["accuracy_pixel+feature"]
    assert found["accuracy_low"] <= found["accuracy"] <= found["accuracy_high"]
    assert 0 <= found["label_flip_rate"] <= 100
    page = (workdir / "report" / "index.html").read_text()
    assert "data:image/" in page and 'src="http' not in page
    for stage in ("source", "target", "translation", "pixel", "pixel_feature"):
        assert cycada_stages.is_done(config, workdir, stage)
        assert read_metrics(workdir / stage / "metrics.jsonl")
    pictures = sorted(path.name for path in (workdir / "translation" / "pictures").iterdir())
    assert pictures == ["step_000002.png", "step_000004.png"]


def test_translated_source_keeps_its_labels(trained):
    config, workdir = trained
    domains = cycada_data.Domains(config)
    raw = domains.open("source", "train")
    translated = domains.translated(workdir / "translation" / "translated", "train")
    np.testing.assert_array_equal(translated.label, raw.label)
    assert translated.image.shape == raw.image.shape
    assert not np.array_equal(translated.image, raw.image)


def test_oracle_is_recorded_and_chooses_nothing(trained):
    config, workdir = trained
    records = read_metrics(workdir / "pixel_feature" / "metrics.jsonl")
    measured = [r for r in records if "validation/entropy" in r]
    assert measured and all("validation/oracle_accuracy" in r for r in measured)
    assert not any("validation/criterion" in r for r in measured)
    assert config.alignment.select == "latest"


def test_finished_stages_are_not_trained_again(trained, caplog):
    config, workdir = trained
    before = {p: p.stat().st_mtime_ns for p in workdir.rglob("*.npz")}
    metrics = (workdir / "source" / "metrics.jsonl").read_text()
    cycada.train(config, workdir)
    assert caplog.text.count("nothing to train") == 5
    assert (workdir / "source" / "metrics.jsonl").read_text() == metrics
    assert {p: p.stat().st_mtime_ns for p in workdir.rglob("*.npz")} == before


def copy_of(workdir, tmp_path, *, without=()):
    """The folder of a run, some of its stages left out."""
    leave = shutil.ignore_patterns("report", *without)
    return Path(shutil.copytree(workdir, tmp_path / "run", ignore=leave))


def test_stopped_and_resumed_stages_are_bit_identical(trained, tmp_path):
    config, straight = trained
    # A stage of each kind, and "pixel", which is no successor of a translation made anew.
    stages = ("source", "translation", "pixel", "pixel_feature")
    resumed = copy_of(straight, tmp_path, without=stages)
    for _ in stages:  # one stop in each
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            stop_after(patch, 2)
            train(config, resumed)
    train(config, resumed)
    devices = cycada.open_devices(config)
    for stage in stages:
        states = [
            jax.device_get(cycada_stages.restore(config, folder, devices, stage)[0].replace(key=0))
            for folder in (straight, resumed)
        ]
        jax.tree.map(np.testing.assert_array_equal, *states)


def test_unfinished_stage_is_no_foundation_and_not_measured(trained, tmp_path, caplog):
    config, workdir = trained
    config = config.copy_and_resolve_references()
    workdir = copy_of(workdir, tmp_path)
    config.translation.train.steps = 9
    config.stages = "pixel"
    with pytest.raises(ConfigError, match="'translation', which has trained 4 of 9 steps"):
        cycada.train(config, workdir)
    cycada.evaluate(config, workdir)
    assert "accuracy_pixel" in results(workdir) and "label_flip_rate" not in results(workdir)


def test_stage_that_began_from_an_older_network_is_refused(trained, tmp_path):
    config, workdir = trained
    config = config.copy_and_resolve_references()
    workdir = copy_of(workdir, tmp_path)
    began_from = json.loads((workdir / "pixel" / "began_from.json").read_text())
    assert began_from["translation"]["step"] == 4
    (workdir / "pixel" / "began_from.json").write_text('{"translation": 2}')
    config.stages = "pixel"
    with pytest.raises(ConfigError, match="began from step 2 of 'translation', which is now at 4"):
        cycada.train(config, workdir)


def test_images_translated_from_another_source_are_refused(trained, caplog):
    config, workdir = trained
    config = config.copy_and_resolve_references()
    folder = cycada_stages.translated_folder(workdir)
    assert cycada_data.is_translated(config, folder)
    config.source.options.config = "default"
    assert not cycada_data.is_translated(config, folder)
    config.source.options.config = "tiny"
    config.source.validation_fraction = 0.3
    with pytest.raises(ConfigError, match="does not hold all images of"):
        cycada_data.Domains(config).translated(folder, "train")
    given = config, workdir, cycada.open_devices(config), cycada_data.Domains(config)
    assert cycada_report.flip_rate(*given) is None
    assert "label_flip_rate is left out" in caplog.text


def test_gate_that_never_opens_is_told(trained, tmp_path, caplog):
    config, workdir = trained
    config = config.copy_and_resolve_references()
    workdir = copy_of(workdir, tmp_path, without=["pixel_feature"])
    config.alignment.gate = 1.0
    cycada.train(config, workdir)
    found = results(workdir)
    assert found["gate_open_pixel+feature"] == 0
    assert found["accuracy_pixel+feature"] == found["accuracy_pixel"]
    assert "never told the domains apart" in caplog.text


@pytest.mark.parametrize(
    "select, better, worse",
    [
        ("entropy", 0.2, 0.9),
        ("information_maximisation", 2.0, 1.0),
        ("soft_neighbourhood_density", 5.0, 3.0),
    ],
)
def test_label_free_choice_knows_what_is_better(select, better, worse):
    config = default.get_config("smoke")
    config.alignment.select = select
    kept, other = (
        cycada_stages.criterion(config, {select: value})["criterion"] for value in (better, worse)
    )
    assert kept < other  # the lowest is kept
    config.alignment.select = "latest"
    assert cycada_stages.criterion(config, {select: better}) == {}


def test_imagenet_weights_of_the_config_are_loaded(monkeypatch):
    config = camvid.get_config()
    config.model.update(name="drn26", pretrained="drn.safetensors")
    config.data.size = 32
    asked = []

    def load(variables, path):
        asked.append(path)
        return jax.tree.map(lambda leaf: leaf + 1, variables)

    monkeypatch.setattr("jaxgen.models.pretrained.load_drn26", load)
    (variables,) = cycada_stages.imagenet_variables(config)
    assert asked == ["drn.safetensors"]
    state = jax.eval_shape(partial(task.init_task, config), run_key(0), variables)
    chex.assert_trees_all_equal_shapes(state.network.ema, variables)
    config.model.pretrained = ""
    assert cycada_stages.imagenet_variables(config) == ()


def test_network_begins_with_the_given_variables():
    config = default.get_config("smoke")
    given = jax.tree.map(lambda leaf: leaf + 1, task.init_task(config, run_key(1)).network.ema)
    state = task.init_task(config, run_key(0), given)
    chex.assert_trees_all_equal(state.network.ema, given)
    chex.assert_trees_all_equal(state.network.params, given["params"])


def stop_after(patch, steps):
    """Makes training stop as by Ctrl-C right after the checkpoint of a step."""
    from jaxgen.training.checkpoint import Checkpoints

    save = Checkpoints.save

    def saved(self, step, *rest):
        save(self, step, *rest)
        if step == steps:
            self.close()
            raise KeyboardInterrupt

    patch.setattr(Checkpoints, "save", saved)


def test_stage_before_what_it_needs_is_refused(tmp_path):
    config = default.get_config("smoke")
    config.stages = "source,pixel"
    with pytest.raises(ConfigError, match=r"'pixel' of config.stages needs 'translation'"):
        train(config, tmp_path)
    assert not (tmp_path / "source").exists()
    config.stages = "source,dream"
    with pytest.raises(ConfigError, match="dream"):
        check_config(config)


def test_network_that_images_vanish_in_is_refused_before_training(tmp_path):
    config = default.get_config("smoke")
    config.data.size = 16
    config.translation.discriminator.layers = 3
    with pytest.raises(ValueError, match="vanish inside a discriminator"):
        train(config, tmp_path)
    assert not (tmp_path / "source").exists()


def test_evaluation_without_a_network_says_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match="Train first"):
        cycada.evaluate(default.get_config("smoke"), tmp_path)


def test_predictions_and_artifact_agree(trained, tmp_path, caplog):
    config, workdir = trained
    target = cycada_data.open_split(config, "target", "test")
    for number in range(3):
        Image.fromarray(target.image[number, ..., 0]).save(tmp_path / f"{number}.png")
    (tmp_path / "1b.png").write_bytes((tmp_path / "1.png").read_bytes()[:40])  # named and skipped
    (tmp_path / "2.gif").write_bytes(b"an animation")  # the same
    devices = cycada.open_devices(config)
    folder = cycada_predict.predict_files(config, workdir, devices, str(tmp_path))
    lines = (folder / "predictions.csv").read_text().split()
    assert lines[0] == "file,class,probability" and len(lines) == 4
    call = read_artifact(cycada_predict.export(config, workdir, devices))
    probabilities = np.asarray(call(target.image[:3]))
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)
    variables = cycada_stages.task_variables(config, workdir, devices, "pixel_feature")
    expected = jax.nn.softmax(task.predict(config, variables, target.image[:3]))
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    for line, row in zip(lines[1:], probabilities, strict=True):
        _, name, probability = line.split(",")
        assert name == target.classes[row.argmax()]
        assert abs(float(probability) - row.max()) < 1e-3
    with pytest.raises(ConfigError, match="--input"):
        cycada_predict.predict_files(config, workdir, devices, str(tmp_path / "missing"))
    assert {Path(r.message.split(": ")[1]).name for r in caplog.records} == {"1b.png", "2.gif"}
    with pytest.raises(ConfigError, match="no image of it can be read"):
        cycada_predict.predict_files(config, workdir, devices, str(tmp_path / "1b.png"))
