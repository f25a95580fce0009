"""DR-GAN from data to report: all stages, going on, refusals, a user's pictures, artifacts."""

import csv
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import dr_gan
from experiments.configs.dr_gan import default
from jaxgen.data import face_alignment, recognition_sets
from jaxgen.tasks import dr_gan as task
from jaxgen.tasks import (
    dr_gan_data,
    dr_gan_evaluation,
    dr_gan_predict,
    dr_gan_protocol,
    dr_gan_report,
    dr_gan_stages,
)
from jaxgen.tasks.dr_gan_schema import check_config
from jaxgen.training import checkpoint
from jaxgen.training.errors import ConfigError
from jaxgen.training.export import read_artifact
from jaxgen.training.logging import read_metrics
from jaxgen.training.workdir import open_workdir


def train(config, workdir: Path) -> Path:
    check_config(config)
    workdir = open_workdir(str(workdir), config, save_config=True)
    dr_gan.train(config, workdir)
    return workdir


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(config, workdir) of all stages on the embedded people, a few steps each."""
    config = default.get_config("smoke")
    return config, train(config, tmp_path_factory.mktemp("dr_gan"))


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    """A folder of two people with two pictures each, one grey and all of different sizes."""
    root = tmp_path_factory.mktemp("gallery")
    rng = np.random.default_rng(0)
    for number, person in enumerate(("anna", "bert")):
        (root / person).mkdir()
        for picture in range(2):
            side = 40 + 10 * picture + number
            shape = (side, side) if number and picture else (side, side, 3)
            image = Image.fromarray(rng.integers(0, 256, shape, np.uint8))
            image.save(root / person / f"{picture}.png")
    return root


def test_run_measures_recogniser_and_dr_gan(trained):
    _, workdir = trained
    found = json.loads((workdir / "report" / "results.json").read_text())
    for name in ("rank1", "rank1_yaw_0", "rank1_yaw_45", "rank1_images_2", "eer"):
        assert 0 <= found[name] <= 100 and 0 <= found[f"{name}_recogniser"] <= 100
    assert 0 <= found["rank1_degraded_images_2_equal"] <= 100
    assert 0 <= found["pose_obedience"] <= 100
    assert -1 <= found["identity_similarity"] <= 1 and found["split"] == "probe"
    assert (found["stage"], found["method"], found["step"]) == ("confidence", "dr_gan", 4)
    page = (workdir / "report" / "index.html").read_text()
    assert "data:image/" in page and 'src="http' not in page
    for stage in dr_gan_stages.STAGES:
        assert read_metrics(workdir / stage / "metrics.jsonl")
    assert 0 < read_metrics(workdir / "decoder" / "metrics.jsonl")[-1]["validation/pixel"] < 2
    assert (workdir / "report" / "rotations.png").stat().st_size > 1000


def test_finished_run_is_left_alone(trained, caplog):
    config, workdir = trained
    before = sorted((workdir / "gan" / "checkpoints").iterdir())
    dr_gan_stages.run_stages(config, workdir, dr_gan.open_devices(config), dr_gan_data.Sets(config))
    assert sorted((workdir / "gan" / "checkpoints").iterdir()) == before
    assert "nothing to train" in caplog.text


def test_stopped_stage_goes_on_bit_for_bit(trained, tmp_path):
    config, whole = trained
    short = config.copy_and_resolve_references()
    short.stages = "recogniser"
    short.recogniser.train.steps = config.recogniser.train.steps
    devices, sets = dr_gan.open_devices(config), dr_gan_data.Sets(config)

    class Stop(Exception):
        pass

    saved = checkpoint.Checkpoints.save

    def save_and_stop(self, step, *args):
        saved(self, step, *args)
        self.close()
        raise Stop

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        patch.setattr(checkpoint.Checkpoints, "save", save_and_stop)
        dr_gan_stages.run_stages(short, tmp_path, devices, sets)
    dr_gan_stages.run_stages(short, tmp_path, devices, sets)
    people = dr_gan_stages.people_count(whole)
    once, twice = (
        dr_gan_stages.restore(config, folder, devices, "recogniser", people)
        for folder in (whole, tmp_path)
    )
    assert once[1] == twice[1]
    jax.tree.map(np.testing.assert_array_equal, once[0], twice[0])


def test_warm_start_without_recogniser_is_refused(tmp_path):
    config = default.get_config("smoke")
    config.stages = "gan"
    with pytest.raises(ConfigError, match="needs the stage 'recogniser'"):
        dr_gan_stages.check_order(config, tmp_path)
    config.gan.warm_start = "none"
    with pytest.raises(ConfigError, match="needs the stage 'decoder'"):
        dr_gan_stages.check_order(config, tmp_path)
    config.stages = "decoder,gan"
    with pytest.raises(ConfigError, match="needs the stage 'recogniser'"):
        dr_gan_stages.check_order(config, tmp_path)
    config.stages, config.gan.warm_decoder = "gan", False
    dr_gan_stages.check_order(config, tmp_path)
    config.stages = "confidence"
    with pytest.raises(ConfigError, match="needs the stage 'gan'"):
        dr_gan_stages.check_order(config, tmp_path)


def test_the_last_stage_changes_no_feature(trained):
    config, workdir = trained
    devices, people = dr_gan.open_devices(config), dr_gan_stages.people_count(workdir)
    images = dr_gan_data.middle(config, dr_gan_data.Sets(config).open("validation"))
    assert dr_gan_stages.last_network(config, workdir) == "confidence"
    before, after = (
        dr_gan_evaluation.compile_encode(config, devices, stage)(
            dr_gan_stages.restore(config, workdir, devices, stage, people)[0], images
        )
        for stage in ("gan", "confidence")
    )
    np.testing.assert_array_equal(before.feature, after.feature)
    assert (before.confidence != after.confidence).any()


def test_a_stage_whose_beginning_has_trained_on_is_refused(trained, tmp_path):
    config = trained[0].copy_and_resolve_references()
    workdir = shutil.copytree(trained[1], tmp_path / "run")
    config.stages, config.gan.train.steps = "gan,confidence", config.gan.train.steps + 2
    with pytest.raises(ConfigError, match="'confidence' began from step 4 of 'gan'"):
        dr_gan_stages.run_stages(
            config, workdir, dr_gan.open_devices(config), dr_gan_data.Sets(config)
        )


def test_sets_larger_than_any_person_are_refused(trained):
    config = trained[0].copy_and_resolve_references()
    config.gan.images = 99
    with pytest.raises(ConfigError, match=r"config\.gan\.images=99"):
        dr_gan_data.training_batches(config, "gan", dr_gan_data.Sets(config).open("train"))


def test_without_known_poses_no_number_chooses_the_judge():
    config = default.get_config("smoke")
    held_out = dr_gan_data.Sets(config).open("validation")
    held_out = held_out._replace(pose=np.full_like(held_out.pose, -1))
    validate = dr_gan_stages._validation(config, dr_gan.open_devices(config), "pose", held_out)
    assert validate(None) == {}


def test_people_of_training_are_no_test(trained):
    config = trained[0].copy_and_resolve_references()
    config.test.gallery = config.test.probe = "train"
    with pytest.raises(ConfigError, match="people that training has not seen"):
        dr_gan_protocol.open_test(config, dr_gan_data.Sets(config))


def test_the_training_set_by_its_own_name_is_still_the_training_set():
    config = default.get_config("smoke")
    config.test.update(name=config.data.name, gallery="train", probe="train")
    config.test.options = config.data.options
    with pytest.raises(ConfigError, match="people that training has not seen"):
        dr_gan_protocol.open_test(config, dr_gan_data.Sets(config))


def test_sets_are_the_same_by_name_and_folder(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for folder in ("mine", "other"):
        (tmp_path / folder / "anna").mkdir(parents=True)
        picture = Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8))
        picture.save(tmp_path / folder / "anna" / "0.png")
    monkeypatch.setenv("JAXGEN_DATA", str(tmp_path))
    config = default.get_config("smoke")
    config.data.update(name="identity_folder", manual_dir=str(tmp_path / "mine"))
    del config.data.options.config
    assert dr_gan_data.tests_on_training_set(config)
    for folder, same in (("mine", True), (str(tmp_path / "mine"), True), ("other", False)):
        config.test.update(name="identity_folder", manual_dir=folder)
        assert dr_gan_data.tests_on_training_set(config) == same


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probe": "nonsense"}, "nonsense"),
        ({"gallery": "train", "probe": "train"}, "people that training has not seen"),
        ({"protocol": "official_folds"}, r"config\.test\.name='cfp'"),
    ],
)
def test_a_test_that_cannot_be_made_stops_before_training(change, message, tmp_path, monkeypatch):
    config = default.get_config("smoke")
    config.test.update(change)
    asked = []
    monkeypatch.setattr(dr_gan_stages, "run_stages", lambda *_: asked.append(1))
    with pytest.raises((ConfigError, ValueError), match=message):
        dr_gan.train(config, tmp_path)
    assert not asked


def test_too_few_people_to_calibrate_stop_before_training():
    config = default.get_config("smoke")
    dr_gan_protocol.check_test(config, dr_gan_data.Sets(config))
    config.evaluate.false_accept_rate = 1e-6
    with pytest.raises(ValueError, match="different people to calibrate"):
        dr_gan_protocol.check_test(config, dr_gan_data.Sets(config))


@pytest.fixture
def own_people(tmp_path):
    """own_people(test=(yaw, ...), train=(yaw, ...)) -> a config that trains and tests on them."""

    def make(*, train=(0, 45, -45, 0), test=(0, 45, -45, 0), others=()):
        rng, rows = np.random.default_rng(0), ["name,yaw"]
        people = {f"train/t{k}": train for k in range(8)} | {f"test/x{k}": test for k in range(3)}
        for person, yaws in (people | dict(others)).items():
            (tmp_path / "own" / person).mkdir(parents=True)
            for k, yaw in enumerate(yaws):
                picture = Image.fromarray(rng.integers(0, 256, (30, 30, 3), np.uint8))
                picture.save(tmp_path / "own" / person / f"{k}.png")
                rows += [f"{person}/{k}.png,{yaw}"] * (yaw is not None)
        (tmp_path / "own" / "yaws.csv").write_text("\n".join(rows))
        config = default.get_config("smoke")
        config.data.update(name="identity_folder", manual_dir=str(tmp_path / "own"))
        config.data.data_dir = str(tmp_path / "tfds")
        del config.data.options["config"]
        config.data.options.yaws = "yaws.csv"
        config.test.update(gallery="", probe="test")
        return config

    return make


def test_a_set_without_poses_stops_before_training(own_people, tmp_path):
    config = own_people(train=(None, None), test=(0, 0, 0))
    with pytest.raises(ConfigError, match=r"'identity_folder' has a known pose"):
        dr_gan.train(config, tmp_path / "run")
    assert not list(tmp_path.glob("run/recogniser/*"))
    config.stages, trained = "recogniser", []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dr_gan_stages, "_train", lambda *args: trained.append(args[-1]))
        (tmp_path / "run").mkdir(exist_ok=True)
        devices, sets = dr_gan.open_devices(config), dr_gan_data.Sets(config)
        dr_gan_stages.run_stages(config, tmp_path / "run", devices, sets)
    assert trained == ["recogniser"]


def test_what_two_pictures_a_person_allow_is_measured(own_people, caplog):
    config = own_people(test=(0, 45))
    sets = dr_gan_data.Sets(config)
    dr_gan_protocol.check_test(config, sets)
    assert "'test' of 'identity_folder'" in caplog.text and "no EER" in caplog.text
    gallery, probes = dr_gan_protocol.open_test(config, sets)
    both = [
        (dr_gan_evaluation.Encoded(np.eye(3), np.ones(3)), faces) for faces in (gallery, probes)
    ]

    def encode(images):
        features = np.random.default_rng(0).standard_normal((len(images), 3))
        return dr_gan_evaluation.Encoded(features, np.ones(len(images)))

    numbers = dr_gan_protocol.recognition_numbers(config, encode, sets, *both, None)
    assert numbers["rank1"] == 100 and not {"eer", "tar_at_threshold"} & set(numbers)
    assert numbers["far_at_threshold"] >= 0


def test_probes_without_a_yaw_are_measured_apart(own_people, caplog):
    config = own_people(test=(0, 45, -45, None))
    dr_gan_protocol.check_test(config, dr_gan_data.Sets(config))
    assert "3 of 9 probes have an unknown yaw" in caplog.text


def test_held_out_people_who_cannot_calibrate_stop_before_training(own_people):
    config = own_people(train=(0,))
    message = r"held out of config\.data\.name='identity_folder'.*config\.data\.validation_fraction"
    with pytest.raises(ConfigError, match=message):
        dr_gan_protocol.check_test(config, dr_gan_data.Sets(config))


def test_pairs_of_one_kind_stop_before_training(trained, templates):
    config = trained[0].copy_and_resolve_references()
    (templates / "pairs.csv").write_text("template_a,template_b,same\n1,2,1\n3,4,1\n")
    config.test.update(name="face_templates", manual_dir=str(templates), protocol="templates")
    config.test.probe = "test"
    message = r"'test' of 'face_templates' cannot be scored.*List pairs of the same person and"
    with pytest.raises(ConfigError, match=message):
        dr_gan_protocol.check_test(config, dr_gan_data.Sets(config))


def test_given_validation_people_are_used_and_are_no_test(own_people, monkeypatch):
    given = {f"validation/v{k}": (0, 45, -45) for k in range(3)}
    config = own_people(others=given)
    sets = dr_gan_data.Sets(config)
    assert sets.open("validation").people == ("v0", "v1", "v2")
    assert len(sets.open("train").people) == 8  # nobody is held out of them
    train, test = sets.open("train"), sets.open_test("test")
    monkeypatch.setattr(sets, "open", lambda split: train if split == "train" else test)
    with pytest.raises(ConfigError, match="'x0' is in training and in 'test'"):
        dr_gan_protocol.open_test(config, sets)


def test_gallery_may_be_the_most_frontal_probes(trained):
    config = trained[0].copy_and_resolve_references()
    config.test.gallery = ""
    gallery, probes = dr_gan_protocol.open_test(config, dr_gan_data.Sets(config))
    assert sorted(gallery.identity) == list(range(len(probes.people)))
    assert (gallery.yaw == 0).all() and not set(gallery.name) & set(probes.name)
    assert isinstance(gallery, recognition_sets.Faces)


@pytest.fixture
def templates(tmp_path):
    """Four templates of two people in IJB's shape."""
    rng = np.random.default_rng(0)
    rows = [("1", "ann", 0), ("1", "ann", 1), ("2", "ann", 2), ("3", "bob", 3), ("4", "bob", 4)]
    for _, _, picture in rows:
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(
            tmp_path / f"{picture}.png"
        )
    lines = ["template_id,subject_id,path,x0,y0,x1,y1"]
    lines += [f"{template},{person},{picture}.png,5,5,35,35" for template, person, picture in rows]
    (tmp_path / "templates.csv").write_text("\n".join(lines))
    pairs = ["template_a,template_b,same", "1,2,1", "3,4,1", "1,3,0", "2,4,0"]
    (tmp_path / "pairs.csv").write_text("\n".join(pairs))
    return tmp_path


