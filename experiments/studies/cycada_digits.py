"""The claims of CyCADA on MNIST and USPS: every method, both directions, and what each loss does.

    export JAXGEN_DATA=...                    # mnist, usps as published
    nice python -m experiments.studies.cycada_digits [--only=SUBSTRING] [--workdirs=DIR]

One run measures every method of a direction and seed: source only, pixel, feature, pixel +
feature, target only. The ablations leave out one loss of the translation and stop at the pixel
stage. All have the same budget; checkpoints of task networks are chosen on held-out source images,
those of the alignment are the last. Stop it at any time and start it again. Records:
docs/results/cycada.jsonl.
"""

from pathlib import Path

from absl import app, flags

from experiments.studies import records

STUDY = "cycada_digits"
CONFIG = "experiments/configs/cycada/digits.py"
STEPS, SEEDS = 3000, (0, 1, 2)  # steps of the translation
DIRECTIONS = ("mnist_to_usps", "usps_to_mnist")
METHODS = ("source_only", "pixel", "feature", "target_only")
ABLATIONS = {
    "no_semantic": ["--config.translation.semantic.mode=none"],
    "no_cycle": [
        "--config.translation.weights.cycle_source=0.0",
        "--config.translation.weights.cycle_target=0.0",
    ],
}

_ONLY = flags.DEFINE_string("only", "", "Run only jobs whose study/name holds this.")
_WORKDIRS = flags.DEFINE_string("workdirs", "runs/studies", "Folder of all runs.")


def job(direction: str, method: str, seed: int, arguments=()) -> records.Job:
    """One run of a direction."""
    return records.Job(
        dataset=direction.replace("_to_", "->"),
        split="test",
        method=method,
        variant="features=16,blocks=2",
        seed=seed,
        steps=STEPS,
        arguments=[f"--config={CONFIG}:{direction}", *arguments],
    )


def main(_):
    """Runs what has no record yet, those of seed 0 first."""
    workdirs = Path(_WORKDIRS.value) / STUDY

    def run(item, others):
        if _ONLY.value in f"{STUDY}/{item.name}":
            options = dict(length="translation.train.steps", others=others)
            metrics = ("label_flip_rate",)
            records.run_once("cycada", STUDY, item, metrics, workdirs, **options)

    for seed in SEEDS:
        for direction in DIRECTIONS:
            item = job(direction, "pixel+feature", seed)
            all_methods = [*METHODS, item.method]
            run(item, [(m, "accuracy", f"accuracy_{m}") for m in all_methods])
        for direction in DIRECTIONS:
            for name, arguments in ABLATIONS.items():
                stages = "--config.stages=source,target,translation,pixel"
                item = job(direction, name, seed, [stages, *arguments])
                run(item, [(name, "accuracy", "accuracy_pixel")])
    print("nothing is left to run")


if __name__ == "__main__":
    app.run(main)
