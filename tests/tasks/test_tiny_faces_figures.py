"""Strips and bars of the tiny-face GAN."""

import numpy as np
import pytest

from jaxgen.tasks import tiny_faces_figures as figures


def images(count, side, value=100):
    return np.full((count, side, side, 3), value, np.uint8)


def test_strips_show_every_image_and_its_psnr():
    truth = images(2, 16)
    figure = figures.strips(
        images(2, 4), truth + 10, truth + 20, truth + 30, truth, row_titles=["best", "worst"]
    )
    assert len(figure.axes) == 10
    texts = [ax.get_xlabel() for ax in figure.axes[:5]]
    assert texts[0] == "low resolution" and texts[4] == "ground truth"
    # 20 log10(255 / 10) dB.
    assert texts[1] == "bicubic\n28.1 dB"
    same = figures.strips(images(1, 4), truth[:1], truth[:1], truth[:1], truth[:1])
    assert len(same.axes) == 4  # no refinement, no column


def test_plain_strips_place_pixels():
    columns = [images(2, 8, value) for value in (20, 30, 40, 50)]
    picture = figures.plain_strips(images(2, 2, 10), *columns)
    assert picture.shape == (20, 50, 3)
    assert [int(picture[0, 10 * n, 0]) for n in range(5)] == [10, 20, 30, 40, 50]
    assert (picture[8:10] == 255).all()


def test_best_median_and_worst():
    psnr = np.array([20.0, 30, 25, 10, 22, 99])
    rows, titles = figures.chosen_rows(psnr, np.arange(5), each=1)
    assert rows.tolist() == [1, 4, 3] and titles == ["best", "median", "worst"]
    rows, _ = figures.chosen_rows(psnr, np.array([2]))
    assert set(rows.tolist()) == {2}


def test_bars_leave_out_what_is_not_known():
    figure = figures.accuracy_bars(
        {"real": [np.nan, 90.0], "bicubic": [70.0, 80.0]}, ["0-8", "8-16"]
    )
    heights = [patch.get_height() for patch in figure.axes[0].patches]
    assert heights == [0, 90, 70, 80]
    with pytest.raises(ValueError, match="1 figures for 2 sizes"):
        figures.accuracy_bars({"real": [1.0]}, ["0-8", "8-16"])


def test_no_crop_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        figures.strips(*(images(0, 4) for _ in range(5)))
