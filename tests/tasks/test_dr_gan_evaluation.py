"""DR-GAN's figures from features made by hand: no network, known results."""

import numpy as np
import pytest

from experiments.configs.dr_gan import default
from jaxgen.data import verification_pairs
from jaxgen.data.verification_pairs import Pairs, TemplatePairs
from jaxgen.tasks import (
    dr_gan_data,
    dr_gan_evaluation,
    dr_gan_figures,
    dr_gan_protocol,
    dr_gan_report,
)
from jaxgen.training.errors import ConfigError

from .dr_gan_case import encoded, made_faces

# ---------------------------------------------------------------------------- calibration


def test_pictures_are_compared_with_people_who_are_fused_without_them():
    found = encoded([[1, 0], [0, 1], [1, 1]], confidence=[1, 3, 1])
    scores, same = dr_gan_evaluation.enrolled_scores(found, made_faces([0, 0, 1]))
    # Person 1 has one picture, which has nobody to be compared with.
    np.testing.assert_allclose(scores[same], [0, 0], atol=1e-7)
    half = 0.5**0.5
    np.testing.assert_allclose(scores[~same], [half, half, 4 / 20**0.5], rtol=1e-6)


def test_threshold_keeps_the_wanted_share_of_other_people_out():
    rng = np.random.default_rng(0)
    identity = np.arange(40).repeat(4)
    found = encoded(np.eye(40)[identity] + 0.2 * rng.normal(size=(160, 40)))
    faces = made_faces(identity)
    scores, same = dr_gan_evaluation.enrolled_scores(found, faces)
    limit = dr_gan_evaluation.threshold(found, faces, 0.01)
    assert (scores[~same] >= limit).mean() <= 0.01 < (scores[~same] >= limit - 0.02).mean()
    assert (scores[same] >= limit).mean() > 0.5


def test_the_threshold_comes_from_held_out_people_not_from_the_test():
    config = default.get_config("smoke")
    config.evaluate.false_accept_rate = 0.2
    rng, identity = np.random.default_rng(0), np.arange(20).repeat(2)
    known = np.eye(20)[identity] + 0.3 * rng.standard_normal((40, 20))  # it knows everybody
    strangers = encoded(rng.standard_normal((40, 20)))

    class Sets:
        def open(self, split):
            assert split == "validation"
            return made_faces(identity)

    numbers = dr_gan_protocol.calibration_numbers(
        config, lambda images: encoded(known), Sets(), made_faces(identity), strangers
    )
    expected, other = (
        dr_gan_evaluation.threshold(found, made_faces(identity), 0.2)
        for found in (encoded(known), strangers)
    )
    assert numbers["threshold"] == expected != other


# ------------------------------------------------------------------------- poses to learn


def test_stages_that_learn_poses_need_some(caplog):
    config = default.get_config("smoke")
    unknown = made_faces([0, 0, 1, 1], [np.nan] * 4)
    for stages in ("recogniser,pose", "decoder", "recogniser,gan"):
        config.stages = stages
        with pytest.raises(ConfigError, match=r"no picture.*options\.landmarks"):
            dr_gan_data.check_poses(config, unknown)
    config.stages = "recogniser"
    dr_gan_data.check_poses(config, unknown)
    config.stages = "recogniser,gan"
    dr_gan_data.check_poses(config, made_faces([0, 0, 1, 1], [0, 0, np.nan, np.nan]))
    assert not caplog.text
    dr_gan_data.check_poses(config, made_faces([0, 0, 1, 1], [0, np.nan, np.nan, np.nan]))
    assert "only 25.0 % of the training pictures" in caplog.text
    # A yaw beyond all classes is a pose where poses are yaws.
    beyond = made_faces([0, 1], [90, 90], classes=(-30.0, 30.0))
    with pytest.raises(ConfigError, match="known pose"):
        dr_gan_data.check_poses(config, beyond)
    config.pose.form = "yaw"
    dr_gan_data.check_poses(config, beyond)


# ------------------------------------------------------------------------------- figures


def test_fold_figures_have_the_names_of_the_protocol():
    found = encoded([[1, 0], [1, 0], [0, 1], [0, 1]])
    first, second = np.array([0, 0, 2, 1] * 2), np.array([1, 2, 3, 3] * 2)
    same = np.array([True, False, True, False] * 2)
    pairs = Pairs(first, second, same, np.repeat([0, 1], 4), 0)
    numbers = dr_gan_evaluation.fold_numbers(found, pairs, "FP")
    assert numbers == {
        **{"accuracy_frontal_profile": 100, "accuracy_frontal_profile_std": 0},
        **{"eer_frontal_profile": 0, "eer_frontal_profile_std": 0},
        **{"auc_frontal_profile": 100, "auc_frontal_profile_std": 0},
    }
    wrong = dr_gan_evaluation.fold_numbers(found, pairs._replace(same=~same), "FF")
    assert wrong["auc_frontal_frontal"] == 0 and wrong["eer_frontal_frontal"] == 100


