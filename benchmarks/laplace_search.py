"""How small a face the search without boxes finds: HELEN's test faces in ever larger pictures.

    export JAXGEN_DATA=...                    # 300w/helen
    python -m experiments.laplace             # the network, unless it is there
    python -m benchmarks.laplace_search --workdir=runs/laplace

The borders of every fourth test picture are repeated around it, so that the face takes a smaller
share. Prints, for a search from the whole picture alone, for the one from several central squares,
and with the annotated box, the mean inter-ocular NME and the share of faces above 20 %.
"""

from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
from absl import app, flags

from experiments import laplace
from experiments.configs.laplace import helen
from jaxgen.metrics import landmarks, normalizers
from jaxgen.tasks import laplace_data, laplace_inference
from jaxgen.training.workdir import saved_config

WORKDIR = flags.DEFINE_string("workdir", "runs/laplace", "Folder of the trained network.")
BORDERS = (0.0, 0.25, 0.5)  # of the picture's side, on each side of it
FAILED = 20.0  # percent


def main(_):
    """Prints a line a border and way to look."""
    workdir = Path(WORKDIR.value)
    config = saved_config(workdir)
    devices, variables, _ = laplace.restore(config, workdir)
    predictor = partial(laplace_inference.compile_predictor(config, devices), variables)
    source = laplace_data.open_test(helen.get_config())
    examples = [source[row] for row in range(0, len(source), 4)]
    for border in BORDERS:
        faces, true, boxes, shares = [], [], [], []
        for example in examples:
            image = example["image"]
            width = int(border * image.shape[0])
            image = np.pad(image, ((width, width), (width, width), (0, 0)), mode="edge")
            faces.append(laplace_inference.Face(len(faces), image, None))
            true.append(example["points"] + width)
            boxes.append(example["box"] + width)
            shares.append((boxes[-1][2:] - boxes[-1][:2]).max() / image.shape[0])
        given = [face._replace(box=box) for face, box in zip(faces, boxes, strict=True)]
        whole = laplace_inference.SEARCH_STARTS[:1]
        ways = {
            "whole picture": (faces, whole),
            "several squares": (faces, laplace_inference.SEARCH_STARTS),
            "annotated box": (given, whole),
        }
        for name, (asked, starts) in ways.items():
            with mock.patch.object(laplace_inference, "SEARCH_STARTS", starts):
                found = list(laplace_inference.predict_faces(config, predictor, asked))
            points = np.stack([prediction.points for prediction in found])
            errors = landmarks.nme(points, np.stack(true), normalizers.inter_ocular)
            print(
                f"{len(found)} faces of {np.mean(shares):.0%} of the side, {name}: NME "
                f"{errors.mean():.1f} %, {np.mean(errors > FAILED):.0%} above {FAILED:g} %",
                flush=True,
            )


if __name__ == "__main__":
    app.run(main)
