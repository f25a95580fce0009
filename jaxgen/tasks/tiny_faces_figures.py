"""Pictures of the tiny-face GAN: strips of one crop at a time, and accuracy by size.

Contract as in jaxgen.training.figures: arrays in, a matplotlib `Figure` out.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxgen.training import figures

_GAP = 2  # white pixels between plain strips


def strips(
    low: np.ndarray,
    bicubic: np.ndarray,
    coarse: np.ndarray,
    final: np.ndarray,
    truth: np.ndarray,
    *,
    row_titles: Sequence[str] | None = None,
):
    """One row a crop: low resolution, bicubic, up-sampled, refined, ground truth, with PSNR.

    The column of the refined image is left out where it is the up-sampled one throughout.

    Args:
        low: uint8 [N, l, l, 3].
        bicubic: uint8 [N, h, h, 3], like those below.
        coarse: of the up-sampling network.
        final: of the refinement network.
        truth: at high resolution.
        row_titles: N short texts.

    Raises:
        ValueError: no crop.
    """
    if not len(low):
        raise ValueError("strips need at least one crop")
    columns = {"low resolution": low, "bicubic": bicubic, "up-sampled": coarse}
    if not np.array_equal(coarse, final):
        columns["refined"] = final
    columns["ground truth"] = truth
    images, captions = [], []
    for row in range(len(low)):
        for name, pictures in columns.items():
            images.append(pictures[row])
            title = name if row == 0 else ""
            if name not in ("low resolution", "ground truth"):
                title = f"{title}\n{_psnr(pictures[row], truth[row]):.1f} dB".strip()
            captions.append(title)
    return figures.image_grid(
        images, captions=captions, row_titles=row_titles, columns=len(columns), cell=1.5
    )


def plain_strips(low, bicubic, coarse, final, truth) -> np.ndarray:
    """The same without words, as one image; its pixels are those of the crops. -> uint8."""
    enlarged = low.repeat(truth.shape[1] // low.shape[1], 1)
    enlarged = enlarged.repeat(truth.shape[2] // low.shape[2], 2)
    columns = [
        np.pad(each, ((0, 0), (0, _GAP), (0, _GAP), (0, 0)), constant_values=255)
        for each in (enlarged, bicubic, coarse, final, truth)
    ]
    return np.concatenate(list(np.concatenate(columns, 2)))


def chosen_rows(value: np.ndarray, candidates: np.ndarray, *, each: int = 2) -> tuple:
    """Crops to show: best, median and worst by some value.

    Args:
        value: [N], higher is better.
        candidates: [M] rows to choose from.
        each: crops of a kind.

    Returns:
        Rows, and a title for each.
    """
    order = candidates[np.argsort(-value[candidates], kind="stable")]
    each = min(each, max(1, len(order) // 3))
    middle = max(0, (len(order) - each) // 2)
    parts = {
        "best": order[:each],
        "median": order[middle : middle + each],
        "worst": order[-each:],
    }
    rows = np.concatenate(list(parts.values()))
    return rows, [title for title, part in parts.items() for _ in part]


def accuracy_bars(methods: Mapping[str, Sequence[float]], sizes: Sequence[str], *, title: str = ""):
    """Accuracy by size of the face: a group of bars a size, a colour a method.

    Args:
        methods: name -> percent by size; NaN leaves no bar.
        sizes: names of the sizes.
        title: above the chart.

    Raises:
        ValueError: a method without one figure a size.
    """
    for name, values in methods.items():
        if len(values) != len(sizes):
            raise ValueError(f"{name!r} has {len(values)} figures for {len(sizes)} sizes")
    figure, axes = figures.new_figure(6.4, 3.8)
    ax, bar = axes[0, 0], 0.8 / len(methods)
    for number, (name, values) in enumerate(methods.items()):
        place = np.arange(len(sizes)) - 0.4 + (number + 0.5) * bar
        colour = figures.COLOURS[number % len(figures.COLOURS)]
        ax.bar(place, np.nan_to_num(np.asarray(values, float)), bar, color=colour, label=name)
    ax.set_xticks(range(len(sizes)), sizes)
    ax.set_ylim(40, 100)
    ax.grid(False, axis="x")
    figures.label(ax, x="height of the face, pixels", y="accuracy (%)", title=title)
    figure.legend(loc="outside upper right", ncols=len(methods), frameon=False, fontsize=9)
    return figure


def _psnr(image, truth) -> float:
    error = np.square(image.astype(np.float64) - truth).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-9)))
