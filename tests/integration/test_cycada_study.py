"""The study of digits: how its translation is chosen, without target labels."""

import pytest

from experiments.studies import cycada_digits as study
from experiments.studies import records


@pytest.fixture
def tuned(tmp_path, monkeypatch):
    """Records of all tuning runs of one direction; the criterion and the labels disagree."""
    monkeypatch.setattr(records, "ROOT", tmp_path)
    rows = []
    for number, item in enumerate(study.tuning_jobs("usps_to_mnist")):
        facts = {key: getattr(item, key) for key in ("dataset", "split", "method", "variant")}
        facts |= dict(study=study.TUNING, seed=0, steps=item.steps, command="")
        rows.append(facts | dict(metric=study.CRITERION, value=[1.0, 2.0, 1.9, 0.5][number]))
        rows.append(facts | dict(metric="accuracy", value=[50.0, 60.0, 99.0, 40.0][number]))
    return rows


def test_the_criterion_chooses_and_labels_do_not(tuned):
    records.append("cycada", tuned)
    assert study.chosen("usps_to_mnist") == study.translation(study.RATES[0], study.CYCLES[1])


def test_an_incomplete_choice_is_refused(tuned):
    records.append("cycada", tuned[2:])
    with pytest.raises(SystemExit, match=r"3 of 4 runs for .*usps->mnist"):
        study.chosen("usps_to_mnist")
    with pytest.raises(SystemExit, match=r"0 of 4 runs for .*mnist->usps"):
        study.chosen("mnist_to_usps")


def test_tuning_sees_neither_target_labels_nor_the_test_split():
    for direction in study.DIRECTIONS:
        for item in study.tuning_jobs(direction):
            assert "--config.target.test_split=" in item.arguments
            assert "--config.stages=source,translation,pixel" in item.arguments
