"""The report of a tiny-faces run: what every method finds on the test pictures."""

from pathlib import Path

import numpy as np
from jax.sharding import Mesh

from jaxgen.metrics import detection
from jaxgen.tasks import (
    detection_figures,
    tiny_faces_data,
    tiny_faces_evaluation,
    tiny_faces_fusion,
    tiny_faces_gan_report,
    tiny_faces_methods,
    tiny_faces_stages,
)
from jaxgen.training.figures import training_curves
from jaxgen.training.logging import counted, read_metrics
from jaxgen.training.report import Picture, write_report
from jaxgen.training.report_page import Table

_SHOWN = 6  # annotated pictures
_RATE = "train/images_per_second"
_HELD_OUT = "validation_ap_height_0_16"
# What a rule is chosen by -> column.
_CHOSEN = {
    "small": "below 16 px",
    "middle": "16 to 32 px",
    "large": "over 32 px",
    "all": "all faces",
}


def write(config, workdir: Path, devices: Mesh) -> dict[str, float]:
    """Measures all methods that the finished stages allow and writes WORKDIR/report.

    Returns:
        Flat figures in percent: ap, ap_all_images and ap_height_* of the last method, and
        NAME_METHOD of every one where there are several, NAME_oracle of the detector's boxes
        with perfect scores; and those of tiny_faces_gan_report.

    Raises:
        ConfigError: the test set is empty.
        CheckpointMismatch: there is no trained detector.
    """
    scenes = tiny_faces_data.open_test(config)
    truth = tiny_faces_evaluation.ground_truth(scenes)
    detect, step = tiny_faces_stages.trained_detector(config, workdir, devices)
    found = tiny_faces_evaluation.detect_scenes(config, detect, scenes)
    methods = {"detector": tiny_faces_evaluation.as_predictions(found)}
    for method, look_again in tiny_faces_methods.second_opinions(config, workdir, devices).items():
        methods[method] = tiny_faces_methods.rescored(look_again, scenes, found)
    levels = tiny_faces_evaluation.read_levels(config, truth.names)
    numbers = {}
    for method, predictions in methods.items():
        measured = tiny_faces_evaluation.detection_numbers(predictions, truth, levels)
        numbers |= {f"{name}_{method}": value for name, value in measured.items()}
        last = measured
    if len(methods) == 1:
        numbers = {}
    chosen = _chosen_rules(config, workdir, list(methods)[1:])
    held_out = {f"{_HELD_OUT}_{method}": rule["figures"]["ap_small"] for method, rule in chosen}
    ceilings = tiny_faces_evaluation.ceiling_numbers(methods["detector"], truth)
    numbers |= ceilings
    gan = tiny_faces_gan_report.measure(config, workdir, devices)
    records = read_metrics(workdir / "detector" / "metrics.jsonl")
    numbers = last | numbers | held_out | gan.numbers | counted(records)
    rates = [line[_RATE] for line in records if _RATE in line]
    name = config.test.name or config.data.name
    write_report(
        workdir / "report",
        title=f"Tiny faces: {name}",
        summary=_summary(config, truth, name),
        metrics=numbers,
        split=config.test.split,
        step=step,
        seed=config.seed,
        images_per_second=float(np.median(rates)) if rates else None,
        config=config,
        pictures=[*_pictures(scenes, truth, methods, records), *gan.pictures],
        tables=[
            _table(truth, methods, ceilings),
            *_fusion_tables(chosen),
            *gan.tables,
        ],
        headline=["ap", *(key for key in last if key.startswith("ap_height_"))][:4],
        meanings=_meanings([*last, *held_out]) | gan.meanings,
    )
    return numbers


def _summary(config, truth, name) -> str:
    faces = sum(int(keep.sum()) for keep in truth.counted)
    return (
        f"{len(truth.names)} pictures of the split {config.test.split!r} of {name} with {faces} "
        "faces to find. AP in percent, a face is found by IoU 0.5; scores below "
        f"{config.detector.inference.score_floor:g} are not kept."
    )


