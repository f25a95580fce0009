"""What rendered faces are worth: the main job, transfer to real faces, labels that they replace.

    export JAXGEN_DATA=...                    # 300w/helen, faces_unlabelled
    nice python -m experiments.studies.laplace_synthetic [--only=PATTERN] [--workdirs=DIR]

Three questions. How well does the main job do on unseen synthetic people? How well does a network
do on HELEN that saw synthetic labels only, with and without a discriminator on unlabelled real
faces? And if its training goes on with a share of HELEN's labels, how does it compare with the
runs of experiments.studies.laplace_helen, which had as many steps on the same labels from random
parameters, and with runs from random parameters that had as many steps in all? Going on has a
learning rate of its own, chosen on validation faces as those from random parameters are. Stop it
at any time and start it again. Records: docs/results/laplace.jsonl.
"""

import os
from pathlib import Path

from absl import app

from experiments.configs.laplace import default
from experiments.studies import laplace_helen, records
from experiments.studies.study_flags import WORKDIRS, is_asked_for

STUDY, TUNING = "laplace_synthetic", "laplace_synthetic_learning_rate"
CONFIGS = "experiments/configs/laplace"
STEPS, SEEDS = laplace_helen.STEPS, laplace_helen.SEEDS
RATES = (1e-3, 3e-3, 1e-2, 3e-2)  # of going on


def main_job(seed: int) -> records.Job:
    """`python -m experiments.laplace`, synthetic faces only."""
    return records.Job(
        dataset="synthetic_faces",
        split="test",
        method="laplace_kl_adversarial",
        variant="width=1/8",
        seed=seed,
        steps=default.get_config().train.steps,
        arguments=[],
    )


def transfer(seed: int, *, adversarial: bool) -> records.Job:
    """Synthetic labels, tested on HELEN."""
    name = ":adversarial" if adversarial else ""
    return records.Job(
        dataset="helen",
        split="test",
        method="laplace_kl" + name.replace(":", "_"),
        variant="width=1/8,train=synthetic",
        seed=seed,
        steps=STEPS,
        arguments=[f"--config={CONFIGS}/synthetic_to_real.py{name}"],
    )


def continued(seed: int, labels: float, workdirs: Path, rate: float) -> records.Job:
    """From the network of `transfer` on, with real labels; all else as in laplace_helen."""
    real = laplace_helen.job("laplace_kl", "1/8", seed, labels=labels, rate=rate)
    start = workdirs / transfer(seed, adversarial=False).name
    return real._replace(
        variant=f"{real.variant},start=synthetic,learning_rate={rate}",
        arguments=[*real.arguments, f"--config.model.pretrained={start}"],
    )


def tuning_jobs(workdirs: Path):
    """Going on with a tenth of the labels at every rate, measured on validation faces."""
    for rate in RATES:
        item = continued(0, 0.1, workdirs, rate)
        arguments = [*item.arguments, "--config.data.test_split=validation"]
        yield item._replace(split="validation", arguments=arguments)


def from_random(seed: int, labels: float) -> records.Job:
    """What `continued` is measured against: its total of steps, all on real labels."""
    return laplace_helen.job("laplace_kl", "1/8", seed, labels=labels, steps=2 * STEPS)


def first_jobs():
    """All runs from random parameters, those of seed 0 first."""
    for seed in SEEDS:
        yield main_job(seed)
        yield transfer(seed, adversarial=False)
        yield transfer(seed, adversarial=True)
        for labels in (0.1, 1.0):
            yield from_random(seed, labels)


def continued_jobs(workdirs: Path):
    """All runs that go on from `transfer`, at the rate that tuning found."""
    metric = laplace_helen.METRICS[0]
    found = records.best_settings("laplace", TUNING, metric, count=len(RATES))
    for seed in SEEDS:
        for labels in (0.1, 0.3, 1.0):
            yield continued(seed, labels, workdirs, float(found["learning_rate"]))


def main(_):
    """Runs what has no record yet."""
    workdirs = Path(WORKDIRS.value)

    def run(study, jobs):
        metrics = laplace_helen.METRICS
        records.run_all("laplace", study, jobs, metrics, workdirs / study, only=is_asked_for)

    run(STUDY, first_jobs())
    run(TUNING, tuning_jobs(workdirs / STUDY))
    run(STUDY, continued_jobs(workdirs / STUDY))
    print("nothing is left to run")


if __name__ == "__main__":
    os.nice(5)  # long runs leave the machine usable
    app.run(main)
