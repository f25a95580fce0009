"""The report of a DR-GAN run: recogniser and DR-GAN on people that neither has seen."""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from jaxgen.data import recognition_sets
from jaxgen.data.recognition_sets import Faces
from jaxgen.metrics import recognition
from jaxgen.tasks import (
    dr_gan_data,
    dr_gan_evaluation,
    dr_gan_figures,
    dr_gan_protocol,
    dr_gan_stages,
)
from jaxgen.tasks.dr_gan_evaluation import Drawn, Encoded
from jaxgen.tasks.dr_gan_schema import STAGES
from jaxgen.training.figures import training_curves
from jaxgen.training.logging import read_metrics
from jaxgen.training.report import Picture, write_report

# Stage -> method in tables and suffix of its figures; of two stages of one method the last counts.
METHODS = {"recogniser": "recogniser", "gan": "dr_gan", "confidence": "dr_gan"}
_RATE = "train/images_per_second"
SHOWN_PEOPLE = 6
DRAWN_PICTURES = 64  # of the test set, for the figures of drawing
_TESTS = {
    "identification": "to identify by one frontal picture of each",
    "verification": "in ten folds of pairs",
    "official_folds": "in the official folds of pairs",
    "templates": "in pairs of templates",
}


class Networks(NamedTuple):
    """The trained networks of a run, as functions of images."""

    encode: dict[str, Any]  # method -> uint8 [N, S, S, C] -> Encoded
    judge: Any  # images -> pose probabilities, or None
    rotate: Any  # (features, yaw) -> images, or None
    stage: str  # of the last of the encoders
    step: int  # of that stage


def load(config, workdir: Path, devices: Mesh) -> Networks:
    """The networks of all finished stages.

    Raises:
        ConfigError: neither a recogniser nor DR-GAN has been trained.
    """
    last = dr_gan_stages.last_network(config, workdir)
    done, people = dr_gan_stages.done_stages(config, workdir), dr_gan_stages.people_count(workdir)
    variables, step = {}, 0
    for stage in done:
        variables[stage], at = dr_gan_stages.restore(config, workdir, devices, stage, people)
        step = at if stage in METHODS else step
    encode = {
        METHODS[stage]: partial(
            dr_gan_evaluation.compile_encode(config, devices, stage), variables[stage]
        )
        for stage in done
        if stage in METHODS
    }
    judge = rotate = None
    if "pose" in done:
        judge = partial(dr_gan_evaluation.compile_judge(config, devices), variables["pose"])
    if "gan" in done:
        rotate = partial(dr_gan_evaluation.compile_rotate(config, devices), variables["gan"])
    return Networks(encode, judge, rotate, last, step)


def write(config, workdir: Path, devices: Mesh, sets: dr_gan_data.Sets) -> dict[str, float]:
    """Measures all finished stages and writes WORKDIR/report.

    Returns:
        Flat figures, in percent but for the thresholds: those of the last network under their own
        names, those of the recogniser with the suffix "_recogniser" beside it. results.json says
        too which `stage` and `method` the last one is of.
    """
    networks = load(config, workdir, devices)
    gallery, probes = dr_gan_protocol.open_test(config, sets)
    pairs = dr_gan_protocol.open_pairs(config, probes)
    last = list(networks.encode)[-1]
    numbers, found = {}, {}
    if pairs is None:  # people are identified
        images, degraded = dr_gan_data.degraded(config, probes)
    for method, encode in networks.encode.items():
        found[method] = [encode(dr_gan_data.middle(config, part)) for part in (gallery, probes)]
        both = (found[method][0], gallery), (found[method][1], probes)
        measured = dr_gan_protocol.recognition_numbers(config, encode, sets, *both, pairs)
        if pairs is None:
            measured |= dr_gan_evaluation.set_numbers(*both, largest=config.evaluate.images)
            worse = encode(images)
            measured |= degraded_numbers(config, both[0], (worse, probes))
        suffix = "" if method == last else f"_{method}"
        numbers |= {f"{name}{suffix}": value for name, value in measured.items()}
    drawn = None
    if networks.rotate:
        drawn = _draw(config, networks, probes, found[last][1])
        numbers |= drawing_numbers(config, networks, probes, drawn)
        numbers |= confidence_numbers(found[last][1], probes)
        if pairs is None:  # `worse` is what the last network says
            numbers |= dr_gan_evaluation.degraded_confidences(worse, degraded)
    records = {stage: read_metrics(workdir / stage / "metrics.jsonl") for stage in STAGES}
    rates = [line[_RATE] for line in records["gan"] or records["recogniser"] if _RATE in line]
    write_report(
        workdir / "report",
        title=f"DR-GAN: {config.data.name}",
        summary=f"{len(probes.people)} people that no network was trained on, "
        f"{len(probes.name)} pictures {_TESTS[config.test.protocol]}.",
        metrics=numbers,
        split=config.test.probe,
        step=networks.step,
        seed=config.seed,
        images_per_second=float(np.median(rates)) if rates else None,
        config=config,
        pictures=_pictures(config, probes, found, drawn, numbers, records),
        headline=[name for name in _headline(numbers) if name in numbers],
        meanings=_meanings(numbers),
        # Numbers alone do not tell two networks apart.
        facts={"stage": networks.stage, "method": last},
    )
    return numbers


