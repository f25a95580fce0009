"""Adaptation figures: closed forms, invariances, bad input."""

import numpy as np
import pytest

from jaxgen.metrics import adaptation


def softmax(logits):
    weights = np.exp(logits - logits.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)


def test_accuracy_and_flips_add_up():
    pred, label = np.array([1, 2, 3, 3]), np.array([1, 2, 0, 3])
    assert adaptation.accuracy(pred, label) == 75
    assert adaptation.label_flip_rate(pred, label) == 25
    assert adaptation.label_flip_rate(pred, np.array([1, 255, 0, 3]), ignore=255) == (
        pytest.approx(100 / 3)
    )


def test_the_binomial_interval_matches_published_values():
    # Newcombe (1998), table I, method 3 (score): 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    for hits, count, expected in (
        (81, 263, (25.53, 36.62)),
        (15, 148, (6.24, 16.05)),
        (0, 20, (0.0, 16.11)),
        (1, 29, (0.61, 17.18)),
    ):
        pred = np.arange(count) < hits
        found = adaptation.accuracy_interval(pred, np.ones(count, bool))
        np.testing.assert_allclose(found, expected, atol=0.01)
    assert adaptation.accuracy_interval(np.ones(9), np.ones(9))[1] == 100


def test_entropies_of_extreme_predictions():
    even, sure = np.full((6, 4), 0.25), np.eye(4)
    assert adaptation.mean_entropy(even) == pytest.approx(np.log(4))
    assert adaptation.mean_entropy(sure) == 0
    # Sure and spread over all classes is the best; sure of ONE class says nothing.
    assert adaptation.information_maximisation(sure) == pytest.approx(np.log(4))
    assert adaptation.information_maximisation(even) == pytest.approx(0)
    assert adaptation.information_maximisation(sure[[0, 0, 0]]) == pytest.approx(0)


def test_density_of_tight_clusters_is_the_log_of_their_neighbours():
    """Members of a cluster of n are equally near to n - 1 others and far from the rest."""
    features = np.repeat(np.eye(3), 6, axis=0)
    density = adaptation.soft_neighbourhood_density(features, temperature=0.01)
    assert density == pytest.approx(np.log(5), abs=1e-6)
    # Everything alike: the upper bound, log(N - 1).
    same = adaptation.soft_neighbourhood_density(np.ones((18, 2)))
    assert same == pytest.approx(np.log(17))


def test_density_equals_the_plain_formula_for_any_chunk():
    features = softmax(3 * np.random.default_rng(0).normal(size=(41, 5)))
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    entropies = []
    for i in range(41):
        others = np.delete(unit @ unit[i] / 0.05, i)
        weights = np.exp(others) / np.exp(others).sum()
        entropies.append(-np.sum(weights * np.log(weights)))
    for chunk in (1, 7, 41, 100):
        found = adaptation.soft_neighbourhood_density(features, chunk=chunk)
        assert found == pytest.approx(np.mean(entropies), rel=1e-9)


def test_density_ignores_lengths_and_order():
    rng = np.random.default_rng(1)
    features = rng.normal(size=(30, 4))
    expected = adaptation.soft_neighbourhood_density(features)
    scaled = features * rng.uniform(0.1, 9, (30, 1))
    assert adaptation.soft_neighbourhood_density(scaled[::-1]) == pytest.approx(expected)


def test_density_is_high_in_clusters_and_low_between_scattered_images():
    rng = np.random.default_rng(2)
    clustered = np.repeat(np.eye(10), 20, axis=0) + 0.01 * rng.normal(size=(200, 10))
    scattered = rng.normal(size=(200, 10))
    density = adaptation.soft_neighbourhood_density
    assert density(clustered) > density(scattered) + 0.5


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="differ or are empty"):
        adaptation.accuracy(np.zeros(3), np.zeros(4))
    with pytest.raises(ValueError, match="differ or are empty"):
        adaptation.label_flip_rate(np.zeros(2), np.full(2, 255), ignore=255)
    with pytest.raises(ValueError, match="between 0 and 100"):
        adaptation.accuracy_interval(np.zeros(2), np.zeros(2), confidence=0.95 * 200)
    for bad in (np.ones((2, 3)), np.array([[1.5, -0.5]]), np.full((2, 2), np.nan)):
        with pytest.raises(ValueError, match="sum to 1"):
            adaptation.mean_entropy(bad)
    with pytest.raises(ValueError, match="no direction"):
        adaptation.soft_neighbourhood_density(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="2 or more"):
        adaptation.soft_neighbourhood_density(np.ones((1, 2)))
