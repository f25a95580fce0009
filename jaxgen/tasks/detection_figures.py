"""Figures of detectors: precision and recall, ROC, average precision by height, pictures.

Arguments are those of jaxgen.metrics.detection: `methods` holds, by name, one [N, 5] array a
picture; `boxes` one [M, 4] and `counted` one bool [M] array a picture.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxgen.metrics import detection
from jaxgen.tasks.detection_drawing import draw_boxes
from jaxgen.training.figures import (
    COLOURS,
    INK,
    Line,
    curves,
    image_grid,
    label,
    legend,
    new_figure,
)

Methods = Mapping[str, Sequence[np.ndarray]]
LEAST_DRAWN = 0.3  # boxes with lower scores are not drawn


def precision_recall(methods: Methods, boxes, counted):
    """Precision over recall, a curve a method, by WIDER FACE's protocol."""
    lines = {}
    for name, predictions in methods.items():
        curve = detection.wider_curve(predictions, boxes, counted)
        lines[f"{name} ({detection.area_under(curve):.1f})"] = Line(
            100 * curve.recall, 100 * curve.precision
        )
    options = dict(x_limits=(0, 100), y_limits=(0, 102))
    return curves(lines, x="recall, %", y="precision, %", title="AP in brackets", **options)


def roc(methods: Methods, boxes, counted):
    """Share of faces found over false positives of the whole set."""
    lines = {
        name: Line(curve.false_positives, 100 * curve.true_positive_rate)
        for name, predictions in methods.items()
        for curve in [detection.roc(predictions, boxes, counted)]
    }
    most = max(10, *(line.x[-1] for line in lines.values()))
    options = dict(x_limits=(0, min(most, 2000)), y_limits=(0, 102), steps=True)
    return curves(lines, x="false positives in the set", y="faces found, %", **options)


def by_height(methods: Methods, boxes, counted):
    """Average precision of each range of heights, a bar a method."""
    figure, axes = new_figure(6.4, 3.6)
    ax, width = axes[0, 0], 0.8 / len(methods)
    faces = detection.faces_by_height(boxes, counted)
    for number, (name, predictions) in enumerate(methods.items()):
        values = list(detection.average_precision_by_height(predictions, boxes, counted).values())
        places = np.arange(len(values)) + (number - (len(methods) - 1) / 2) * width
        colour = COLOURS[number % len(COLOURS)]
        ax.bar(places, np.nan_to_num(values), width=0.92 * width, color=colour, label=name)
        for place, value in zip(places, values, strict=True):
            if len(methods) < 4 and np.isfinite(value):
                ax.text(place, value, f"{value:.0f}", ha="center", va="bottom", fontsize=8)
    names = [
        f"{name.replace('_', '-').replace('-inf', '+')} px\n{count} faces"
        for name, count in faces.items()
    ]
    ax.set_xticks(range(len(names)), names, color=INK, fontsize=9)
    ax.set_ylim(0, 108)
    label(ax, y="AP, %")
    if len(methods) > 1:
        legend(ax)
    return figure


def annotated(images, predictions, true_boxes):
    """Pictures with the boxes found (yellow) and the true ones (blue), three in a row."""
    drawn = []
    for image, found, true in zip(images, predictions, true_boxes, strict=True):
        found = found[found[:, 4] >= LEAST_DRAWN]
        drawn.append(draw_boxes(image, found[:, :4], found[:, 4], true_boxes=true))
    return image_grid(drawn, columns=min(2, len(drawn)), cell=4.6, smooth=True)