def degraded_numbers(config, gallery, probes) -> dict[str, float]:
    """Rank-1 of fused sets in which about half of the pictures are degraded.

    Args:
        config: of the run.
        gallery: (Encoded, Faces).
        probes: the same, encoded from `dr_gan_data.degraded`.

    Returns:
        Percent: `rank1_degraded_images_N` by learned confidence, and `..._equal`.
    """
    numbers = dr_gan_evaluation.set_numbers(gallery, probes, largest=config.evaluate.images)
    return {name.replace("rank1_", "rank1_degraded_"): value for name, value in numbers.items()}


def _draw(config, networks: Networks, probes: Faces, found: Encoded) -> Drawn:
    rows = dr_gan_evaluation.spread(len(probes.name), DRAWN_PICTURES)
    part = Encoded(found.feature[rows], found.confidence[rows])
    return dr_gan_evaluation.draw_all_poses(
        config,
        part,
        dr_gan_data.middle(config, probes)[rows],
        rotate=networks.rotate,
        judge=networks.judge,
        # The recogniser has not met the generator, so it is the better witness.
        recognise=next(iter(networks.encode.values())),
    )


def drawing_numbers(config, networks: Networks, probes: Faces, drawn: Drawn) -> dict[str, float]:
    """Whether drawing obeys the pose and keeps the person.

    Returns:
        pose_obedience in percent; mean cosines of pictures with their own synthetic faces
        (identity_similarity) and with those of other people (identity_similarity_others).
    """
    rows = dr_gan_evaluation.spread(len(probes.name), DRAWN_PICTURES)
    recognise = next(iter(networks.encode.values()))
    count, poses = drawn.similarity.shape
    flat = drawn.image.reshape(-1, *drawn.image.shape[2:])
    own = recognise(dr_gan_data.middle(config, probes)[rows]).feature
    cosines = recognition.cosine(own, recognise(flat).feature).reshape(count, count, poses)
    other = probes.identity[rows][:, None] != probes.identity[rows]
    numbers = {"identity_similarity": float(drawn.similarity.mean())}
    if other.any():
        numbers["identity_similarity_others"] = float(cosines[other].mean())
    if networks.judge:
        numbers["pose_obedience"] = float(100 * drawn.obeyed.mean())
    return numbers


def confidence_numbers(found: Encoded, faces: Faces) -> dict[str, float]:
    """Mean confidence by |yaw| of the pose class, the nearest one: `confidence_yaw_60`, ..."""
    known = faces.pose != recognition_sets.UNKNOWN
    angle = np.where(known, np.abs(np.array(faces.classes))[faces.pose], np.nan)
    return {
        f"confidence_yaw_{value:g}": float(found.confidence[angle == value].mean())
        for value in np.unique(angle[known])
    }


def _headline(numbers) -> tuple[str, ...]:
    if "eer_frontal_profile" in numbers:
        names = ("accuracy_frontal_profile", "eer_frontal_profile")
        return (*names, *(f"{name}_recogniser" for name in names))
    if "eer_templates" in numbers:
        names = ("tar_at_far_0.01_templates", "eer_templates")
        return (*names, *(f"{name}_recogniser" for name in names))
    return "rank1", "rank1_recogniser", _most(numbers), "eer"


