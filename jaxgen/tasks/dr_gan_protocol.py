"""What a DR-GAN run is tested on, and how: gallery, probes and pairs of config.test.protocol.

Opened, and scored once with made-up features, before a run trains.
"""

import logging
from typing import Any

import numpy as np

from jaxgen.data import recognition_sets, verification_pairs
from jaxgen.data.recognition_sets import Faces
from jaxgen.tasks import dr_gan_data, dr_gan_evaluation
from jaxgen.tasks.dr_gan_evaluation import Encoded
from jaxgen.training.errors import ConfigError

_KINDS = ("FF", "FP")  # frontal with frontal, frontal with profile
# Protocol -> what helps where its figures are not defined.
_REMEDIES = {
    "identification": "Every person of the probes needs a picture in the gallery: add it, or set "
    'config.test.gallery="" to take the most frontal probe of each.',
    "verification": "Add people, or pictures of them.",
    "official_folds": 'Complete the set, or set config.test.protocol="verification".',
    "templates": "List pairs of the same person and of different people.",
}
_log = logging.getLogger(__name__)


def check_test(config, sets: dr_gan_data.Sets) -> None:
    """Scores made-up features, so that a set that cannot be scored stops a run before its hours.

    Raises:
        ConfigError, ValueError: as of `open_test` and `open_pairs`; the held-out people cannot
            calibrate a threshold, or the figures of the protocol are not defined on the test set.
    """
    gallery, probes = open_test(config, sets)
    pairs = open_pairs(config, probes)
    held_out, rng = sets.open("validation"), np.random.default_rng(0)

    def encode(images):
        return Encoded(rng.standard_normal((len(images), 2)), np.ones(len(images)))

    found = encode(held_out.name)
    try:
        dr_gan_evaluation.verification_numbers(found, held_out)
        dr_gan_evaluation.threshold(found, held_out, config.evaluate.false_accept_rate)
    except ValueError as error:
        raise ConfigError(
            f"the people held out of config.data.name={config.data.name!r} "
            f"({len(held_out.people)} with {len(held_out.name)} pictures) cannot calibrate a "
            f"threshold: {error}. Raise config.data.validation_fraction or "
            "config.evaluate.false_accept_rate; two or more of them need two pictures or more."
        ) from error
    both = [(encode(faces.name), faces) for faces in (gallery, probes)]
    try:
        recognition_numbers(config, encode, sets, *both, pairs)
    except ValueError as error:
        raise ConfigError(
            f"{config.test.probe!r} of {dr_gan_data.test_set(config)['name']!r} cannot be scored "
            f"by config.test.protocol={config.test.protocol!r}: {error}. "
            f"{_REMEDIES[config.test.protocol]}"
        ) from error


def open_test(config, sets: dr_gan_data.Sets) -> tuple[Faces, Faces]:
    """Gallery and probes of people outside of training, numbered alike.

    A log says where a figure cannot be measured on them.

    Raises:
        ConfigError: a person is in the training set too.
        ValueError: a person has no picture in the gallery.
    """
    probes = sets.open_test(config.test.probe)
    distinct = dr_gan_data.distinct_pictures(config, probes)
    if config.test.protocol != "templates" and len(distinct) < len(probes.name):
        probes = probes.select(distinct)
    if config.test.protocol != "identification":
        gallery = probes
    elif config.test.gallery:
        parts = sets.open_test(config.test.gallery), probes
        gallery, probes = recognition_sets.number_together(*parts)
    else:  # the most frontal picture of each person
        gallery, probes = recognition_sets.gallery_and_probes(probes)
    # People of another set are others, whatever they are called there.
    same = dr_gan_data.tests_on_training_set(config)
    known = set(sets.open("train").people) if same else set()
    if same and "validation" not in (config.test.probe, config.test.gallery):
        known |= set(sets.open("validation").people)  # they choose checkpoints and thresholds
    both = sorted(known & set(probes.people))
    if both:
        raise ConfigError(
            f"{both[0]!r} is in training and in {config.test.probe!r}: a test of recognition needs "
            "people that training has not seen."
        )
    _warn(config, probes)
    return gallery, probes


