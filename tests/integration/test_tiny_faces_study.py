"""The ablation of the tiny-face GAN: rows, budgets and shared stages."""

import pytest

from experiments.configs.tiny_faces.gan_sections import gan_sections
from experiments.studies import records
from experiments.studies import tiny_faces_ablation as study


@pytest.mark.parametrize("steps", [study.STEPS, study.LONGER])
@pytest.mark.parametrize("dataset", study.DATASETS)
def test_classifiers_of_all_rows_see_equally_many_crops(dataset, steps):
    seen = set()
    for method in study.ROWS:
        item = study.job(dataset, method, 0, steps=steps)
        given = dict(argument.split("=", 1) for argument in item.arguments)
        given[f"--config.{study.options(method)['length']}"] = item.steps
        stages = set(given["--config.stages"].split(",")) & {"discriminator", "gan"}
        assert len(stages) == (1 if method == "bicubic_classifier" else 2)
        seen.add(
            sum(
                int(given[f"--config.{stage}.train.steps"])
                * int(given[f"--config.{stage}.train.batch_size"])
                for stage in stages
            )
        )
    assert seen == {300 * 32 + steps * 16}


def test_rows_differ_in_one_part_each():
    arguments = {method: set(changes) for method, (_, changes) in study.ROWS.items()}
    assert arguments["adversarial"] - arguments["full"] == {study.NO_CLASS}
    assert arguments["refinement"] - arguments["adversarial"] == {study.NO_GAME}
    assert arguments["generator"] - arguments["refinement"] == {"--config.generator.refine=False"}
    # Another generator cannot start from the warm start of one with refinement.
    assert "generator" not in study.ROWS["generator"][0]


def test_remedies_change_what_they_name_and_have_the_budget_of_the_full_method():
    full = study.job("wider_face", "full", 0)
    for remedy, changes in study.REMEDIES.items():
        item = study.job("wider_face", "full", 0, remedy)
        assert set(item.arguments) - set(full.arguments) == set(changes)
        assert item.name != full.name and item.steps == full.steps


@pytest.mark.parametrize("steps", [study.STEPS, study.LONGER])
def test_a_new_discriminator_learns_as_the_bicubic_classifier_does(steps):
    bicubic = study.job("wider_face", "bicubic_classifier", 0, steps=steps)
    for remedy, changes in study.FROM_NEW.items():
        item = study.job("wider_face", "full", 0, remedy, steps=steps)
        assert item.steps == bicubic.steps and set(changes) <= set(item.arguments)
        assert f"--config.gan.train.batch_size={study.BATCHES['discriminator']}" in item.arguments
        # Both are trained, each from the start.
        assert f"--config.discriminator.train.steps={item.steps}" in item.arguments
        recorded = {row[0] for row in study.options("full", remedy)["others"]}
        assert recorded == {"full", "bicubic_classifier", "detector", "oracle", "bicubic"}
        # The same optimiser, so that what it sees is all that differs.
        given, sections = dict(a.split("=", 1) for a in item.arguments), gan_sections()
        rate = given["--config.gan.discriminator_optimiser.learning_rate"]
        sections.gan.discriminator_optimiser.learning_rate = float(rate)
        assert sections.gan.discriminator_optimiser == sections.discriminator.optimiser


def test_the_best_remedy_is_the_best_on_held_out_scenes_once_all_are_tried(monkeypatch):
    def rows(values, **facts):
        shared = dict(study=study.STUDY, dataset="wider_face", metric=study.CRITERION, seed=0)
        shared["steps"] = study.STEPS
        variants = [f"compact,{name}" for name in study.REMEDIES]
        pairs = zip(variants, values, strict=False)
        return [shared | dict(variant=name, value=value) | facts for name, value in pairs]

    values = [1, 3, 2, *[0] * (len(study.REMEDIES) - 3)]
    found = rows(values[:-1])
    found += rows([9], variant="compact") + rows([9], dataset="synthetic_crowds")
    monkeypatch.setattr(records, "read", lambda system: found)
    assert study.best_remedy("wider_face") == ""
    found += rows(values)[-1:] + rows([9], seed=1) + rows([9], metric="ap_height_0_16")
    found += rows([9], steps=study.LONGER)
    assert study.best_remedy("wider_face") == list(study.REMEDIES)[1]


def test_longer_games_are_chosen_among_themselves(monkeypatch):
    remedies = study.LONGER_REMEDIES
    assert set(remedies) <= set(study.REMEDIES)
    facts = dict(study=study.STUDY, dataset="wider_face", metric=study.CRITERION, seed=0)
    long = facts | dict(steps=study.LONGER)
    found = [long | dict(variant=f"compact,{remedies[0]}", value=2)]
    found.append(facts | dict(variant=f"compact,{remedies[1]}", value=9, steps=study.STEPS))
    monkeypatch.setattr(records, "read", lambda system: found)
    assert study.best_remedy("wider_face", remedies, study.LONGER) == ""
    found.append(long | dict(variant=f"compact,{remedies[1]}", value=1))
    assert study.best_remedy("wider_face", remedies, study.LONGER) == remedies[0]


def test_every_row_of_the_table_is_recorded():
    recorded = {row[0] for method in study.ROWS for row in study.options(method)["others"]}
    assert recorded == {*study.ROWS, "detector", "bicubic", "oracle"}
    for method in study.ROWS:
        metrics = {row[1] for row in study.options(method)["others"] if row[0] == method}
        assert {"ap_height_0_16", "face_accuracy", "face_accuracy_height_0_8"} <= metrics
        assert ("psnr_faces" in metrics) == (method != "bicubic_classifier")


def test_stages_are_taken_over_once(tmp_path):
    before, workdir = tmp_path / "full", tmp_path / "adversarial"
    (before / "crops").mkdir(parents=True)
    (before / "crops" / "complete.json").write_text("{}")
    records.take_over(before, workdir, ("crops",))
    assert (workdir / "crops" / "complete.json").read_text() == "{}"
    (workdir / "crops" / "complete.json").write_text("changed")
    records.take_over(before, workdir, ("crops",))
    assert (workdir / "crops" / "complete.json").read_text() == "changed"
    records.take_over(before, workdir, ("crops", "detector"))  # recorded, but not kept
    assert [path.name for path in workdir.iterdir()] == ["crops"]