def _most(numbers) -> str:
    """Name of the figure with the largest number of fused images."""
    counts = [
        int(name.removeprefix("rank1_images_"))
        for name in numbers
        if name.startswith("rank1_images_") and name.removeprefix("rank1_images_").isdigit()
    ]
    return f"rank1_images_{max(counts)}" if counts else "rank1"


def _meanings(numbers) -> dict[str, str]:
    known = {
        "rank1": "identified from one picture, mean over all views, percent",
        "rank1_other_poses": "the same of probes whose yaw is unknown or near none of the views",
        "probes_other_poses": "number of those probes",
        "eer": "equal error rate over all pairs of probes, percent",
        "auc": "area under the ROC over all pairs of probes, percent",
        "accuracy_frontal_frontal": "frontal pairs, mean over folds, percent",
        "eer_frontal_frontal": "equal error rate of frontal pairs, mean over folds, percent",
        "accuracy_frontal_profile": "frontal with profile, mean over folds, percent",
        "eer_frontal_profile": "equal error rate, frontal with profile, mean over folds, percent",
        "auc_frontal_profile": "area under the ROC, frontal with profile, percent",
        "eer_templates": "equal error rate of fused templates, percent",
        "tar_at_far_0.01_templates": "same person accepted at a false accept rate of 1 %, percent",
        "threshold": "cosine with a fused person, calibrated on held-out training people",
        "tar_at_threshold": "pictures accepted as their own person at that threshold, percent",
        "far_at_threshold": "pictures accepted as another person at that threshold, percent",
        "pose_obedience": "synthetic faces in which the judge sees the wanted pose, percent",
        "confidence_degraded": "mean confidence of pictures that were blurred or made noisy",
        "confidence_clean": "mean confidence of the other pictures beside them",
        "identity_similarity": "cosine of a picture and its synthetic faces, by the recogniser",
        "identity_similarity_others": "the same with synthetic faces of other people",
    }
    meanings = {}
    for name in numbers:
        base = name.removesuffix("_recogniser")
        text = known.get(base, "")
        if base.startswith("rank1_yaw_"):
            text = f"identified at yaw +-{base.rsplit('_', 1)[1]} degrees, percent"
        elif "_images_" in base:
            parts = base.split("_images_")[1].split("_")
            how = "equal weights" if parts[1:] else "weighted by confidence"
            text = f"identified from {parts[0]} fused pictures, {how}, percent"
            text += ", half of them degraded" if "degraded" in base else ""
        if text:
            meanings[name] = text + (": recogniser" if base != name else "")
    return meanings


def _pictures(config, probes, found, drawn, numbers, records) -> list[Picture]:
    pictures, last = [], list(found)[-1]
    if "rank1" in numbers:
        figure = dr_gan_figures.by_yaw(numbers, last)
        caption = "Probes identified by one frontal picture of each person, by yaw."
        pictures.append(Picture("rank1_by_yaw", figure, caption))
    if "rank1_images_1" in numbers:
        figure = dr_gan_figures.by_images(numbers, last)
        caption = "Random sets of probes, fused: weighted by confidence, or all alike."
        pictures.append(Picture("rank1_by_images", figure, caption))
    if drawn is not None:
        rows = dr_gan_evaluation.spread(len(probes.name), DRAWN_PICTURES)
        chosen = _one_of_each(probes.identity[rows], SHOWN_PEOPLE)
        pictures.insert(
            0,
            Picture(
                "rotations",
                dr_gan_figures.strips(
                    config,
                    dr_gan_data.middle(config, probes)[rows][chosen],
                    Drawn(*(x[chosen] for x in drawn)),
                ),
                "Unseen people turned: the picture, then what is drawn from its feature at each "
                "yaw, with the similarity that the recogniser sees.",
            ),
        )
        pictures.append(
            Picture(
                "quality",
                dr_gan_figures.quality(
                    dr_gan_data.middle(config, probes), probes, found[last][1].confidence
                ),
                "Pictures of a few people from the most to the least trusted.",
            )
        )
    for stage, lines in records.items():
        if lines:
            figure = training_curves(lines)
            pictures.append(Picture(f"training_{stage}", figure, f"Training: stage {stage}."))
    return pictures


def _one_of_each(identity, most) -> np.ndarray:
    """The first row of each of up to `most` people."""
    _, first = np.unique(identity, return_index=True)
    return np.sort(first)[:most]
