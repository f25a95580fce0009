"""A trained DR-GAN at work: enrol people, identify, verify and rank pictures, turn faces, export.

A gallery is a folder of people, each a folder of pictures: they are fused to one feature a person,
weighted by confidence. A picture is given the most similar person if the cosine reaches the
threshold that the run has calibrated on held-out training people; a claimed person is accepted by
the same threshold.
"""

import csv
import io
import itertools
import logging
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from PIL import Image

from jaxgen.data import face_alignment, head_pose, recognition_batches, text_files
from jaxgen.data.builders import face_labels, images
from jaxgen.data.media import find_pictures
from jaxgen.metrics import recognition
from jaxgen.tasks import dr_gan, dr_gan_evaluation, dr_gan_figures, dr_gan_report, dr_gan_stages
from jaxgen.tasks.dr_gan_evaluation import Encoded
from jaxgen.tasks.prediction_files import remove_earlier
from jaxgen.training.config import config_hash
from jaxgen.training.errors import ConfigError
from jaxgen.training.files import write_atomically

_log = logging.getLogger(__name__)
COLUMNS = (
    "file",
    "quality_rank",
    "confidence",
    "yaw",
    "person",
    "similarity",
    "accepted",
    "turned",
)
CLAIM_COLUMNS = ("file", "claim", "similarity", "threshold", "accepted")


class Pictures(NamedTuple):
    """Aligned pictures of a user."""

    files: list[Path]
    names: list[str]  # paths below the folder that was given
    image: np.ndarray  # [N, S, S, C] uint8
    yaw: np.ndarray  # [N] float32 degrees by landmarks, NaN without them


class Landmarks(NamedTuple):
    """Points that a user's file gives to pictures below one folder."""

    file: str
    points: dict[str, np.ndarray]  # path below that folder -> [5, 2] or [68, 2] pixels


class Gallery(NamedTuple):
    """Enrolled people."""

    people: list[str]
    feature: np.ndarray  # [P, F], fused


def predict_files(
    config,
    workdir: Path,
    devices: Mesh,
    *,
    media: str,
    gallery: str = "",
    landmarks: str = "",
    gallery_landmarks: str = "",
    claim: str = "",
) -> Path:
    """Writes WORKDIR/predictions: predictions.csv, and a strip of poses for each picture.

    With a claim it holds claim.csv too: whether each picture shows that person.

    Args:
        config: of the run; pictures turned by more than pose.limit degrees are not redrawn.
        workdir: of the run.
        devices: the mesh.
        media: an image or a folder of images.
        gallery: folder PERSON/*.jpg of the people to tell apart; "" identifies nobody.
        landmarks: CSV of 5 or 68 points a picture (jaxgen.data.builders.face_labels), names
            relative to `media`; "" takes every picture as cut to a face.
        gallery_landmarks: the same for the gallery, names relative to `gallery`.
        claim: a person of the gallery whom every picture is said to show; "" claims nothing.

    Returns:
        The folder of the predictions.

    Raises:
        ConfigError: there is no input, no network, an empty gallery, a claim of somebody who is not
            in it, a picture without landmarks where a file of them is given, or no threshold of
            the network in use.
    """
    _check_request(gallery, landmarks, gallery_landmarks, claim)
    networks = dr_gan_report.load(config, workdir, devices)
    encode = list(networks.encode.values())[-1]
    ask = dict(stage=networks.stage, step=networks.step)
    threshold = threshold_of(workdir, **ask) if gallery else 0.0
    pictures = read_pictures(config, media, _read_landmarks(landmarks))
    enrolled = None
    if gallery:
        enrolled = enrol(config, encode, gallery, _read_landmarks(gallery_landmarks))
        if claim and claim not in enrolled.people:
            raise ConfigError(
                f"--claim={claim!r}: --gallery={gallery!r} holds nobody of that name, only "
                f"{', '.join(enrolled.people[:10])}{', ...' * (len(enrolled.people) > 10)}."
            )
    found = encode(pictures.image)
    yaw = estimated_yaw(config, networks.judge, pictures)
    output = workdir / "predictions"
    output.mkdir(parents=True, exist_ok=True)
    # Drawings of an earlier run show other pictures, or some that are not redrawn any more.
    drawings = (output.glob(f"[0-9][0-9][0-9][0-9]*_{kind}.png") for kind in ("poses", "frontal"))
    remove_earlier(itertools.chain(*drawings), pictures.files)
    turned = _turn(config, networks, pictures, found, yaw, output)
    known = identify(found, enrolled, threshold)
    order = np.argsort(-found.confidence, kind="stable")
    rank = np.empty(len(order), int)
    rank[order] = np.arange(1, len(order) + 1)
    rows = []
    for row, name in enumerate(pictures.names):
        angle = f"{yaw[row]:.1f}" if np.isfinite(yaw[row]) else "unknown"
        facts = f"{found.confidence[row]:.4f}", angle
        rows.append((name, rank[row], *facts, *known[row], turned[row]))
    _write_table(output / "predictions.csv", COLUMNS, rows)
    print(f"wrote {len(pictures.files)} predictions to {output}")
    unknown = int(np.isnan(yaw).sum())
    if unknown:
        print(
            f"the yaw of {unknown} of them is unknown, so config.pose.limit was not checked: give "
            "--landmarks of 68 points, or train the stage 'pose'"
        )
    (output / "claim.csv").unlink(missing_ok=True)  # of an earlier run, about other pictures
    if claim:
        answers = verify(found, enrolled, claim, threshold)
        rows = [(n, claim, *answer) for n, answer in zip(pictures.names, answers, strict=True)]
        _write_table(output / "claim.csv", CLAIM_COLUMNS, rows)
        accepted = sum(answer[-1] == "yes" for answer in answers)
        print(f"{accepted} of {len(answers)} pictures are accepted as {claim}")
    return output


