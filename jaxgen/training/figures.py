"""Pictures that every system's report shares: curves, training curves, grids of images.

Contract. Functions take arrays and return a matplotlib `Figure`; saving is the caller's. Figures
are made with the object interface on the Agg canvas: no window, no state shared between calls.
Images are uint8 [H, W, 3] or float [H, W, 3] in [0, 1]; x runs right, y down, and the centre of the
top left pixel is (0, 0). Colours stay apart for colour-blind readers (Okabe and Ito), and lines
differ in their dashes too.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
INK, FAINT, GRID = "#1f2328", "#656d76", "#e3e6ea"


class Line(NamedTuple):
    """One curve."""

    x: np.ndarray  # [M]
    y: np.ndarray  # [M]; NaN leaves a gap


def new_figure(width: float, height: float, *, rows: int = 1, columns: int = 1):
    """A figure of `width` x `height` inches and its axes [rows, columns] in the common look."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=160, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(FAINT)
        ax.grid(True, color=GRID, linewidth=0.8)
        ax.set_axisbelow(True)
        ax.tick_params(colors=FAINT, labelcolor=INK, labelsize=9)
    return figure, axes


def label(ax: Any, *, x: str = "", y: str = "", title: str = "") -> None:
    """Axis names and a title on the left, where the eye begins."""
    ax.set_xlabel(x, color=INK, fontsize=10)
    ax.set_ylabel(y, color=INK, fontsize=10)
    if title:
        ax.set_title(title, loc="left", color=INK, fontsize=11, fontweight="bold")


def draw_lines(ax: Any, lines: Mapping[str, Line], *, steps: bool = False) -> None:
    """Draws named curves; two or more get a legend."""
    for number, (name, line) in enumerate(lines.items()):
        ax.plot(
            line.x,
            line.y,
            color=COLOURS[number % len(COLOURS)],
            linestyle=DASHES[number % len(DASHES)],
            linewidth=2,
            drawstyle="steps-post" if steps else "default",
            label=name,
            solid_capstyle="round",
        )
    if len(lines) > 1:
        legend(ax)


def legend(ax: Any) -> None:
    """A legend without a frame, where it hides least."""
    ax.legend(frameon=False, fontsize=9, labelcolor=INK, loc="best")


def curves(
    lines: Mapping[str, Line],
    *,
    x: str,
    y: str,
    title: str = "",
    steps: bool = False,
    x_limits: tuple[float, float] | None = None,
    y_limits: tuple[float, float] | None = None,
    log_y: bool = False,
):
    """One panel of named curves.

    Args:
        lines: name -> Line.
        x: name of the horizontal axis, with its unit.
        y: name of the vertical axis, with its unit.
        title: above the panel.
        steps: the curves are step functions that jump at their x.
        x_limits: visible range; None fits the data.
        y_limits: the same, vertically.
        log_y: logarithmic vertical axis.
    """
    figure, axes = new_figure(6.4, 4.2)
    ax = axes[0, 0]
    draw_lines(ax, lines, steps=steps)
    label(ax, x=x, y=y, title=title)
    if x_limits:
        ax.set_xlim(*x_limits)
    if y_limits:
        ax.set_ylim(*y_limits)
    if log_y:
        ax.set_yscale("log")
    return figure


def training_curves(records: Sequence[Mapping[str, float]], *, names: Sequence[str] | None = None):
    """Small panels of the numbers in a metrics.jsonl, over the step.

    Args:
        records: each has "step" and some of "train/NAME", "validation/NAME"; the parts of one
            NAME share a panel.
        names: panels in order. None: every NAME but norms of gradients and the like, throughput
            and interval bounds.

    Raises:
        ValueError: no record has any of the names.
    """
    found = _by_panel(records)
    if names is None:
        tails = ("_norm", "images_per_second", "_low", "_high", "_p90", "faces")
        names = [name for name in found if not name.endswith(tails)]
    panels = {name: found[name] for name in names if name in found}
    if not panels:
        raise ValueError(f"no training curve to draw: records hold {sorted(found)}")
    columns = 2 if len(panels) == 4 else min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = new_figure(3.6 * columns, 2.7 * rows, rows=rows, columns=columns)
    for ax, (name, parts) in zip(axes.flat, panels.items(), strict=False):
        for number, (part, line) in enumerate(parts.items()):
            _draw_noisy(ax, line, colour=COLOURS[number % len(COLOURS)], name=part)
        label(ax, x="step", title=name)
        if len(parts) > 1:
            legend(ax)
        if _spans_decades([line.y for line in parts.values()]):
            ax.set_yscale("log")
    for ax in axes.flat[len(panels) :]:
        ax.remove()
    return figure


