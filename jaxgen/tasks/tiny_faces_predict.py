"""Trained tiny-faces networks at work: on images, folders and videos, and as artifacts."""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh

from jaxgen.data.face_boxes import FaceBoxes, read_face_boxes
from jaxgen.data.face_pairs import SCALE
from jaxgen.data.media import Frame, find_media, is_video, read_frames
from jaxgen.tasks import (
    detection_inference,
    tiny_faces,
    tiny_faces_detector,
    tiny_faces_fusion,
    tiny_faces_gan_stages,
    tiny_faces_methods,
    tiny_faces_stages,
)
from jaxgen.tasks.detection_inference import Found
from jaxgen.tasks.detection_output import DetectionWriter, FacePrediction
from jaxgen.tasks.tiny_faces_rescoring import Fusion
from jaxgen.training.config import config_hash

LEAST_DRAWN = 0.3  # faces with lower scores are written, not drawn
_log = logging.getLogger(__name__)


def predict_media(
    config, workdir: Path, devices: Mesh, inputs: str, *, boxes: str, output: Path
) -> int:
    """Finds the faces of the input and writes JSON, CSV and annotated pictures.

    Args:
        config: of the run.
        workdir: of the run.
        devices: the mesh.
        inputs: an image, a folder or a video.
        boxes: CSV or JSON of another detector's boxes (see jaxgen.data.face_boxes), which are
            taken in place of the run's own detector; "" detects.
        output: folder to write to.

    Returns:
        The number of faces written. Unreadable files are named, counted and skipped.

    Raises:
        ValueError: no input, or a wrong box file; the message names it.
    """
    from tqdm import tqdm

    if not inputs:
        raise ValueError("nothing to predict: give --input=IMAGE, FOLDER or VIDEO")
    files = find_media([inputs])
    skipped: list[str] = []

    def skip(error: ValueError) -> None:
        skipped.append(str(error))
        _log.warning("skipped: %s", error)

    total = None if any(is_video(file.path) for file in files) else len(files)
    frames = tqdm(read_frames(files, on_error=skip), total=total, unit="picture")
    if boxes:
        face_boxes = read_face_boxes(boxes, probabilities=True)
        for name in sorted(face_boxes.names - {file.name for file in files}):
            _log.warning("%s: box for %r, which is not in %s", boxes, name, inputs)
        found = given_faces(frames, face_boxes)
    else:
        found = detected_faces(config, workdir, devices, frames)
    opinions = tiny_faces_methods.second_opinions(config, workdir, devices)
    method = list(opinions)[-1] if opinions else "detector"
    about = {
        "model": f"tiny faces trained on {config.data.name}",
        "boxes": boxes or "of the run's detector",
        "method": method,
        "config_hash": config_hash(config),
        "skipped_files": skipped,
    }
    read = [file.path for file in files]
    with DetectionWriter(output, about=about, least_drawn=LEAST_DRAWN, inputs=read) as writer:
        for frame, faces in found:
            writer.write(frame, _predictions(frame, faces, opinions.get(method)))
        print(f"{writer.faces} faces, {len(skipped)} unreadable files: {output}")
    return writer.faces


def detected_faces(config, workdir: Path, devices: Mesh, frames: Iterable[Frame]):
    """(frame, Found) of every frame, by the run's detector; a few frames are in memory."""
    detect, _ = tiny_faces_stages.trained_detector(config, workdir, devices)
    pictures = ((frame, frame.image) for frame in frames)
    return detection_inference.detect_pictures(config, detect, pictures)


def given_faces(frames: Iterable[Frame], boxes: FaceBoxes) -> Iterator[tuple[Frame, Found]]:
    """(frame, Found) of every frame, as a file of boxes has them.

    Boxes are cut at the border of the picture, and what lies outside is left out. Faces without a
    score have NaN in its place.
    """
    for frame in frames:
        faces = boxes.of(frame.name, frame.index)
        given = np.array([face.box for face in faces], np.float32).reshape(-1, 4)
        scores = np.array([np.nan if face.score is None else face.score for face in faces])
        height, width = frame.image.shape[:2]
        cut = np.clip(given, -0.5, np.tile([width - 0.5, height - 0.5], 2)).astype(np.float32)
        inside = (cut[:, 2:] > cut[:, :2]).all(1)
        if not inside.all():
            _log.warning("%s: %d boxes outside the picture", frame.name, (~inside).sum())
        yield frame, Found(cut[inside], scores[inside])