def test_another_set_of_templates_is_tested_on(trained, templates, tmp_path):
    config, workdir = trained[0].copy_and_resolve_references(), tmp_path / "run"
    shutil.copytree(trained[1], workdir)
    config.test.update(name="face_templates", manual_dir=str(templates), protocol="templates")
    config.test.probe = "test"
    check_config(config)
    found = dr_gan_report.write(
        config, workdir, dr_gan.open_devices(config), dr_gan_data.Sets(config)
    )
    for name in ("eer_templates", "auc_templates_equal", "eer_templates_recogniser"):
        assert 0 <= found[name] <= 100
    page = (workdir / "report" / "index.html").read_text()
    assert "2 people" in page and "5 pictures in pairs of templates" in page


def test_protocol_of_another_set_is_refused(trained):
    config = trained[0].copy_and_resolve_references()
    config.test.protocol = "official_folds"
    faces = dr_gan_data.Sets(config).open("train")
    with pytest.raises(ConfigError, match=r"config\.test\.name='cfp'"):
        dr_gan_protocol.open_pairs(config, faces)


def test_predict_identifies_ranks_and_turns_pictures(trained, gallery, tmp_path):
    config, workdir = trained
    broken = gallery / "bert" / "broken.jpg"
    broken.write_bytes(b"no picture")
    output = dr_gan_predict.predict_files(
        config,
        workdir,
        dr_gan.open_devices(config),
        media=str(gallery),
        gallery=str(gallery),
        landmarks="",
    )
    broken.unlink()
    rows = list(csv.DictReader((output / "predictions.csv").open()))
    # The broken one is named in the log and left out.
    assert [row["file"] for row in rows] == [f"{p}/{k}.png" for p in ("anna", "bert") for k in "01"]
    assert sorted(int(row["quality_rank"]) for row in rows) == [1, 2, 3, 4]
    best = min(rows, key=lambda row: int(row["quality_rank"]))
    assert float(best["confidence"]) == max(float(row["confidence"]) for row in rows)
    assert {row["person"] for row in rows} <= {"anna", "bert"}
    assert {row["accepted"] for row in rows} <= {"yes", "no"}
    assert all(row["turned"] == "yes" for row in rows)
    assert len(list(output.glob("*_poses.png"))) == len(list(output.glob("*_frontal.png"))) == 4
    # Drawings of an earlier run go: there is one picture less, and it is another first one.
    devices = dr_gan.open_devices(config)
    again = dr_gan_predict.predict_files(config, workdir, devices, media=str(gallery / "bert"))
    assert again == output
    names = [f"000{k}_{k}_{kind}.png" for k in range(2) for kind in ("frontal", "poses")]
    assert sorted(path.name for path in output.glob("*.png")) == names


