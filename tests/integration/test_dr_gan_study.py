"""The study of DR-GAN: how its settings are chosen, and that the recogniser gets as many steps."""

import pytest

from experiments.configs.dr_gan import cfp, default
from experiments.studies import dr_gan_poses as study
from experiments.studies import records


def test_settings_are_chosen_on_held_out_training_people():
    jobs = study.tuning_jobs()
    assert len({job.variant for job in jobs}) == len(study.SETTINGS)
    for job in jobs:
        assert job.split == "validation"
        assert "--config.test.probe=validation" in job.arguments
        assert "--config.test.gallery=" in job.arguments


def test_only_equal_recognisers_are_shared():
    groups = study.by_recogniser(study.tuning_jobs())
    assert sorted(map(len, groups)) == [2, 5]
    degraded = [[study.DEGRADED[0] in job.arguments for job in group] for group in groups]
    assert all(len(set(group)) == 1 for group in degraded)


@pytest.mark.parametrize(("dataset", "module"), [("synthetic_multipie", default), ("cfp", cfp)])
def test_the_longer_recogniser_counts_from_the_configs(dataset, module):
    assert study.RECOGNISER_STEPS[dataset] == module.get_config().recogniser.train.steps


@pytest.mark.parametrize("dataset", study.CONFIGS)
@pytest.mark.parametrize("setting", study.SETTINGS)
def test_the_longer_recogniser_is_the_same_but_for_its_steps(dataset, setting):
    whole = study.job(dataset, "dr_gan_multi", 0, setting)
    longer = study.longer_recogniser(whole)
    assert longer.steps == study.RECOGNISER_STEPS[dataset] + whole.steps
    assert not any("config.gan" in argument for argument in longer.arguments)
    of_recogniser = {argument for argument in whole.arguments if "recogniser" in argument}
    assert of_recogniser <= set(longer.arguments)


def test_the_best_setting_is_used(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "ROOT", tmp_path)
    for number, job in enumerate(study.tuning_jobs()):
        facts = {key: getattr(job, key) for key in ("dataset", "split", "method", "variant")}
        facts |= dict(study=study.TUNING, seed=0, steps=job.steps, command="")
        value = float(50 + (number == 4))
        records.append("dr_gan", [facts | dict(metric=study.CRITERION, value=value)])
    asked = []
    monkeypatch.setattr(records, "run_all", lambda *_, **__: None)
    monkeypatch.setattr(study, "run_methods", lambda *arguments: asked.append(arguments[:3]))
    monkeypatch.setattr(study, "WORKDIRS", type("Flag", (), {"value": str(tmp_path)}))
    monkeypatch.setattr(study, "is_asked_for", lambda *_: True)
    study.main(None)
    best = list(study.SETTINGS)[4]
    assert asked == [(name, seed, best) for seed in study.SEEDS for name in study.METRICS]
