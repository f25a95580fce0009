"""The study of DR-GAN: how its settings are chosen, and that the recogniser gets as many steps."""

import pytest

from experiments.configs.dr_gan import cfp, default
from experiments.studies import dr_gan_confidence, records
from experiments.studies import dr_gan_poses as study
from jaxgen.tasks.dr_gan_schema import WEIGHTS, check_config


def test_settings_are_chosen_on_held_out_training_people():
    jobs = study.tuning_jobs()
    assert len({job.variant for job in jobs}) == len(study.SETTINGS)
    for job in jobs:
        assert job.split == "validation"
        assert "--config.test.probe=validation" in job.arguments
        assert "--config.test.gallery=" in job.arguments


def test_only_equal_recognisers_are_shared():
    groups = study.by_recogniser(study.tuning_jobs())
    assert sorted(map(len, groups)) == [4, 5]
    degraded = [[study.DEGRADED[0] in job.arguments for job in group] for group in groups]
    assert all(len(set(group)) == 1 for group in degraded)


@pytest.mark.parametrize(("dataset", "module"), [("synthetic_multipie", default), ("cfp", cfp)])
def test_the_longer_recogniser_counts_from_the_configs(dataset, module):
    assert study.RECOGNISER_STEPS[dataset] == module.get_config().recogniser.train.steps


def test_every_setting_is_a_config_that_can_run():
    for _, arguments in study.SETTINGS.values():
        config = default.get_config()
        values = dict(argument.removeprefix("--config.").split("=") for argument in arguments)
        for key, value in values.items():
            of = type(config_value(config, key))
            config.update_from_flattened_dict({key: of(value)})
        check_config(config)


def test_the_study_of_confidence_changes_one_stage_alone():
    before, after = (dr_gan_confidence.job(method, 0) for method in dr_gan_confidence.METHODS)
    pairs = list(zip(before.arguments, after.arguments, strict=True))
    assert [after for before, after in pairs if before != after] == [
        "--config.stages=recogniser,pose,decoder,gan,confidence"
    ]
    assert default.get_config().confidence.train.steps == dr_gan_confidence.STEPS


def config_value(config, key):
    for part in key.split("."):
        config = config[part]
    return config


def test_the_control_draws_nothing_and_is_asked_for_people_alone():
    _, arguments = study.SETTINGS[study.CONTROL]
    weights = [argument for argument in arguments if ".weights." in argument]
    zero = {f"--config.gan.weights.{name}=0.0" for name in WEIGHTS if name != "feature_identity"}
    assert set(weights) == zero | {"--config.gan.weights.feature_identity=1.0"}


@pytest.mark.parametrize("dataset", study.CONFIGS)
@pytest.mark.parametrize("setting", study.SETTINGS)
def test_the_longer_recogniser_is_the_same_but_for_its_steps(dataset, setting):
    whole = study.job(dataset, "dr_gan_multi", 0, setting)
    longer = study.longer_recogniser(whole)
    assert longer.steps == study.RECOGNISER_STEPS[dataset] + whole.steps
    assert not any("config.gan" in argument for argument in longer.arguments)
    of_recogniser = {a for a in whole.arguments if a.startswith("--config.recogniser.")}
    assert of_recogniser <= set(longer.arguments)


def test_the_best_setting_is_used(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "ROOT", tmp_path)
    for number, job in enumerate(study.tuning_jobs()):
        facts = {key: getattr(job, key) for key in ("dataset", "split", "method", "variant")}
        facts |= dict(study=study.TUNING, seed=0, steps=job.steps, command="")
        value = float(50 + (number == 4))
        if job.method == "no_drawing":
            value = 99.0  # a control, which is never chosen
        records.append("dr_gan", [facts | dict(metric=study.CRITERION, value=value)])
    asked, tuned = [], []
    monkeypatch.setattr(records, "run_all", lambda *args, **_: tuned.append(set(args[3])))
    monkeypatch.setattr(study, "run_methods", lambda *arguments: asked.append(arguments[:3]))
    monkeypatch.setattr(study, "WORKDIRS", type("Flag", (), {"value": str(tmp_path)}))
    monkeypatch.setattr(study, "is_asked_for", lambda *_: True)
    study.main(None)
    # Training people have one frontal picture, which is their gallery.
    assert all({"rank1", "rank1_yaw_15"} <= metrics for metrics in tuned)
    assert not any("rank1_yaw_0" in metrics for metrics in tuned)
    best = list(study.SETTINGS)[4]
    assert asked == [(name, seed, best) for seed in study.SEEDS for name in study.METRICS]