def _check_request(gallery, landmarks, gallery_landmarks, claim):
    if claim and not gallery:
        raise ConfigError("--claim names a person of --gallery: give that folder too.")
    if gallery_landmarks and not gallery:
        raise ConfigError("--gallery_landmarks belongs to --gallery: give that folder too.")
    if gallery and bool(landmarks) != bool(gallery_landmarks):
        raise ConfigError(
            "pictures and gallery must be aligned alike: give --landmarks for --input and "
            "--gallery_landmarks for --gallery, or neither."
        )


def _write_table(path, columns, rows):
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode())


def _read_landmarks(file):
    return Landmarks(file, face_labels.read_landmarks(Path(file))) if file else None


def read_pictures(config, media: str, landmarks: Landmarks | None) -> Pictures:
    """Aligned pictures of a file or a folder; those that cannot be read are named and left out.

    Args:
        config: of the run.
        media: an image or a folder of images.
        landmarks: of all of them; None takes every picture as cut to a face.

    Raises:
        ConfigError: there is no picture, or one without landmarks.
    """
    path = Path(media).expanduser()
    root = path if path.is_dir() else path.parent
    pictures = _read(config, [file.path for file in find_pictures(media)], root, landmarks)
    if pictures is None:
        raise ConfigError(f"{media!r}: name an image, or a folder that holds images of faces.")
    return pictures


def _read(config, files, root, landmarks) -> Pictures | None:
    """Aligned pictures of files below a folder; None where none can be read."""
    side = face_alignment.aligned_side(config.data.size)
    kept, names, aligned, yaws = [], [], [], []
    for file in files:
        name, own = file.relative_to(root).as_posix(), None
        if landmarks:
            own = landmarks.points.get(name)
            if own is None:
                raise ConfigError(
                    f"{landmarks.file} has no landmarks of {name!r} in {root}: add them, or take "
                    "the picture away."
                )
        try:
            picture = np.asarray(images.open_image(file, upright=True))
        except ValueError as error:
            _log.warning("skipped: %s", error)
            continue
        try:
            face = _align(config, picture, own, side)
            is_whole = own is not None and len(own) == 68
            yaw = head_pose.head_pose(own)[0] if is_whole else np.nan
        except ValueError as error:
            _log.warning("skipped: %s: %s", file, error)
            continue
        kept.append(file)
        names.append(name)
        aligned.append(face)
        yaws.append(yaw)
    if not kept:
        return None
    seen = recognition_batches.middle(np.stack(aligned), config.data.size)
    return Pictures(kept, names, seen, np.array(yaws, np.float32))


