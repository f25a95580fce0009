"""Landmarks of a user's images, folders and videos, written while they arrive."""

import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from jaxgen.data.face_boxes import FaceBoxes, read_face_boxes
from jaxgen.data.media import Frame, find_media, is_video, read_frames
from jaxgen.tasks import laplace
from jaxgen.tasks.landmark_output import FacePrediction, PredictionWriter
from jaxgen.tasks.laplace_inference import Face, is_unsure, predict_faces
from jaxgen.training.config import config_hash

LEAST_BOX = 2  # pixels of a box's longer side; less is a fraction of the picture
PIXELS_IN_MEMORY = 100_000_000  # of the pictures of one batch: 300 MB
_log = logging.getLogger(__name__)


def predict_media(
    config,
    predictor: Callable[..., laplace.Landmarks],
    inputs: str,
    *,
    boxes: str,
    output: Path,
) -> int:
    """Predicts every face of the input and writes JSON, CSV and annotated pictures.

    Args:
        config: of the run.
        predictor: uint8 crops [B, S, S, 3] -> Landmarks in crop pixels.
        inputs: an image, a folder or a video.
        boxes: CSV or JSON of face boxes (see jaxgen.data.face_boxes); "" searches one face in
            the middle of each picture.
        output: folder to write to.

    Returns:
        The number of faces written. Unreadable files are named, counted and skipped, and so are
        boxes outside of their picture; pictures in which no face was found are named.

    Raises:
        ValueError: no input, a wrong box file, or boxes in fractions; the message names it.
    """
    from tqdm import tqdm

    if not inputs:
        raise ValueError("nothing to predict: give --input=IMAGE, FOLDER or VIDEO")
    files = find_media([inputs])
    face_boxes = read_face_boxes(boxes) if boxes else None
    if face_boxes:
        for name in sorted(face_boxes.names - {file.name for file in files}):
            _log.warning("%s: box for %r, which is not in %s", boxes, name, inputs)
    skipped: list[str] = []
    outside: list[str] = []

    def skip(error: ValueError) -> None:
        skipped.append(str(error))
        _log.warning("skipped: %s", error)

    about = {
        "model": f"LaplaceKL trained on {config.data.name}",
        "config_hash": config_hash(config),
        "skipped_files": skipped,
        "skipped_boxes": outside,
    }
    total = None if any(is_video(file.path) for file in files) else len(files)
    frames = tqdm(read_frames(files, on_error=skip), total=total, unit="picture")
    read = [file.path for file in files]
    with PredictionWriter(output, about=about, pictures=True, inputs=read) as writer:
        for chunk in _chunks(frames, config.evaluate.batch_size):
            faces = [
                face
                for number, frame in enumerate(chunk)
                for face in _faces(number, frame, face_boxes)
                if _is_inside(face, frame, boxes, outside)
            ]
            found: dict[int, list[FacePrediction]] = {}
            for prediction in predict_faces(config, predictor, faces):
                number, score = prediction.key
                if not boxes and is_unsure(config, prediction):
                    _log.warning(
                        "%s: no face was found, its points mean nothing; if there is one, give its "
                        "box with --boxes",
                        _place(chunk[number]),
                    )
                face = FacePrediction(prediction.points, prediction.scales, prediction.box, score)
                found.setdefault(number, []).append(face)
            for number, frame in enumerate(chunk):
                writer.write(frame, found.get(number, []))
        left_out = f", {len(outside)} boxes outside of their picture" if outside else ""
        print(f"{writer.faces} faces, {len(skipped)} unreadable files{left_out}: {output}")
    return writer.faces


def _faces(number: int, frame: Frame, boxes: FaceBoxes | None) -> Iterator[Face]:
    if boxes is None:
        yield Face((number, None), frame.image, None)
        return
    for item in boxes.of(frame.name, frame.index):
        yield Face((number, item.score), frame.image, item.box)


def _is_inside(face: Face, frame: Frame, boxes: str, outside: list[str]) -> bool:
    """Whether a given box shows some of its picture; adds to `outside` where it does not.

    Raises:
        ValueError: the box is smaller than a face can be.
    """
    if face.box is None:
        return True
    x0, y0, x1, y1 = face.box
    shown = ",".join(f"{value:g}" for value in face.box)
    if max(x1 - x0, y1 - y0) < LEAST_BOX:
        raise ValueError(
            f"{boxes}: the box {shown} of {_place(frame)} has less than {LEAST_BOX} pixels a side: "
            "boxes are in pixels of the picture, not in fractions of it"
        )
    height, width = frame.image.shape[:2]
    if x0 < width - 0.5 and y0 < height - 0.5 and x1 > -0.5 and y1 > -0.5:
        return True
    outside.append(f"{_place(frame)}: {shown}")
    _log.warning(
        "%s: left out the box %s of %s: it lies outside of the picture of %d x %d pixels",
        *(boxes, shown, _place(frame), width, height),
    )
    return False


def _place(frame: Frame) -> str:
    return frame.name if frame.timestamp is None else f"{frame.name}, frame {frame.index}"


def _chunks(frames: Iterable[Frame], most: int) -> Iterator[list[Frame]]:
    """Lists of at most `most` frames that fit in memory together."""
    chunk, pixels = [], 0
    for frame in frames:
        chunk.append(frame)
        pixels += frame.image.size // 3
        if len(chunk) == most or pixels > PIXELS_IN_MEMORY:
            yield chunk
            chunk, pixels = [], 0
    if chunk:
        yield chunk
