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

Then come remedies for the full method, each with the same budget: seed 0 of all, and the other
seeds of the one that finds the most small faces in the held-out scenes. Then games from a new
discriminator: it learns to classify in one go, with the optimiser, the batches and the steps of the
bicubic classifier, in place of a warm start and a game. Each of these runs trains both, on the same
proposals. Last, longer games, and a bicubic classifier that learns from as many crops as they do;
which of them goes to the other seeds is chosen as among the remedies, and those from a new
discriminator are played longer, too; and once more from a generator that learned alone for longer.
"""

from collections.abc import Iterable
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
LONGER = 1500  # of longer games
BATCHES = {"discriminator": 32, "gan": 16}  # crops of a step
SPLITS = {"synthetic_crowds": "test", "wider_face": "val"}
# Rows are compared with those that were measured when pictures were made no smaller than one tile,
# and no more boxes were kept of a picture than of a tile.
TILES = {"synthetic_crowds": (384, 500), "wider_face": (640, 750)}
GAN_STAGES = "detector,crops,generator,discriminator,gan"
NO_CLASS = "--config.gan.weights.classification=0.0"
NO_GAME = "--config.gan.weights.adversarial=0.0"
PROPOSALS = ("detector", "crops")
ALL = (*PROPOSALS, "generator", "discriminator")
COMPACT = "compact"  # the variant that the rows have
# Row -> (stages taken over from the row "full", arguments).
ROWS = {
    "full": ((), ()),
    "adversarial": (ALL, (NO_CLASS,)),
    "refinement": (ALL, (NO_CLASS, NO_GAME)),
    "generator": (
        (*PROPOSALS, "discriminator"),
        (NO_CLASS, NO_GAME, "--config.generator.refine=False"),
    ),
    "bicubic_classifier": (PROPOSALS, ()),
}
# What may keep the discriminator from classifying as well as that of "bicubic_classifier": half of
# its loss is about real and super-resolved images; it learns more slowly than in its warm start;
# and the generator hardly hears what it says of faces.
_GAME, _RATE, _CLASS = (
    "--config.gan.discriminator_adversarial=0.1",
    "--config.gan.discriminator_optimiser.learning_rate=0.001",
    "--config.gan.weights.classification=1.0",
)
REMEDIES = {
    "discriminator_adversarial=0.1": (_GAME,),
    "discriminator_rate=0.001": (_RATE,),
    "classification=1.0": (_CLASS,),
    "discriminator_adversarial=0.1,classification=1.0": (_GAME, _CLASS),
    "discriminator_adversarial=0.1,discriminator_rate=0.001": (_GAME, _RATE),
}
# One schedule for all that the classifier learns, instead of two with a restart between them: with
# the best remedy, and, for one seed, with the paper's equal weights.
_NEW = ("--config.gan.discriminator_start=new", _RATE)
_LESS = "discriminator_start=new,discriminator_adversarial=0.1"
_BETTER = f"{_LESS},generator_steps=2000"
FROM_NEW = {_LESS: (*_NEW, _GAME), "discriminator_start=new": _NEW, _BETTER: (*_NEW, _GAME)}
# Steps of the generator alone, where they are not WARM_UP: its PSNR still rises then.
GENERATOR_STEPS = {_BETTER: 2000}
# What a longer game is played with. Neither network has learned all it can in STEPS.
LONGER_REMEDIES = (
    "discriminator_adversarial=0.1",
    "discriminator_adversarial=0.1,discriminator_rate=0.001",
)
CRITERION = "validation_ap_height_0_16"
HEIGHTS = ("0_10", "10_16", "0_16", "16_32", "32_96", "96_inf")
AP = ("ap", *(f"ap_height_{name}" for name in HEIGHTS))
PSNR = ("psnr", "psnr_faces")
TOLD = ("", *(f"_height_{name}" for name in ("0_8", "8_16", "16_32", "32_inf")))  # face accuracy


def job(
    dataset: str, method: str, seed: int, remedy: str = "", *, steps: int = STEPS
) -> records.Job:
    """One row of a data set and seed, or a remedy for the full method.

    Args:
        dataset: of DATASETS.
        method: of ROWS.
        seed: of the run.
        remedy: of REMEDIES or FROM_NEW, or "".
        steps: of the game, see `in_one_go` for those that have no warm start of the classifier.
    """
    config, detector_steps = DATASETS[dataset]
    changes = (REMEDIES | FROM_NEW)[remedy] if remedy else ROWS[method][1]
    batches = dict(BATCHES)
    if remedy in FROM_NEW:
        batches["gan"] = batches["discriminator"]
    arguments = [f"--config={config}", *changes]
    tile, boxes = TILES[dataset]
    arguments += [
        f"--config.detector.inference.smallest={tile}",
        f"--config.detector.inference.most={boxes}",
        f"--config.detector.train.steps={detector_steps}",
        f"--config.generator.train.steps={GENERATOR_STEPS.get(remedy, WARM_UP)}",
        *(f"--config.{stage}.train.batch_size={size}" for stage, size in batches.items()),
    ]
    if method == "bicubic_classifier":
        steps = in_one_go(steps)
        arguments += ["--config.stages=detector,crops,discriminator"]
    else:
        warm_up = WARM_UP
        if remedy in FROM_NEW:
            steps = warm_up = in_one_go(steps)
        arguments += [
            f"--config.stages={GAN_STAGES}",
            f"--config.discriminator.train.steps={warm_up}",
        ]
    return records.Job(
        dataset=dataset,
        split=SPLITS[dataset],
        method=method,
        variant=f"{COMPACT},{remedy}" if remedy else COMPACT,
        seed=seed,
        steps=steps,
        arguments=arguments,
    )


def in_one_go(steps: int) -> int:
    """Steps that show a classifier as many crops as a warm start and a game of so many steps."""
    return WARM_UP + steps * BATCHES["gan"] // BATCHES["discriminator"]


def options(method: str, remedy: str = "") -> dict:
    """Which figures of results.json a row or remedy is recorded with, see `records.run`."""
    if method == "bicubic_classifier":
        rows = [(method, name, f"{name}_{method}") for name in (*AP, CRITERION)]
        rows += _told(method, "bicubic")
        return dict(length="discriminator.train.steps", others=rows)
    # "full" is the report's name of the last stage.
    rows = [(method, name, f"{name}_full") for name in (*AP, CRITERION)]
    rows += [(method, name, name) for name in PSNR] + _told(method, "super_resolved")
    if remedy in FROM_NEW:
        rows += options("bicubic_classifier")["others"]
    if method == "full" and (not remedy or remedy in FROM_NEW):
        rows += [("detector", name, f"{name}_detector") for name in AP]
        rows += [("oracle", name, f"{name}_oracle") for name in AP]
        rows += [("bicubic", name, f"{name}_bicubic") for name in PSNR]
    return dict(length="gan.train.steps", others=rows)


def _told(method: str, seen: str) -> list[tuple[str, str, str]]:
    """Rows of the accuracy of a classifier, by the height of the faces too."""
    return [(method, f"face_accuracy{name}", f"face_accuracy_{seen}{name}") for name in TOLD]


def best_remedy(dataset: str, remedies: Iterable[str] = REMEDIES, steps: int = STEPS) -> str:
    """That with the highest criterion of seed 0, once all have been tried; "" before.

    Args:
        dataset: of DATASETS.
        remedies: to choose among, of REMEDIES.
        steps: of the game.
    """
    remedies = tuple(remedies)
    wanted = dict(study=STUDY, dataset=dataset, metric=CRITERION, seed=0, steps=steps)
    tried = {
        row["variant"].removeprefix(f"{COMPACT},"): row["value"]
        for row in records.read("tiny_faces")
        if all(row[key] == value for key, value in wanted.items())
    }
    return max(remedies, key=tried.get) if set(remedies) <= set(tried) else ""


def run(items: Iterable[records.Job]) -> None:
    """Runs those that are asked for and have no record."""
    workdirs, attempts = Path(WORKDIRS.value) / STUDY, []
    for item in items:
        if not is_asked_for(STUDY, item.name):
            continue
        whole = job(item.dataset, "full", item.seed)
        remedy = item.variant.removeprefix(COMPACT).removeprefix(",")
        shared = ALL if remedy else ROWS[item.method][0]
        if remedy in FROM_NEW:
            shared = PROPOSALS if remedy in GENERATOR_STEPS else (*PROPOSALS, "generator")
        start = dict(before=whole, shared=shared)
        arguments = ("tiny_faces", STUDY, item, (), workdirs)
        recorded = options(item.method, remedy)
        attempts.append(partial(records.run_once, *arguments, **start, **recorded))
    records.run_until_done(attempts)


def main(_):
    """Runs what has no record yet, those of seed 0 first, "full" before what shares with it."""
    pairs = [(seed, dataset) for seed in SEEDS for dataset in DATASETS]
    run(job(dataset, method, seed) for seed, dataset in pairs for method in ROWS)
    run(job(dataset, "full", 0, remedy) for dataset in DATASETS for remedy in REMEDIES)
    found = {dataset: best_remedy(dataset) for dataset in DATASETS}
    run(job(dataset, "full", seed, found[dataset]) for seed, dataset in pairs if found[dataset])
    less, equal, better_generator = FROM_NEW
    run(job(dataset, "full", seed, less) for seed, dataset in pairs)
    run(job(dataset, "full", 0, equal) for dataset in DATASETS)
    longer = partial(job, steps=LONGER)
    run(longer(dataset, "bicubic_classifier", seed) for seed, dataset in pairs)
    run(longer(dataset, "full", 0, remedy) for dataset in DATASETS for remedy in LONGER_REMEDIES)
    found = {dataset: best_remedy(dataset, LONGER_REMEDIES, LONGER) for dataset in DATASETS}
    run(longer(dataset, "full", seed, found[dataset]) for seed, dataset in pairs if found[dataset])
    for remedy in (less, better_generator):
        run(longer(dataset, "full", seed, remedy) for seed, dataset in pairs)
    print("nothing is left to run")


if __name__ == "__main__":
    app.run(main)
