"""Figures: what is drawn agrees with the numbers that were given."""

import sys

import numpy as np
import pytest

from jaxgen.training import figures as fg

rng = np.random.default_rng(0)


def records(steps=10, noise=0.0):
    return [
        {"step": s, "train/loss": 10.0 / s + noise * (s % 2), "train/gradient_norm": 3.0}
        for s in range(1, steps + 1)
    ] + [{"step": steps, "validation/loss": 2.0, "validation/nme_inter_ocular": 5.0}]


def pixels(figure):
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())


def test_curves_draw_each_line_with_its_name_and_limits():
    lines = {"a": fg.Line(np.arange(3.0), np.ones(3)), "b": fg.Line(np.arange(3.0), np.zeros(3))}
    figure = fg.curves(lines, x="step", y="loss", x_limits=(0, 2), y_limits=(-1, 2), log_y=False)
    ax = figure.axes[0]
    assert [line.get_label() for line in ax.lines] == ["a", "b"]
    assert ax.get_xlim() == (0, 2) and ax.get_ylabel() == "loss"
    assert len({line.get_color() for line in ax.lines}) == 2
    assert len({str(line.get_linestyle()) for line in ax.lines}) == 2


def test_training_curves_join_train_and_validation_and_leave_norms_out():
    figure = fg.training_curves(records())
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["loss", "nme_inter_ocular"]
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["train", "validation"]


def test_training_curves_in_the_order_asked_for():
    figure = fg.training_curves(records(), names=["gradient_norm", "loss", "absent"])
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["gradient_norm", "loss"]


def test_long_curves_are_smoothed_over_their_raw_values():
    raw, smooth = fg.training_curves(records(200, noise=1.0), names=["loss"]).axes[0].lines[:2]
    assert np.abs(np.diff(smooth.get_ydata()[50:])).max() < 0.3
    assert np.abs(np.diff(raw.get_ydata()[50:])).max() > 0.9


def test_training_curves_step_over_a_missing_value():
    log = [{"step": 1, "train/loss": 1.0}, {"step": 2, "train/loss": None}]
    assert np.isnan(fg.training_curves(log).axes[0].lines[0].get_ydata()[1])


def test_training_curves_without_numbers_say_what_there_is():
    with pytest.raises(ValueError, match=r"no training curve to draw: records hold \['a_norm'\]"):
        fg.training_curves([{"step": 1, "train/a_norm": 1.0}])


def test_image_grid_shows_images_of_any_size_with_their_captions():
    images = [rng.integers(0, 255, shape, np.uint8) for shape in ((8, 8, 3), (4, 9, 3), (6, 6, 3))]
    seen = []
    figure = fg.image_grid(
        images,
        captions=["a", "b", "c"],
        row_titles=["first", "second"],
        columns=2,
        draw=lambda ax, number: seen.append((number, ax.scatter([-50], [500]))),
    )
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_xlabel() for ax in shown] == ["a", "b", "c"]
    assert [ax.get_ylabel() for ax in shown] == ["first", "", "second"]
    assert [number for number, _ in seen] == [0, 1, 2]
    # Pixel centres at integers, and drawing outside does not move the frame.
    assert shown[1].get_xlim() == (-0.5, 8.5) and shown[1].get_ylim() == (3.5, -0.5)
    assert pixels(figure)[..., :3].std() > 10


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        ([], {}, "at least one image"),
        ([np.zeros((4, 4, 3))], dict(captions=["a", "b"]), "2 captions for 1 images"),
        ([np.zeros((4, 4, 3))], dict(row_titles=[]), "0 row titles for 1 rows"),
    ],
)
def test_image_grid_refuses(images, options, message):
    with pytest.raises(ValueError, match=message):
        fg.image_grid(images, **options)


def test_overlay_is_grey_where_cold_and_bright_at_the_peak():
    image = rng.integers(60, 200, (16, 16, 3), np.uint8)
    heat = np.zeros((16, 16))
    heat[4, 9] = 5.0
    shown = fg.overlay(image, heat)
    assert shown.shape == image.shape and shown.dtype == np.uint8
    cold = shown[heat == 0].astype(int)
    assert (cold.max(-1) - cold.min(-1) <= 1).all()
    assert shown[4, 9, 0] > 200 and shown[4, 9, 0] > cold.max()


def test_overlay_fits_a_smaller_map_and_survives_an_empty_or_nan_one():
    image = np.full((16, 16, 3), 100, np.uint8)
    small = np.zeros((4, 4))
    small[1, 2] = 1.0  # covers rows 4-7, columns 8-11
    warm = fg.overlay(image, small).astype(int).std(-1)
    assert np.unravel_index(warm.argmax(), warm.shape)[0] in range(4, 8)
    assert (fg.overlay(image, np.full((16, 16), np.nan)) == 75).all()


def test_figures_share_no_state_and_need_no_pyplot():
    fg.curves({"a": fg.Line(np.arange(2.0), np.arange(2.0))}, x="", y="")
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()
