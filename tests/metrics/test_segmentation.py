"""Segmentation figures: worked examples, properties of the confusion matrix, bad input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxgen.metrics import segmentation

PIXELS = st.integers(1, 60).flatmap(
    lambda n: st.tuples(
        hnp.arrays(np.uint8, n, elements=st.integers(0, 3)),
        hnp.arrays(np.uint8, n, elements=st.sampled_from([0, 1, 2, 3, 255])),
    )
)


def test_a_worked_example():
    label = np.array([[0, 0, 0, 1], [1, 1, 255, 255]])
    pred = np.array([[0, 0, 1, 1], [1, 2, 0, 3]])
    matrix = segmentation.confusion(pred, label, 4)
    expected = np.zeros((4, 4))
    expected[0, 0], expected[0, 1], expected[1, 1], expected[1, 2] = 2, 1, 2, 1
    np.testing.assert_array_equal(matrix, expected)
    assert matrix.dtype == np.int64
    # Class 2 is only predicted, class 3 only where the label is ignored.
    iou = segmentation.per_class_iou(matrix)
    np.testing.assert_allclose(iou, [200 / 3, 50, 0, np.nan])
    assert segmentation.mean_iou(matrix) == pytest.approx((200 / 3 + 50 + 0) / 3)
    assert segmentation.frequency_weighted_iou(matrix) == pytest.approx((200 / 3 + 50) / 2)
    assert segmentation.pixel_accuracy(matrix) == pytest.approx(400 / 6)
    figures = segmentation.summary(matrix, ("sky", "road", "car", "tree"))
    assert figures["iou_road"] == pytest.approx(50) and np.isnan(figures["iou_tree"])
    assert figures["miou"] == segmentation.mean_iou(matrix)


@given(PIXELS)
@settings(max_examples=60, deadline=None)
def test_the_confusion_of_a_whole_is_the_sum_of_its_parts(pixels):
    pred, label = pixels
    whole = segmentation.confusion(pred, label, 4)
    for cut in (0, len(pred) // 3, len(pred)):
        parts = [
            segmentation.confusion(pred[part], label[part], 4)
            for part in (slice(cut), slice(cut, None))
        ]
        np.testing.assert_array_equal(sum(parts), whole)
    assert whole.sum() == np.sum(label != 255)
    np.testing.assert_array_equal(whole.sum(1), np.bincount(label[label != 255], minlength=4))


@given(PIXELS, st.permutations(range(4)))
@settings(max_examples=60, deadline=None)
def test_the_names_of_the_classes_do_not_matter(pixels, order):
    pred, label = pixels
    if (label == 255).all():
        return
    matrix = segmentation.confusion(pred, label, 4)
    renamed = np.append(order, [255] * 252)
    again = segmentation.confusion(renamed[pred], renamed[label], 4)
    for figure in (
        segmentation.mean_iou, segmentation.frequency_weighted_iou, segmentation.pixel_accuracy,
    ):  # fmt: skip
        assert figure(again) == pytest.approx(figure(matrix))
        assert -1e-9 <= figure(matrix) <= 100 + 1e-9
    # Intersections are never larger than what is labelled.
    assert segmentation.frequency_weighted_iou(matrix) <= segmentation.pixel_accuracy(matrix) + 1e-9


@given(PIXELS)
@settings(max_examples=30, deadline=None)
def test_a_perfect_prediction_scores_100(pixels):
    label = pixels[1]
    if (label == 255).all():
        return
    matrix = segmentation.confusion(np.where(label == 255, 0, label), label, 4)
    assert segmentation.mean_iou(matrix) == segmentation.pixel_accuracy(matrix) == 100
    assert segmentation.frequency_weighted_iou(matrix) == pytest.approx(100)


def test_a_large_number_of_classes_does_not_wrap_in_uint8():
    label = np.array([200, 100], np.uint8)
    matrix = segmentation.confusion(label, label, 201)
    assert matrix[200, 200] == matrix[100, 100] == 1 and matrix.sum() == 2


def test_bad_input_is_refused():
    zeros = np.zeros((2, 2), int)
    with pytest.raises(ValueError, match="differ in shape"):
        segmentation.confusion(zeros, zeros[:1], 3)
    with pytest.raises(ValueError, match="prediction 3 is no class"):
        segmentation.confusion(zeros + 3, zeros, 3)
    with pytest.raises(ValueError, match="label 11 is no class"):
        segmentation.confusion(zeros, zeros + 11, 11)
    with pytest.raises(ValueError, match="whole class numbers"):
        segmentation.confusion(zeros + 0.5, zeros, 3)
    with pytest.raises(ValueError, match="nothing was measured"):
        segmentation.mean_iou(segmentation.confusion(zeros, zeros + 255, 3))
    with pytest.raises(ValueError, match="square"):
        segmentation.pixel_accuracy(np.ones((2, 3)))
