"""DR-GAN's answers from features made by hand: no network, known results."""

import json

import numpy as np
import pytest
from PIL import Image

from experiments.configs.dr_gan import default
from jaxgen.data import face_alignment
from jaxgen.tasks import dr_gan_predict
from jaxgen.tasks.dr_gan_predict import Gallery, Landmarks, Pictures
from jaxgen.training.errors import ConfigError

from .dr_gan_case import encoded

# ---------------------------------------------------------------------- who is it, is it her

GALLERY = Gallery(["anna", "bert"], np.array([[1.0, 0.0], [0.0, 1.0]]))


def test_the_most_similar_person_is_named_and_accepted_from_the_threshold_on():
    found = encoded([[1, 0.1], [0.2, 1], [-1, -0.5], [3, 4]])
    assert dr_gan_predict.identify(found, GALLERY, 0.8) == [
        ("anna", "0.9950", "yes"),
        ("bert", "0.9806", "yes"),
        ("bert", "-0.4472", "no"),
        ("bert", "0.8000", "yes"),
    ]
    answers = dr_gan_predict.identify(found, GALLERY, 0.99)
    assert [answer[2] for answer in answers] == ["yes", "no", "no", "no"]
    assert dr_gan_predict.identify(found, None, 0.0) == [("", "", "")] * 4


def test_a_claim_is_accepted_of_the_right_person_only():
    found = encoded([[1, 0.1], [0.2, 1]])
    assert dr_gan_predict.verify(found, GALLERY, "anna", 0.8) == [
        ("0.9950", "0.8000", "yes"),
        ("0.1961", "0.8000", "no"),
    ]
    assert [a[2] for a in dr_gan_predict.verify(found, GALLERY, "bert", 0.8)] == ["no", "yes"]


def write_results(workdir, **results):
    (workdir / "report").mkdir(exist_ok=True)
    (workdir / "report" / "results.json").write_text(json.dumps(results))