def image_grid(
    images: Sequence[np.ndarray],
    *,
    captions: Sequence[str] | None = None,
    row_titles: Sequence[str] | None = None,
    columns: int = 6,
    cell: float = 1.9,
    smooth: bool = False,
    draw: Callable[[Any, int], None] | None = None,
):
    """Images in rows, each with a caption below.

    Args:
        images: N images; each keeps its own size and fills its cell.
        captions: N short texts.
        row_titles: one text a row, at its left.
        columns: images in a row.
        cell: side of a cell in inches.
        smooth: interpolate enlarged images; False shows their pixels as squares.
        draw: called with (axes, number of the image) to draw over it, in its pixels.

    Raises:
        ValueError: no images, or unequal numbers of captions or row titles.
    """
    rows = -(-len(images) // columns)
    if not len(images):
        raise ValueError("an image grid needs at least one image")
    if captions is not None and len(captions) != len(images):
        raise ValueError(f"{len(captions)} captions for {len(images)} images")
    if row_titles is not None and len(row_titles) != rows:
        raise ValueError(f"{len(row_titles)} row titles for {rows} rows")
    columns = min(columns, len(images))
    height = cell * rows * (1.14 if captions is not None else 1)
    figure, axes = new_figure(cell * columns, height, rows=rows, columns=columns)
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0.0, hspace=0.0)
    for ax in axes.flat:
        ax.grid(False)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    for number, (ax, image) in enumerate(zip(axes.flat, images, strict=False)):
        ax.imshow(image, interpolation="bicubic" if smooth else "nearest")
        if captions is not None:
            ax.set_xlabel(captions[number], color=INK, fontsize=9, labelpad=3)
        if draw is not None:
            draw(ax, number)
            # What is drawn over an image must not move its frame.
            ax.set(xlim=(-0.5, np.shape(image)[1] - 0.5), ylim=(np.shape(image)[0] - 0.5, -0.5))
    for ax, text in zip(axes[:, 0], row_titles or [], strict=False):
        ax.set_ylabel(text, color=INK, fontsize=10, fontweight="bold")
    for ax in axes.flat[len(images) :]:
        ax.set_visible(False)
    return figure


def overlay(image: np.ndarray, heat: np.ndarray, *, strength: float = 0.85) -> np.ndarray:
    """Lays a heatmap over a dimmed grey copy of its image.

    Args:
        image: [H, W, 3] uint8.
        heat: [h, w] float, >= 0; scaled to its peak and, if of another size, resized to [H, W].
        strength: opacity at the peak, in [0, 1].

    Returns:
        [H, W, 3] uint8.
    """
    from matplotlib import colormaps
    from PIL import Image

    heat = np.nan_to_num(np.asarray(heat, np.float32))
    heat = np.maximum(heat, 0) / max(float(heat.max()), 1e-12)
    if heat.shape != image.shape[:2]:
        size = image.shape[1], image.shape[0]
        heat = np.asarray(Image.fromarray(heat).resize(size, Image.Resampling.BILINEAR))
    heat = np.clip(heat, 0, 1)[..., None]
    # The square root shows faint tails, which are what one looks for.
    opacity = strength * np.sqrt(heat)
    colour = 255 * colormaps["magma"](0.25 + 0.75 * heat[..., 0])[..., :3]
    grey = np.repeat(0.75 * image.mean(-1, keepdims=True), 3, axis=-1)
    return np.round(grey + opacity * (colour - grey)).astype(np.uint8)


def _by_panel(records: Sequence[Mapping[str, float]]) -> dict[str, dict[str, Line]]:
    points: dict[str, dict[str, list]] = {}
    for record in records:
        for key, value in record.items():
            part, _, name = key.partition("/")
            if name:
                line = points.setdefault(name, {}).setdefault(part, [])
                line.append((record["step"], np.nan if value is None else value))
    return {
        name: {part: Line(*np.array(line, float).T) for part, line in parts.items()}
        for name, parts in points.items()
    }


def _draw_noisy(ax: Any, line: Line, *, colour: str, name: str) -> None:
    """A line; a long one is faint, under its running mean."""
    window = line.y.size // 25
    if window < 2:
        ax.plot(line.x, line.y, color=colour, linewidth=1.8, marker=".", markersize=5, label=name)
        return
    ax.plot(line.x, line.y, color=colour, linewidth=0.8, alpha=0.3)
    kernel = np.ones(window)
    mean = np.convolve(line.y, kernel, "same") / np.convolve(np.ones(line.y.size), kernel, "same")
    ax.plot(line.x, mean, color=colour, linewidth=1.8, label=name)


def _spans_decades(values: Sequence[np.ndarray]) -> bool:
    found = np.concatenate(values)
    found = found[np.isfinite(found)]
    return bool(found.size and found.min() > 0 and found.max() > 30 * found.min())
