"""What each part of the tiny-face GAN is worth: six rows, as the paper's ablation has them.

    export JAXGEN_DATA=...                    # wider_face in its official layout
    nice python -m experiments.studies.tiny_faces_ablation [--only=PATTERN] [--workdirs=DIR]

    detector            its scores alone
    bicubic_classifier  small boxes scored anew by a classifier on bicubically enlarged crops
    generator           on crops of the up-sampling network, trained on pixels alone
    refinement          the refinement network besides
    adversarial         and the adversarial loss
    full                and the gradient of the classifier

"bicubic" is the PSNR of plain enlargement, "oracle" the AP of the detector's boxes with perfect
scores: what no second look can exceed. How two scores become one is chosen for every row on
held-out training scenes. All rows of a data set and seed share one detector, its
crops and, where they have the same networks, the warm starts. The classifier of every row learns
from equally many crops, and every row takes the checkpoint whose classifier does best on held-out
crops of training scenes. Shared stages are copied, so each recorded command gives the same run by
itself. Stop it at any time and start it again. Records: docs/results/tiny_faces.jsonl.
"""

from functools import partial
from pathlib import Path

from absl import app

from experiments.studies import records
from experiments.studies.study_flags import WORKDIRS, is_asked_for

STUDY, SEEDS = "tiny_faces_ablation", (0, 1, 2)
# Data set -> (config, steps of the detector).
DATASETS = {
    "synthetic_crowds": ("experiments/configs/tiny_faces/default.py", 800),
    "wider_face": ("experiments/configs/tiny_faces/wider_face.py:part", 1000),
}
WARM_UP, STEPS = 300, 300  # of generator and classifier alone; of the game
BATCHES = {"discriminator": 32, "gan": 16}  # crops of a step
SPLITS = {"synthetic_crowds": "test", "wider_face": "val"}
GAN_STAGES = "detector,crops,generator,discriminator,gan"
NO_CLASS = "--config.gan.weights.classification=0.0"
NO_GAME = "--config.gan.weights.adversarial=0.0"
ALL = ("detector", "crops", "generator", "discriminator")
# Row -> (stages taken over from the row "full", arguments).
ROWS = {
    "full": ((), ()),
    "adversarial": (ALL, (NO_CLASS,)),
    "refinement": (ALL, (NO_CLASS, NO_GAME)),
    "generator": (
        ("detector", "crops", "discriminator"),
        (NO_CLASS, NO_GAME, "--config.generator.refine=False"),
    ),
    "bicubic_classifier": (("detector", "crops"), ()),
}
HEIGHTS = ("0_10", "10_16", "0_16", "16_32", "32_96", "96_inf")
AP = ("ap", *(f"ap_height_{name}" for name in HEIGHTS))
PSNR = ("psnr", "psnr_faces")
TOLD = ("", *(f"_height_{name}" for name in ("0_8", "8_16", "16_32", "32_inf")))  # face accuracy


def job(dataset: str, method: str, seed: int) -> records.Job:
    """One row of a data set and seed."""
    config, detector_steps = DATASETS[dataset]
    steps, arguments = STEPS, [f"--config={config}", *ROWS[method][1]]
    arguments += [
        f"--config.detector.train.steps={detector_steps}",
        f"--config.generator.train.steps={WARM_UP}",
        *(f"--config.{stage}.train.batch_size={size}" for stage, size in BATCHES.items()),
    ]
    if method == "bicubic_classifier":
        # As many crops as the other rows' classifiers see in two stages.
        steps = WARM_UP + STEPS * BATCHES["gan"] // BATCHES["discriminator"]
        arguments += ["--config.stages=detector,crops,discriminator"]
    else:
        arguments += [
            f"--config.stages={GAN_STAGES}",
            f"--config.discriminator.train.steps={WARM_UP}",
        ]
    return records.Job(
        dataset=dataset,
        split=SPLITS[dataset],
        method=method,
        variant="compact",
        seed=seed,
        steps=steps,
        arguments=arguments,
    )


def options(method: str) -> dict:
    """Which figures of results.json a row is recorded with, see `records.run`."""
    if method == "bicubic_classifier":
        rows = [(method, name, f"{name}_bicubic_classifier") for name in AP]
        rows += _told(method, "bicubic")
        return dict(length="discriminator.train.steps", others=rows)
    rows = [(method, name, f"{name}_full") for name in AP]  # the report's name of the last stage
    rows += [(method, name, name) for name in PSNR] + _told(method, "super_resolved")
    if method == "full":
        rows += [("detector", name, f"{name}_detector") for name in AP]
        rows += [("oracle", name, f"{name}_oracle") for name in AP]
        rows += [("bicubic", name, f"{name}_bicubic") for name in PSNR]
    return dict(length="gan.train.steps", others=rows)


def _told(method: str, seen: str) -> list[tuple[str, str, str]]:
    """Rows of the accuracy of a classifier, by the height of the faces too."""
    return [(method, f"face_accuracy{name}", f"face_accuracy_{seen}{name}") for name in TOLD]


def main(_):
    """Runs what has no record yet, those of seed 0 first, "full" before the rows that share."""
    workdirs, attempts = Path(WORKDIRS.value) / STUDY, []
    for seed in SEEDS:
        for dataset in DATASETS:
            whole = job(dataset, "full", seed)
            for method, (shared, _) in ROWS.items():
                item = job(dataset, method, seed)
                if not is_asked_for(STUDY, item.name):
                    continue
                start = dict(before=whole, shared=shared)
                arguments = ("tiny_faces", STUDY, item, (), workdirs)
                attempts.append(partial(records.run_once, *arguments, **start, **options(method)))
    records.run_until_done(attempts)
    print("nothing is left to run")


if __name__ == "__main__":
    app.run(main)