def write_landmarks(path, root, leave_out=()):
    rows = ["name,point,x,y"]
    for file in sorted(root.rglob("*.png")):
        name = file.relative_to(root).as_posix()
        if name not in leave_out:
            points = 5 + 0.25 * face_alignment.TEMPLATE
            rows += [f"{name},{k},{x},{y}" for k, (x, y) in enumerate(points)]
    path.write_text("\n".join(rows))
    return str(path)


def test_predict_aligns_by_landmarks_and_answers_a_claim(trained, gallery, tmp_path):
    config, workdir = trained
    photos = gallery / "anna"
    ask = dict(devices=dr_gan.open_devices(config), media=str(photos), gallery=str(gallery))
    ask["gallery_landmarks"] = write_landmarks(tmp_path / "people.csv", gallery)
    ask["landmarks"] = write_landmarks(tmp_path / "photos.csv", photos)
    output = dr_gan_predict.predict_files(config, workdir, claim="anna", **ask)
    rows = list(csv.DictReader((output / "claim.csv").open()))
    assert [row["file"] for row in rows] == ["0.png", "1.png"]
    found = json.loads((workdir / "report" / "results.json").read_text())
    for row in rows:
        np.testing.assert_allclose(float(row["threshold"]), found["threshold"], atol=1e-4)
        accepted = float(row["similarity"]) >= found["threshold"]
        assert row["claim"] == "anna" and row["accepted"] == ("yes" if accepted else "no")
    with pytest.raises(ConfigError, match=r"--claim='carla'.* only anna, bert"):
        dr_gan_predict.predict_files(config, workdir, claim="carla", **ask)
    ask["landmarks"] = write_landmarks(tmp_path / "photos.csv", photos, leave_out=("1.png",))
    with pytest.raises(ConfigError, match=r"photos\.csv has no landmarks of '1\.png'"):
        dr_gan_predict.predict_files(config, workdir, **ask)