def _meanings(numbers) -> dict[str, str]:
    meanings = {
        "ap": "average precision by WIDER FACE's protocol, percent",
        "ap_all_images": "the same with wrong boxes on face-free pictures counted, percent",
        "tpr_100_false_positives": "faces found while 100 boxes of the set are wrong, percent",
    }
    for name in numbers:
        if name.startswith("ap_height_"):
            low, high = name.removeprefix("ap_height_").split("_")
            which = f"{low} pixels and more" if high == "inf" else f"{low} to {high} pixels"
            meanings[name] = f"faces of {which}, percent"
        elif name.startswith(_HELD_OUT):
            meanings[name] = "faces below 16 pixels of the held-out scenes that chose the rule"
        elif name in ("ap_easy", "ap_medium", "ap_hard"):
            meanings[name] = "official level of WIDER FACE, percent"
    return {name: meanings[name] for name in numbers if name in meanings}


def _table(truth, methods, ceilings) -> Table:
    """AP by height, a row a method, and the most that scores alone could reach."""
    counts = detection.faces_by_height(truth.boxes, truth.counted)
    columns = [f"{name.replace('_', '-').replace('-inf', ' and more')} px" for name in counts]
    rows = [("faces", "", *counts.values())]
    for method, predictions in methods.items():
        numbers = tiny_faces_evaluation.detection_numbers(predictions, truth, {})
        values = [numbers["ap"], *(numbers[f"ap_height_{name}"] for name in counts)]
        rows.append((method, *map(_rounded, values)))
    rows.append(("detector's boxes, perfect scores", *map(_rounded, ceilings.values())))
    return Table("Average precision by height of the face", ("method", "all", *columns), rows)


def _chosen_rules(config, workdir, methods) -> list[tuple[str, dict]]:
    """What was chosen for each method; none where nothing was to be chosen."""
    if config.gan.fusion.rule != "chosen":
        return []
    folders = [workdir / tiny_faces_methods.STAGES[method] for method in methods]
    return list(zip(methods, map(tiny_faces_fusion.read, folders), strict=True))


def _fusion_tables(chosen) -> list[Table]:
    """What was chosen on held-out scenes, a row a method."""
    if not chosen:
        return []
    rows = []
    for method, content in chosen:
        figures = {name: _rounded(value) for name, value in content["figures"].items()}
        pairs = [f"{figures[f'ap_{name}_alone']} -> {figures[f'ap_{name}']}" for name in _CHOSEN]
        rows.append((method, *content["fusion"].values(), *pairs))
    columns = ("rule", "weight", "up to, px", *_CHOSEN.values())
    note = "Chosen on held-out training scenes; AP there, percent: the detector alone -> with it."
    title = "How detector and second look become one"
    return [Table(title, ("method", *columns), rows, note)]


def _rounded(value):
    return None if value is None or np.isnan(value) else round(value, 1)


def _pictures(scenes, truth, methods, records) -> list[Picture]:
    last = list(methods)[-1]
    pictures = [
        Picture(
            "precision_recall",
            detection_figures.precision_recall(methods, truth.boxes, truth.counted),
            "Precision and recall of all faces; further right and higher is better.",
        ),
        Picture(
            "by_height",
            detection_figures.by_height(methods, truth.boxes, truth.counted),
            "Average precision by the height of the face.",
        ),
        Picture(
            "roc",
            detection_figures.roc(methods, truth.boxes, truth.counted),
            "Share of the faces that are found, by the number of wrong boxes in the whole set.",
        ),
    ]
    # The most crowded pictures say the most; evenly chosen among the upper half.
    order = np.argsort([-int(keep.sum()) for keep in truth.counted], kind="stable")
    rows = order[np.linspace(0, max(len(order) // 2 - 1, 0), min(_SHOWN, len(order))).astype(int)]
    pictures.append(
        Picture(
            "pictures",
            detection_figures.annotated(
                [scenes[int(row)]["image"] for row in rows],
                [methods[last][row] for row in rows],
                [truth.boxes[row] for row in rows],
            ),
            f"Found by {last} (yellow) and true faces (blue).",
        )
    )
    if records:
        names = ("loss", "class_loss", "box_loss", "ap", "ap_height_10_16")
        pictures.append(
            Picture(
                "training_detector",
                training_curves(records, names=names),
                "Training, stage detector.",
            )
        )
    return pictures
