"""Whether DR-GAN knows which pictures to trust: sets of which about half are blurred or noisy.

    nice python -m experiments.studies.dr_gan_confidence [--only=PATTERN] [--workdirs=DIR]

The default config with a shorter decoder and game, so that two cores can pay three seeds, on
synthetic_multipie: the recogniser, whose pictures weigh alike; DR-GAN with the confidence that its
game has taught; and the same networks after the stage "confidence". Rank-1 of fused sets of 1 to 6
pictures of 25 test people, weighted by confidence and alike. The second run of a seed takes over
the stages of the first, so each recorded command gives the same run by itself. The stage's loss and
learning rate were chosen on held-out training people, and here nothing is. Stop it at any time and
start it again. Records: docs/results/dr_gan.jsonl.
"""

from functools import partial
from pathlib import Path

from absl import app

from experiments.studies import dr_gan_poses, records
from experiments.studies.study_flags import WORKDIRS, is_asked_for

STUDY, SEEDS = "dr_gan_confidence", (0, 1, 2)
DECODER_STEPS, GAN_STEPS, STEPS = 1200, 300, 300
METHODS = ("dr_gan", "dr_gan_confidence")
STAGES = ("recogniser", "pose", "decoder", "gan")
METRICS = ("rank1", *dr_gan_poses.BY_IMAGES)
TRUST = (*dr_gan_poses.CONFIDENCES, *(f"confidence_yaw_{yaw}" for yaw in dr_gan_poses.YAWS[1:]))


def job(method: str, seed: int) -> records.Job:
    """One run of a seed, without or with the stage."""
    stages = [*STAGES, "confidence"] if method == "dr_gan_confidence" else STAGES
    return records.Job(
        dataset="synthetic_multipie",
        split="test",
        method=method,
        variant=f"width=1/4,gan={GAN_STEPS}",
        seed=seed,
        steps=STEPS,
        arguments=[
            "--config=experiments/configs/dr_gan/default.py",
            f"--config.stages={','.join(stages)}",
            f"--config.decoder.train.steps={DECODER_STEPS}",
            f"--config.gan.train.steps={GAN_STEPS}",
        ],
    )


def main(_):
    """Runs what has no record yet, those of seed 0 first."""
    workdirs, attempts = Path(WORKDIRS.value) / STUDY, []
    for seed in SEEDS:
        for method in METHODS:
            item = job(method, seed)
            if not is_asked_for(STUDY, item.name):
                continue
            others = []
            if method == "dr_gan":
                others = [("recogniser", name, f"{name}_recogniser") for name in METRICS]
            options = dict(length="confidence.train.steps", others=others)
            start = dict(before=job("dr_gan", seed), shared=STAGES)
            arguments = ("dr_gan", STUDY, item, (*METRICS, *TRUST), workdirs)
            attempts.append(partial(records.run_once, *arguments, **start, **options))
    records.run_until_done(attempts)
    print("nothing is left to run")


if __name__ == "__main__":
    app.run(main)
