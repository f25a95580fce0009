"""CyCADA on segmentation: CamVid by day -> dusk, and rendered face parts -> photographs of HELEN.

    export JAXGEN_DATA=...                    # camvid, 300w/helen as published
    nice python -m experiments.studies.cycada_scenes [--only=PATTERN] [--workdirs=DIR]

One run measures every method of a pair of domains and seed, each with the same budget: source
only, pixel, feature, pixel + feature, target only. Target labels choose nothing. Stop it at any
time and start it again. Records: docs/results/cycada.jsonl.
"""

from pathlib import Path

from absl import app

from experiments.studies import records
from experiments.studies.study_flags import WORKDIRS, is_asked_for

STUDY, SEEDS = "cycada_scenes", (0, 1, 2)
# Data set of the records -> (config, variant of the records, steps of the translation).
SCENES = {
    "camvid day->dusk": ("camvid.py:small", "size=90x120", 1000),
    "synthetic_parts->helen": ("face_parts.py", "size=96x96", 1500),
}
METHODS = ("source_only", "pixel", "feature", "pixel+feature", "target_only")
METRICS = ("miou", "fwiou", "pixel_accuracy")


def job(dataset: str, seed: int) -> records.Job:
    """One run of a pair of domains."""
    config, variant, steps = SCENES[dataset]
    return records.Job(
        dataset=dataset,
        split="test",
        method="pixel+feature",
        variant=variant,
        seed=seed,
        steps=steps,
        arguments=[f"--config=experiments/configs/cycada/{config}"],
    )


def main(_):
    """Runs what has no record yet, those of seed 0 first."""
    workdirs = Path(WORKDIRS.value) / STUDY
    others = [(method, name, f"{name}_{method}") for method in METHODS for name in METRICS]
    for seed in SEEDS:
        for dataset in SCENES:
            item = job(dataset, seed)
            if is_asked_for(STUDY, item.name):
                options = dict(length="translation.train.steps", others=others)
                records.run_once("cycada", STUDY, item, ["label_flip_rate"], workdirs, **options)
    print("nothing is left to run")


if __name__ == "__main__":
    app.run(main)
