"""The GAN's part of a tiny-faces report: true images and told faces, on held-out crops."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from jaxgen.data import face_pair_files
from jaxgen.tasks import tiny_faces_figures
from jaxgen.tasks import tiny_faces_gan_evaluation as evaluation
from jaxgen.tasks import tiny_faces_gan_stages as gan_stages
from jaxgen.tasks import tiny_faces_players as players
from jaxgen.tasks.tiny_faces_players import Variables
from jaxgen.training.figures import training_curves
from jaxgen.training.logging import read_metrics
from jaxgen.training.report import Picture
from jaxgen.training.report_page import Table

# What the classifier sees -> how it is called in the report.
SEEN = {
    "real": "high resolution",
    "bicubic": "bicubic",
    "super_resolved": "super-resolved",
}
_CURVES = ("loss", "pixel", "adversarial", "classification", "psnr", "class_loss")


class GanReport(NamedTuple):
    """What `tiny_faces_report` takes in."""

    numbers: dict[str, float]
    meanings: dict[str, str]
    pictures: list[Picture]
    tables: list[Table]


def measure(config, workdir: Path, devices: Mesh) -> GanReport:
    """Measures the networks of the finished stages on the held-out crops.

    Returns:
        Numbers: psnr_bicubic; psnr and psnr_coarse of the refined and of the up-sampled image of
        the last stage that has a generator, psnr_warm_start of the stage "generator" where "gan"
        came after it, and psnr_faces... of faces alone; face_accuracy_<seen>, and
        face_accuracy_<seen>_height_<from>_<to>, of real, bicubic and super_resolved crops. Empty
        without held-out crops.
    """
    if not gan_stages.is_done(config, workdir, "crops"):
        return GanReport({}, {}, [], [])
    crops = face_pair_files.open_split(workdir / "crops" / "validation")
    evaluate = evaluation.compile_evaluate(config)
    found = evaluate(Variables(None, None), crops)
    numbers = _renamed(evaluation.psnr_numbers(found, crops), "bicubic")
    logits, last = {}, Variables(None, None)
    for stage in ("generator", "discriminator", "gan"):
        if not gan_stages.is_done(config, workdir, stage):
            continue
        last = players.averaged(gan_stages.restore(config, workdir, devices, stage)[0])
        found = evaluate(last, crops)
        if last.generator is not None:
            numbers |= _renamed(numbers, "warm_start")
            numbers |= evaluation.psnr_numbers(found, crops)
        if last.discriminator is not None:
            logits["real"] = found["face_real"]
            name = "bicubic" if stage == "discriminator" else "super_resolved"
            logits[name] = found["face_super_resolved"]
    by_height = _accuracies(logits, crops)
    for seen, values in by_height.items():
        numbers[f"face_accuracy_{seen}"] = values["all"]
        numbers |= {
            f"face_accuracy_{seen}_{name}": value for name, value in values.items() if name != "all"
        }
    return GanReport(
        numbers,
        {name: text for name, text in _MEANINGS.items() if name in numbers},
        _pictures(config, workdir, devices, crops, by_height),
        [_table(by_height, crops)] if by_height else [],
    )


_MEANINGS = {
    "psnr_bicubic": "bicubic enlargement of held-out crops, dB",
    "psnr_warm_start": "generator before the game, dB",
    "psnr_coarse": "up-sampled image, dB",
    "psnr": "final image of the generator, dB",
    "psnr_faces_bicubic": "bicubic enlargement of held-out faces, dB",
    "psnr_faces_warm_start": "generator before the game, faces alone, dB",
    "psnr_faces_coarse": "up-sampled image of faces, dB",
    "psnr_faces": "final image of faces, dB",
    **{
        f"face_accuracy_{seen}": f"faces and backgrounds told apart on {name} crops, percent"
        for seen, name in SEEN.items()
    },
}


def _renamed(numbers, what):
    """PSNR of final images under another name: {"psnr": 3.0} -> {"psnr_bicubic": 3.0}."""
    names = [name for name in ("psnr", "psnr_faces") if name in numbers]
    return {f"{name}_{what}": numbers[name] for name in names}


def _accuracies(logits, crops) -> dict[str, dict[str, float]]:
    """Seen -> accuracy by height; high resolution counts where it is real."""
    everything = np.ones(len(crops["is_face"]), bool)
    counts = {"real": np.asarray(crops["paired"])}
    return {
        seen: evaluation.accuracy_by_height(logits[seen], crops, counts.get(seen, everything))
        for seen in SEEN
        if seen in logits
    }


def _table(by_height, crops) -> Table:
    names = list(next(iter(by_height.values())))
    columns = ["all", *(_range(name) for name in names[1:])]
    height, is_face = np.asarray(crops["height"]), np.asarray(crops["is_face"])
    places = np.digitize(height, evaluation.HEIGHTS[1:-1], right=True)
    counts = [int((is_face & (places == place)).sum()) for place in range(len(names) - 1)]
    rows = [("faces", int(is_face.sum()), *counts)]
    for seen, values in by_height.items():
        shown = [None if np.isnan(values[name]) else round(values[name], 1) for name in names]
        rows.append((SEEN[seen], *shown))
    return Table(
        "Faces told from backgrounds, by height of the face",
        ("the classifier sees", *columns),
        rows,
        "Percent of held-out crops, both classes weighted alike. High resolution is only known "
        "where the picture has the pixels.",
    )


def _range(name: str) -> str:
    low, high = name.removeprefix("height_").split("_")
    return f"above {low} px" if high == "inf" else f"{low}-{high} px"


def _pictures(config, workdir, devices, crops, by_height) -> list[Picture]:
    pictures = []
    stage = next((s for s in ("gan", "generator") if gan_stages.is_done(config, workdir, s)), None)
    shown = np.flatnonzero(np.asarray(crops["is_face"]) & np.asarray(crops["paired"]))
    if stage and len(shown):
        variables = players.averaged(gan_stages.restore(config, workdir, devices, stage)[0])
        pictures.append(
            Picture(
                "super_resolution",
                strips_figure(config, variables, crops, shown),
                "Held-out faces that gain most, middling and least over bicubic enlargement.",
            )
        )
    if by_height:
        names = list(next(iter(by_height.values())))[1:]
        figure = tiny_faces_figures.accuracy_bars(
            {SEEN[seen]: [values[n] for n in names] for seen, values in by_height.items()},
            [_range(name) for name in names],
            title="Faces told from backgrounds",
        )
        text = "The same crops at high resolution, enlarged bicubically and super-resolved."
        pictures.append(Picture("face_accuracy", figure, text))
    for stage in ("generator", "gan"):
        records = read_metrics(workdir / stage / "metrics.jsonl")
        if records:
            figure = training_curves(records, names=_CURVES)
            pictures.append(Picture(f"training_{stage}", figure, f"Training, stage {stage}."))
    return pictures


def strips_figure(config, variables: Variables, crops: Any, candidates: np.ndarray):
    """Strips of some crops: most, middling and least gain in PSNR over bicubic enlargement.

    Of several crops of one face only the first is considered.

    Args:
        config: of the run.
        variables: with a generator.
        crops: of `face_pair_files.open_split`.
        candidates: [M] rows to choose from.
    """
    _, first = np.unique(np.asarray(crops["face_box"][candidates]), axis=0, return_index=True)
    candidates = candidates[np.sort(first)]
    some = {name: np.asarray(crops[name][candidates]) for name in ("low", "image")}
    only, plain = variables._replace(discriminator=None), Variables(None, None)
    evaluate = evaluation.compile_evaluate(config)
    gain = evaluate(only, some)["psnr_final"] - evaluate(plain, some)["psnr_final"]
    rows, titles = tiny_faces_figures.chosen_rows(gain, np.arange(len(candidates)))
    enlarge = evaluation.compile_enlarge(config)
    low = some["low"][rows]
    coarse, final = enlarge(only, low)
    bicubic, _ = enlarge(plain, low)
    return tiny_faces_figures.strips(
        low, bicubic, coarse, final, some["image"][rows], row_titles=titles
    )
