"""What looking at a smaller picture too does for large faces, with the detectors of the ablation.

    python -m experiments.studies.tiny_faces_passes

Measures, for each data set, AP of the detector on the test scenes where pictures are made smaller
until one tile holds them (`detector.inference.smallest` = the tile) and until they are as small as
the training crops (0, the default); and of large faces, cut out so that they fill a share of a
picture as large as a tile, how many are found (IoU of 0.5, score of 0.3). Trains nothing: run the
ablation first. What has been recorded is not measured again. Records:
docs/results/tiny_faces.jsonl; `python -m experiments.studies.tables tiny_faces` makes the table.
"""

from functools import partial
from pathlib import Path

import numpy as np
from absl import app, logging

from experiments.studies import records
from experiments.studies import tiny_faces_ablation as ablation
from experiments.studies.study_flags import WORKDIRS
from jaxgen.data import face_pairs
from jaxgen.tasks import detection_inference as inference
from jaxgen.tasks import tiny_faces_data, tiny_faces_evaluation, tiny_faces_stages
from jaxgen.training import hosts, mesh
from jaxgen.training.workdir import CONFIG_FILE, saved_config

STUDY = "tiny_faces_passes"
SHARES = (0.4, 0.6, 0.75, 0.9)  # of the picture's side
LEAST_SIDE, MOST_FACES = 96, 60  # of the faces that are cut out: pixels, number
AP = ("ap", "ap_height_0_16", "ap_height_16_32", "ap_height_32_96", "ap_height_96_inf")


def main(argv: list[str]) -> None:
    """Records the figures of every detector that is there."""
    del argv
    logging.set_verbosity(logging.ERROR)  # Orbax says much about each restored checkpoint
    for dataset in ablation.DATASETS:
        for seed in ablation.SEEDS:
            runs = Path(WORKDIRS.value) / ablation.STUDY
            # All rows of a seed share one detector.
            configs = sorted(runs.glob(f"{dataset}_full_*_seed{seed}_*steps/{CONFIG_FILE}"))
            if not configs:
                print(f"{runs} has no detector for {dataset}, seed {seed}: run the ablation first")
                continue
            for smallest in (0, ablation.TILES[dataset][0]):
                record(dataset, seed, smallest, configs[0].parent)


def record(dataset: str, seed: int, smallest: int, workdir: Path) -> None:
    """Measures one setting of one detector, unless that has been recorded."""
    config = saved_config(workdir)
    config.detector.inference.update(smallest=smallest, most=ablation.TILES[dataset][1])
    side = inference.smallest_side(config)
    facts = dict(dataset=dataset, split="test", method="detector", variant=f"smallest={side}")
    facts |= dict(seed=seed, steps=config.detector.train.steps)
    if records.is_done("tiny_faces", STUDY, records.Job(**facts, arguments=())):
        return
    facts |= dict(study=STUDY, command=f"python -m experiments.studies.{STUDY}")
    figures = measure(config, workdir)
    print(f"{dataset}, seed {seed}, smallest side {side}:")
    print("  " + ", ".join(f"{name} {value:.1f}" for name, value in figures.items()))
    rows = [facts | dict(metric=name, value=value) for name, value in figures.items()]
    records.append("tiny_faces", rows)


def measure(config, workdir: Path) -> dict[str, float]:
    """Figures of the detector of a run with the settings of `config`, in percent."""
    variables, _ = tiny_faces_stages.restore_detector(config, workdir, mesh.data_mesh())
    detect = partial(inference.compile_detector(config), hosts.fetch(variables))
    scenes = tiny_faces_data.open_test(config)
    found = tiny_faces_evaluation.detect_scenes(config, detect, scenes)
    predictions = tiny_faces_evaluation.as_predictions(found)
    truth = tiny_faces_evaluation.ground_truth(scenes)
    numbers = tiny_faces_evaluation.detection_numbers(predictions, truth, {})
    return {key: numbers[key] for key in AP} | {
        f"found_at_{share:.0%}".rstrip("%"): 100 * found_share(config, detect, scenes, share)
        for share in SHARES
    }


def found_share(config, detect, scenes, share: float) -> float:
    """How many large faces are found that fill `share` of a picture as large as a tile."""
    size = config.detector.inference.tile
    pictures, wanted = [], []
    for scene in scenes:
        boxes = scene["boxes"][~scene["ignored"]]
        for box in boxes[(boxes[:, 2:] - boxes[:, :2]).max(1, initial=0) >= LEAST_SIDE]:
            pictures.append(face_pairs.cut(scene["image"], box, size=size, margin=1 / share))
            sides = (box[2:] - box[:2]) / (box[2:] - box[:2]).max() * share * size
            middle = (size - 1) / 2
            wanted.append(np.concatenate([middle - sides / 2, middle + sides / 2]))
    pictures, wanted = pictures[:MOST_FACES], wanted[:MOST_FACES]
    hits = 0
    for number, found in inference.detect_pictures(config, detect, enumerate(pictures)):
        sure = found.boxes[found.scores >= 0.3]
        hits += (face_pairs.overlaps(wanted[number][None], sure) >= 0.5).any()
    return hits / len(pictures)


if __name__ == "__main__":
    app.run(main)
