"""The report of a CyCADA run: every stage on the target's test split, and how it came about."""

import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh

from jaxgen.metrics import adaptation, segmentation
from jaxgen.tasks import cycada_data, cycada_evaluation, cycada_pictures, cycada_stages
from jaxgen.training.figures import (
    COLOURS,
    Line,
    curves,
    image_grid,
    label,
    new_figure,
    training_curves,
)
from jaxgen.training.logging import counted, read_metrics
from jaxgen.training.report import Picture, write_report
from jaxgen.training.report_page import Table

# Stage -> name of the method in the paper's tables, and what it means.
METHODS = {
    "source": ("source_only", "trained on source images alone"),
    "pixel": ("pixel", "trained on translated source images"),
    "feature": ("feature", "source network with aligned features (ADDA)"),
    "pixel_feature": ("pixel+feature", "trained on translated images, features aligned (CyCADA)"),
    "target": ("target_only", "trained on target labels: the upper bound"),
}
_RATE = "train/images_per_second"
_log = logging.getLogger(__name__)


def evaluate_stages(
    config, workdir: Path, devices: Mesh, test: Any
) -> dict[str, cycada_evaluation.Evaluation]:
    """What the network of each finished stage says of a set, by method."""
    evaluate = cycada_evaluation.compile_evaluate(config, devices)
    done = cycada_stages.done_stages(config, workdir)
    return {
        method: evaluate(cycada_stages.task_variables(config, workdir, devices, stage), test)
        for stage, (method, _) in METHODS.items()
        if stage in done
    }


def flip_rate(config, workdir: Path, devices: Mesh, domains: cycada_data.Domains) -> float | None:
    """Percent of translated source images whose class the target network sees changed.

    The network of the stage "target" judges: nothing else has learned from it. None where it or
    the translation has not been run. The validation part of the source is used, which the
    translation has not seen.
    """
    folder = cycada_stages.translated_folder(workdir)
    if not {"target", "translation"} <= set(cycada_stages.done_stages(config, workdir)):
        if (folder / cycada_data.MARKER).exists() and not cycada_data.is_translated(config, folder):
            _log.warning(
                "%s holds images of another source than config.source is now: label_flip_rate is "
                "left out. The stage 'translation' translates them again.",
                folder,
            )
        return None
    opened = domains.translated(folder, "validation")
    variables = cycada_stages.task_variables(config, workdir, devices, "target")
    confusion = cycada_evaluation.compile_evaluate(config, devices)(variables, opened).confusion
    return 100 - segmentation.pixel_accuracy(confusion)


def write(config, workdir: Path, devices: Mesh, domains: cycada_data.Domains) -> dict[str, float]:
    """Measures all stages that have a checkpoint and writes WORKDIR/report.

    Returns:
        Flat figures: <metric>_<method> for every method, the metric itself for the last of the
        run, and label_flip_rate. Where the target has no labels to measure with, only what needs
        none, see cycada_evaluation.label_free_numbers.

    Raises:
        ConfigError: no stage has trained a task network.
    """
    stage = cycada_stages.final_stage(config, workdir)
    last = METHODS[stage][0]
    split = "test" if config.target.test_split else "validation"
    test = domains.open("target", split)
    evaluations = evaluate_stages(config, workdir, devices, test)
    numbers = cycada_evaluation.label_free_numbers(evaluations[last].probabilities)
    found = {name: item.confusion for name, item in evaluations.items() if item.confusion.sum()}
    if found:
        numbers = _measured(config, found, last, test.classes) | numbers
    flips = flip_rate(config, workdir, devices, domains)
    if flips is not None:
        numbers["label_flip_rate"] = flips
    numbers |= _gates(config, workdir)
    numbers |= counted(_records(workdir, stage, "metrics.jsonl"))
    _, step = cycada_stages.restore(config, workdir, devices, stage)
    rates = [
        line[_RATE] for line in _records(workdir, "translation", "metrics.jsonl") if _RATE in line
    ]
    name = cycada_evaluation.headline(config)
    write_report(
        workdir / "report",
        title=f"CyCADA: {config.source.name} to {config.target.name}",
        summary=f"Measured on the split {config.target.test_split or split!r} of the target."
        + ("" if found else " It has no labels: only criteria that need none are shown."),
        metrics=numbers,
        split=config.target.test_split or split,
        step=step,
        seed=config.seed,
        images_per_second=float(np.median(rates)) if rates else None,
        config=config,
        pictures=_pictures(config, workdir, devices, domains, found, last, test),
        tables=[_class_table(config, test.classes, found)] if found else (),
        headline=[f"{name}_{method}" for method in list(found)[:4]] or ["entropy"],
        meanings=_meanings(numbers, name),
    )
    return numbers


