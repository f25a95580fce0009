"""CyCADA's embedded example, rendered -> handwritten digits: how it was chosen, what it gives.

    nice python -m experiments.studies.cycada_embedded [--only=PATTERN] [--workdirs=DIR]

First the translation is chosen without a target label, as in cycada_digits: seed 0, the mutual
information of image and class on held-out training images of the target. Cycle weight and semantic
loss at one learning rate of the generators, then another rate at the best of them. default.py has
what was chosen. Then `python -m experiments.cycada` as it is, three seeds, on the target's test
images. No download. Stop it at any time and start it again. Records: docs/results/cycada.jsonl.
"""

from pathlib import Path

from absl import app

from experiments.configs.cycada import default
from experiments.studies import records
from experiments.studies.cycada_digits import CRITERION, Translation
from experiments.studies.study_flags import WORKDIRS, is_asked_for

STUDY, TUNING, SEEDS = "cycada_embedded", "cycada_embedded_translation", (0, 1, 2)
DATASET, TUNING_STEPS = "synthetic_digits->uci_digits", 1200
RATES, CYCLES, SEMANTIC = (1e-3, 2e-4), (0.3, 1.0, 3.0), ("frozen", "none")
CRITERIA = (CRITERION, "entropy", "soft_neighbourhood_density", "accuracy")
METHODS = ("source_only", "pixel", "target_only")


def tuning_job(tried: Translation) -> records.Job:
    """A run measured on held-out training images of the target."""
    return records.Job(
        dataset=DATASET,
        split="validation",
        method="pixel",
        variant=f"learning_rate={tried.rate},cycle={tried.cycle},semantic={tried.semantic}",
        seed=0,
        steps=TUNING_STEPS,
        arguments=[
            "--config.stages=source,translation,pixel",
            "--config.target.test_split=",
            *tried.arguments,
        ],
    )


def first_jobs() -> list[records.Job]:
    """Of cycle and semantic loss."""
    return [tuning_job(Translation(RATES[0], c, s)) for c in CYCLES for s in SEMANTIC]


def chosen(count: int) -> Translation:
    """That of the best criterion, of at least `count` runs."""
    found = records.best_settings("cycada", TUNING, CRITERION, count=count, largest=True)
    return Translation(float(found["learning_rate"]), float(found["cycle"]), found["semantic"])


def example(seed: int) -> records.Job:
    """`python -m experiments.cycada`."""
    return records.Job(
        dataset=DATASET,
        split="test",
        method="pixel+feature",
        variant="default",
        seed=seed,
        steps=default.get_config().translation.train.steps,
        arguments=[],
    )


def main(_):
    """Runs what has no record yet."""
    workdirs = Path(WORKDIRS.value)
    options = dict(length="translation.train.steps", only=is_asked_for)
    first = first_jobs()
    shared = dict(before=first[0], shared=["source"])  # all judge by the same source network
    tune = (CRITERIA, workdirs / TUNING)
    records.run_all("cycada", TUNING, first, *tune, **shared, **options)
    best = chosen(len(first))
    second = [tuning_job(best._replace(rate=rate)) for rate in RATES[1:]]
    records.run_all("cycada", TUNING, second, *tune, **shared, **options)
    print("chosen:", chosen(len(first) + len(second)))
    methods = [*METHODS, "pixel+feature"]
    others = [(method, "accuracy", f"accuracy_{method}") for method in methods]
    examples = [example(seed) for seed in SEEDS]
    folder = workdirs / STUDY
    records.run_all(
        "cycada", STUDY, examples, ["label_flip_rate"], folder, others=others, **options
    )
    print("nothing is left to run")


if __name__ == "__main__":
    app.run(main)