def open_pairs(config, faces: Faces) -> Any:
    """The pairs that config.test.protocol compares.

    Returns:
        {"FF", "FP": Pairs} of folds, TemplatePairs, or None where faces are identified.

    Raises:
        ConfigError: the protocol belongs to another data set.
        ValueError: lists are missing or broken.
    """
    protocol, data = config.test.protocol, dr_gan_data.test_set(config)
    owner = {"official_folds": "cfp", "templates": "face_templates"}.get(protocol, data["name"])
    if data["name"] != owner:
        raise ConfigError(
            f"config.test.protocol={protocol!r} reads the lists of {owner!r}, and the set to test "
            f"on is {data['name']!r}: set config.test.name={owner!r}, or another protocol."
        )
    if protocol == "templates":
        return verification_pairs.template_pairs(data, faces)
    if protocol == "official_folds":
        return {kind: verification_pairs.cfp_pairs(data, faces, kind) for kind in _KINDS}
    if protocol == "verification":
        return {kind: verification_pairs.drawn_pairs(faces, kind) for kind in _KINDS}
    return None


def recognition_numbers(config, encode, sets, gallery, probes, pairs) -> dict[str, float]:
    """What one network's features are worth by the protocol, and what its threshold does.

    Args:
        config: of the run.
        encode: uint8 [N, S, S, C] -> Encoded; for the held-out people.
        sets: of the run.
        gallery: (Encoded, Faces).
        probes: (Encoded, Faces).
        pairs: of `open_pairs`.

    Raises:
        ValueError: a figure of the protocol is not defined on these pictures.
    """
    found, faces = probes
    numbers = calibration_numbers(config, encode, sets, faces, found)
    if config.test.protocol == "templates":
        return numbers | dr_gan_evaluation.template_numbers(found, pairs)
    for kind, of_kind in (pairs or {}).items():
        numbers |= dr_gan_evaluation.fold_numbers(found, of_kind, kind)
    if pairs is None:
        classes = config.pose.classes
        numbers |= dr_gan_evaluation.identification_numbers(gallery, probes, classes)
    return numbers


def calibration_numbers(config, encode, sets, probes, found: Encoded) -> dict[str, float]:
    """EER, AUC and TAR over all pairs of probes, and what the calibrated threshold does.

    The threshold is calibrated and shown as it is used: pictures against enrolled people. What
    the probes have no pairs for is left out.
    """
    rows = dr_gan_data.distinct_pictures(config, probes)
    probes = probes._replace(identity=probes.identity[rows])  # all that these figures need
    found = Encoded(*(part[rows] for part in found))
    numbers = {}
    if dr_gan_evaluation.has_pairs(probes):
        numbers = dr_gan_evaluation.verification_numbers(found, probes)
    # The threshold comes from held-out training people; the test set only shows what it does.
    held_out = sets.open("validation")
    known = encode(dr_gan_data.middle(config, held_out))
    limit = dr_gan_evaluation.threshold(known, held_out, config.evaluate.false_accept_rate)
    numbers["threshold"] = limit
    scores, same = dr_gan_evaluation.enrolled_scores(found, probes)
    for name, kind in (("tar_at_threshold", same), ("far_at_threshold", ~same)):
        if kind.any():
            numbers[name] = float(100 * (scores[kind] >= limit).mean())
    return numbers


def _warn(config, probes):
    """Says which figures the report will lack."""
    name = f"{config.test.probe!r} of {dr_gan_data.test_set(config)['name']!r}"
    distinct = dr_gan_data.distinct_pictures(config, probes)
    if not dr_gan_evaluation.has_pairs(probes._replace(identity=probes.identity[distinct])):
        _log.warning(
            "%s: no two of the probes show one person, or all do: the report has no EER and AUC "
            "over pairs; more pictures a person, or more people, would give them",
            name,
        )
    others = int((probes.pose == recognition_sets.UNKNOWN).sum())
    if others and config.test.protocol == "identification":
        _log.warning(
            "%s: %d of %d probes have an unknown yaw, or one far from all of "
            "config.pose.classes: they are in rank1_other_poses, not in rank1 and its figures by "
            "yaw; a complete option `yaws` or `landmarks`, or more classes, would change that",
            *(name, others, len(probes.name)),
        )
