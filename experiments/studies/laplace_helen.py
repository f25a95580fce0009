"""The claims of LaplaceKL on HELEN: which loss, how narrow, how few labels, what D adds.

    export JAXGEN_DATA=...                    # 300w/helen, faces_unlabelled
    nice python -m experiments.studies.laplace_helen [--only=SUBSTRING] [--workdirs=DIR]

One budget for every run, chosen on validation faces; HELEN test is read once a run, at its
end. Stop it at any time and start it again. Records: docs/results/laplace.jsonl; the table:
python -m experiments.studies.laplace_tables.
"""

import os
from pathlib import Path

from absl import app, flags

from experiments.studies import records

STUDY, TUNING = "laplace_helen", "laplace_helen_learning_rate"
CONFIG = "experiments/configs/laplace/helen.py"
STEPS, SEEDS = 2000, (0, 1, 2)
METRICS = (
    "nme_inter_ocular",
    "auc_0.08",
    "failure_rate_0.10",
    "spearman_scale_error",
    "spearman_scale_error_within_landmark",
    "calibration_error_scale",
)
WIDTHS = {"1/16": 1 / 16, "1/8": 1 / 8, "1/4": 1 / 4}

_ONLY = flags.DEFINE_string("only", "", "Run only jobs whose study/name holds this.")
_WORKDIRS = flags.DEFINE_string("workdirs", "runs/studies", "Folder of all runs.")


def job(method: str, width: str, seed: int, *, labels: float = 1.0, steps: int = STEPS):
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
        ],
    )


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


def tuning_jobs():
    """The learning rate of the method and of the baseline, chosen alike, on validation faces."""
    for rate in (1e-3, 3e-3, 1e-2):
        for method in ("soft_argmax_l2", "laplace_kl"):
            item = job(method, "1/8", 0, steps=STEPS // 4)
            overrides = [
                f"--config.optimiser.learning_rate={rate}",
                "--config.data.test_split=validation",
            ]
            yield item._replace(
                split="validation",
                variant=f"{item.variant},learning_rate={rate}",
                arguments=[*item.arguments, *overrides],
            )


def main(_):
    """Runs what has no record yet."""
    for study, items in ((TUNING, tuning_jobs()), (STUDY, jobs())):
        for item in items:
            if _ONLY.value in f"{study}/{item.name}" and not records.is_done(
                "laplace", study, item
            ):
                print(f"running {study}/{item.name}", flush=True)
                records.run("laplace", study, item, METRICS, Path(_WORKDIRS.value) / study)
    print("nothing is left to run")


if __name__ == "__main__":
    os.nice(5)  # long runs leave the machine usable
    app.run(main)
