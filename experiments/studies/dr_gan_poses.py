"""The claims of DR-GAN: whether drawing helps recognition across poses, and several images do.

    export JAXGEN_DATA=...                    # cfp, for the second half
    nice python -m experiments.studies.dr_gan_poses [--only=SUBSTRING] [--workdirs=DIR]

On synthetic_multipie (25 held-out people) and CFP (people 321-400): the recogniser without a
generator, single-image and multi-image DR-GAN, with the same encoder. One run measures the
recogniser and one DR-GAN; the recogniser of the multi-image run is recorded, and trains again,
from the same seed, as the single-image run's warm start. Checkpoints are chosen on held-out
training people. Stop it at any time and start it again. Records: docs/results/dr_gan.jsonl.
"""

from pathlib import Path

from absl import app, flags

from experiments.studies import records

STUDY, SEEDS = "dr_gan_poses", (0, 1, 2)
MOST = 6  # fused images
YAWS = (0, 15, 30, 45, 60)
BY_IMAGES = [
    f"rank1{kind}_images_{count}{weights}"
    for kind in ("", "_degraded")
    for count in range(1, MOST + 1)
    for weights in ("", "_equal")
    if count > 1 or not weights
]
METRICS = {
    "synthetic_multipie": [
        *("rank1", "eer", "auc", *(f"rank1_yaw_{yaw}" for yaw in YAWS)),
        *BY_IMAGES,
    ],
    "cfp": [
        f"{figure}_{pair}"
        for figure in ("accuracy", "eer", "auc")
        for pair in ("frontal_frontal", "frontal_profile")
    ],
}
CONFIGS = {"synthetic_multipie": "default", "cfp": "cfp"}
STEPS = {"synthetic_multipie": 500, "cfp": 1500}
# method -> images of each person, people in a batch: 64 images a step in both.
METHODS = {"dr_gan_multi": (4, 16), "dr_gan_single": (1, 64)}

_ONLY = flags.DEFINE_string("only", "", "Run only jobs whose study/name holds this.")
_WORKDIRS = flags.DEFINE_string("workdirs", "runs/studies", "Folder of all runs.")


def job(dataset: str, method: str, seed: int) -> records.Job:
    """One run of a set."""
    images, people = METHODS[method]
    return records.Job(
        dataset=dataset,
        split="test",
        method=method,
        variant="width=1/4",
        seed=seed,
        steps=STEPS[dataset],
        arguments=[
            f"--config=experiments/configs/dr_gan/{CONFIGS[dataset]}.py",
            f"--config.gan.images={images}",
            f"--config.gan.train.batch_size={people}",
        ],
    )


def main(_):
    """Runs what has no record yet, those of seed 0 first."""
    for seed in SEEDS:
        for dataset, metrics in METRICS.items():
            for method in METHODS:
                item = job(dataset, method, seed)
                if _ONLY.value not in f"{STUDY}/{item.name}":
                    continue
                others = []
                if method == "dr_gan_multi":
                    others = [("recogniser", name, f"{name}_recogniser") for name in metrics]
                extra = () if dataset == "cfp" else ("pose_obedience", "identity_similarity")
                records.run_once(
                    "dr_gan",
                    STUDY,
                    item,
                    [*metrics, *extra],
                    Path(_WORKDIRS.value) / STUDY,
                    length="gan.train.steps",
                    others=others,
                )
    print("nothing is left to run")


if __name__ == "__main__":
    app.run(main)
