"""Names every vertex of the head: fields in [0, 1] that the renderer interpolates."""

import numpy as np
from PIL import Image

MASKS = {
    "lip": "mpfb_lips",
    "ear": "mpfb_ears",
    "lid": "mpfb_eyelids",
    "mouth": "mpfb_inside-mouth",
}


def vertex_fields(mesh, quads, keep, units, textures):
    """Fields per kept vertex.

    Args:
        mesh: makehuman.Mesh.
        quads: [F] quads of the head.
        keep: [V] kept vertices.
        units: face units, name -> [V, 3].
        textures: folder of the UV masks.

    Returns:
        dict of [V] float arrays in [0, 1]: lip, lower (lower lip and jaw), ear, lid, mouth
        (inside), eye, teeth, tongue, head (above the neck), face (its front).
    """
    size = len(keep)
    number = np.full(len(mesh.vertices), -1)
    number[keep] = np.arange(size)
    corners = number[mesh.quads[quads]].ravel()
    uv = np.zeros((size, 2))
    uv[corners] = mesh.texture[mesh.texture_quads[quads].ravel()]
    fields = {name: sample(textures / f"{file}.jpg", uv) for name, file in MASKS.items()}

    def group(*names):
        field = np.zeros(size)
        rows = np.isin(mesh.groups[quads], names)
        field[number[mesh.quads[quads][rows]].ravel()] = 1
        return field

    fields["eye"] = group("helper-l-eye", "helper-r-eye")
    fields["teeth"] = group("helper-upper-teeth", "helper-lower-teeth")
    fields["tongue"] = group("helper-tongue")
    body = group("body")
    for name in MASKS:
        fields[name] *= body
    drop = -units["jawOpen"][:, 1] * body
    fields["lower"] = np.clip(drop / 0.2, 0, 1)
    base = mesh.vertices[keep]
    skull = (base - [0, 7.35, 0.45]) / [1.0, 1.25, 1.3]
    fields["head"] = (np.linalg.norm(skull, axis=1) < 1) * 1.0
    fields["face"] = fields["head"] * (base[:, 2] > 0.75) * (base[:, 1] > 6.1) * (base[:, 1] < 7.8)
    return fields


def sample(path, uv):
    """Nearest values of a grey mask at texture coordinates [V, 2] -> [V] in [0, 1]."""
    mask = np.asarray(Image.open(path).convert("L"), np.float64) / 255
    x = np.clip((uv[:, 0] * mask.shape[1]).astype(int), 0, mask.shape[1] - 1)
    y = np.clip(((1 - uv[:, 1]) * mask.shape[0]).astype(int), 0, mask.shape[0] - 1)
    return mask[y, x]
