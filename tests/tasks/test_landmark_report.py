"""Numbers, tables and pictures of a landmark evaluation, from arrays to the written page."""

import json

import numpy as np
import pytest

from jaxgen.metrics import landmarks
from jaxgen.metrics.normalizers import inter_ocular
from jaxgen.tasks import landmark_figures as lf
from jaxgen.tasks import landmark_report as lr
from jaxgen.training.report import write_report


def evaluation(count=9, seed=0, **changes):
    rng = np.random.default_rng(seed)
    true = rng.uniform(4, 28, (count, 68, 2))
    true[:, 36], true[:, 45] = (8.0, 12.0), (24.0, 12.0)
    scale = rng.uniform(0.3, 2, (count, 1, 1)) * np.ones_like(true)
    mask = np.ones((count, 68), bool)
    mask[:, 60:] = False
    true[:, 60:] = np.nan
    fields = dict(pred=np.where(mask[..., None], true, 9) + rng.laplace(0, scale), scale=scale)
    return lr.Evaluation(**(fields | dict(true=true, mask=mask) | changes))


def test_summary_holds_accuracy_and_uncertainty():
    e = evaluation(subsets=["a", "b", "a+b"] * 3)
    summary = lr.summarise(e)
    errors = landmarks.nme(e.pred, e.true, inter_ocular, e.mask)
    assert summary["nme_inter_ocular"] == pytest.approx(errors.mean())
    assert summary["spearman_scale_error_face"] > 0.5
    assert summary["median_scale"] == np.median(e.scale[:, :60])
    assert set(lr.headline(summary)) <= set(summary)
    assert summary.keys() - lr.meanings(summary).keys() == {
        key for key in summary if key.endswith(("_a", "_b"))
    }


def test_subset_table_repeats_the_flat_figures():
    summary = lr.summarise(evaluation(subsets=["a", "b", "a+b"] * 3))
    (table,) = lr.subset_table(summary, ["a", "b", "a+b"])
    assert [row[0] for row in table.rows] == ["all", "a", "b"]
    column = table.columns.index("nme_inter_ocular")
    assert table.rows[2][column] == summary["nme_inter_ocular_b"]
    assert lr.subset_table(summary, ["", ""]) == []
    everyone = ["common"] * 9
    assert lr.subset_table(lr.summarise(evaluation(subsets=everyone)), everyone) == []


def test_lengths_measured_elsewhere_serve_numbers_and_pictures_alike():
    e = evaluation(normalizer="face_box", lengths=np.full(9, 20.0))
    assert "nme_face_box" in lr.summarise(e)
    images = np.zeros((9, 32, 32, 3), np.uint8)
    names = [picture.name for picture in lr.pictures(e, images)]
    assert names == ["faces", "cumulative_error", "uncertainty", "landmarks"]


def test_the_whole_report_is_written(tmp_path):
    e = evaluation()
    images = np.random.default_rng(0).integers(0, 255, (9, 32, 32, 3), np.uint8)
    heatmaps = np.random.default_rng(1).random((2, 32, 32, 68))
    records = [{"step": 1, "train/loss": 3.0}, {"step": 2, "train/loss": 2.0}]
    summary = lr.summarise(e)
    write_report(
        tmp_path,
        title="LaplaceKL",
        metrics=summary,
        split="test",
        step=2,
        seed=0,
        images_per_second=1.0,
        config={"seed": 0},
        pictures=lr.pictures(e, images, heatmaps=(images[:2], heatmaps), records=records),
        headline=lr.headline(summary),
        meanings=lr.meanings(summary),
    )
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["nme_inter_ocular"] == summary["nme_inter_ocular"]
    assert sorted(path.name for path in tmp_path.glob("*.png")) == [
        *("cumulative_error.png", "faces.png", "heatmaps.png"),
        *("landmarks.png", "training.png", "uncertainty.png"),
    ]


def test_ranked_rows_are_best_median_and_worst():
    errors = np.array([5.0, 1.0, 9.0, 3.0, 7.0])
    assert lf.ranked_rows(errors, 1).tolist() == [[1], [0], [2]]
    assert lf.ranked_rows(errors, 3).tolist() == [[1, 3, 0], [3, 0, 4], [0, 4, 2]]
    assert lf.ranked_rows(errors, 50).shape == (3, 5)


def test_ced_figure_passes_through_the_shares():
    figure = lf.cumulative_error_figure({"m": np.array([1.0, 2.0, 30.0])}, normalizer="box_size")
    line = figure.axes[0].lines[0]
    x, y = line.get_data()
    assert line.get_drawstyle() == "steps-post"
    assert y[np.searchsorted(x, 2.0, side="right") - 1] == pytest.approx(200 / 3)
    assert "box size" in figure.axes[0].get_xlabel()
    assert "mean 11.00 %" in figure.axes[0].get_title(loc="left")


def test_ellipses_have_the_scales_as_half_axes_in_image_pixels():
    from jaxgen.training.figures import new_figure

    figure, axes = new_figure(4, 4)
    ax = axes[0, 0]
    ax.set(xlim=(0, 40), ylim=(40, 0))
    ax.set_axis_off()
    lf.draw_face(ax, pred=np.array([[10.0, 20.0]]), scale=np.array([[3.0, 1.0]]), ellipse=2.0)
    figure.canvas.draw()
    painted = np.argwhere(np.asarray(figure.canvas.buffer_rgba())[..., :3].min(-1) < 255)
    height, width = np.ptp(painted, axis=0) / np.abs(ax.transData.get_matrix().diagonal()[1::-1])
    assert (width, height) == pytest.approx((2 * 2 * 3.0, 2 * 2 * 1.0), abs=0.25)


def test_worst_landmarks_are_named_and_unlabelled_ones_are_hollow():
    points = np.random.default_rng(0).random((5, 2))
    errors = np.array([1.0, 9.0, np.nan, 4.0, 5.0])
    figure = lf.per_landmark_figure(points, errors, normalizer="inter_pupil")
    assert {text.get_text() for text in figure.axes[0].texts} == {"1: 9.0", "4: 5.0", "3: 4.0"}
    hollow, filled = figure.axes[0].collections
    assert len(hollow.get_offsets()) == 1 and len(filled.get_offsets()) == 4