def test_templates_are_fused_by_confidence_or_alike():
    # The second picture of template 0 shows somebody else and is hardly trusted.
    found = encoded([[1, 0], [0, 3], [1, 0], [0, 1]], confidence=[1, 1e-3, 1, 1])
    pairs = TemplatePairs(
        templates=("0", "1", "2"),
        rows=np.array([[0, 1], [2, 2], [3, 3]]),
        mask=np.array([[True, True], [True, False], [True, False]]),
        first=np.array([0, 0]),
        second=np.array([1, 2]),
        same=np.array([True, False]),
    )
    numbers = dr_gan_evaluation.template_numbers(found, pairs)
    assert (numbers["auc_templates"], numbers["auc_templates_equal"]) == (100, 0)
    assert (numbers["eer_templates"], numbers["eer_templates_equal"]) == (0, 100)


def test_degraded_pictures_are_about_half_and_confidence_may_know_them():
    config = default.get_config("smoke")
    config.evaluate.images = 2
    identity = np.arange(4).repeat(30)
    probes = made_faces(identity)
    clean = probes.image[:, 1:-1, 1:-1]
    worse = []

    def encode(images):
        worse[:] = [(images != clean).any((1, 2, 3))]
        named = np.where(worse[0], (identity + 1) % 4, identity)
        return encoded(np.eye(4)[named], np.where(worse[0], 1e-3, 1.0))

    gallery = encoded(np.eye(4)), made_faces(np.arange(4))
    images, degraded = dr_gan_data.degraded(config, probes)
    found = encode(images)
    np.testing.assert_array_equal(degraded, worse[0])
    numbers = dr_gan_report.degraded_numbers(config, gallery, (found, probes))
    assert 0.3 < worse[0].mean() < 0.55  # of two independent quarters 0.44
    for count in (1, 2):
        sets = dr_gan_evaluation.draw_sets(probes, count, seed=0)
        right = 100 * (~worse[0][sets]).any(1).mean()
        np.testing.assert_allclose(numbers[f"rank1_degraded_images_{count}"], right)
    # With equal weights one bad picture ties with one good: not identified.
    both = 100 * (~worse[0][sets]).all(1).mean()
    np.testing.assert_allclose(numbers["rank1_degraded_images_2_equal"], both)
    means = dr_gan_evaluation.degraded_confidences(found, degraded)
    assert means == pytest.approx({"confidence_degraded": 1e-3, "confidence_clean": 1.0})


def test_a_larger_set_is_a_smaller_one_and_one_more_picture():
    faces = made_faces([0] * 3 + [1] * 5 + [2])
    sets = {count: dr_gan_evaluation.draw_sets(faces, count, seed=3) for count in (1, 2, 3, 4)}
    assert [len(rows) / dr_gan_evaluation.DRAWS for rows in sets.values()] == [3, 2, 2, 1]
    np.testing.assert_array_equal(sets[3][:, :2], sets[2])
    fours = faces.identity[sets[3][:, 0]] == 1  # only person 1 has so many
    np.testing.assert_array_equal(sets[4][:, :3], sets[3][fours])
    assert all(len(set(row)) == 4 for row in sets[4].tolist())
    assert len({tuple(row) for row in sets[4].tolist()}) > 1


def test_confidence_is_averaged_by_the_size_of_the_yaw():
    found = encoded(np.ones((7, 2)), confidence=[0.1, 0.3, 0.5, 0.75, 0.9, 0.8, 0.2])
    yaws = [-30, 30, 0, 2.5, np.nan, 80, -24.5]
    faces = made_faces([0] * 7, yaws, classes=(-30.0, 0.0, 30.0))
    numbers = dr_gan_report.confidence_numbers(found, faces)
    # The nearest class counts: one figure for each picture would say nothing.
    assert numbers == pytest.approx({"confidence_yaw_0": 0.625, "confidence_yaw_30": 0.2})


def test_probes_of_no_view_are_counted_apart():
    identity = np.arange(5)
    gallery = encoded(np.eye(5)), made_faces(identity)
    features = np.eye(5)[[0, 1, 0, 3, 0]]  # the third and the last are taken for the first
    yaws = [0, 44, -46, 90, np.nan]
    probes = encoded(features), made_faces(identity, yaws, classes=(-45.0, 0.0, 45.0))
    numbers = dr_gan_evaluation.identification_numbers(gallery, probes, (-45.0, 0.0, 45.0))
    assert numbers == pytest.approx(
        {
            **{"rank1": 200 / 3, "rank1_yaw_0": 100, "rank1_yaw_45": 50},
            **{"rank1_other_poses": 50, "probes_other_poses": 2},
        }
    )
    # Without a yaw nobody is in a view, and everybody is still identified.
    unknown = features, made_faces(identity, [np.nan] * 5)
    numbers = dr_gan_evaluation.identification_numbers(gallery, (encoded(features), unknown[1]), ())
    assert numbers == pytest.approx({"rank1_other_poses": 60, "probes_other_poses": 5})


