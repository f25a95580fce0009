"""The claims of CyCADA on MNIST and USPS: every method, both directions, and what each loss does.

    export JAXGEN_DATA=...                    # mnist, usps as published
    nice python -m experiments.studies.cycada_digits [--only=PATTERN] [--workdirs=DIR]

First the translation is chosen for each direction, without a target label: seed 0, and of the
network trained on their translations the mutual information of image and class on held-out target
images. The generators' learning rate and the weight of the cycle loss with the paper's semantic
loss ("frozen"), then, at the best of them, without that loss. What labels would have said is
recorded beside it and chooses nothing.

Then one run measures every method of a direction and seed: source only, pixel, feature, pixel +
feature, target only. The ablations have the other semantic setting, or no cycle loss, and stop at
the pixel stage. All have the same budget; checkpoints of task networks are chosen on held-out
source images, those of the alignment are the last, and after the longest translation, in a run of
their own, those that the same criterion likes best. Stop it at any time and start it again.
Records: docs/results/cycada.jsonl.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from absl import app

from experiments.studies import records
from experiments.studies.study_flags import WORKDIRS, is_asked_for

STUDY, TUNING = "cycada_digits", "cycada_digits_translation"
CONFIG = "experiments/configs/cycada/digits.py"
SEEDS = (0, 1, 2)
DIRECTIONS = ("mnist_to_usps", "usps_to_mnist")
STEPS, TUNING_STEPS = 3000, 1000  # of the translation
# Besides: the way from MNIST's 60,000 images to USPS's 7,291 is the longer one.
LONGER = {"mnist_to_usps": (6000, 12000)}
SIZE = "features=16,blocks=2"  # of the generators
RATES, CYCLES = (2e-4, 1e-3), (1.0, 10.0)  # of the generators; weight of the cycle loss
CRITERION = "information_maximisation"
METHODS = ("source_only", "pixel", "feature", "target_only")
# Semantic loss -> arguments. That of the released code has a classifier for 32 pixels; these
# digits have 28.
SEMANTIC = {"frozen": [], "none": ["--config.translation.semantic.mode=none"]}


class Translation(NamedTuple):
    """What is tuned."""

    rate: float  # of the generators
    cycle: float
    semantic: str = "frozen"

    @property
    def arguments(self) -> list[str]:
        """Of the command."""
        return [
            f"--config.translation.optimiser.learning_rate={self.rate}",
            f"--config.translation.weights.cycle_source={self.cycle}",
            f"--config.translation.weights.cycle_target={self.cycle}",
            *SEMANTIC[self.semantic],
        ]


def tuning_job(direction: str, tried: Translation) -> records.Job:
    """A run measured on held-out training images of the target."""
    arguments = [
        "--config.stages=source,translation,pixel",
        "--config.target.test_split=",
        *tried.arguments,
    ]
    variant = f"{SIZE},learning_rate={tried.rate},cycle={tried.cycle}"
    if tried.semantic != "frozen":
        variant += f",semantic={tried.semantic}"
    item = job(direction, "pixel", 0, tried.semantic, arguments)
    return item._replace(split="validation", variant=variant, steps=TUNING_STEPS)


def first_jobs(direction: str) -> list[records.Job]:
    """Of rate and cycle loss."""
    return [tuning_job(direction, Translation(r, c)) for r in RATES for c in CYCLES]


def second_jobs(direction: str) -> list[records.Job]:
    """Of the semantic loss, at the best rate and cycle loss of the first ones."""
    best = chosen(direction, count=len(RATES) * len(CYCLES))
    others = [form for form in SEMANTIC if form != "frozen"]
    return [tuning_job(direction, best._replace(semantic=form)) for form in others]


def chosen(direction: str, *, count: int) -> Translation:
    """That of the tuning run with the best criterion, of at least `count` runs."""
    found = records.best_settings(
        "cycada", TUNING, CRITERION, count=count, largest=True, dataset=_dataset(direction)
    )
    semantic = found.get("semantic", "frozen")
    return Translation(float(found["learning_rate"]), float(found["cycle"]), semantic)


def _dataset(direction: str) -> str:
    return direction.replace("_to_", "->")


def job(direction: str, method: str, seed: int, semantic: str, arguments=()) -> records.Job:
    """One run of a direction."""
    return records.Job(
        dataset=_dataset(direction),
        split="test",
        method=method,
        variant=f"{SIZE},semantic={semantic}",
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


def tune(make_jobs: Callable[[str], list[records.Job]]) -> None:
    """Runs the tuning jobs of both directions, and waits for those that another process runs."""
    criteria = (CRITERION, "entropy", "soft_neighbourhood_density", "accuracy")
    missing = True
    while missing:
        missing = False
        for direction in DIRECTIONS:
            first = first_jobs(direction)[0]
            for item in make_jobs(direction):  # all judge by the same source network
                missing |= run(TUNING, item, criteria, before=first, shared=["source"])
        time.sleep(10 if missing else 0)


def ablations(direction: str, seed: int, best: Translation) -> Iterator[records.Job]:
    """Other semantic losses, and no cycle loss."""
    stages = "--config.stages=source,target,translation,pixel"
    for semantic in SEMANTIC:
        if semantic != best.semantic:
            arguments = best._replace(semantic=semantic).arguments
            yield job(direction, "pixel", seed, semantic, [stages, *arguments])
    arguments = best._replace(cycle=0.0).arguments
    yield job(direction, "no_cycle", seed, best.semantic, [stages, *arguments])


def selected(whole: records.Job) -> records.Job:
    """A run whose alignments keep the checkpoint that the criterion of the tuning likes best."""
    return whole._replace(
        variant=f"{whole.variant},select={CRITERION}",
        arguments=[*whole.arguments, f"--config.alignment.select={CRITERION}"],
    )


def main(_):
    """Runs what has no record yet, those of seed 0 first."""
    tune(first_jobs)
    tune(second_jobs)
    runs = len(RATES) * len(CYCLES) + len(SEMANTIC) - 1
    found = {direction: chosen(direction, count=runs) for direction in DIRECTIONS}
    for seed in SEEDS:
        wholes = {
            direction: job(direction, "pixel+feature", seed, best.semantic, best.arguments)
            for direction, best in found.items()
        }
        methods = [*METHODS, "pixel+feature"]
        others = [(method, "accuracy", f"accuracy_{method}") for method in methods]
        longer = [wholes[d]._replace(steps=n) for d, steps in LONGER.items() for n in steps]
        for whole in [*wholes.values(), *longer]:
            run(STUDY, whole, ["label_flip_rate"], others)
        shared = ["source", "target", "translation", "pixel"]
        start = dict(before=longer[-1], shared=shared)
        run(STUDY, selected(longer[-1]), ["label_flip_rate"], others, **start)
        for direction, whole in wholes.items():
            for item in ablations(direction, seed, found[direction]):
                others = [(item.method, "accuracy", "accuracy_pixel")]
                start = dict(before=whole, shared=["source", "target"])
                run(STUDY, item, ["label_flip_rate"], others, **start)
    print("nothing is left to run")


if __name__ == "__main__":
    app.run(main)