def _gates(config, workdir) -> dict[str, float]:
    """Percent of the logged steps in which each alignment moved its network, by method."""
    shares = {}
    for stage in cycada_stages.ALIGNMENT_STAGES:
        records = _records(workdir, stage, "metrics.jsonl")
        gates = [record["train/gate"] for record in records if "train/gate" in record]
        if not gates or not cycada_stages.is_done(config, workdir, stage):
            continue
        method = METHODS[stage][0]
        shares[f"gate_open_{method}"] = 100 * float(np.mean(gates))
        if not any(gates):
            _log.warning(
                "%s is the network that it began with: its discriminator never told the domains "
                "apart in more than config.alignment.gate=%g of a batch.",
                method,
                config.alignment.gate,
            )
    return shares


def _measured(config, found, last, classes) -> dict[str, float]:
    """Every figure that labels allow; `found` holds confusion matrices by method."""
    numbers = cycada_evaluation.task_numbers(config, found[last])
    for method, confusion in found.items():
        for name, value in cycada_evaluation.task_numbers(config, confusion).items():
            numbers[f"{name}_{method}"] = value
    if not cycada_data.is_segmentation(config):
        total, right = int(found[last].sum()), int(np.trace(found[last]))
        low, high = adaptation.accuracy_interval(np.arange(total) < right, np.ones(total, bool))
        numbers |= {"accuracy_low": low, "accuracy_high": high}
    else:
        values = segmentation.per_class_iou(found[last])
        numbers |= {
            f"iou_{name.replace(' ', '_')}": float(value)
            for name, value in zip(classes, values, strict=True)
            if np.isfinite(value)  # a class that occurs nowhere has none
        }
    return numbers


def _meanings(numbers, name) -> dict[str, str]:
    meanings = {
        "entropy": "of the last network's predictions; lower is surer",
        "information_maximisation": "of the last network's predictions; higher is better",
        "soft_neighbourhood_density": "of the last network's predictions; higher is better",
    }
    if name in numbers:
        meanings[name] = "of the last adapted network, percent"
    for method, text in METHODS.values():
        if f"{name}_{method}" in numbers:
            meanings[f"{name}_{method}"] = f"{text}, percent"
    if "accuracy_low" in numbers:
        meanings |= {
            "accuracy_low": "95 % interval of the accuracy, lower end",
            "accuracy_high": "95 % interval of the accuracy, upper end",
        }
    meanings |= {
        key: "steps in which the alignment moved the network, percent of those logged"
        for key in numbers
        if key.startswith("gate_open_")
    }
    if "label_flip_rate" in numbers:
        meanings["label_flip_rate"] = (
            "translated source images that the target-only network takes for another class, percent"
        )
    return meanings


def _class_table(config, classes, found) -> Table:
    """Per class: IoU, or accuracy of its images, in percent."""
    if cycada_data.is_segmentation(config):
        title, values = "IoU by class, percent", segmentation.per_class_iou
    else:
        title, values = "Accuracy by class, percent", _recall
    columns = {method: values(confusion) for method, confusion in found.items()}
    rows = [
        (name, *(round(float(column[number]), 1) for column in columns.values()))
        for number, name in enumerate(classes)
    ]
    return Table(title, ("class", *columns), rows)


def _recall(confusion):
    with np.errstate(invalid="ignore"):
        return 100 * np.diag(confusion) / confusion.sum(1)


def _records(workdir: Path, *parts: str) -> list[dict]:
    path = workdir.joinpath(*parts)
    return read_metrics(path) if path.exists() else []


# ------------------------------------------------------------------------------- pictures


def _pictures(config, workdir, devices, domains, found, last, test) -> list[Picture]:
    pictures = []
    done = cycada_stages.done_stages(config, workdir)
    if found:
        bars = _bars(config, found)
        pictures.append(Picture("methods", bars, "Every method on the target's test split."))
    if "translation" in done:
        pictures.append(_translations(config, workdir, devices, domains))
    if cycada_data.is_segmentation(config):
        # A target without labels may know neither names nor colours of classes.
        known = test if test.classes else domains.open("source", "validation")
        pictures.append(_panels(config, workdir, devices, done, test, known))
    elif found:
        pictures.append(
            Picture(
                "confusion",
                _confusions({m: found[m] for m in ("source_only", last) if m in found}),
                "Which classes are taken for which, rows are true classes, share of each row.",
            )
        )
    for stage in done:
        records = _records(workdir, stage, "metrics.jsonl")
        if stage in ("pixel_feature", "feature"):
            pictures.append(_choice(config, stage, records))
        names = {
            "translation": (
                "adversarial_target",
                "cycle_source",
                "semantic_target",
                "discriminator/accuracy_target",
                "discriminator/accuracy_source",
                "classifier/loss",
            ),
            "pixel_feature": ("adversarial", "discriminator/accuracy", "gate"),
            "feature": ("adversarial", "discriminator/accuracy", "gate"),
        }.get(stage, ("loss", "accuracy"))
        if any(f"train/{name}" in record for record in records for name in names):
            pictures.append(
                Picture(
                    f"training_{stage}",
                    training_curves(records, names=names),
                    f"Training of the stage {stage}.",
                )
            )
    return pictures