def test_a_run_without_a_recogniser_may_use_a_gallery(trained, gallery, tmp_path):
    config = trained[0].copy_and_resolve_references()
    for name in ("gan", "people.json", "config.json"):
        copy = shutil.copytree if name == "gan" else shutil.copy
        copy(trained[1] / name, tmp_path / name)
    devices = dr_gan.open_devices(config)
    dr_gan_report.write(config, tmp_path, devices, dr_gan_data.Sets(config))
    output = dr_gan_predict.predict_files(
        config, tmp_path, devices, media=str(gallery), gallery=str(gallery), claim="anna"
    )
    rows = list(csv.DictReader((output / "claim.csv").open()))
    assert [row["file"] for row in rows] == [f"{p}/{k}.png" for p in ("anna", "bert") for k in "01"]
    # The next stage of the same method is another network.
    shutil.copytree(trained[1] / "confidence", tmp_path / "confidence")
    with pytest.raises(ConfigError, match=r"'gan' at step '4'.*of 'confidence' at step 4"):
        dr_gan_predict.predict_files(
            config, tmp_path, devices, media=str(gallery), gallery=str(gallery)
        )


def test_an_unknown_yaw_is_said(trained, gallery, monkeypatch, capsys):
    config, workdir = trained
    load = dr_gan_report.load
    monkeypatch.setattr(dr_gan_report, "load", lambda *args: load(*args)._replace(judge=None))
    output = dr_gan_predict.predict_files(
        config, workdir, dr_gan.open_devices(config), media=str(gallery / "anna")
    )
    rows = list(csv.DictReader((output / "predictions.csv").open()))
    assert [row["yaw"] for row in rows] == ["unknown"] * 2
    assert all(row["turned"] == "yes, yaw unknown and not checked" for row in rows)
    assert "the yaw of 2 of them is unknown" in capsys.readouterr().out


