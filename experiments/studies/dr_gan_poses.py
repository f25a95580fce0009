"""The claims of DR-GAN: whether drawing helps recognition across poses, and several images do.

    export JAXGEN_DATA=...                    # cfp, for the second half
    nice python -m experiments.studies.dr_gan_poses [--only=SUBSTRING] [--workdirs=DIR]

On synthetic_multipie (25 held-out people) and CFP (people 321-400): the recogniser without a
generator, single-image and multi-image DR-GAN, with the same encoder. Both DR-GANs of a seed begin
with the same recogniser and decoder, which are trained once and copied, so each recorded command
gives the same run by itself; the multi-image run measures that recogniser as well. Stop it at any
time and start it again. Records: docs/results/dr_gan.jsonl.
"""

from pathlib import Path

from absl import app

from experiments.studies import records
from experiments.studies.study_flags import ONLY, WORKDIRS

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
STEPS = {"synthetic_multipie": 400, "cfp": 1500}
# method -> whether it draws from sets of images too; both see 64 images a step.
METHODS = {"dr_gan_multi": True, "dr_gan_single": False}
SHARED = ("recogniser", "pose", "decoder")  # stages


def job(dataset: str, method: str, seed: int) -> records.Job:
    """One run of a set."""
    return records.Job(
        dataset=dataset,
        split="test",
        method=method,
        variant="width=1/4",
        seed=seed,
        steps=STEPS[dataset],
        arguments=[
            f"--config=experiments/configs/dr_gan/{CONFIGS[dataset]}.py",
            f"--config.gan.fuse={METHODS[method]}",
        ],
    )


def main(_):
    """Runs what has no record yet, those of seed 0 first."""
    workdirs = Path(WORKDIRS.value) / STUDY
    for seed in SEEDS:
        for dataset, metrics in METRICS.items():
            for method in METHODS:
                item = job(dataset, method, seed)
                if ONLY.value not in f"{STUDY}/{item.name}":
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
                    workdirs,
                    before=job(dataset, "dr_gan_multi", seed),
                    shared=SHARED,
                    length="gan.train.steps",
                    others=others,
                )
    print("nothing is left to run")


if __name__ == "__main__":
    app.run(main)