def export(config, workdir: Path, devices: Mesh) -> list[Path]:
    """Writes the trained networks as StableHLO artifacts.

    Returns:
        Their paths; a JSON beside each says what goes in and out.
    """
    folder = workdir / "export"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [_export_detector(config, workdir, devices, folder)]
    second = tiny_faces_gan_stages.rescoring_variables(config, workdir, devices)
    if second is not None:
        _, stage, step = second
        fusion = tiny_faces_fusion.settings_of(config, workdir / stage, step)
        paths.append(_export_second_look(config, folder, *second, fusion))
    return paths


def _export_detector(config, workdir, devices, folder) -> Path:
    from jaxgen.training.export import write_artifact

    variables, step = tiny_faces_stages.restore_detector(config, workdir, devices)
    variables = jax.tree.map(np.asarray, variables)
    settings = config.detector.inference
    path, size = folder / "detector.stablehlo", settings.tile
    write_artifact(
        path,
        # A plain tuple: whoever loads the file need not know jaxgen.
        lambda tiles: tuple(tiny_faces_detector.predict(config, variables, tiles)),
        [(("b", size, size, 3), np.uint8)],
        description={
            "input": f"uint8 [b, {size}, {size}, 3] RGB pictures or tiles of pictures",
            "output": (
                f"boxes float32 [b, {settings.max_boxes}, 4] (x0, y0, x1, y1) pixels, edge to "
                "edge, pixel centres at integers; scores float32 in [0, 1]; valid bool. Best "
                "first, repeats suppressed."
            ),
            "score_floor": settings.score_floor,
            "nms_iou": settings.nms_iou,
            "data": config.data.name,
            "step": step,
            "config_hash": config_hash(config),
        },
    )
    return path


def _export_second_look(config, folder, variables, stage, step, fusion) -> Path:
    from jaxgen.training.export import write_artifact

    variables = jax.tree.map(np.asarray, variables)
    size = config.crops.high // SCALE
    path = folder / "second_look.stablehlo"
    moves = config.gan.fusion.move_boxes
    output = "face probability float32 [b], enlarged crop uint8 [b, 4 h, 4 w, 3]"
    if moves:
        output += (
            ", offsets float32 [b, 4] of the face from the crop's box made square: centre x and y "
            "in sides of the square, logarithms of width and height over its side"
        )

    def look(low):
        found = tiny_faces.rescore(config, variables, low)
        scores = found.face_probability, found.super_resolved
        return (*scores, found.offsets) if moves else scores

    write_artifact(
        path,
        look,
        [(("b", size, size, 3), np.uint8)],
        description={
            "input": f"uint8 [b, {size}, {size}, 3] RGB crops around small boxes",
            "crop": "square around the box centre, margin x longer side, resized bicubically",
            "margin": config.crops.margin,
            "output": output,
            "fusion": {name: getattr(fusion, name) for name in Fusion._fields},
            "stage": stage,
            "step": step,
            "config_hash": config_hash(config),
        },
    )
    return path


def _predictions(frame: Frame, found: Found, look_again) -> list[FacePrediction]:
    """The faces of a frame with all their scores, best first."""
    if look_again is None:
        rows = zip(found.boxes, *(map(_known, (found.scores, found.scores))), strict=True)
        return [FacePrediction(*row) for row in rows]
    try:
        opinion = look_again(frame.image, found, keep_images=True)
    except ValueError as error:
        raise ValueError(f"{frame.name}: {error}") from error
    scores = (opinion.scores, found.scores[opinion.rows], opinion.face_probability)
    rows = zip(opinion.boxes, *map(_known, scores), strict=True)
    faces = [
        FacePrediction(*row, low=opinion.low.get(n), enlarged=opinion.super_resolved.get(n))
        for n, row in zip(opinion.rows.tolist(), rows, strict=True)
    ]
    return sorted(faces, key=lambda face: -1.0 if face.score is None else face.score, reverse=True)


def _known(scores: np.ndarray) -> list[float | None]:
    return [None if np.isnan(score) else float(score) for score in scores]
