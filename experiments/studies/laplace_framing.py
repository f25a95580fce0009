"""The discriminator with unlabelled faces that are framed as the labelled ones are.

    export JAXGEN_DATA=...                    # 300w/helen, faces_unlabelled
    nice python -m experiments.studies.laplace_framing [--only=PATTERN] [--workdirs=DIR]

The runs of experiments.studies.laplace_helen gave all unlabelled pictures one mean box, so that
framing alone could tell real pairs of picture and heatmaps from fake ones. Here a network that was
trained on HELEN looks for the face in each of them, and its points give the boxes; pictures in
which it is unsure are left out. All else is as there. Stop it at any time and start it again.
Records: docs/results/laplace.jsonl.
"""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from absl import app

from experiments.studies import laplace_helen, records
from experiments.studies.study_flags import WORKDIRS, is_asked_for
from jaxgen.tasks.laplace_inference import UNSURE

STUDY = "laplace_framing"
BOXES = "boxes.csv"
LABELS = (1.0, 0.1)


def plain(seed: int, labels: float = 1.0) -> records.Job:
    """LaplaceKL without a discriminator: the baseline, and with all labels the finder of faces."""
    return laplace_helen.job("laplace_kl", "1/8", seed, labels=labels)


def adversarial(seed: int, labels: float, boxes: Path) -> records.Job:
    """The same with a discriminator on unlabelled faces in boxes of their own."""
    job = laplace_helen.job("laplace_kl_adversarial", "1/8", seed, labels=labels)
    return job._replace(
        variant=f"{job.variant},boxes=predicted",
        arguments=[*job.arguments, f"--config.unlabelled.options.boxes={boxes}"],
    )


def write_boxes(workdir: Path, path: Path) -> None:
    """Boxes around the points that the network of `workdir` finds in the unlabelled faces."""
    pictures = Path(os.environ["JAXGEN_DATA"]) / "faces_unlabelled"
    command = [sys.executable, "-m", "experiments.laplace", "--mode=predict"]
    subprocess.run([*command, f"--workdir={workdir}", f"--input={pictures}"], check=True)
    faces = json.loads((workdir / "predictions" / "predictions.json").read_text())["faces"]
    rows = []
    for face in faces:
        points, scales = np.array(face["points"]), np.array(face["scales"])
        low, high = points.min(0), points.max(0)
        if scales.mean() <= UNSURE * (high - low).max():
            rows.append([face["name"], *np.concatenate([low, high]).round(2)])
    print(f"{len(rows)} of {len(faces)} unlabelled faces have a box: {path}")
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["name", "x0", "y0", "x1", "y1"], *rows])


def main(_):
    """Runs what has no record yet."""
    folder = Path(WORKDIRS.value) / STUDY
    boxes = folder / BOXES

    def run(*jobs):
        metrics = laplace_helen.METRICS
        records.run_all("laplace", STUDY, jobs, metrics, folder, only=is_asked_for)

    run(plain(0))
    if not boxes.exists():
        write_boxes(folder / plain(0).name, boxes)
    for labels in LABELS:
        for seed in laplace_helen.SEEDS:
            run(adversarial(seed, labels, boxes), plain(seed, labels))
    print("nothing is left to run")


if __name__ == "__main__":
    os.nice(5)  # long runs leave the machine usable
    app.run(main)
