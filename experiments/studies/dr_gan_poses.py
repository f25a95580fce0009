"""The claims of DR-GAN: whether drawing helps recognition across poses, and several images do.

    export JAXGEN_DATA=...                    # cfp, for the second half
    nice python -m experiments.studies.dr_gan_poses [--only=PATTERN] [--workdirs=DIR]

First the last stage's settings are chosen on synthetic_multipie, by rank-1 over all yaws of a
quarter of the training people, who are held out; nothing of the test people is read. One of these
runs is a control and never chosen: the encoder trains on with identity labels alone, single and
fused, and nothing is drawn, so what a chosen setting is ahead of it comes from drawing. Then, on
synthetic_multipie (25 test people) and CFP (people 321-400): the recogniser without a generator,
single-image and multi-image DR-GAN, with the same encoder, and a recogniser that trains for as many
more steps as DR-GAN's last stage takes. Both DR-GANs of a seed begin with the same recogniser and
decoder, which are trained once and copied, so each recorded command gives the same run by itself;
the multi-image run measures that recogniser as well. Stop it at any time and start it again.
Records: docs/results/dr_gan.jsonl.
"""

from pathlib import Path

from absl import app

from experiments.studies import records
from experiments.studies.study_flags import WORKDIRS, is_asked_for

STUDY, TUNING, SEEDS = "dr_gan_poses", "dr_gan_settings", (0, 1, 2)
MOST = 6  # fused images
YAWS = (0, 15, 30, 45, 60)
BY_IMAGES = [
    f"rank1{kind}_images_{count}{weights}"
    for kind in ("", "_degraded")
    for count in range(1, MOST + 1)
    for weights in ("", "_equal")
    if count > 1 or not weights
]
TAR = ("tar_at_far_0.01", "tar_at_far_0.001")  # over all pairs of pictures
METRICS = {
    "synthetic_multipie": [
        *("rank1", "eer", "auc", *TAR, *(f"rank1_yaw_{yaw}" for yaw in YAWS)),
        *BY_IMAGES,
    ],
    "cfp": [
        *(
            f"{figure}_{pair}"
            for figure in ("accuracy", "eer", "auc")
            for pair in ("frontal_frontal", "frontal_profile")
        ),
        *TAR,
    ],
}
CONFIDENCES = ("confidence_clean", "confidence_degraded")  # their means
CONFIGS = {"synthetic_multipie": "default", "cfp": "cfp"}
RECOGNISER_STEPS = {"synthetic_multipie": 1200, "cfp": 1500}
# method -> whether it draws from sets of images too; both see 64 images a step.
METHODS = {"dr_gan_multi": True, "dr_gan_single": False, "no_drawing": True}
SHARED = ("recogniser", "pose", "decoder")  # stages
# The confidence as the game teaches it; a stage of its own: experiments/studies/dr_gan_confidence.
STAGES = "--config.stages=recogniser,pose,decoder,gan"
CRITERION = "rank1"


def weights(
    adversarial: float, identity: float, pose: float, *, feature_identity: float = 0.0, **others
) -> list[str]:
    """Of the game, as arguments; where `others` are silent the pixel loss has 30."""
    values = dict(adversarial=adversarial, identity=identity, pose=pose)
    values |= dict(feature_identity=feature_identity, **others)
    return [f"--config.gan.weights.{name}={value}" for name, value in values.items()]


RATE = ["--config.gan.optimiser.learning_rate=0.001"]
SLOW = ["--config.gan.optimiser.learning_rate=0.0002"]
CONSTANT = ["--config.gan.optimiser.schedule=constant", "--config.gan.optimiser.warmup_steps=0"]
DEGRADED = ["--config.recogniser.degraded=0.3", "--config.gan.degraded=0.5"]
COSINE = ["--config.gan.optimiser.schedule=cosine", "--config.gan.optimiser.warmup_steps=100"]
NAMED = [*weights(0.02, 0.05, 0.05, feature_identity=1.0), *RATE, *COSINE]
NO_GAME = weights(0.0, 0.0, 0.0)
DRAWN_AND_NAMED = [*weights(0.0, 0.0, 0.0, feature_identity=1.0), *RATE, *COSINE]
CONTROL = "identity_only"
SELDOM = ["--config.gan.train.validate_every=500", "--config.gan.train.checkpoint_every=500"]
# Setting of the last stage -> (its steps, arguments). "drawing" has no game: the encoder learns
# from what the decoder cannot draw. In "identity" features name their person too, beside a light
# game; in "identity_drawing" without one.
SETTINGS = {
    "warm_game": (
        3000,
        [*weights(0.02, 0.5, 0.1), *SLOW, *CONSTANT, "--config.gan.warm_start=both"],
    ),
    "drawing": (3000, [*NO_GAME, *RATE, *CONSTANT]),
    "drawing_degraded": (3000, [*NO_GAME, *RATE, *CONSTANT, *DEGRADED]),
    "identity": (3000, NAMED),
    "identity_degraded": (3000, [*NAMED, *DEGRADED]),
    "identity_drawing": (3000, DRAWN_AND_NAMED),
    "identity_drawing_degraded": (3000, [*DRAWN_AND_NAMED, *DEGRADED]),
    "identity_drawing_degraded_gain": (
        3000,
        [*DRAWN_AND_NAMED, *DEGRADED, "--config.model.confidence_gain=10.0"],
    ),
    CONTROL: (
        3000,
        [*weights(0.0, 0.0, 0.0, pixel=0.0, feature_identity=1.0), *RATE, *COSINE],
    ),
}


