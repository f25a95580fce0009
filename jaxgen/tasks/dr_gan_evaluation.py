"""Measures DR-GAN and its recogniser: who is it, are these the same, and does drawing obey."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from jaxgen.data.recognition_sets import UNKNOWN, Faces
from jaxgen.data.verification_pairs import Pairs, TemplatePairs
from jaxgen.metrics import recognition
from jaxgen.tasks import dr_gan, dr_gan_classifiers
from jaxgen.training.whole_sets import compile_over_sets

# By stage.
ENCODERS = {
    "recogniser": dr_gan_classifiers.encode,
    "gan": dr_gan.encode,
    "confidence": dr_gan.encode,
}
MOST_IN_PAIRS = 3000  # pictures that are compared all with all
_CHUNK = 2**16  # pairs whose features are in memory at once
DRAWS = 20  # random sets of each person and size


class Encoded(NamedTuple):
    """What a network says of a set."""

    feature: np.ndarray  # [N, F]
    confidence: np.ndarray  # [N]


def compile_encode(config, devices: Mesh, stage: str) -> Callable[[Any, np.ndarray], Encoded]:
    """Compiles once: (variables, uint8 [N, S, S, C]) -> Encoded, by the network of a stage."""
    return _over_sets(config, devices, lambda *args: Encoded(*ENCODERS[stage](config, *args)))


def compile_judge(config, devices: Mesh) -> Callable[[Any, np.ndarray], np.ndarray]:
    """Compiles once: (judge's variables, uint8 [N, S, S, C]) -> probabilities [N, num_poses]."""
    return _over_sets(config, devices, partial(dr_gan_classifiers.poses, config))


def compile_rotate(config, devices: Mesh) -> Callable[[Any, np.ndarray, np.ndarray], np.ndarray]:
    """Compiles once: (variables, features [N, F], yaw [N] degrees) -> uint8 [N, S, S, C]."""

    def rotate(variables, codes):
        return dr_gan.rotate(config, variables, codes[:, :-1], codes[:, -1])

    run = _over_sets(config, devices, rotate)
    return lambda variables, features, yaw: run(
        variables, np.concatenate([features, np.asarray(yaw)[:, None]], 1).astype(np.float32)
    )


def _over_sets(config, devices, function):
    return compile_over_sets(
        devices,
        lambda variables, batch: function(variables, batch["image"]),
        batch_size=config.evaluate.batch_size,
    )


# --------------------------------------------------------------------------- verification


def has_pairs(faces: Faces) -> bool:
    """Whether `verification_numbers` finds pairs of one person and pairs of different people."""
    identity = faces.identity[spread(len(faces.identity), MOST_IN_PAIRS)]
    counts = np.unique(identity, return_counts=True)[1]
    return len(counts) > 1 and counts.max() > 1


def verification_numbers(found: Encoded, faces: Faces) -> dict[str, float]:
    """EER, AUC and TAR over all pairs of pictures, in percent.

    Of an even sample of 3,000 pictures where there are more.

    Raises:
        ValueError: nobody has two pictures, or all show one person.
    """
    # The sample first: a product of all pictures with all would not fit into memory.
    rows = spread(len(faces.identity), MOST_IN_PAIRS)
    feature, identity = found.feature[rows], faces.identity[rows]
    first, second = np.triu_indices(len(rows), 1)
    scores = recognition.cosine(feature, feature)[first, second]
    numbers = recognition.verification(scores, identity[first] == identity[second])
    rates = {f"tar_at_far_{rate:g}": value for rate, value in numbers.tar_at_far.items()}
    return {"eer": numbers.eer, "auc": numbers.auc, **rates}


def enrolled_scores(found: Encoded, faces: Faces) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of pictures with enrolled people, as a gallery is used.

    A person's feature is fused from all pictures, but for the very picture that is compared.

    Args:
        found: of the faces.
        faces: of several people; of more than 3,000 pictures an even sample is compared.

    Returns:
        Scores [Q] of pictures with people, and [Q] bool, True where it is their own person.
    """
    weighted = found.confidence[:, None].astype(np.float64) * found.feature
    # The sum is enough: cosines forget its length.
    people = np.stack([weighted[rows].sum(0) for rows in faces.rows_of_people()])
    rows = spread(len(faces.identity), MOST_IN_PAIRS)
    identity = faces.identity[rows]
    scores = recognition.cosine(found.feature[rows], people)
    others = _unit(people[identity] - weighted[rows])
    own = np.arange(len(rows)), identity
    scores[own] = np.einsum("rf,rf->r", _unit(found.feature[rows]), others)
    same = identity[:, None] == np.arange(len(people))
    # Nobody is left of a person with one picture.
    counts = np.bincount(faces.identity, minlength=len(people))
    kept = ~same | (counts[identity] > 1)[:, None]
    return scores[kept], same[kept]


def threshold(found: Encoded, faces: Faces, far: float) -> float:
    """Cosine from which a picture counts as an enrolled person, at a false accept rate.

    The rate is that of one comparison: who is compared with ten people is falsely accepted up to
    ten times as often. Calibrated on held-out training people, never on the test set.

    Args:
        found: of the faces.
        faces: of held-out people.
        far: wanted share of accepted pictures of other people, in (0, 1).

    Raises:
        ValueError: as of `recognition.threshold_at_far`: too few people for that rate.
    """
    return recognition.threshold_at_far(*enrolled_scores(found, faces), far)


def fold_numbers(found: Encoded, pairs: Pairs, kind: str) -> dict[str, float]:
    """CFP's protocol in percent: accuracy, EER and AUC as means over folds, and deviations.

    Args:
        found: of all pictures.
        pairs: of the protocol.
        kind: "FF" or "FP"; names the figures `accuracy_frontal_profile`, ...
    """
    scores = _pair_cosines(found.feature, pairs)
    numbers = recognition.over_folds(scores, pairs.same, pairs.fold)
    name = {"FF": "frontal_frontal", "FP": "frontal_profile"}[kind]
    figures = ("accuracy", "accuracy_std", "eer", "eer_std", "auc", "auc_std")
    return {
        f"{figure.removesuffix('_std')}_{name}{'_std' * figure.endswith('_std')}": getattr(
            numbers, figure
        )
        for figure in figures
    }


def template_numbers(found: Encoded, pairs: TemplatePairs) -> dict[str, float]:
    """IJB's protocol in percent: EER, AUC and TAR of fused templates.

    Args:
        found: of all pictures.
        pairs: of templates.

    Returns:
        `eer_templates`, `auc_templates`, `tar_at_far_0.01_templates`, ...; with the suffix "_equal"
        the same where all pictures of a template weigh alike.
    """
    numbers = {}
    for suffix, weights in (("", found.confidence), ("_equal", np.ones_like(found.confidence))):
        # One by one: padded to the largest, a list of many small templates would not fit into
        # memory.
        members = [rows[there] for rows, there in zip(pairs.rows, pairs.mask, strict=True)]
        fused = [recognition.fuse(found.feature[rows], weights[rows]) for rows in members]
        measured = recognition.verification(_pair_cosines(np.stack(fused), pairs), pairs.same)
        values = {"eer": measured.eer, "auc": measured.auc}
        values |= {f"tar_at_far_{rate:g}": value for rate, value in measured.tar_at_far.items()}
        numbers |= {f"{name}_templates{suffix}": value for name, value in values.items()}
    return numbers


# ------------------------------------------------------------------------- identification


def identification_numbers(
    gallery: tuple[Encoded, Faces], probes: tuple[Encoded, Faces], views
) -> dict[str, float]:
    """Rank-1 in percent, over all and by yaw: `rank1`, `rank1_yaw_60`, ...

    Args:
        gallery: one frontal picture of each person, numbered like the probes.
        probes: pictures of the same people.
        views: yaws of the protocol, degrees; the pose classes of the faces.

    Returns:
        Probes without a pose class (their yaw is unknown, or too far from every view) are in none
        of the figures by yaw, and not in `rank1`. Where there are any, `rank1_other_poses` is
        theirs and `probes_other_poses` their number.
    """
    right = recognition.rank1(
        gallery[0].feature, gallery[1].identity, probes[0].feature, probes[1].identity
    )
    faces, numbers = probes[1], {}
    seen = faces.pose != UNKNOWN
    if seen.any():
        numbers = recognition.rank1_by_yaw(right[seen], faces.yaw[seen], views)
    if not seen.all():
        numbers["rank1_other_poses"] = float(100 * right[~seen].mean())
        numbers["probes_other_poses"] = int((~seen).sum())
    return numbers


def draw_sets(faces: Faces, count: int, *, seed: int) -> np.ndarray:
    """Random sets of pictures: rows [people x DRAWS, count], of people who have that many.

    A set of one more picture is the same set and that picture, so that what more pictures are
    worth does not hang on which sets were drawn.
    """
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(own) for own in faces.rows_of_people() for _ in range(DRAWS)]
    sets = [order[:count] for order in orders if len(order) >= count]
    return np.array(sets, int).reshape(-1, count)


def set_numbers(
    gallery: tuple[Encoded, Faces],
    probes: tuple[Encoded, Faces],
    *,
    largest: int,
    seed: int = 0,
) -> dict[str, float]:
    """Rank-1 of fused sets of 1 to `largest` probes: learned confidences, and equal ones.

    Returns:
        Percent: `rank1_images_N` and `rank1_images_N_equal`.
    """
    found, faces = probes
    numbers = {}
    for count in range(1, largest + 1):
        sets = draw_sets(faces, count, seed=seed)
        if not len(sets):
            break
        people = faces.identity[sets[:, 0]]
        weights = {"": found.confidence[sets], "_equal": np.ones(sets.shape)}
        for name, weight in weights.items():
            if count == 1 and name:
                continue  # one picture has no weights to compare
            fused = recognition.fuse(found.feature[sets], weight)
            right = recognition.rank1(gallery[0].feature, gallery[1].identity, fused, people)
            numbers[f"rank1_images_{count}{name}"] = float(100 * right.mean())
    return numbers


def degraded_confidences(found: Encoded, degraded: np.ndarray) -> dict[str, float]:
    """Mean confidence of degraded pictures, and of the others: `confidence_degraded`, ...

    Args:
        found: N pictures, as `dr_gan_data.degraded` gives them.
        degraded: [N] bool, which of them are.
    """
    parts = {"degraded": found.confidence[degraded], "clean": found.confidence[~degraded]}
    return {f"confidence_{kind}": float(part.mean()) for kind, part in parts.items() if part.size}


# -------------------------------------------------------------------------------- drawing


class Drawn(NamedTuple):
    """Synthetic faces of some pictures in every pose."""

    image: np.ndarray  # [N, K, S, S, C] uint8
    obeyed: np.ndarray  # [N, K] bool: the judge sees the pose that was asked for
    similarity: np.ndarray  # [N, K] cosine with the picture itself, by the judge of identity


def draw_all_poses(
    config,
    found: Encoded,
    images: np.ndarray,
    *,
    rotate: Callable[[np.ndarray, np.ndarray], np.ndarray],
    judge: Callable[[np.ndarray], np.ndarray] | None,
    recognise: Callable[[np.ndarray], Encoded],
) -> Drawn:
    """Draws every picture in every pose and asks independent networks about it.

    Args:
        config: pose.classes are the poses.
        found: of the pictures, by DR-GAN's encoder.
        images: uint8 [N, S, S, C] of the pictures.
        rotate: (features, yaw) -> images.
        judge: images -> pose probabilities; None leaves `obeyed` False.
        recognise: images -> Encoded, by a network that the generator did not learn from if there
            is one.
    """
    yaws = np.asarray(config.pose.classes, np.float32)
    count, poses = len(images), len(yaws)
    drawn = rotate(found.feature.repeat(poses, 0), np.tile(yaws, count))
    obeyed = np.zeros((count, poses), bool)
    if judge is not None:
        obeyed = judge(drawn).argmax(-1).reshape(count, poses) == np.arange(poses)
    own = _unit(recognise(images).feature)
    synthetic = _unit(recognise(drawn).feature).reshape(count, poses, -1)
    similarity = np.einsum("nf,nkf->nk", own, synthetic)
    return Drawn(drawn.reshape(count, poses, *images.shape[1:]), obeyed, similarity)


def spread(count: int, most: int) -> np.ndarray:
    """Up to `most` of the numbers 0 ... count - 1, evenly spaced. -> [N] int64."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))


def _pair_cosines(features, pairs):
    """Cosines [Q] of the pairs of a protocol, which may be millions."""
    unit = _unit(features)
    starts = range(0, len(pairs.first), _CHUNK)
    parts = [(pairs.first[s : s + _CHUNK], pairs.second[s : s + _CHUNK]) for s in starts]
    return np.concatenate([np.einsum("qf,qf->q", unit[a], unit[b]) for a, b in parts])


def _unit(features):
    return features / np.maximum(np.linalg.norm(features, axis=-1, keepdims=True), 1e-12)