def test_faces_turned_too_far_are_not_redrawn(trained, gallery, monkeypatch):
    config, workdir = trained
    config = config.copy_and_resolve_references()
    config.pose.limit = 30.0
    load = dr_gan_report.load
    side = np.array([0.4, 0.3, 0.3])  # the first class, -45 degrees; the mean is near 0

    def load_with_judge(*args):
        return load(*args)._replace(judge=lambda images: np.tile(side, (len(images), 1)))

    monkeypatch.setattr(dr_gan_report, "load", load_with_judge)
    output = dr_gan_predict.predict_files(
        config,
        workdir,
        dr_gan.open_devices(config),
        media=str(gallery / "anna"),
        gallery="",
        landmarks="",
    )
    rows = list(csv.DictReader((output / "predictions.csv").open()))
    assert all(row["turned"].startswith("refused") and row["person"] == "" for row in rows)


def test_predict_names_what_is_missing(trained, tmp_path):
    config, workdir = trained
    ask = dict(devices=dr_gan.open_devices(config), landmarks="")
    with pytest.raises(ConfigError, match="name an image, or a folder"):
        dr_gan_predict.predict_files(config, workdir, media="", gallery="", **ask)
    with pytest.raises(ConfigError, match="Train first"):
        dr_gan_predict.predict_files(config, tmp_path, media="", gallery="", **ask)


def test_artifacts_do_what_the_network_does(trained):
    config, workdir = trained
    devices = dr_gan.open_devices(config)
    paths = dr_gan_predict.export(config, workdir, devices)
    people = dr_gan_stages.people_count(workdir)
    variables, _ = dr_gan_stages.restore(config, workdir, devices, "confidence", people)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, config.data.size, config.data.size, 3), np.uint8)
    feature, confidence = read_artifact(paths[0])(images)
    wanted = task.encode(config, variables, images)
    np.testing.assert_allclose(feature, wanted.feature, atol=1e-5)
    np.testing.assert_allclose(confidence, wanted.confidence, atol=1e-5)
    drawn = read_artifact(paths[1])(feature, np.zeros(3, np.float32))
    assert drawn.shape == images.shape and drawn.dtype == np.uint8
