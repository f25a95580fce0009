"""Pictures of a segmentation report: scenes beside their label maps, and IoU by class.

Contract. Images are uint8 [H, W, 3]; label maps integer [H, W] with 255 = ignore, shown white. A
class has the same colour everywhere, that of the data set's palette uint8 [K, 3]. Functions return
a matplotlib `Figure`; saving is the caller's.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxgen.training import figures

IGNORE = 255
IGNORE_COLOUR = (255, 255, 255)


def colour_map(label: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Paints a label map. label: [H, W] integer; palette: [K, 3] uint8 -> [H, W, 3] uint8.

    Raises:
        ValueError: a class without a colour.
    """
    colours = np.concatenate([np.asarray(palette, np.uint8), [IGNORE_COLOUR]]).astype(np.uint8)
    row = np.where(label == IGNORE, len(palette), label)
    if row.min() < 0 or row.max() > len(palette):
        raise ValueError(f"class {row.max()} has no colour: the palette has {len(palette)}")
    return colours[row]


def panels(
    images: Sequence[np.ndarray],
    maps: Mapping[str, Sequence[np.ndarray]],
    *,
    classes: Sequence[str],
    palette: np.ndarray,
    row_titles: Sequence[str] | None = None,
    width: float = 9.6,
):
    """One row a scene: the image, then its label maps in colour, with a legend below.

    Args:
        images: N scenes of equal shape.
        maps: title of a column -> N label maps, such as "label", "source only", "adapted".
        classes: K names.
        palette: [K, 3] uint8.
        row_titles: N short texts.
        width: of the figure in inches.

    Raises:
        ValueError: no scene, or numbers or sizes that do not agree.
    """
    if not len(images):
        raise ValueError("panels need at least one scene")
    for title, labels in maps.items():
        if [label.shape for label in labels] != [image.shape[:2] for image in images]:
            raise ValueError(f"{title!r} does not have one label map of the image's size a scene")
    if row_titles is not None and len(row_titles) != len(images):
        raise ValueError(f"{len(row_titles)} row titles for {len(images)} scenes")
    columns = 1 + len(maps)
    legend_rows = -(-(len(classes) + 1) // 6)
    aspect = max(image.shape[0] / image.shape[1] for image in images)
    height = len(images) * width / columns * aspect + 0.3 + 0.25 * legend_rows
    figure, axes = figures.new_figure(width, height, rows=len(images), columns=columns)
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0.0, hspace=0.0)
    for number, row in enumerate(axes):
        painted = [colour_map(labels[number], palette) for labels in maps.values()]
        for ax, picture in zip(row, [images[number], *painted], strict=True):
            ax.imshow(picture, interpolation="nearest")
            ax.grid(False)
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        if row_titles is not None:
            row[0].set_ylabel(row_titles[number], color=figures.INK, fontsize=8)
    for ax, title in zip(axes[0], ["image", *maps], strict=True):
        ax.set_title(title, color=figures.INK, fontsize=10, pad=4)
    _legend(figure, classes, palette)
    return figure


def iou_bars(methods: Mapping[str, np.ndarray], *, classes: Sequence[str], title: str = ""):
    """IoU of every class, one group of bars a class and one colour a method.

    Args:
        methods: name -> [K] percent; NaN leaves no bar.
        classes: K names.
        title: above the chart.

    Raises:
        ValueError: a method without one figure a class.
    """
    for name, values in methods.items():
        if len(values) != len(classes):
            raise ValueError(f"{name!r} has {len(values)} figures for {len(classes)} classes")
    figure, axes = figures.new_figure(max(6.4, 0.55 * len(classes) + 1.5), 3.6)
    ax, bar = axes[0, 0], 0.8 / len(methods)
    for number, (name, values) in enumerate(methods.items()):
        place = np.arange(len(classes)) - 0.4 + (number + 0.5) * bar
        colour = figures.COLOURS[number % len(figures.COLOURS)]
        ax.bar(place, np.nan_to_num(values), bar, color=colour, label=name)
    ax.set_xticks(range(len(classes)), classes, rotation=35, ha="right", rotation_mode="anchor")
    ax.set_ylim(0, 100)
    ax.grid(False, axis="x")
    figures.label(ax, y="IoU (%)", title=title)
    if len(methods) > 1:
        # Above the bars, which may fill the whole height.
        figure.legend(
            loc="outside upper right", ncols=len(methods), frameon=False, fontsize=9,
            labelcolor=figures.INK,
        )  # fmt: skip
    return figure


def _legend(figure, classes, palette) -> None:
    """A patch of colour and the name of every class, and of what is ignored."""
    from matplotlib.patches import Patch

    colours = [*np.asarray(palette) / 255, np.array(IGNORE_COLOUR) / 255]
    patches = [
        Patch(facecolor=colour, edgecolor=figures.FAINT, linewidth=0.5, label=name)
        for name, colour in zip([*classes, "ignored"], colours, strict=True)
    ]
    figure.legend(
        handles=patches,
        loc="outside lower center",
        ncols=min(6, len(patches)),
        frameon=False,
        fontsize=8,
        labelcolor=figures.INK,
        handlelength=1.2,
        columnspacing=1.4,
    )