def test_pairs_are_compared_in_a_sample_without_all_products(monkeypatch):
    monkeypatch.setattr(dr_gan_evaluation, "MOST_IN_PAIRS", 20)
    largest, cosine = [], dr_gan_evaluation.recognition.cosine

    def watched(first, second):
        largest.append(max(len(first), len(second)))
        return cosine(first, second)

    monkeypatch.setattr(dr_gan_evaluation.recognition, "cosine", watched)
    identity = np.arange(10).repeat(10)
    found = encoded(np.eye(10)[identity])
    assert dr_gan_evaluation.verification_numbers(found, made_faces(identity))["auc"] == 100
    assert largest == [20]


def test_a_picture_in_two_templates_is_no_pair_of_one_person():
    config = default.get_config("smoke")
    config.test.update(name="face_templates", protocol="templates")
    config.evaluate.false_accept_rate = 0.2
    rng = np.random.default_rng(0)
    features = rng.standard_normal((40, 8))  # 20 people, two pictures each; it knows nobody
    identity = np.arange(20).repeat(2)
    names = [f"{template}/{k}.jpg" for template in "ab" for k in range(40)]
    subset = [template for template in "ab" for _ in range(40)]
    twice = made_faces(np.tile(identity, 2), subset=subset, name=names)
    np.testing.assert_array_equal(dr_gan_data.distinct_pictures(config, twice), np.arange(40))

    class Sets:
        def open(self, split):
            return made_faces(identity)

    def encode(images):
        return encoded(features)

    once = dr_gan_protocol.calibration_numbers(
        config, encode, Sets(), made_faces(identity), encoded(features)
    )
    both = encoded(np.tile(features, (2, 1)))
    assert dr_gan_protocol.calibration_numbers(config, encode, Sets(), twice, both) == once
    # Two people on one picture are two faces.
    shared = made_faces([0, 1], subset=["a", "b"], name=["a/1.jpg", "b/1.jpg"])
    assert len(dr_gan_data.distinct_pictures(config, shared)) == 2


def test_curves_are_named_after_their_network():
    numbers = {"rank1_yaw_0": 1.0, "rank1_yaw_60": 0.5}
    for last in ("dr_gan", "recogniser"):
        (axes,) = dr_gan_figures.by_yaw(numbers, last).axes
        assert axes.get_legend_handles_labels()[1] == [last]


def test_templates_are_fused_without_a_place_for_every_picture(monkeypatch):
    largest, fuse = [], dr_gan_evaluation.recognition.fuse

    def watched(features, weights, mask=None):
        largest.append(features.size)
        return fuse(features, weights, mask)

    monkeypatch.setattr(dr_gan_evaluation.recognition, "fuse", watched)
    rng = np.random.default_rng(0)
    found = encoded(rng.standard_normal((30, 4)), rng.random(30))
    rows, mask = verification_pairs.padded([range(30), [0], [1], [2, 3]])
    pairs = TemplatePairs(
        tuple("0123"), rows, mask, *map(np.array, ([0, 0], [1, 2], [True, False]))
    )
    numbers = dr_gan_evaluation.template_numbers(found, pairs)
    assert max(largest) == 30 * 4
    fused = fuse(found.feature[rows], found.confidence[rows], mask)
    cosines = dr_gan_evaluation.recognition.cosine(fused, fused)
    assert numbers["auc_templates"] == 100.0 * (cosines[0, 1] > cosines[0, 2])


def test_drawings_are_asked_for_in_order_and_judged_by_others():
    config = default.get_config("smoke")  # poses -45, 0, 45
    found = encoded([[1, 0], [0, 1]])
    images = np.stack([np.full((4, 4, 3), value, np.uint8) for value in (0, 1)])

    def rotate(features, yaw):
        value = 10 * (1 + features.argmax(1)) + np.searchsorted(config.pose.classes, yaw)
        return np.broadcast_to(value[:, None, None, None], (6, 4, 4, 3)).astype(np.uint8)

    def judge(drawn):
        seen = drawn[:, 0, 0, 0] % 10
        seen = np.where(drawn[:, 0, 0, 0] == 22, 0, seen)  # takes one of them for another pose
        return np.eye(3)[seen]

    def recognise(pictures):
        value = pictures[:, 0, 0, 0].astype(int)
        person = np.where(value < 10, value, value // 10 - 1)
        return encoded(np.eye(2)[person] + (value == 11)[:, None] * [[-1, 1]])

    ask = dict(rotate=rotate, recognise=recognise)
    drawn = dr_gan_evaluation.draw_all_poses(config, found, images, judge=judge, **ask)
    np.testing.assert_array_equal(drawn.image[:, :, 0, 0, 0], [[10, 11, 12], [20, 21, 22]])
    np.testing.assert_array_equal(drawn.obeyed, [[True, True, True], [True, True, False]])
    np.testing.assert_array_equal(drawn.similarity, [[1, 0, 1], [1, 1, 1]])
    unjudged = dr_gan_evaluation.draw_all_poses(config, found, images, judge=None, **ask)
    assert not unjudged.obeyed.any()
