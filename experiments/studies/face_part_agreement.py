"""How well face parts drawn from 68 points agree with true masks, on rendered faces that have both.

    python -m experiments.studies.face_part_agreement [--data_dir=DIR]

The drawn masks are the test labels of photographs (`face_parts`), so this is the accuracy of the
ruler: differences between methods that are smaller than its errors mean little. Renders
`synthetic_parts` on first use. The faces are others than those that the drawing was fitted on.
Records: docs/results/cycada.jsonl.
"""

import io

import numpy as np
from absl import app, flags
from PIL import Image

from experiments.studies import records

STUDY, DATASET, SPLIT = "face_part_agreement", "synthetic_parts", "test"

_DATA_DIR = flags.DEFINE_string("data_dir", "", "Where prepared sets are kept; default: TFDS's.")


def measure(data_dir: str) -> dict[str, float]:
    """Figures of `metrics.segmentation.summary`; the drawn masks are taken as the labels."""
    import tensorflow_datasets as tfds

    from jaxgen.data import label_maps
    from jaxgen.data.builders import part_polygons, registry
    from jaxgen.metrics import segmentation

    builder = registry.find(DATASET, sets=label_maps.SCENES, data_dir=data_dir).builder
    registry.prepare(builder)
    decoders = {name: tfds.decode.SkipDecoding() for name in ("image", "mask")}
    count = len(part_polygons.CLASSES)
    total = np.zeros((count, count), np.int64)
    for record in builder.as_data_source(SPLIT, decoders=decoders):
        parts = np.asarray(Image.open(io.BytesIO(record["mask"])))
        true = part_polygons.rendered_mask(parts, record["points"])
        drawn = part_polygons.part_mask(record["points"], len(parts))
        drawn = np.where(true == segmentation.IGNORE, segmentation.IGNORE, drawn)
        total += segmentation.confusion(true, drawn, count)
    return segmentation.summary(total, part_polygons.CLASSES)


def main(_):
    """Measures, prints, and records once."""
    facts = dict(dataset=DATASET, split=SPLIT, method="drawn_from_68_points", variant="size=128")
    records.append_once("cycada", STUDY, measure(_DATA_DIR.value), **facts)


if __name__ == "__main__":
    app.run(main)
