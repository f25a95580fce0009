"""A trained CyCADA task network at work: on files, and as an artifact."""

import csv
import io
import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh
from PIL import Image
from tqdm import tqdm

from jaxgen.data.media import Frame, find_pictures, read_frames
from jaxgen.tasks import cycada, cycada_data, cycada_evaluation, cycada_stages
from jaxgen.tasks.prediction_files import remove_earlier
from jaxgen.training.config import config_hash
from jaxgen.training.errors import ConfigError
from jaxgen.training.files import write_atomically

_log = logging.getLogger(__name__)


def predict_files(config, workdir: Path, devices: Mesh, media: str) -> Path:
    """Classifies or segments an image or a folder of images; unreadable ones are named and skipped.

    Writes WORKDIR/predictions/predictions.csv (file, class, probability) for classification; for
    segmentation a label map NAME.png of class numbers and NAME_colour.png beside it; where files
    differ in their endings alone, NAME keeps the ending. Where the target's scenes are stored at
    another size (target.options.size), pictures are seen at that size, as in training and in the
    report, and their label maps have the size of the file.

    Args:
        config: of the run.
        workdir: of the run.
        devices: the mesh.
        media: path of an image or a folder.

    Returns:
        The folder of the predictions.

    Raises:
        ConfigError: there is no input or none that can be read, or no network.
    """
    files = find_pictures(media)
    if not files:
        raise ConfigError(f"--input={media!r}: name an image, or a folder that holds images.")
    stage = cycada_stages.final_stage(config, workdir)
    variables = cycada_stages.task_variables(config, workdir, devices, stage)
    predict = partial(cycada_evaluation.compile_predict(config, devices), variables)
    output = workdir / "predictions"
    output.mkdir(parents=True, exist_ok=True)
    skipped: list[ValueError] = []

    def skip(error: ValueError) -> None:
        skipped.append(error)
        _log.warning("skipped: %s", error)

    frames = read_frames(tqdm(files, unit="image"), on_error=skip)
    source = cycada_data.open_split(config, "source", "validation")
    if cycada_data.is_segmentation(config):
        names = [file.name for file in files]
        maps = dict(zip(names, output_names([Path(name) for name in names]), strict=True))
        remove_earlier(_label_maps(output), [file.path for file in files])
        for frame in frames:
            picture = Image.fromarray(frame.image)
            segment(config, predict, picture, output / maps[frame.name], source.palette)
    else:
        rows = classify(config, predict, frames, source.classes)
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(("file", "class", "probability"))
        for file, name, probability in rows:
            writer.writerow((file, name, f"{probability:.4f}"))
        write_atomically(output / "predictions.csv", text.getvalue().encode())
    count = len(files) - len(skipped)
    print(
        f"wrote {count} predictions of the stage {stage!r}, {len(skipped)} unreadable files: "
        f"{output}"
    )
    if not count:
        raise ConfigError(f"--input={media!r}: no image of it can be read.")
    return output


def classify(
    config, predict, frames: Iterable[Frame], classes: Sequence[str]
) -> list[tuple[str, str, float]]:
    """(name, class, probability) of pictures.

    Args:
        config: of the run.
        predict: uint8 [N, S, S, C] -> probabilities [N, K].
        frames: of N pictures.
        classes: K names.
    """
    from jaxgen.data import labelled_images

    as_square = partial(
        labelled_images.as_square, size=config.data.size, channels=config.data.channels
    )
    pictures = {frame.name: as_square(Image.fromarray(frame.image)) for frame in frames}
    if not pictures:
        return []
    probabilities = predict(np.stack(list(pictures.values())))
    best = probabilities.argmax(-1)
    return [
        (name, classes[label], row[label])
        for name, label, row in zip(pictures, best, probabilities, strict=True)
    ]


def output_names(files: list[Path]) -> list[Path]:
    """Paths of label maps without their ending, for paths of pictures: no two write one file."""
    names = [file.with_suffix("") for file in files]
    written = {path for name in names for path in (name, _beside(name, "_colour"))}
    return names if len(written) == 2 * len(names) else files


def segment(config, predict, picture: Image.Image, output: Path, palette) -> None:
    """Writes the label map of a picture, in class numbers and in colours.

    Args:
        config: of the run; with target.options.size (height, width) the picture is seen at that
            size.
        predict: uint8 [N, S, S, 3] -> probabilities [N, S, S, K].
        picture: upright.
        output: path without suffix: receives OUTPUT.png and OUTPUT_colour.png.
        palette: [K, 3] colours.
    """
    seen, stored = picture, config.target.options.get("size")
    if stored:  # the network knows scenes of that size, whatever their sides were
        seen = picture.resize(tuple(stored)[::-1], Image.Resampling.LANCZOS)
    label = cycada_evaluation.predict_scene(config, predict, np.asarray(seen)).argmax(-1)
    found = Image.fromarray(label.astype(np.uint8))
    label = np.asarray(found.resize(picture.size, Image.Resampling.NEAREST))
    output.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(label).save(_beside(output, ".png"))
    colours = Image.fromarray(np.asarray(palette, np.uint8)[label])
    colours.save(_beside(output, "_colour.png"))


def _label_maps(output: Path) -> Iterator[Path]:
    """Both files of every label map below a folder."""
    for colours in output.rglob("*_colour.png"):
        yield from (colours, colours.with_name(f"{colours.name.removesuffix('_colour.png')}.png"))


def _beside(path: Path, ending: str) -> Path:
    """A path with something after its name, dots in which are no suffix."""
    return path.with_name(f"{path.name}{ending}")


def export(config, workdir: Path, devices: Mesh) -> Path:
    """Writes the task network as a StableHLO artifact: uint8 images -> probabilities.

    Returns:
        Path of the artifact; its JSON of the same name says what goes in and out.
    """
    from jaxgen.training.export import write_artifact

    stage = cycada_stages.final_stage(config, workdir)
    state, step = cycada_stages.restore(config, workdir, devices, stage)
    variables = jax.tree.map(np.asarray, state.network.ema)
    size, channels = config.data.size, config.data.channels
    folder = workdir / "export"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "network.stablehlo"
    per_pixel = ", per pixel" if cycada_data.is_segmentation(config) else ""
    write_artifact(
        path,
        lambda batch: jax.nn.softmax(cycada.predict(config, variables, batch)),
        [(("b", size, size, channels), np.uint8)],
        description={
            "input": f"uint8 [b, {size}, {size}, {channels}] images",
            "output": f"float32 class probabilities{per_pixel}",
            "classes": list(cycada_data.open_split(config, "source", "validation").classes),
            "stage": stage,
            "step": step,
            "config_hash": config_hash(config),
        },
    )
    return path