def _align(config, picture, points, side):
    if points is None:
        h, w = picture.shape[:2]
        matrix = face_alignment.box_alignment(np.array([0.0, 0.0, w, h]), side=side)
    else:
        five = face_alignment.five_points(points) if len(points) == 68 else points
        matrix = face_alignment.alignment(five, side=side)
    face = face_alignment.align(picture, matrix, side=side)
    if config.data.channels == 1:
        face = np.asarray(Image.fromarray(face).convert("L"))[..., None]
    return face


def enrol(config, encode, gallery: str, landmarks: Landmarks | None) -> Gallery:
    """One feature of each person of a folder PERSON/*.

    Args:
        config: of the run.
        encode: uint8 [N, S, S, C] -> Encoded.
        gallery: the folder.
        landmarks: of all of its pictures; None takes every picture as cut to a face.

    Raises:
        ConfigError: the folder holds no person, or a picture has no landmarks.
    """
    root = Path(gallery).expanduser()
    people = sorted(p for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
    names, features = [], []
    for person in people:
        pictures = _read(config, images.list_images(person), root, landmarks)
        if pictures is None:
            _log.warning("%s holds no picture that can be read: not enrolled", person)
            continue
        found = encode(pictures.image)
        names.append(person.name)
        features.append(recognition.fuse(found.feature, found.confidence))
    if not names:
        raise ConfigError(
            f"--gallery={gallery!r}: name a folder that holds a folder of pictures for each person."
        )
    return Gallery(names, np.stack(features))


def identify(found: Encoded, gallery: Gallery | None, threshold: float) -> list[tuple]:
    """Most similar person, cosine, and "yes" or "no" of each picture; empty without a gallery."""
    if gallery is None:
        return [("", "", "")] * len(found.feature)
    cosines = recognition.cosine(found.feature, gallery.feature)
    best = cosines.argmax(1)
    return [
        (gallery.people[person], f"{row[person]:.4f}", "yes" if row[person] >= threshold else "no")
        for person, row in zip(best, cosines, strict=True)
    ]


def verify(found: Encoded, gallery: Gallery, claim: str, threshold: float) -> list[tuple]:
    """Whether pictures show the person that they are said to show.

    Args:
        found: of N pictures.
        gallery: enrolled people.
        claim: one of them.
        threshold: cosine from which the claim is accepted.

    Returns:
        (cosine, threshold, "yes" or "no") of each picture, as text.
    """
    feature = gallery.feature[[gallery.people.index(claim)]]
    cosines = recognition.cosine(found.feature, feature)[:, 0]
    return [
        (f"{cosine:.4f}", f"{threshold:.4f}", "yes" if cosine >= threshold else "no")
        for cosine in cosines
    ]


def threshold_of(workdir: Path, *, stage: str, step: int) -> float:
    """The calibrated threshold of a run.

    Args:
        workdir: of the run.
        stage: of `dr_gan_report.METHODS`, whose encoder is in use.
        step: of that encoder's checkpoint.

    Raises:
        ConfigError: the run has not been evaluated, another network of it has, or the report does
            not say which.
    """
    path = workdir / "report" / "results.json"
    try:
        results = text_files.read_json(path)
        threshold, at = text_files.number(str(results["threshold"])), results["step"]
        if "stage" not in results:
            raise ConfigError(
                f"{path} does not say of which stage its threshold is, as reports of earlier "
                "versions: run --mode=evaluate again."
            )
        if (results["stage"], at) != (stage, int(step)):
            of = text_files.quoted(str(results["stage"]))
            raise ConfigError(
                f"{path} calibrates the stage {of} at step {text_files.quoted(str(at))}, and the "
                f"network in use is of {stage!r} at step {step}: run --mode=evaluate again."
            )
        return threshold
    except ConfigError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} holds no calibrated threshold: run --mode=evaluate first."
        ) from error


