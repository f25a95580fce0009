"""The LaplaceKL command line from data to report, and its refusals."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import chex
import jax
import numpy as np
import pytest
from PIL import Image

from experiments import laplace
from experiments.configs.laplace import helen, my_faces, paper
from jaxgen.metrics.normalizers import box_size
from jaxgen.tasks import laplace as task
from jaxgen.tasks import laplace_data
from jaxgen.tasks.laplace_evaluation import compile_evaluate, report, validation_numbers
from jaxgen.tasks.laplace_inference import Face, compile_predictor, predict_faces
from jaxgen.tasks.laplace_predict import predict_media
from jaxgen.tasks.laplace_schema import check_config
from jaxgen.training.errors import CheckpointMismatch, ConfigError
from jaxgen.training.export import read_artifact
from jaxgen.training.logging import read_metrics
from jaxgen.training.mesh import data_mesh
from jaxgen.training.workdir import open_workdir

from .conftest import tiny_config, train

ROOT = Path(__file__).parents[2]


def command(*arguments, **env):
    return subprocess.run(
        [sys.executable, "-m", "experiments.laplace", *arguments],
        cwd=ROOT,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_run_ends_with_results_report_and_logs(trained):
    _, workdir = trained
    results = json.loads((workdir / "report" / "results.json").read_text())
    assert results["split"] == "helen_test" and results["seed"] == 0 and results["faces"] == 6
    assert results["nme_inter_ocular"] > 0 and results["images_per_second"] > 0
    page = (workdir / "report" / "index.html").read_text()
    assert "data:image/" in page and 'src="http' not in page
    assert json.loads((workdir / "config.json").read_text())["train"]["steps"] == 4
    records = read_metrics(workdir / "metrics.jsonl")
    assert [r["step"] for r in records if "train/loss" in r] == [1, 2, 3, 4]
    assert [r["step"] for r in records if "validation/nme_inter_ocular" in r] == [2, 4]
    assert list((workdir / "tensorboard").iterdir())


def test_stopped_and_resumed_run_is_bit_identical(trained, faces, tmp_path):
    config, straight = trained
    workdir = train(tiny_config(faces), tmp_path / "run")  # 4 steps, as the fixture
    states = [jax.device_get(laplace.restore(config, folder)[1]) for folder in (straight, workdir)]
    jax.tree.map(np.testing.assert_array_equal, *states)

    class Stopped(Exception):
        pass

    # The same 4 steps, killed after the checkpoint of step 2.
    stopped = open_workdir(str(tmp_path / "stopped"), config, save_config=True)
    original = laplace_data.training_batches

    def stopping(*arguments):
        batches = original(*arguments)

        class Until:
            count = 0

            def __next__(self):
                self.count += 1
                if self.count > 3:
                    raise Stopped
                return next(batches)

            get_state, set_state = batches.get_state, batches.set_state
            counts = batches.counts

        return Until()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(laplace_data, "training_batches", stopping)
        with pytest.raises(Stopped):
            laplace.train(config, stopped)
    laplace.train(config, stopped)
    resumed = laplace.restore(config, stopped)[1]
    jax.tree.map(np.testing.assert_array_equal, states[0], resumed)


def test_exported_artifact_equals_the_network(trained):
    config, workdir = trained
    laplace.export(config, workdir)
    artifact = read_artifact(workdir / "export" / "landmarks.stablehlo")
    crops = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    _, variables, _ = laplace.restore(config, workdir)
    expected = task.predict(config, jax.device_get(variables), crops)
    for batch in (1, 3):  # the batch size is free
        points, scales = artifact(crops[:batch])
        np.testing.assert_allclose(points, expected.points[:batch], atol=1e-3)
        np.testing.assert_allclose(scales, expected.scales[:batch], atol=1e-3)
    described = json.loads((workdir / "export" / "landmarks.json").read_text())
    assert described["crop_size"] == 16 and described["step"] in (2, 4)


def test_checkpoint_of_another_width_is_refused(trained, faces):
    _, workdir = trained
    other = tiny_config(faces, **{"model.width": 1 / 8})
    with pytest.raises(CheckpointMismatch, match="has shape"):
        laplace.restore(other, workdir)


def test_evaluation_without_a_checkpoint_says_what_to_do(faces, tmp_path):
    with pytest.raises(CheckpointMismatch, match="train first"):
        laplace.restore(tiny_config(faces), tmp_path)


def test_empty_unlabelled_folder_is_named(faces, tmp_path):
    empty = tmp_path / "nobody"
    empty.mkdir()
    config = tiny_config(faces, **{"unlabelled.manual_dir": str(empty)})
    with pytest.raises(ValueError, match="nobody"):
        train(config, tmp_path / "run")


def test_wrong_number_of_landmarks_is_named(faces):
    config = tiny_config(faces, **{"model.num_points": 98})
    with pytest.raises(ValueError, match=r"config.model.num_points=68"):
        laplace_data.open_split(config, "train")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--config.train.stepz=3", "stepz"),
        ("--config.model.width=0.3", "config.model.width=0.3"),
        ("--config.train.steps=abc", "config.train.steps"),
        ("--config.nowhere.options.config=tiny", "nowhere"),
        ("--mode=dance", "dance"),
        ("--config=missing.py", "missing.py"),
        ("nonsense", "nonsense"),
    ],
)
def test_bad_command_line_is_one_line_that_names_the_key(argument, message, tmp_path):
    result = command(argument, f"--workdir={tmp_path}/run")
    assert result.returncode == 2
    assert result.stderr.startswith("error: ") and message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()


def test_options_of_a_data_set_can_be_set_and_are_checked(tmp_path):
    """The config does not list them: they differ from set to set."""
    result = command("--config.data.options.nonsense=1", f"--workdir={tmp_path}/run")
    assert result.returncode == 2 and "has no option 'nonsense'" in result.stderr
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["data"]["options"]["nonsense"] == 1  # a number, not a text


def test_unwritable_workdir_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    result = command(f"--workdir={tmp_path}/file/run")
    assert result.returncode != 0
    assert f"--workdir={tmp_path}/file/run" in result.stderr and "Traceback" not in result.stderr


def test_missing_data_folder_is_named(tmp_path):
    result = command(
        "--config=experiments/configs/laplace/helen.py",
        f"--config.data.manual_dir={tmp_path}/nowhere",
        f"--workdir={tmp_path}/run",
        JAXGEN_DATA="",
    )
    assert result.returncode == 2, result.stderr
    assert "nowhere" in result.stderr and "Traceback" not in result.stderr


def test_predict_writes_original_pixels_and_skips_broken_files(trained, faces, tmp_path, caplog):
    config, workdir = trained
    photos = tmp_path / "photos"
    photos.mkdir()
    crop = Image.open(next((faces / "300w/helen/testset").glob("*.jpg")))
    crop.save(photos / "a.png")
    crop.resize((256, 256)).convert("L").save(photos / "grey.png")
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a picture")
    boxes = tmp_path / "boxes.csv"
    boxes.write_text(
        "name,x0,y0,x1,y1\na.png,10,12,50,52\na.png,5,5,60,60\ngrey.png,40,48,200,208\n"
    )
    variables = laplace.restore(config, workdir)[1]
    predictor = partial(compile_predictor(config, data_mesh()), variables)
    count = predict_media(config, predictor, str(photos), boxes=str(boxes), output=tmp_path / "out")
    written = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert count == len(written["faces"]) == 3
    assert "broken.jpg" in written["about"]["skipped_files"][0]
    assert len((tmp_path / "out" / "predictions.csv").read_text().splitlines()) == 1 + 3 * 68
    # Without boxes the one face of each picture is searched.
    count = predict_media(config, predictor, str(photos / "a.png"), boxes="", output=tmp_path / "b")
    assert count == 1


def test_bigger_picture_gives_bigger_coordinates_and_scales(trained, faces):
    config, workdir = trained
    predictor = partial(compile_predictor(config, data_mesh()), laplace.restore(config, workdir)[1])
    image = np.asarray(Image.open(next((faces / "300w/helen/testset").glob("*.jpg"))))
    double = np.repeat(np.repeat(image, 2, 0), 2, 1)
    # The crop is the whole picture: blocks of 4 and of 8 pixels are averaged, without a rest.
    half = 32 / config.data.margin
    box = 31.5 + half * np.array([-1, -1, 1, 1])
    small, large = predict_faces(
        config, predictor, [Face("small", image, box), Face("large", double, 2 * box + 0.5)]
    )
    np.testing.assert_allclose(large.points, 2 * small.points + 0.5, atol=0.05)
    np.testing.assert_allclose(large.scales, 2 * small.scales, rtol=0.01)


def test_own_markup_is_never_mirrored_by_a_table_of_the_same_size(faces):
    config = tiny_config(faces, **{"data.name": "points_csv"})
    with pytest.raises(ValueError, match=r"config.data.flip_pairs"):
        laplace_data.flip_order(config)
    config.augment.flip = 0.0
    assert laplace_data.flip_order(config) is None


def prepared_copy(faces, builder):
    """The folder of a prepared set of `tiny_config`."""
    return str(next((faces / "prepared" / builder).glob("*/1.0.0")))


def test_a_prepared_set_keeps_its_folder_and_its_markup(trained, faces, tmp_path, monkeypatch):
    folder = Path(prepared_copy(faces, "w300"))
    config = tiny_config(faces, **{"data.name": "prepared", "data.data_dir": str(folder)})
    assert laplace_data.flip_order(config)[0] == 16  # 300-W's own table
    before = sorted(folder.iterdir())
    seen = []
    monkeypatch.setattr(
        laplace_data.sources, "open_source", lambda data, split: seen.append(dict(data))
    )
    laplace_data.open_unlabelled(config)
    assert seen[0]["name"] == "image_folder" and seen[0]["data_dir"] == ""
    assert sorted(folder.iterdir()) == before
    config.unlabelled.name = "prepared"
    laplace_data.open_unlabelled(config)
    assert seen[1]["data_dir"] == str(folder)
    config = tiny_config(faces, **{"unlabelled.name": "prepared", "test.name": "prepared"})
    with pytest.raises(ValueError, match=r"config.unlabelled.name=prepared"):
        laplace_data.open_unlabelled(config)
    with pytest.raises(ValueError, match=r"config.test.name=prepared"):
        laplace_data.open_test(config)
    own = tmp_path / "own"
    own.mkdir()
    (own / "dataset_info.json").write_text('{"name": "points_csv"}')
    config = tiny_config(faces, **{"data.name": "prepared", "data.data_dir": str(own)})
    with pytest.raises(ValueError, match=r"config.data.flip_pairs"):
        laplace_data.flip_order(config)


def test_the_metric_of_the_run_chooses_the_checkpoint(trained, faces, monkeypatch):
    config, workdir = trained
    monkeypatch.setattr(laplace, "best_metric", asked := MetricOf(laplace.best_metric))
    step = laplace.restore(config, workdir)[2]
    other = tiny_config(faces, **{"evaluate.normalizer": "box_size"})
    assert laplace.restore(other, workdir)[2] == step
    assert asked.names == ["validation/nme_inter_ocular"] * 2


class MetricOf:
    """Remembers what a function of a config returned."""

    def __init__(self, function):
        self.function, self.names = function, []

    def __call__(self, config):
        self.names.append(self.function(config))
        return self.names[-1]


class Faces(list):
    """A split whose examples lie in a list."""

    def labels(self, row):
        return self[row]


def test_faces_without_a_length_are_named_before_training(faces):
    config = tiny_config(faces, **{"evaluate.normalizer": "box_size"})
    nan = [np.nan, np.nan]
    box = np.array([0.0, 0, 40, 10])
    good = {"name": "good", "points": np.array([[1.0, 2], [5, 9], nan]), "box": box}
    flat = {"name": "flat", "points": np.array([[1.0, 2], [5, 2], [9, 2]]), "box": box}
    bare = {"name": "bare", "points": np.array([nan, nan, nan]), "box": box}
    laplace_data.check_normalizer(config, Faces([good]), "test")
    with pytest.raises(ConfigError, match=r"flat: .*box_size is 0.*'test'.*3 labelled.*\(1 of 2"):
        laplace_data.check_normalizer(config, Faces([good, flat]), "test")
    config.evaluate.normalizer = "face_box"
    laplace_data.check_normalizer(config, Faces([good, flat]), "test")
    with pytest.raises(ConfigError, match=r"bare: .*0 labelled points"):
        laplace_data.check_normalizer(config, Faces([good, bare]), "test")


def test_errors_can_be_divided_by_the_annotated_box(trained, faces, monkeypatch):
    config, workdir = trained
    _, variables, _ = laplace.restore(config, workdir)
    config = tiny_config(faces, **{"evaluate.normalizer": "box_size"})
    source = laplace_data.open_split(config, "helen_test")
    by_points = compile_evaluate(config, data_mesh())(variables, source)
    assert by_points.lengths is None
    config.evaluate.normalizer = "face_box"
    by_box = compile_evaluate(config, data_mesh())(variables, source)
    # 300-W's boxes are those of the points.
    np.testing.assert_allclose(by_box.lengths, box_size(by_points.true), rtol=1e-4)
    numbers = validation_numbers(config, by_box)
    report = laplace_evaluation_report(config, workdir, by_box, source, variables)
    assert numbers["nme_face_box"] == pytest.approx(report["nme_face_box"])
    # A box twice as large, with the same crop, halves the error.
    labels = source.labels

    def twice(row):
        found = labels(row)
        middle = np.tile(found["box"].reshape(2, 2).mean(0), 2)
        return {**found, "box": middle + 2 * (found["box"] - middle)}

    monkeypatch.setattr(source, "labels", twice)
    config.data.margin /= 2
    lengths = laplace_data.box_lengths(config, source, by_box.index)
    np.testing.assert_allclose(lengths, 2 * by_box.lengths, rtol=1e-5)


def laplace_evaluation_report(config, workdir, found, source, variables):
    folder = workdir / "report_face_box"
    return report(config, folder, found, source, variables=variables, step=4, records=[])


def test_black_frames_of_unlabelled_pictures_are_warned_of(faces, caplog):
    config = tiny_config(faces)
    laplace_data.open_unlabelled(config)
    assert "frames it in black" not in caplog.text
    del config.unlabelled.options["face_box"]
    laplace_data.open_unlabelled(config)
    assert "config.unlabelled.margin=1.3 frames it in black" in caplog.text
    caplog.clear()
    config.unlabelled.margin = 0.8
    laplace_data.open_unlabelled(config)
    assert "frames it in black" not in caplog.text


def test_configs_name_unlabelled_faces_that_fit():
    for config in (paper.get_config(), helen.get_config("adversarial")):
        assert config.unlabelled.options.face_box == helen.FACE_BOX
    own = my_faces.get_config()
    own.adversarial.weight = 0.001
    with pytest.raises(ConfigError, match=r"config.unlabelled.name is empty"):
        check_config(own)


def test_training_goes_on_from_another_run(trained, faces, tmp_path):
    config, workdir = trained
    _, variables, _ = laplace.restore(config, workdir)
    following = tiny_config(faces, **{"model.pretrained": str(workdir)})
    state = laplace.initial_state(following, data_mesh())
    chex.assert_trees_all_equal(state.generator.params, variables["params"])
    chex.assert_trees_all_equal(state.generator.ema, variables)
    assert int(state.step) == 0
    other = tiny_config(faces, **{"model.pretrained": str(workdir), "model.width": 0.125})
    with pytest.raises(CheckpointMismatch, match="pretrained"):
        laplace.initial_state(other, data_mesh())
    nowhere = tiny_config(faces, **{"model.pretrained": str(tmp_path)})
    with pytest.raises(ValueError, match="not the --workdir of a run"):
        laplace.initial_state(nowhere, data_mesh())


def test_another_set_can_be_the_test(faces):
    config = tiny_config(faces)
    config.data.update(name="synthetic_faces", options={"config": "tiny"}, test_split="helen_test")
    config.test.update(name="w300", manual_dir=str(faces / "300w"))
    assert len(laplace_data.open_test(config)) == 6