def job(dataset: str, method: str, seed: int, setting: str) -> records.Job:
    """One run of a set."""
    steps, arguments = SETTINGS[setting]
    return records.Job(
        dataset=dataset,
        split="test",
        method=method,
        variant=f"width=1/4,setting={setting}",
        seed=seed,
        steps=steps,
        arguments=[
            f"--config=experiments/configs/dr_gan/{CONFIGS[dataset]}.py",
            f"--config.gan.fuse={METHODS[method]}",
            *SELDOM,
            *arguments,
            STAGES,
        ],
    )


def tuning_jobs() -> list[records.Job]:
    """A run of every setting, measured on held-out training people."""
    held_out = [
        "--config.data.validation_fraction=0.25",
        "--config.test.probe=validation",
        "--config.test.gallery=",
    ]
    methods = {setting: "dr_gan_multi" for setting in SETTINGS} | {CONTROL: "no_drawing"}
    items = [job("synthetic_multipie", method, 0, name) for name, method in methods.items()]
    return [
        item._replace(split="validation", arguments=[*item.arguments, *held_out]) for item in items
    ]


def by_recogniser(jobs: list[records.Job]) -> list[list[records.Job]]:
    """Jobs in groups whose recognisers, and so decoders, are trained in the same way."""
    groups = {}
    for item in jobs:
        settings = tuple(a for a in item.arguments if a.startswith("--config.recogniser."))
        groups.setdefault(settings, []).append(item)
    return list(groups.values())


def longer_recogniser(whole: records.Job) -> records.Job:
    """The recogniser of a DR-GAN run with the steps of the last stage besides."""
    steps = RECOGNISER_STEPS[whole.dataset] + whole.steps
    arguments = [a for a in whole.arguments if ".gan." not in a and a != STAGES]
    return whole._replace(
        method="recogniser_longer",
        steps=steps,
        arguments=[*arguments, "--config.stages=recogniser"],
    )


def main(_):
    """Runs what has no record yet, those of seed 0 first."""
    workdirs = Path(WORKDIRS.value)
    # The one frontal picture of each training person is their gallery: none is a probe.
    metrics = [name for name in METRICS["synthetic_multipie"] if name != "rank1_yaw_0"]
    others = [("recogniser", name, f"{name}_recogniser") for name in metrics]
    metrics += CONFIDENCES
    options = dict(length="gan.train.steps", others=others)
    jobs = tuning_jobs()
    for same in by_recogniser(jobs):  # the first of them lends its stages to the others
        start = dict(before=same[0], shared=SHARED, only=is_asked_for)
        records.run_all("dr_gan", TUNING, same, metrics, workdirs / TUNING, **start, **options)
    facts = dict(method="dr_gan_multi", split="validation")  # the control is another method
    found = records.best_settings(
        "dr_gan", TUNING, CRITERION, count=len(jobs) - 1, largest=True, **facts
    )
    for seed in SEEDS:
        for dataset in METRICS:
            run_methods(dataset, seed, found["setting"], workdirs / STUDY)
    print("nothing is left to run")


def run_methods(dataset: str, seed: int, setting: str, workdirs: Path) -> None:
    """Multi-image DR-GAN and the recogniser that it began with, then the others."""
    metrics, whole = METRICS[dataset], job(dataset, "dr_gan_multi", seed, setting)
    drawn = ["pose_obedience", "identity_similarity"]
    extra = [] if dataset == "cfp" else [*CONFIDENCES, *drawn]
    for item in (whole, job(dataset, "dr_gan_single", seed, setting)):
        others = []
        if item is whole:
            others = [("recogniser", name, f"{name}_recogniser") for name in metrics]
        options = dict(length="gan.train.steps", others=others, before=whole, shared=SHARED)
        run(item, [*metrics, *extra], workdirs, **options)
    run(longer_recogniser(whole), metrics, workdirs, length="recogniser.train.steps")


def run(item: records.Job, metrics, workdirs: Path, **options) -> None:
    """Runs a job that is asked for."""
    if is_asked_for(STUDY, item.name):
        records.run_once("dr_gan", STUDY, item, metrics, workdirs, **options)


if __name__ == "__main__":
    app.run(main)