def _bars(config, found):
    name = cycada_evaluation.headline(config)
    values = [cycada_evaluation.task_numbers(config, c)[name] for c in found.values()]
    figure, axes = new_figure(6.4, 0.8 + 0.42 * len(values))
    ax = axes[0, 0]
    ax.barh(range(len(values)), values, color=COLOURS[0], height=0.62)
    for row, value in enumerate(values):
        ax.text(value, row, f" {value:.1f}", va="center", fontsize=9)
    ax.set_yticks(range(len(values)), list(found))
    ax.invert_yaxis()
    ax.set_xlim(0, 108)
    label(ax, x=f"{name}, %")
    return figure


def _translations(config, workdir, devices, domains) -> Picture:
    state, _ = cycada_stages.restore(config, workdir, devices, "translation")
    translate = cycada_evaluation.compile_translate(config, devices)
    params = state.generators.ema["params"]
    examples = cycada_pictures.example_images(
        config,
        domains.open("source", "validation"),
        domains.open("target", "validation"),
    )
    rows, titles = [], []
    for name, other in (("source", "target"), ("target", "source")):
        there = translate(params[other], examples[name])
        back = translate(params[name], there)
        rows += [examples[name], there, back]
        titles += [name, f"as {other}", "and back"]
    columns = min(map(len, rows))
    images = [_shown(image) for row in rows for image in row[:columns]]
    figure = image_grid(images, row_titles=titles, columns=columns, cell=1.0)
    return Picture("translations", figure, "Held-out images of both domains, translated and back.")


def _shown(image):
    return image.repeat(3, -1) if image.shape[-1] == 1 else image


def _confusions(found):
    figure, axes = new_figure(4.2 * len(found), 4.0, columns=len(found))
    for ax, (method, confusion) in zip(axes.flat, found.items(), strict=True):
        share = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
        ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
        ax.grid(False)
        label(ax, x="predicted class", y="true class", title=method)
    return figure


def _panels(config, workdir, devices, done, test, known) -> Picture:
    from jaxgen.tasks import segmentation_figures

    predict = cycada_evaluation.compile_predict(config, devices)
    scenes = [test[int(i)] for i in np.linspace(0, len(test) - 1, min(4, len(test)))]
    scenes = [scene for scene in scenes if scene["image"].shape == scenes[0]["image"].shape]
    maps = {"label": [scene["label"] for scene in scenes]} if test.labelled else {}
    for stage, (method, _) in METHODS.items():
        if stage not in done:
            continue
        variables = cycada_stages.task_variables(config, workdir, devices, stage)
        maps[method.replace("_", " ")] = [
            cycada_evaluation.predict_scene(
                config, partial(predict, variables), scene["image"]
            ).argmax(-1)
            for scene in scenes
        ]
    figure = segmentation_figures.panels(
        [scene["image"] for scene in scenes],
        maps,
        classes=known.classes,
        palette=known.palette,
    )
    return Picture("panels", figure, "Test scenes: image, label, and what each network says.")


def _choice(config, stage, records) -> Picture:
    """Label-free criteria beside the accuracy that they stand for, over the steps."""
    oracle = f"validation/oracle_{cycada_evaluation.headline(config)}"
    criteria = ("entropy", "information_maximisation", "soft_neighbourhood_density")
    names = [*(f"validation/{name}" for name in criteria), oracle]
    lines: dict[str, Any] = {}
    for name in names:
        points = [(r["step"], r[name]) for r in records if name in r]
        if not points:
            continue
        steps, values = map(np.array, zip(*points, strict=True))
        spread = np.ptp(values) or 1.0
        lines[name.removeprefix("validation/")] = Line(steps, (values - values.min()) / spread)
    figure = curves(lines, x="step", y="from lowest (0) to highest (1)", title=stage)
    return Picture(
        f"choice_{stage}",
        figure,
        "Criteria that need no label, and the oracle that needs them and chooses nothing, on "
        "held-out target images.",
    )
