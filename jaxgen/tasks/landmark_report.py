"""From predicted points to the numbers, tables and pictures of a landmark system's report.

Contract as in `landmark_figures`: points and scales in the pixels of the images that are shown.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxgen.metrics import landmarks, uncertainty
from jaxgen.metrics.normalizers import NORMALIZERS, describe
from jaxgen.tasks import landmark_figures
from jaxgen.training.figures import training_curves
from jaxgen.training.report import Picture
from jaxgen.training.report_page import Table


class Evaluation(NamedTuple):
    """What a landmark network said about N labelled faces, in the pixels of their crops."""

    pred: np.ndarray  # [N, K, 2] predicted points
    scale: np.ndarray  # [N, K, 2] predicted (b_x, b_y)
    true: np.ndarray  # [N, K, 2] true points
    mask: np.ndarray  # [N, K] bool, True where labelled
    normalizer: str = "inter_ocular"  # a name of NORMALIZERS, or that of `lengths`
    lengths: np.ndarray | None = None  # [N] normalisers measured elsewhere, pixels
    subsets: Sequence[str] | None = None  # N names, see landmarks.summarise
    groups: Sequence[str] | None = None  # N names of people or videos


def summarise(evaluation: Evaluation, *, seed: int = 0) -> dict[str, float]:
    """All flat figures of an evaluation: accuracy first, then uncertainty."""
    e = evaluation
    accuracy = landmarks.summarise(
        e.pred,
        e.true,
        e.mask,
        normalizer=e.normalizer,
        lengths=e.lengths,
        subsets=e.subsets,
        groups=e.groups,
        seed=seed,
    )
    spread = uncertainty.summarise(e.scale, e.pred, e.true, e.mask, lengths=_lengths(e))
    return accuracy | spread | {"median_scale": float(np.median(e.scale[e.mask]))}


def pictures(
    evaluation: Evaluation,
    images: np.ndarray,
    *,
    heatmaps: tuple[np.ndarray, np.ndarray] | None = None,
    records: Sequence[Mapping[str, float]] = (),
    method: str = "this run",
) -> list[Picture]:
    """The pictures of the report, faces first.

    Args:
        evaluation: N faces.
        images: [N, H, W, 3] uint8 crops that they were predicted on.
        heatmaps: (images [M, H, W, 3], heatmaps [M, h, w, K] >= 0) of a few faces.
        records: lines of metrics.jsonl.
        method: name of the curve.
    """
    e, lengths = evaluation, _lengths(evaluation)
    errors = landmarks.landmark_errors(e.pred, e.true, lengths, e.mask)
    face_errors = np.nanmean(errors, 1)
    found = [
        Picture(
            "faces",
            landmark_figures.ranked_faces_figure(
                images, pred=e.pred, true=e.true, scale=e.scale, errors=face_errors, mask=e.mask
            ),
            "Best, median and worst faces of the split with their errors: a wide ellipse says that "
            "the network is unsure.",
        )
    ]
    if heatmaps is not None:
        figure = landmark_figures.heatmaps_figure(*heatmaps)
        caption = "Heatmaps of all landmarks over their faces, each scaled to its own peak."
        found.append(Picture("heatmaps", figure, caption))
    found.append(
        Picture(
            "cumulative_error",
            landmark_figures.cumulative_error_figure(
                {method: face_errors}, normalizer=e.normalizer
            ),
            "Cumulative error: how many faces have at most the error on the horizontal axis.",
        )
    )
    spread = np.where(e.mask, 100 * e.scale.mean(-1) / lengths[:, None], np.nan)
    coordinates = uncertainty.coordinate_pairs(e.scale, e.pred, e.true, e.mask)
    found.append(
        Picture(
            "uncertainty",
            landmark_figures.uncertainty_figure(
                np.nanmean(spread, 1), face_errors, coordinates, normalizer=e.normalizer
            ),
            "Left: the mean error falls when unsure faces are rejected. Right: the error that is "
            "found where a scale is predicted.",
        )
    )
    found.append(
        Picture(
            "landmarks",
            landmark_figures.per_landmark_figure(
                _mean_face(e, lengths),
                landmarks.per_landmark(errors),
                normalizer=e.normalizer,
            ),
            "Mean error of each landmark on the mean face; the three worst have their numbers.",
        )
    )
    if records:
        caption = "The numbers of the training log: running means, with the raw values behind them."
        found.append(Picture("training", training_curves(records), caption))
    return found


def subset_table(summary: Mapping[str, float], subsets: Sequence[str] | None) -> list[Table]:
    """One row a subset, for the report; empty where none is smaller than the whole."""
    names = sorted({part for subset in subsets or () for part in subset.split("+") if part})
    names = [name for name in names if summary[f"faces_{name}"] < summary["faces"]]
    if not names:
        return []
    error = f"nme_{landmarks.normalizer_of(summary)}"
    columns = ("faces", error, "auc_0.08", "failure_rate_0.08", "auc_0.10", "failure_rate_0.10")
    rows = [["all", *(summary[column] for column in columns)]]
    rows += [[name, *(summary[f"{column}_{name}"] for column in columns)] for name in names]
    return [Table("Subsets", ("subset", *columns), rows, "Errors, areas and rates in percent.")]


def headline(summary: Mapping[str, float]) -> list[str]:
    """The metrics to show large."""
    error = f"nme_{landmarks.normalizer_of(summary)}"
    return [error, "auc_0.08", "failure_rate_0.10", "spearman_scale_error"]


def meanings(summary: Mapping[str, float]) -> dict[str, str]:
    """A few words on the figures of `summarise` over all faces: meaning and unit."""
    normalizer = landmarks.normalizer_of(summary)
    error = f"nme_{normalizer}"
    words = {
        "faces": "labelled faces measured",
        error: f"mean error, % of {describe(normalizer)}",
        f"{error}_low": "lower end of its 95 % bootstrap interval",
        f"{error}_high": "upper end of its 95 % bootstrap interval",
        f"{error}_p90": "error that nine faces in ten stay below, %",
        "auc_0.08": "area under the cumulative error curve up to 8 %; 100 is perfect",
        "auc_0.10": "area under the cumulative error curve up to 10 %; 100 is perfect",
        "failure_rate_0.08": "% of the faces with an error above 8 %",
        "failure_rate_0.10": "% of the faces with an error above 10 %",
        "spearman_scale_error": "rank correlation of predicted scale and error over all landmarks",
        "spearman_scale_error_within_landmark": "the same across faces, mean over landmarks",
        "spearman_scale_error_face": "the same for means per face",
        "ause_face": "gap to rejecting the worst faces first, % of the mean error",
        "calibration_error_scale": "distance of scale and mean error, % of the mean error",
        "median_scale": "median of the predicted scales, pixels of the crop",
    }
    return {name: words[name] for name in summary if name in words}


def _lengths(evaluation: Evaluation) -> np.ndarray:
    e = evaluation
    labelled = np.where(e.mask[..., None], e.true, np.nan)
    measure = NORMALIZERS[e.normalizer] if e.lengths is None else e.lengths
    return landmarks.face_lengths(labelled, measure)


def _mean_face(evaluation: Evaluation, lengths: np.ndarray) -> np.ndarray:
    """Mean position of each landmark, faces centred and scaled to length 1: [K, 2]."""
    labelled = np.where(evaluation.mask[..., None], evaluation.true, np.nan)
    centred = labelled - np.nanmean(labelled, 1, keepdims=True)
    return np.stack(
        [landmarks.per_landmark(centred[..., axis] / lengths[:, None]) for axis in (0, 1)], -1
    )