def test_the_threshold_is_that_of_the_network_in_use(tmp_path):
    # With or without the recogniser's figures beside them: a run may have had no such stage.
    for beside in (dict(threshold_recogniser=0.6), {}):
        write_results(tmp_path, threshold=0.4, stage="gan", step=9, **beside)
        assert dr_gan_predict.threshold_of(tmp_path, stage="gan", step=9) == 0.4
        for stage, step in (("gan", 8), ("recogniser", 9), ("confidence", 9)):
            with pytest.raises(ConfigError, match=r"'gan' at step '9'.*run --mode=evaluate again"):
                dr_gan_predict.threshold_of(tmp_path, stage=stage, step=step)
    for broken in (dict(step=3), dict(threshold=None, step=3), dict(threshold=0.5)):
        write_results(tmp_path, **broken)
        with pytest.raises(ConfigError, match="no calibrated threshold"):
            dr_gan_predict.threshold_of(tmp_path, stage="recogniser", step=3)
    write_results(tmp_path, threshold=0.5, step=3)  # of an earlier version
    with pytest.raises(ConfigError, match=r"does not say of which stage.*--mode=evaluate again"):
        dr_gan_predict.threshold_of(tmp_path, stage="recogniser", step=3)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (dict(claim="anna"), "--claim names a person of --gallery"),
        (dict(gallery_landmarks="g.csv"), "belongs to --gallery"),
        (dict(gallery="g", landmarks="l.csv"), "aligned alike"),
        (dict(gallery="g", gallery_landmarks="l.csv"), "aligned alike"),
    ],
)
def test_requests_that_cannot_be_met_are_refused_before_any_work(asked, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        dr_gan_predict.predict_files(None, tmp_path, None, media="photos", **asked)


# ------------------------------------------------------------------------------ landmarks


@pytest.fixture
def halves(tmp_path):
    """photos/anna/0.png and gallery/anna/0.png: left half red, right half blue."""
    picture = np.zeros((80, 160, 3), np.uint8)
    picture[:, :80, 0] = picture[:, 80:, 2] = 200
    for root in ("photos", "gallery"):
        (tmp_path / root / "anna").mkdir(parents=True)
        Image.fromarray(picture).save(tmp_path / root / "anna" / "0.png")
    return tmp_path


def points_at(x):
    """Five points of a face of 40 pixels around (x, 40)."""
    template = face_alignment.TEMPLATE
    return (template - template.mean(0)) * 20 / np.ptp(template[:, 0]) + [x, 40]


def mean_colour(images):
    return encoded(images.reshape(len(images), -1, images.shape[-1]).mean(1))


def test_landmarks_of_pictures_and_of_the_gallery_do_not_meet(halves):
    config = default.get_config("smoke")
    photos = Landmarks("photos.csv", {"anna/0.png": points_at(35)})
    people = Landmarks("people.csv", {"anna/0.png": points_at(125)})
    pictures = dr_gan_predict.read_pictures(config, str(halves / "photos"), photos)
    red = mean_colour(pictures.image).feature[0]
    assert red[0] > 150 and red[2] < 20
    enrolled = dr_gan_predict.enrol(config, mean_colour, str(halves / "gallery"), people)
    blue = enrolled.feature[0]
    assert enrolled.people == ["anna"] and blue[2] > 150 and blue[0] < 20


def test_a_picture_without_landmarks_is_named_with_the_file(halves):
    config = default.get_config("smoke")
    lacking = Landmarks("points.csv", {"bert/0.png": points_at(35)})
    for read in (
        lambda: dr_gan_predict.read_pictures(config, str(halves / "photos"), lacking),
        lambda: dr_gan_predict.enrol(config, mean_colour, str(halves / "gallery"), lacking),
    ):
        with pytest.raises(ConfigError, match=r"points\.csv has no landmarks of 'anna/0\.png'"):
            read()


def test_a_picture_whose_points_show_no_pose_is_left_out_whole(halves, monkeypatch):
    config = default.get_config("smoke")
    (halves / "photos" / "anna" / "1.png").write_bytes(
        (halves / "photos" / "anna" / "0.png").read_bytes()
    )
    whole = np.zeros((68, 2))
    whole[:5] = points_at(35)
    points = {"anna/0.png": whole, "anna/1.png": points_at(125)}

    def no_pose(points):
        raise ValueError("no pose")

    monkeypatch.setattr(face_alignment, "five_points", lambda points: points[:5])
    monkeypatch.setattr(dr_gan_predict.head_pose, "head_pose", no_pose)
    found = dr_gan_predict.read_pictures(config, str(halves / "photos"), Landmarks("l", points))
    assert [file.name for file in found.files] == ["1.png"]
    assert len(found.image) == len(found.yaw) == 1
    assert mean_colour(found.image).feature[0, 2] > 150  # the blue one


# ------------------------------------------------------------------------------------ yaw


def test_yaw_is_the_judges_most_probable_class_unless_landmarks_say_it():
    config = default.get_config()
    classes = np.array(config.pose.classes)
    chances = np.full((3, len(classes)), 0.05)
    chances[0, -1] = chances[1, 0] = chances[2, 4] = 0.6
    pictures = Pictures([], [], np.zeros((3, 4, 4, 3), np.uint8), np.array([np.nan, np.nan, 12.5]))
    yaw = dr_gan_predict.estimated_yaw(config, lambda images: chances, pictures)
    np.testing.assert_array_equal(yaw, [60, -60, 12.5])
    # The default limit refuses what the judge sees at its outermost classes, and no others.
    refused = np.abs(classes) > config.pose.limit
    np.testing.assert_array_equal(np.flatnonzero(refused), [0, len(classes) - 1])
    unknown = dr_gan_predict.estimated_yaw(config, None, pictures)
    np.testing.assert_array_equal(unknown, [np.nan, np.nan, 12.5])
