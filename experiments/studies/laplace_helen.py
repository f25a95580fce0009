"""The claims of LaplaceKL on HELEN: which loss, how narrow, how few labels, what D adds.

    export JAXGEN_DATA=...                    # 300w/helen, faces_unlabelled
    nice python -m experiments.studies.laplace_helen [--only=PATTERN] [--workdirs=DIR]

One budget for every run. Each loss first gets its own learning rate, chosen on validation
faces; HELEN test is read once a run, at its end. Stop it at any time and start it again.
Records: docs/results/laplace.jsonl; the table: python -m experiments.studies.tables laplace.
"""

import os
from pathlib import Path

from absl import app

from experiments.studies import records
from experiments.studies.study_flags import WORKDIRS, is_asked_for

STUDY, TUNING = "laplace_helen", "laplace_helen_learning_rate"
CONFIG = "experiments/configs/laplace/helen.py"
STEPS, SEEDS = 2000, (0, 1, 2)
LOSSES, RATES = ("soft_argmax_l2", "gaussian_kl", "laplace_kl"), (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
METRICS = (
    "nme_inter_ocular",
    "auc_0.08",
    "failure_rate_0.10",
    "spearman_scale_error",
    "spearman_scale_error_within_landmark",
    "calibration_error_scale",
)
WIDTHS = {"1/16": 1 / 16, "1/8": 1 / 8, "1/4": 1 / 4}


def job(method: str, width: str, seed: int, *, labels: float = 1.0, steps: int = STEPS, rate=None):
    """One run: a loss, with or without the discriminator, at one width and label fraction."""
    loss = method.removesuffix("_adversarial")
    variant = ":adversarial" if method.endswith("_adversarial") else ""
    labelled = "" if labels == 1.0 else f",labels={labels}"
    return records.Job(
        dataset="helen",
        split="test",
        method=method,
        variant=f"width={width}{labelled}",
        seed=seed,
        steps=steps,
        arguments=[
            f"--config={CONFIG}{variant}",
            f"--config.loss.name={loss}",
            f"--config.model.width={WIDTHS[width]}",
            f"--config.data.label_fraction={labels}",
            f"--config.data.label_seed={seed}",
            f"--config.optimiser.learning_rate={rate or chosen_rate(loss)}",
        ],
    )


def tuning_jobs():
    """The learning rate of every loss, on validation faces; the same rates for all."""
    for rate in RATES:
        for loss in LOSSES:
            item = job(loss, "1/8", 0, steps=STEPS // 4, rate=rate)
            yield item._replace(
                split="validation",
                variant=f"{item.variant},learning_rate={rate}",
                arguments=[*item.arguments, "--config.data.test_split=validation"],
            )


def chosen_rate(loss: str) -> float:
    """The rate with the lowest validation error among the tuning runs of a loss."""
    found = records.best_settings("laplace", TUNING, METRICS[0], count=len(RATES), method=loss)
    return float(found["learning_rate"])


def jobs():
    """All runs, those of seed 0 first: an early look is a whole table."""
    for seed in SEEDS:
        for method in ("soft_argmax_l2", "laplace_kl", "gaussian_kl", "laplace_kl_adversarial"):
            yield job(method, "1/8", seed)
        for method in ("soft_argmax_l2", "laplace_kl"):
            yield job(method, "1/16", seed)
        for labels in (0.1, 0.3):
            for method in ("laplace_kl", "laplace_kl_adversarial"):
                yield job(method, "1/8", seed, labels=labels)
    # The best compact model: as long as it still gains on validation faces.
    yield job("laplace_kl", "1/4", 0, steps=5 * STEPS)


def main(_):
    """Runs what has no record yet."""
    for study, items in ((TUNING, tuning_jobs), (STUDY, jobs)):  # jobs() reads what tuning found
        folder = Path(WORKDIRS.value) / study
        records.run_all("laplace", study, items(), METRICS, folder, only=is_asked_for)
    print("nothing is left to run")


if __name__ == "__main__":
    os.nice(5)  # long runs leave the machine usable
    app.run(main)
