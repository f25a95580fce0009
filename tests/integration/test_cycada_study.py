"""The study of digits: how its translation is chosen, without target labels."""

import pytest

from experiments.studies import cycada_digits as study
from experiments.studies import records

DIRECTION = "usps_to_mnist"


def rows(items, criteria, accuracies):
    """Records of tuning runs."""
    for item, criterion, accuracy in zip(items, criteria, accuracies, strict=True):
        facts = {key: getattr(item, key) for key in ("dataset", "split", "method", "variant")}
        facts |= dict(study=study.TUNING, seed=0, steps=item.steps, command="")
        yield facts | dict(metric=study.CRITERION, value=criterion)
        yield facts | dict(metric="accuracy", value=accuracy)


@pytest.fixture
def first(tmp_path, monkeypatch):
    """Records of the first tuning runs of one direction; the criterion and the labels disagree."""
    monkeypatch.setattr(records, "ROOT", tmp_path)
    jobs = study.first_jobs(DIRECTION)
    return list(rows(jobs, [1.0, 2.0, 1.9, 0.5], [50.0, 60.0, 99.0, 40.0]))


def test_the_criterion_chooses_and_labels_do_not(first):
    records.append("cycada", first)
    best = study.Translation(study.RATES[0], study.CYCLES[1])
    assert study.chosen(DIRECTION, count=4) == best
    second = study.second_jobs(DIRECTION)
    without = best._replace(semantic="none")
    assert [set(without.arguments) < set(item.arguments) for item in second] == [True]
    assert second[0].variant.endswith("semantic=none")
    records.append("cycada", rows(second, [2.5], [10.0]))
    assert study.chosen(DIRECTION, count=5) == without
    assert study.second_jobs(DIRECTION) == second  # whatever has been found meanwhile


def test_an_incomplete_choice_is_refused(first):
    records.append("cycada", first[2:])
    with pytest.raises(SystemExit, match=r"3 of 4 runs for .*usps->mnist"):
        study.second_jobs(DIRECTION)
    with pytest.raises(SystemExit, match=r"0 of 4 runs for .*mnist->usps"):
        study.chosen("mnist_to_usps", count=4)


def test_tuning_sees_neither_target_labels_nor_the_test_split(first):
    records.append("cycada", first)
    for item in [*study.first_jobs(DIRECTION), *study.second_jobs(DIRECTION)]:
        assert "--config.target.test_split=" in item.arguments
        assert "--config.stages=source,translation,pixel" in item.arguments


def test_ablations_change_one_loss_each():
    best = study.Translation(2e-4, 1.0, "none")
    found = {(item.method, item.variant): item for item in study.ablations(DIRECTION, 0, best)}
    semantic = f"{study.SIZE},semantic="
    assert set(found) == {("pixel", f"{semantic}frozen"), ("no_cycle", f"{semantic}none")}
    arguments = found["no_cycle", f"{semantic}none"].arguments
    assert set(best.arguments) - set(arguments) == {
        f"--config.translation.weights.cycle_{domain}=1.0" for domain in ("source", "target")
    }


def test_a_chosen_alignment_is_the_same_run_but_for_its_checkpoint():
    whole = study.job("mnist_to_usps", "pixel+feature", 1, "none")
    item = study.selected(whole)
    changed = set(item.arguments) - set(whole.arguments)
    assert changed == {"--config.alignment.select=information_maximisation"}
    assert (
        item.name != whole.name
        and item._replace(variant=whole.variant, arguments=whole.arguments) == whole
    )
