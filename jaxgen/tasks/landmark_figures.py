"""Pictures of a landmark evaluation: faces with points and scales, error and uncertainty curves.

Contract. Images uint8 [N, H, W, 3]; points [N, K, 2] as (x, y) in the pixels of those images, pixel
centres at integers; scales [N, K, 2] Laplace scales (b_x, b_y) in the same pixels; errors [N] in
percent of a normaliser that the figure names. Every function returns a matplotlib `Figure`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxgen.metrics import uncertainty
from jaxgen.metrics.landmarks import cumulative_error, failure_rate
from jaxgen.metrics.normalizers import describe
from jaxgen.training import figures
from jaxgen.training.figures import FAINT, INK, Line

TRUE, PREDICTED = (
    "#56E3FF",
    "#FFB000",
)  # both light: they stand out from any skin and from each other


def cumulative_error_figure(
    errors: Mapping[str, np.ndarray], *, normalizer: str, limit: float = 10.0
):
    """Cumulative error distribution of one or several methods.

    Args:
        errors: method -> [N] errors in percent, all with the same normaliser.
        normalizer: its name, printed on the axis.
        limit: right end of the axis, percent.
    """
    lines = {}
    for method, values in errors.items():
        ced = cumulative_error(values)
        # The curve starts at (0, 0) and goes on flat to the right edge.
        x = np.concatenate([[0], ced.error, [max(limit, ced.error[-1])]])
        y = np.concatenate([[0], ced.share, [100]])
        failed = failure_rate(values, limit)
        name = f"{method} (mean {np.mean(values):.2f} %, {failed:.1f} % beyond {limit:g} %)"
        lines[name] = Line(x, y)
    figure = figures.curves(
        lines,
        x=f"error, % of {describe(normalizer)}",
        y="faces with at most this error, %",
        x_limits=(0, limit),
        y_limits=(0, 101),
        steps=True,
    )
    if len(lines) == 1:
        figures.label(figure.axes[0], **_axis_labels(figure.axes[0]), title=next(iter(lines)))
    return figure


def draw_face(
    ax: Any,
    *,
    pred: np.ndarray | None = None,
    scale: np.ndarray | None = None,
    true: np.ndarray | None = None,
    ellipse: float = 1.0,
) -> None:
    """Draws the points of one face over its image.

    Args:
        ax: axes that show the image in pixels.
        pred: [K, 2] predicted points, yellow dots.
        scale: [K, 2] (b_x, b_y): ellipses with half axes `ellipse` * b around the predictions.
        true: [K, 2] true points, cyan dots joined to the predictions; NaN is left out.
        ellipse: half axes in units of b.
    """
    from matplotlib.collections import EllipseCollection, LineCollection

    if pred is not None and scale is not None:
        sizes = 2 * ellipse * np.asarray(scale).T  # full axes
        ax.add_collection(
            EllipseCollection(
                *(*sizes, np.zeros(len(pred))),
                units="xy",
                offsets=pred,
                offset_transform=ax.transData,
                facecolors=PREDICTED + "1C",
                edgecolors=PREDICTED + "A0",
                linewidths=0.5,
            )
        )
    if pred is not None and true is not None:
        ax.add_collection(
            LineCollection(np.stack([true, pred], 1), colors="white", linewidths=0.6, alpha=0.8)
        )
    for points, colour in ((true, TRUE), (pred, PREDICTED)):
        if points is not None:
            ax.scatter(*points.T, s=4, c=colour, edgecolors="black", linewidths=0.25, zorder=3)


def ranked_faces_figure(
    images: np.ndarray,
    *,
    pred: np.ndarray,
    true: np.ndarray,
    scale: np.ndarray,
    errors: np.ndarray,
    mask: np.ndarray | None = None,
    count: int = 6,
):
    """Best, median and worst faces: images with true points, predictions and b-ellipses.

    Args:
        images: [N, H, W, 3] uint8.
        pred: [N, K, 2] predicted points.
        true: [N, K, 2] true points.
        scale: [N, K, 2] predicted scales.
        errors: [N] percent; they choose the faces.
        mask: [N, K] bool, True where labelled.
        count: faces in each of the three rows; fewer where N is small.
    """
    rows = ranked_rows(errors, count)
    if mask is not None:
        true = np.where(mask[..., None], true, np.nan)

    def draw(ax, number):
        face = rows.flat[number]
        draw_face(ax, pred=pred[face], scale=scale[face], true=true[face])

    figure = figures.image_grid(
        [images[face] for face in rows.flat],
        captions=[f"{errors[face]:.1f} %" for face in rows.flat],
        row_titles=["best", "median", "worst"],
        columns=rows.shape[1],
        smooth=True,
        draw=draw,
    )
    _add_key(figure)
    return figure


def ranked_rows(errors: np.ndarray, count: int) -> np.ndarray:
    """Numbers of the best, middle and worst faces: [3, min(count, N)] int, worst last."""
    order = np.argsort(errors, kind="stable")
    count = min(count, order.size)
    middle = (order.size - count) // 2
    return np.stack([order[:count], order[middle : middle + count], order[order.size - count :]])


def heatmaps_figure(
    images: np.ndarray,
    heatmaps: np.ndarray,
    *,
    captions: Sequence[str] | None = None,
    columns: int = 6,
):
    """All heatmaps of each face, overlaid: each landmark's map counts with its own peak.

    Args:
        images: [N, H, W, 3] uint8.
        heatmaps: [N, h, w, K] non-negative.
        captions: N texts.
        columns: faces in a row.
    """
    peak = np.maximum(heatmaps.max((1, 2), keepdims=True), 1e-12)
    heat = (heatmaps / peak).max(-1)
    faces = [figures.overlay(*pair) for pair in zip(images, heat, strict=True)]
    return figures.image_grid(faces, captions=captions, columns=columns, smooth=True)


def uncertainty_figure(
    scale: np.ndarray,
    error: np.ndarray,
    coordinates: tuple[np.ndarray, np.ndarray],
    *,
    normalizer: str,
):
    """Two panels: what rejecting unsure faces buys, and whether the scale is an error.

    Args:
        scale: [N] predicted scale of each face, percent of the normaliser.
        error: [N] error of each face, same unit.
        coordinates: scales and absolute errors of single coordinates, pixels; see
            `uncertainty.coordinate_pairs`.
        normalizer: its name.
    """
    figure, axes = figures.new_figure(9.6, 3.9, columns=2)
    left, right = axes[0]
    curves = uncertainty.sparsification(scale, error)
    random = np.full_like(curves.rejected, np.mean(error))
    figures.draw_lines(
        left,
        {
            "largest scale first": Line(curves.rejected, curves.by_scale),
            "largest error first (best possible)": Line(curves.rejected, curves.by_error),
            "at random": Line(curves.rejected, random),
        },
    )
    left.set(xlim=(0, 95), ylim=(0, None))
    short = describe(normalizer).removesuffix(" distance")  # the axis is no longer than the panel
    figures.label(
        left,
        x="faces rejected, %",
        y=f"mean error of the rest, % of {short}",
        title=f"Rejecting unsure faces (Spearman {uncertainty.spearman(scale, error):.2f})",
    )
    bins = uncertainty.calibration(*coordinates)
    top = 1.08 * max(bins.scale.max(), bins.error.max())
    right.plot([0, top], [0, top], color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
    right.annotate(
        "calibrated",
        (0.97 * top, 0.97 * top),
        ha="right",
        va="bottom",
        color=FAINT,
        fontsize=9,
        rotation=45,
        rotation_mode="anchor",
        transform_rotates_text=True,
    )
    right.plot(bins.scale, bins.error, "o-", color=figures.COLOURS[0], linewidth=2, markersize=5)
    right.set(xlim=(0, top), ylim=(0, top))
    figures.label(
        right,
        x="predicted scale b, pixels",
        y="mean |error| of a coordinate, pixels",
        title="Scale as expected error",
    )
    return figure


def per_landmark_figure(points: np.ndarray, errors: np.ndarray, *, normalizer: str):
    """Error of each landmark on a mean face: larger and darker is worse.

    Args:
        points: [K, 2] mean positions, any unit, y down.
        errors: [K] percent; NaN is drawn hollow.
        normalizer: its name.
    """
    figure, axes = figures.new_figure(5.6, 4.4)
    ax = axes[0, 0]
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.set(xticks=[], yticks=[], aspect="equal")
    known = np.isfinite(errors)
    size = 260 * errors[known] / max(np.max(errors[known]), 1e-12) + 12
    ax.scatter(*points[~known].T, s=20, facecolors="none", edgecolors=FAINT)
    marks = ax.scatter(
        *points[known].T, s=size, c=errors[known], cmap="cividis_r", edgecolors=INK, linewidths=0.5
    )
    worst = np.argsort(errors[known])[-3:]
    for index in np.flatnonzero(known)[worst]:
        ax.annotate(
            f"{index}: {errors[index]:.1f}",
            points[index],
            xytext=(9, 0),
            textcoords="offset points",
            fontsize=8,
            color=INK,
            va="center",
        )
    ax.invert_yaxis()
    ax.margins(0.08)
    bar = figure.colorbar(marks, ax=ax, shrink=0.75)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=9, colors=FAINT, labelcolor=INK)
    bar.set_label(f"mean error, % of {describe(normalizer)}", color=INK, fontsize=10)
    return figure


def _add_key(figure: Any) -> None:
    """Says below the faces what the marks are."""
    from matplotlib.lines import Line2D

    marks = {  # text: (fill, edge, size)
        "true": (TRUE, "black", 5),
        "predicted": (PREDICTED, "black", 5),
        "predicted scale b": ("none", "#C98B00", 10),
    }
    figure.legend(
        handles=[
            Line2D([], [], marker="o", linestyle="", color=fill, mec=edge, ms=size, label=text)
            for text, (fill, edge, size) in marks.items()
        ],
        loc="outside lower center",
        ncols=len(marks),
        frameon=False,
        fontsize=9,
        labelcolor=INK,
    )


def _axis_labels(ax: Any) -> dict[str, str]:
    return {"x": ax.get_xlabel(), "y": ax.get_ylabel()}
