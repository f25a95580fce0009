r"""CyCADA on face parts: rendered faces with exact part masks -> photographs of HELEN.

    export JAXGEN_DATA=/path/to/data      # holds 300w/helen
    python -m experiments.cycada --config=experiments/configs/cycada/face_parts.py \
        --workdir=runs/parts

The source needs no download. Test labels are polygons through the 68 annotated points, see
docs/segmentation_data.md.
"""

import ml_collections

from experiments.configs.cycada import camvid, default


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """No variants."""
    if variant:
        raise ValueError(f"face_parts.py knows no variants, got {variant!r}")
    config = camvid.scenes(default.get_config())
    config.source, config.target = default.domain("synthetic_parts"), default.domain("face_parts")
    config.data.size = 96
    config.model.num_classes = 8
    return config
