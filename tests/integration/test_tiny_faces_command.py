"""Tiny faces from data to report: all stages, going on, refusals, predictions, export."""

import csv
import json

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import tiny_faces
from experiments.configs.tiny_faces import default
from jaxgen.data.face_boxes import read_face_boxes
from jaxgen.tasks import tiny_faces_predict, tiny_faces_stages
from jaxgen.tasks.tiny_faces_schema import check_config
from jaxgen.training import mesh
from jaxgen.training.errors import ConfigError
from jaxgen.training.export import read_artifact
from jaxgen.training.logging import read_metrics
from jaxgen.training.workdir import open_workdir


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(config, workdir) of all stages of the embedded crowds, a few steps each."""
    config = default.get_config("smoke")
    config.detector.inference.score_floor = 0.001  # what few steps teach is not sure of anything
    check_config(config)
    workdir = open_workdir(str(tmp_path_factory.mktemp("tiny")), config, save_config=True)
    tiny_faces.train(config, workdir)
    return config, workdir


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder with a picture larger than a tile, a tiny one, and a broken one."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    shapes = {"large.jpg": (150, 300, 3), "small.png": (20, 30, 3), "pixel.png": (1, 1, 3)}
    for name, shape in shapes.items():
        Image.fromarray(rng.integers(0, 256, shape).astype(np.uint8)).save(folder / name)
    (folder / "broken.jpg").write_bytes((folder / "large.jpg").read_bytes()[:400])
    return folder


def predict(trained, photos, output, boxes=""):
    config, workdir = trained
    return tiny_faces_predict.predict_media(
        config, workdir, mesh.data_mesh(), str(photos), boxes=str(boxes), output=output
    )


def test_run_measures_every_method(trained):
    config, workdir = trained
    found = json.loads((workdir / "report" / "results.json").read_text())
    for method in ("detector", "bicubic_classifier", "full"):
        assert 0 <= found[f"ap_{method}"] <= 100
        assert 0 <= found[f"ap_height_10_16_{method}"] <= 100
    assert found["ap"] == found["ap_full"] and found["split"] == "test"
    assert found["ap_oracle"] >= found["ap_detector"]
    for stage, method in (("discriminator", "bicubic_classifier"), ("gan", "full")):
        chosen = json.loads((workdir / stage / "fusion.json").read_text())
        assert "rule" in chosen["fusion"]
        assert found[f"validation_ap_height_0_16_{method}"] == chosen["figures"]["ap_small"]
    assert found["psnr_bicubic"] > 10 and found["psnr"] > 5
    page = (workdir / "report" / "index.html").read_text()
    assert "data:image/" in page and 'src="http' not in page
    for stage in ("detector", "crops", "generator", "discriminator", "gan"):
        assert tiny_faces_stages.is_done(config, workdir, stage)
        assert stage == "crops" or read_metrics(workdir / stage / "metrics.jsonl")


def test_finished_stages_are_left_alone(trained, caplog):
    config, workdir = trained
    before = (workdir / "detector" / "metrics.jsonl").stat().st_mtime_ns
    config = config.copy_and_resolve_references()
    config.stages = "detector"
    tiny_faces_stages.run_stages(config, workdir, mesh.data_mesh())
    assert "nothing to train" in caplog.text
    assert (workdir / "detector" / "metrics.jsonl").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("stages", "missing"),
    [("crops", "detector"), ("generator", "crops"), ("gan", "generator")],
)
def test_the_wrong_order_is_refused(tmp_path, stages, missing):
    config = default.get_config("smoke")
    config.stages = stages
    with pytest.raises(ConfigError, match=f"{stages!r} of config.stages needs {missing!r}"):
        tiny_faces_stages.run_stages(config, tmp_path, None)


def test_a_new_discriminator_needs_no_stage_of_its_own(tmp_path):
    config = default.get_config("smoke")
    config.stages = "detector,crops,generator,gan"
    with pytest.raises(ConfigError, match=r"'gan' of config.stages needs 'discriminator'"):
        tiny_faces_stages.check_order(config, tmp_path)
    config.gan.discriminator_start = "new"
    tiny_faces_stages.check_order(config, tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": "detektor"}, "config.stages names 'detektor'"),
        ({"detector.train.size": 100}, "train.size=100 must be a multiple of 32"),
        ({"detector.anchors.sizes": ((8,),)}, "sizes has 1 entries and strides 4"),
        ({"detector.inference.overlap": 100}, "at most half of a tile"),
        ({"detector.inference.overlap": 8}, "must be at least 32, four times the smallest anchor"),
        ({"detector.inference.smallest": 256}, r"smallest=256 must not exceed the tile \(128\)"),
        ({"detector.model.pretrained": "w.safetensors"}, "the light trunk cannot take"),
        (
            {"detector.model.backbone": "resnet50", "detector.model.norm": "group"},
            "name them in config.detector.model.pretrained",
        ),
        ({"augment.crop": (0.5, 2.0)}, r"config.augment.crop=\(0.5, 2.0\): expected"),
    ],
)
def test_bad_keys_are_named(changes, message):
    config = default.get_config("smoke")
    config.update_from_flattened_dict(changes)
    with pytest.raises(ConfigError, match=message):
        check_config(config)


def test_predictions_have_all_scores_and_broken_files_are_named(trained, photos, tmp_path, caplog):
    count = predict(trained, photos, tmp_path)
    with (tmp_path / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == count > 0
    assert {row["name"] for row in rows} <= {"large.jpg", "small.png"}
    asked = [row for row in rows if row["gan_score"]]
    assert asked and all(float(row["detector_score"]) > 0 for row in rows)
    large = [row for row in rows if row["name"] == "large.jpg"]
    scores = [float(row["score"]) for row in large]
    assert scores == sorted(scores, reverse=True)
    assert all(-0.5 <= float(row["x0"]) < float(row["x1"]) <= 299.5 for row in large)
    written = json.loads((tmp_path / "predictions.json").read_text())
    assert written["about"]["method"] == "full"
    assert any("broken.jpg" in text for text in written["about"]["skipped_files"])
    names = {"large.jpg", "small.png", "pixel.png"}
    assert {each["name"] for each in written["pictures"]} == names
    assert sorted(p.name for p in (tmp_path / "pictures").iterdir()) == [
        "large.jpg",
        "pixel.png.jpg",
        "small.png.jpg",
    ]
    # What was written can be read as boxes of another detector.
    assert len(read_face_boxes(tmp_path / "predictions.csv").of("large.jpg")) == len(large)


def test_videos_are_read_frame_by_frame(trained, photos, tmp_path):
    av = pytest.importorskip("av")
    (tmp_path / "films").mkdir()
    with (
        Image.open(photos / "large.jpg") as picture,
        av.open(str(tmp_path / "films" / "walk.mp4"), "w") as container,
    ):
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 300, 150, "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode(None))
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("name,frame,x0,y0,x1,y1\nwalk.mp4,0,10,10,30,34\nwalk.mp4,2,50,9,80,44\n")
    assert predict(trained, tmp_path / "films", tmp_path / "out", boxes) == 2
    with (tmp_path / "out" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["frame"], row["timestamp"], row["x0"]) for row in rows] == [
        ("0", "0.0", "10.0"),
        ("2", "0.2", "50.0"),
    ]
    written = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [(each["frame"], len(each["faces"])) for each in written["pictures"]] == [
        (0, 1),
        (1, 0),
        (2, 1),
    ]
    pictures = sorted((tmp_path / "out" / "pictures" / "walk.mp4").iterdir())
    assert [path.name for path in pictures] == ["000000.jpg", "000001.jpg", "000002.jpg"]
    with Image.open(pictures[0]) as drawn:
        assert drawn.width == 2 * drawn.height  # small pictures are drawn enlarged


def test_boxes_of_another_detector(trained, photos, tmp_path, caplog):
    boxes = tmp_path / "boxes.csv"
    rows = ["large.jpg,10,10,30,34,0.8", "large.jpg,280,100,320,170,", "large.jpg,400,9,420,30,0.9"]
    rows += ["pixel.png,-1,-1,2,2,0.7"]
    boxes.write_text("\n".join(["name,x0,y0,x1,y1,score", *rows]))
    assert predict(trained, photos, tmp_path / "out", boxes) == 3
    assert "large.jpg: 1 boxes outside the picture" in caplog.text
    written = json.loads((tmp_path / "out" / "predictions.json").read_text())
    (faces,) = (each["faces"] for each in written["pictures"] if each["name"] == "large.jpg")
    small, large = sorted(faces, key=lambda face: face["box"][0])
    assert small["detector_score"] == 0.8 and 0 <= small["gan_score"] <= 1
    # Too large for a second look, and without a score of its own; cut at the border.
    assert large["score"] is None and large["gan_score"] is None
    np.testing.assert_allclose(large["box"], [280, 100, 299.5, 149.5])


def test_boxes_that_are_no_numbers_name_file_and_line(trained, photos, tmp_path):
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("name,x0,y0,x1,y1\nlarge.jpg,1,2,3,4\nlarge.jpg,nan,2,3,4\n")
    with pytest.raises(ValueError, match=r"boxes\.csv, line 3: x0 is 'nan', not a number"):
        predict(trained, photos, tmp_path / "out", boxes)


def test_the_exported_detector_says_the_same(trained):
    config, workdir = trained
    paths = tiny_faces_predict.export(config, workdir, mesh.data_mesh())
    tiles = np.random.default_rng(1).integers(0, 256, (2, 128, 128, 3)).astype(np.uint8)
    assert [path.name for path in paths] == ["detector.stablehlo", "second_look.stablehlo"]
    boxes, scores, valid = read_artifact(paths[0])(tiles)
    detect, _ = tiny_faces_stages.trained_detector(config, workdir, mesh.data_mesh())
    expected = detect(tiles)
    assert json.loads(paths[0].with_suffix(".json").read_text())["score_floor"] == 0.001
    np.testing.assert_array_equal(np.asarray(valid), expected.valid[:2])
    np.testing.assert_allclose(np.asarray(scores), expected.scores[:2], atol=1e-5)
    np.testing.assert_allclose(np.asarray(boxes), expected.boxes[:2], atol=1e-2)
    assert jax.tree.leaves(expected)[0].shape[0] == 8  # rounded up to the devices
    side = config.crops.high // 4
    probability, enlarged = read_artifact(paths[1])(tiles[:1, :side, :side])
    assert probability.shape == (1,) and enlarged.shape == (1, 4 * side, 4 * side, 3)