def estimated_yaw(config, judge, pictures: Pictures) -> np.ndarray:
    """Yaw of each picture in degrees, NaN where nobody says it.

    By its 68 landmarks, else the judge's most probable class: a mean over classes would never
    reach the outermost one, however far the face is turned.
    """
    if judge is None:
        return pictures.yaw
    seen = np.asarray(config.pose.classes, np.float32)[judge(pictures.image).argmax(-1)]
    return np.where(np.isfinite(pictures.yaw), pictures.yaw, seen)


def _turn(config, networks, pictures, found, yaw, output) -> list[str]:
    """Writes a frontal view and a strip of poses of each picture; what became of each."""
    if networks.rotate is None:
        return ["no generator"] * len(yaw)
    drawn = dr_gan_evaluation.draw_all_poses(
        config,
        found,
        pictures.image,
        rotate=networks.rotate,
        judge=networks.judge,
        recognise=next(iter(networks.encode.values())),
    )
    frontal = int(np.abs(np.asarray(config.pose.classes)).argmin())
    results = []
    for row, file in enumerate(pictures.files):
        if np.abs(yaw[row]) > config.pose.limit:
            results.append(f"refused: beyond {config.pose.limit:g} degrees")
            continue
        name = f"{row:04d}_{file.stem}"
        one = dr_gan_evaluation.Drawn(*(x[row : row + 1] for x in drawn))
        figure = dr_gan_figures.strips(config, pictures.image[row : row + 1], one)
        figure.savefig(output / f"{name}_poses.png")
        face = Image.fromarray(dr_gan_figures.shown(drawn.image[row, frontal]))
        face.save(output / f"{name}_frontal.png")
        results.append("yes" if np.isfinite(yaw[row]) else "yes, yaw unknown and not checked")
    return results


def export(config, workdir: Path, devices: Mesh) -> list[Path]:
    """Writes encoder and, if there is a generator, rotation as StableHLO artifacts.

    Returns:
        Paths of the artifacts; a JSON of the same name says what goes in and out.
    """
    from jaxgen.training.export import write_artifact

    stage = dr_gan_stages.last_network(config, workdir)
    people = dr_gan_stages.people_count(workdir)
    variables, step = dr_gan_stages.restore(config, workdir, devices, stage, people)
    variables = jax.tree.map(np.asarray, variables)
    size, channels, length = config.data.size, config.data.channels, config.model.features
    folder = workdir / "export"
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"stage": stage, "step": step, "config_hash": config_hash(config)}
    encode = dr_gan_evaluation.ENCODERS[stage]
    paths = [folder / "encoder.stablehlo"]
    write_artifact(
        paths[0],
        lambda batch: tuple(encode(config, variables, batch)),
        [(("b", size, size, channels), np.uint8)],
        description={
            "input": f"uint8 [b, {size}, {size}, {channels}] aligned faces",
            "output": f"float32 feature [b, {length}] and confidence [b]; compare by cosine",
            **facts,
        },
    )
    if stage != "recogniser":
        paths.append(folder / "rotate.stablehlo")
        write_artifact(
            paths[1],
            partial(dr_gan.rotate, config, variables),
            [(("b", length), np.float32), (("b",), np.float32)],
            description={
                "input": f"float32 features [b, {length}], yaw [b] in degrees",
                "output": f"uint8 [b, {size}, {size}, {channels}]",
                **facts,
            },
        )
    return paths
