"""The claims of CyCADA on MNIST and USPS: every method, both directions, and what each loss does.

    export JAXGEN_DATA=...                    # mnist, usps as published
    nice python -m experiments.studies.cycada_digits [--only=PATTERN] [--workdirs=DIR]

First the generators' learning rate and the weight of the cycle loss are chosen for each direction,
without a target label: short runs, and of the network trained on their translations the mutual
information of image and class on held-out target images. What labels would have said is recorded
beside it and chooses nothing.

Then one run measures every method of a direction and seed: source only, pixel, feature, pixel +
feature, target only. The ablations leave out one loss of the translation and stop at the pixel
stage. All have the same budget; checkpoints of task networks are chosen on held-out source images,
those of the alignment are the last. Stop it at any time and start it again. Records:
docs/results/cycada.jsonl.
"""

import time
from collections.abc import Iterator
from pathlib import Path

from absl import app

from experiments.studies import records
from experiments.studies.study_flags import WORKDIRS, is_asked_for

STUDY, TUNING = "cycada_digits", "cycada_digits_translation"
CONFIG = "experiments/configs/cycada/digits.py"
STEPS, SEEDS = 3000, (0, 1, 2)  # steps of the translation
DIRECTIONS = ("mnist_to_usps", "usps_to_mnist")
RATES, CYCLES = (2e-4, 1e-3), (1.0, 10.0)  # of the generators; weight of the cycle loss
CRITERION = "information_maximisation"
METHODS = ("source_only", "pixel", "feature", "target_only")
ABLATIONS = {
    "no_semantic": ["--config.translation.semantic.mode=none"],
    "no_cycle": [
        "--config.translation.weights.cycle_source=0.0",
        "--config.translation.weights.cycle_target=0.0",
    ],
}


def translation(rate: float, cycle: float) -> list[str]:
    """What is tuned, as arguments."""
    return [
        f"--config.translation.optimiser.learning_rate={rate}",
        f"--config.translation.weights.cycle_source={cycle}",
        f"--config.translation.weights.cycle_target={cycle}",
    ]


def tuning_jobs(direction: str) -> Iterator[records.Job]:
    """Short runs, measured on held-out training images of the target."""
    for rate in RATES:
        for cycle in CYCLES:
            arguments = [
                "--config.stages=source,translation,pixel",
                "--config.target.test_split=",
                *translation(rate, cycle),
            ]
            item = job(direction, "pixel", 0, arguments)
            yield item._replace(
                split="validation",
                variant=f"{item.variant},learning_rate={rate},cycle={cycle}",
                steps=STEPS // 3,
            )


def chosen(direction: str) -> list[str]:
    """The translation of the tuning run with the best criterion, as arguments."""
    found = records.best_settings(
        "cycada",
        TUNING,
        CRITERION,
        count=len(RATES) * len(CYCLES),
        largest=True,
        dataset=_dataset(direction),
    )
    return translation(float(found["learning_rate"]), float(found["cycle"]))


def _dataset(direction: str) -> str:
    return direction.replace("_to_", "->")


def job(direction: str, method: str, seed: int, arguments=()) -> records.Job:
    """One run of a direction."""
    return records.Job(
        dataset=_dataset(direction),
        split="test",
        method=method,
        variant="features=16,blocks=2",
        seed=seed,
        steps=STEPS,
        arguments=[f"--config={CONFIG}:{direction}", *arguments],
    )


def run(study: str, item: records.Job, metrics, others=(), **start) -> bool:
    """Runs a job unless it has a record; `start` says whose stages it takes, see `run_once`.

    Returns:
        Whether the job was asked for and is still missing: another process runs it.
    """
    if not is_asked_for(study, item.name):
        return False
    options = dict(length="translation.train.steps", others=others, **start)
    records.run_once("cycada", study, item, metrics, Path(WORKDIRS.value) / study, **options)
    return not records.is_done("cycada", study, item)


def tune() -> None:
    """Runs the tuning jobs, and waits for those that another process runs."""
    criteria = (CRITERION, "entropy", "soft_neighbourhood_density", "accuracy")
    missing = True
    while missing:
        missing = False
        for direction in DIRECTIONS:
            items = list(tuning_jobs(direction))
            for item in items:  # all judge by the same source network
                missing |= run(TUNING, item, criteria, before=items[0], shared=["source"])
        time.sleep(10 if missing else 0)


def main(_):
    """Runs what has no record yet, those of seed 0 first."""
    tune()
    for seed in SEEDS:
        for direction in DIRECTIONS:
            whole = job(direction, "pixel+feature", seed, chosen(direction))
            methods = [*METHODS, whole.method]
            others = [(method, "accuracy", f"accuracy_{method}") for method in methods]
            run(STUDY, whole, ["label_flip_rate"], others)
        for direction in DIRECTIONS:
            whole = job(direction, "pixel+feature", seed)
            for name, arguments in ABLATIONS.items():
                stages = "--config.stages=source,target,translation,pixel"
                item = job(direction, name, seed, [stages, *chosen(direction), *arguments])
                others = [(name, "accuracy", "accuracy_pixel")]
                start = dict(before=whole, shared=["source", "target"])
                run(STUDY, item, ["label_flip_rate"], others, **start)
    print("nothing is left to run")


if __name__ == "__main__":
    app.run(main)
