"""Pictures of segmentation: colours, form, refusals."""

import io

import numpy as np
import pytest

from jaxgen.tasks import segmentation_figures

PALETTE = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
CLASSES = ("sky", "road", "car")


def scenes(count=2, shape=(18, 24)):
    rng = np.random.default_rng(0)
    images = list(rng.integers(0, 256, (count, *shape, 3), np.uint8))
    labels = list(rng.choice(np.array([0, 1, 2, 255], np.uint8), (count, *shape)))
    return images, labels


def test_every_class_is_painted_in_its_colour_and_ignored_pixels_white():
    painted = segmentation_figures.colour_map(np.array([[0, 2], [255, 1]], np.uint8), PALETTE)
    expected = [[[255, 0, 0], [0, 0, 255]], [[255, 255, 255], [0, 255, 0]]]
    np.testing.assert_array_equal(painted, expected)
    with pytest.raises(ValueError, match="class 7 has no colour"):
        segmentation_figures.colour_map(np.full((2, 2), 7), PALETTE)


def test_panels_show_the_label_maps_beside_the_images():
    images, labels = scenes()
    wrong = [np.zeros_like(label) for label in labels]
    figure = segmentation_figures.panels(
        images,
        {"label": labels, "prediction": wrong},
        classes=CLASSES,
        palette=PALETTE,
        row_titles=["a", "b"],
    )
    axes = figure.get_axes()
    assert [ax.get_title() for ax in axes[:3]] == ["image", "label", "prediction"]
    shown = np.asarray(axes[4].get_images()[0].get_array())
    np.testing.assert_array_equal(shown, segmentation_figures.colour_map(labels[1], PALETTE))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [*CLASSES, "ignored"]
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    assert stream.tell() > 3000


def test_bars_stand_for_the_figures():
    methods = {"source only": np.array([10, 20, np.nan]), "adapted": np.array([30, 40, 50])}
    figure = segmentation_figures.iou_bars(methods, classes=CLASSES, title="dusk")
    (ax,) = figure.get_axes()
    assert [bar.get_height() for bar in ax.patches] == [10, 20, 0, 30, 40, 50]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == list(CLASSES)


def test_what_does_not_agree_is_refused():
    images, labels = scenes()
    options = dict(classes=CLASSES, palette=PALETTE)
    with pytest.raises(ValueError, match="at least one scene"):
        segmentation_figures.panels([], {}, **options)
    with pytest.raises(ValueError, match="'label' does not have"):
        segmentation_figures.panels(images, {"label": [labels[0], labels[1][:-1]]}, **options)
    with pytest.raises(ValueError, match="1 row titles for 2"):
        segmentation_figures.panels(images, {"label": labels}, row_titles=["a"], **options)
    with pytest.raises(ValueError, match="'a' has 2 figures for 3 classes"):
        segmentation_figures.iou_bars({"a": np.zeros(2)}, classes=CLASSES)
