"""How well the head pose from 68 exact points agrees with the true one, on rendered people.

    python -m experiments.studies.head_pose_agreement [--data_dir=DIR]

The pose labels of sets without labels come from `jaxgen.data.head_pose`, so this is the accuracy of
those labels where the points are right. Renders `synthetic_multipie` on first use; its people have
other shapes and expressions than the head that is fitted. Records: docs/results/dr_gan.jsonl.
"""

import numpy as np
from absl import app, flags

from experiments.studies import records

STUDY, DATASET, SPLIT = "head_pose_agreement", "synthetic_multipie", "probe"
ANGLES = ("yaw", "pitch", "roll")

_DATA_DIR = flags.DEFINE_string("data_dir", "", "Where prepared sets are kept; default: TFDS's.")


def measure(data_dir: str) -> dict[str, float]:
    """Mean and 95th percentile of the absolute error of each angle, in degrees."""
    import tensorflow_datasets as tfds

    from jaxgen.data import head_pose
    from jaxgen.data.builders import registry

    builder = registry.find(DATASET, sets=registry.RECOGNITION, data_dir=data_dir).builder
    registry.prepare(builder)
    faces = builder.as_data_source(SPLIT, decoders={"image": tfds.decode.SkipDecoding()})
    errors = np.abs([head_pose.head_pose(face["points"]) - face["angles"] for face in faces])
    return {
        f"{name}_error_{kind}": float(value)
        for kind, values in (("mean", errors.mean(0)), ("p95", np.percentile(errors, 95, axis=0)))
        for name, value in zip(ANGLES, values, strict=True)
    }


def main(_):
    """Measures, prints, and records once."""
    facts = dict(dataset=DATASET, split=SPLIT, method="68_points", variant="")
    records.append_once("dr_gan", STUDY, measure(_DATA_DIR.value), **facts)


if __name__ == "__main__":
    app.run(main)
