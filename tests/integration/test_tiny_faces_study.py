"""The ablation of the tiny-face GAN: rows, budgets and shared stages."""

import pytest

from experiments.configs.tiny_faces.gan_sections import gan_sections
from experiments.studies import records
from experiments.studies import tiny_faces_ablation as study
from experiments.studies import tiny_faces_comparisons as comparisons


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
        generator_steps = study.GENERATOR_STEPS.get(remedy, study.WARM_UP)
        assert f"--config.generator.train.steps={generator_steps}" in item.arguments
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


def test_differences_are_taken_within_a_seed(tmp_path, monkeypatch, capsys):
    """Seeds that only one row has count in its mean and in no difference."""
    setting = comparisons.SETTINGS[0]

    def row(method, seed, value, metric=comparisons.HEADLINE, dataset="wider_face"):
        variant, steps = getattr(setting, "detector" if method == "bicubic" else method)
        facts = dict(study=study.STUDY, dataset=dataset, split="val", variant=variant)
        return facts | dict(method=method, steps=steps, seed=seed, metric=metric, value=value)

    aps = {"detector": [8, 10, 12], "bicubic_classifier": [11, 14, 14], "full": [12, 13, 16, 90]}
    rows = [row(name, seed, v) for name, values in aps.items() for seed, v in enumerate(values)]
    rows += [row("full", 0, 25.0, "psnr_faces"), row("bicubic", 0, 23.5, "psnr_faces")]
    rows += [row("full", 0, 1.0, dataset="synthetic_crowds")]  # another set is not mixed in
    found = comparisons.rows_of(rows, "wider_face", setting)
    full, bicubic = (found[name][comparisons.HEADLINE] for name in ("full", "bicubic_classifier"))
    assert comparisons.difference(full, bicubic) == {0: 1, 1: -1, 2: 2}
    assert comparisons.difference({}, bicubic) == {}

    monkeypatch.setattr(records, "ROOT", tmp_path)
    (tmp_path / "docs" / "images").mkdir(parents=True)
    records.append("tiny_faces", rows)
    comparisons.main()
    printed = capsys.readouterr().out
    lines = {line.split(" | ")[0]: line.split(" | ") for line in printed.splitlines()}
    below_16 = 1 + list(comparisons.SHOWN).index(comparisons.HEADLINE)
    psnr = 1 + list(comparisons.SHOWN).index("psnr_faces")
    over = lines["| the full method over bicubic crops and a classifier"]
    assert over[below_16] == "+0.7 ± 1.5" and over[psnr] == "+1.5 (1 seed)"
    assert lines["| the detector"][below_16] == "10.0 ± 2.0"
    assert "classifier: seed 0 +1.0, seed 1 -1.0, seed 2 +2.0" in printed
    assert (tmp_path / "docs" / "images" / "tiny_faces_results.png").stat().st_size > 1000


def test_what_is_compared_is_what_the_study_records():
    """Variants and steps of the comparisons are those of its jobs."""
    jobs = [study.job("wider_face", method, 0) for method in study.ROWS]
    jobs += [study.job("wider_face", "bicubic_classifier", 0, steps=study.LONGER)]
    jobs += [study.job("wider_face", "full", 0, study.LONGER_REMEDIES[0])]
    less, _, better_generator = study.FROM_NEW
    for remedy in (study.LONGER_REMEDIES[1], less, better_generator):
        jobs.append(study.job("wider_face", "full", 0, remedy, steps=study.LONGER))
    jobs.append(study.job("wider_face", "full", 0, less))
    recorded = set()
    for job in jobs:
        remedy = job.variant.removeprefix("compact").removeprefix(",")
        for method, *_ in study.options(job.method, remedy)["others"]:
            recorded.add((method, job.variant, job.steps))
    for setting in comparisons.SETTINGS:
        wanted = setting._asdict()
        del wanted["title"]
        for method, (variant, steps) in wanted.items():
            assert (method, variant, steps) in recorded, (setting.title, method)
