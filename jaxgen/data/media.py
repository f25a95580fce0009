"""Reads a user's pictures: images, folders of images and videos, frame by frame, as RGB.

Contract. Every frame is uint8 [H, W, 3], upright: a photograph is turned as its EXIF tag asks, a
video as its display matrix asks. Coordinates of boxes and points belong to the upright frame, pixel
centres at integers, and boxes are edge to edge: the whole frame is (-0.5, -0.5, W - 0.5, H - 0.5).

One frame is in memory at a time. A file that cannot be read raises a ValueError that names it, or
is noted and skipped: the caller chooses.
"""

import logging
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxgen.data.builders.images import IMAGE_SUFFIXES, list_images, open_image

_log = logging.getLogger(__name__)

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv", ".gif")


class Frame(NamedTuple):
    """A picture to work on."""

    name: str  # file name, or path below the folder that was given, with "/"
    index: int  # frame number in a video, from 0; 0 for an image
    timestamp: float | None  # seconds from the start of a video; None for an image
    image: np.ndarray  # uint8 [H, W, 3]


class MediaFile(NamedTuple):
    """A file to read frames from."""

    name: str  # as in Frame
    path: Path


def find_media(inputs: Iterable[str | Path]) -> list[MediaFile]:
    """The image and video files of the inputs; folders are searched to any depth.

    Files of a folder come in natural order (frame2 before frame10); hidden files are left out.

    Raises:
        ValueError: an input does not exist, a folder holds no image or video, a file is of no
            known kind, or two files would have one name.
    """
    found: dict[str, MediaFile] = {}
    for path in map(Path, inputs):
        for file in _expand(path.expanduser()):
            if file.name in found:
                raise ValueError(
                    f"{found[file.name].path} and {file.path} would both be named {file.name!r}: "
                    "give the folder above both"
                )
            found[file.name] = file
    if not found:
        raise ValueError("no input: give an image, a video or a folder of them")
    return list(found.values())


def find_pictures(media: str) -> list[MediaFile]:
    """The images of a file or folder for those who read no videos, which the log names.

    Args:
        media: path of an image, or of a folder, which is searched to any depth.

    Returns:
        In a fixed order; [] where there is no image.
    """
    path = Path(media).expanduser()
    if not media:
        return []
    for video in filter(is_video, [path] if path.is_file() else sorted(path.rglob("*"))):
        _log.warning("skipped: %s: videos and animations are not read here", video)
    if path.is_dir():
        return [MediaFile(file.relative_to(path).as_posix(), file) for file in list_images(path)]
    return [MediaFile(path.name, path)] if path.is_file() and not is_video(path) else []


def read_frames(
    files: Iterable[MediaFile],
    *,
    every: int = 1,
    on_error: Callable[[ValueError], None] | None = None,
) -> Iterator[Frame]:
    """Yields the frames of all files in order.

    Args:
        files: from `find_media`.
        every: takes each `every`-th frame of a video, starting with the first.
        on_error: called with the error of an unreadable file, and the next file is read. None
            raises it. Frames of a video before its broken part have been yielded by then.

    Raises:
        ValueError: a file cannot be read; the message names it.
        ImportError: there is a video and PyAV is not installed.
    """
    if every < 1:
        raise ValueError(f"every must be at least 1, got {every}")
    for file in files:
        try:
            if is_video(file.path):
                yield from read_video(file.path, name=file.name, every=every)
            else:
                image = np.asarray(open_image(file.path, upright=True))
                yield Frame(file.name, 0, None, image)
        except ValueError as error:
            if on_error is None:
                raise
            on_error(error)


def is_video(path: Path) -> bool:
    """Whether the ending of a file says that it is a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def read_video(path: str | Path, *, name: str = "", every: int = 1) -> Iterator[Frame]:
    """Yields every `every`-th frame of a video, upright; `name` defaults to the file name.

    A video that ends before the length that its header announces is read to its end, with a
    warning that names it.

    Raises:
        ValueError: no video, or broken from some frame on; the message names the file.
        ImportError: PyAV is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise ImportError(
            f"reading the video {path} needs PyAV: pip install 'jaxgen[video]'"
        ) from error

    # Tags in another encoding are no reason to refuse the pictures; to PyAV 19 they never are.
    lenient = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}
    index, time = -1, None
    try:
        with av.open(str(path), **lenient) as container:
            if not container.streams.video:
                raise ValueError("a file without a picture track")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for index, frame in enumerate(container.decode(stream)):
                time = None if frame.time is None else float(frame.time)
                if index % every == 0:
                    # A rotation is counter-clockwise in degrees, and so is rot90.
                    image = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
                    yield Frame(name or Path(path).name, index, time, np.ascontiguousarray(image))
            _warn_if_cut(path, container, stream, index + 1, time)
    except (av.error.FFmpegError, OSError, ValueError, MemoryError) as error:
        where = "not a readable video" if index < 0 else f"broken after frame {index}"
        raise ValueError(f"{path}: {where} ({error})") from error
    if index < 0:
        raise ValueError(f"{path}: a video without a frame")


def _warn_if_cut(path, container, stream, count: int, last: float | None) -> None:
    """MKV, WebM and AVI files that are cut off end without an error; their headers tell."""
    if count < stream.frames - 1:
        announced = f"{stream.frames} frames, but {count} could be read"
    elif container.duration and last is not None:
        seconds = container.duration / 1e6  # of the longest track: sound may end a little later
        if last > 0.95 * seconds - 0.5:
            return
        announced = f"{seconds:.1f} s, but its pictures end after {last:.1f} s"
    else:
        return
    _log.warning("%s: it announces %s; is the file cut off?", path, announced)


def natural_key(name: str) -> list:
    """Sorting key that takes digits as numbers: frame2 < frame10 < Frame11."""
    parts = re.split(r"(\d+)", name.casefold())
    # Odd parts are the digits; the name itself settles the order of "01" and "1".
    return [[int(p) if i % 2 else p for i, p in enumerate(parts)], name]


def _expand(path: Path) -> list[MediaFile]:
    if not path.exists():
        raise ValueError(f"{path}: there is no such file or folder")
    kinds = IMAGE_SUFFIXES + VIDEO_SUFFIXES
    if path.is_file():
        if path.suffix.lower() not in kinds:
            known = " ".join(kinds)
            raise ValueError(f"{path}: the ending is that of no image or video; known: {known}")
        return [MediaFile(path.name, path)]
    files = {
        file.relative_to(path): file for file in path.rglob("*") if file.suffix.lower() in kinds
    }
    names = [
        name.as_posix()
        for name, file in files.items()
        if file.is_file() and not any(part.startswith(".") for part in name.parts)
    ]
    if not names:
        raise ValueError(f"{path}: a folder without an image or video")
    return [MediaFile(name, path / name) for name in sorted(names, key=natural_key)]
