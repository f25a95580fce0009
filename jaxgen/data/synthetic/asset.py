"""The head asset: what is in it, how it is stored, how it is read.

Units: decimetres in model space (see `camera`). The two bases are stored as int8 codes with
one scale per component, which keeps the file near 1 MB and moves no vertex by 0.1 mm.

The mesh has the V vertices of the head first, then the H points of the hair shell.
"""

from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

ASSET = Path(__file__).parents[1] / "assets" / "head.npz"
FIELDS = ("lip", "lower", "ear", "lid", "mouth", "eye", "teeth", "tongue")
# What a triangle is made of.
SKIN, MOUTH, EYE, TEETH, TONGUE, HAIR = range(6)


class Head(NamedTuple):
    """Arrays of the head model.

    Attributes:
        mean: [V, 3] float32, mean person at rest.
        identity: [60, V, 3] float32, displacement per standard deviation.
        expression: [52, V, 3] float32, displacement of each face unit at full strength.
        fields: [V, len(FIELDS)] float32 in [0, 1], what the surface is there.
        transfer: [V, 9] float32, light that arrives through each spherical harmonic in the
            mean shape, shadows of the head on itself included.
        face: [V] bool, skin from the forehead to the chin, in front of the ears.
        skull_angles: [V, 2] degrees, (azimuth, elevation) around the skull; see `hair`.
        marks: [68, 3] landmarks of the mean head; eyes: [2, 4] centre and radius of the
            eyeballs (image's left, right).
        landmark_corners, landmark_weights: [51, 3] surface points of iBUG points 18-68.
        jaw_corners, jaw_weights: [17, M, 3] tracks of the jaw points; see `landmarks`.
        jaw_directions: [17, 2] where each track points in the image, x right, y down.
        hair_base: [H, 3] hair points on the skull of the mean head; hair_anchor: [H] the
            vertex each moves with; hair_angles: [H, 2] degrees; hair_drop: [H] in [0, 1] how
            far down a hanging row is.
        triangles: [T, 3] int32, counter-clockwise seen from outside, head and hair.
        material: [T] int32, one of SKIN ... HAIR.
        neighbours: [V + H, N] int32 triangles around each vertex, padded with T.
        texture: [V + H, 2] float32 place on the pattern tile.
    """

    mean: jnp.ndarray
    identity: jnp.ndarray
    expression: jnp.ndarray
    fields: jnp.ndarray
    transfer: jnp.ndarray
    face: jnp.ndarray
    skull_angles: jnp.ndarray
    marks: jnp.ndarray
    eyes: jnp.ndarray
    landmark_corners: jnp.ndarray
    landmark_weights: jnp.ndarray
    jaw_corners: jnp.ndarray
    jaw_weights: jnp.ndarray
    jaw_directions: jnp.ndarray
    hair_base: jnp.ndarray
    hair_anchor: jnp.ndarray
    hair_angles: jnp.ndarray
    hair_drop: jnp.ndarray
    triangles: jnp.ndarray
    material: jnp.ndarray
    neighbours: jnp.ndarray
    texture: jnp.ndarray


def load_head(path: Path = ASSET) -> Head:
    """Reads the asset into host memory as NumPy arrays; hand it to compiled code as an argument."""
    with np.load(path, allow_pickle=False) as stored:
        arrays = {name: _widen(stored[name]) for name in stored.files}
    mean = arrays["mean"]
    fields = np.stack([arrays.pop(f"field_{name}") for name in FIELDS], 1) / np.float32(255)
    head, hair = arrays.pop("head_triangles"), arrays.pop("hair_triangles") + len(mean)
    triangles = np.concatenate([head, hair])
    material = np.full(len(triangles), SKIN, np.int32)
    for name, code in (("mouth", MOUTH), ("eye", EYE), ("teeth", TEETH), ("tongue", TONGUE)):
        inside = fields[:, FIELDS.index(name)] > 0.5
        material[: len(head)][inside[head].all(1)] = code
    material[len(head) :] = HAIR
    size = len(mean) + len(arrays["hair_base"])
    return Head(
        identity=dequantise(arrays, "identity"),
        expression=dequantise(arrays, "expression"),
        transfer=dequantise(arrays, "transfer").T,
        fields=fields,
        face=_on_face(mean, fields, arrays["marks"]),
        triangles=triangles,
        material=material,
        neighbours=neighbours(triangles, size),
        texture=_texture_places(mean, arrays["hair_angles"], arrays["hair_drop"]),
        **arrays,
    )


def quantise(values):
    """[K, ...] float -> int8 codes and [K] float32 scales."""
    limit = np.abs(values).reshape(len(values), -1).max(1)
    scales = np.where(limit > 0, limit, 1) / 127
    codes = np.round(values / scales.reshape(-1, *[1] * (values.ndim - 1)))
    return codes.astype(np.int8), scales.astype(np.float32)


def dequantise(arrays, name):
    """Inverse of `quantise` for the pair `{name}_codes`, `{name}_scales`, taken out of `arrays`."""
    codes = arrays.pop(f"{name}_codes").astype(np.float32)
    return codes * arrays.pop(f"{name}_scales").reshape(-1, *[1] * (codes.ndim - 1))


def neighbours(triangles, size):
    """[V, N] triangles that meet at each vertex, padded with len(triangles)."""
    owner = triangles.ravel()
    order = np.argsort(owner, kind="stable")
    owner, triangle = owner[order], order // 3
    rank = np.arange(len(owner)) - np.searchsorted(owner, owner)
    table = np.full((size, rank.max() + 1), len(triangles), np.int32)
    table[owner, rank] = triangle
    return table


def _widen(array):
    """Stored unsigned vertex numbers as int32, everything else as it is."""
    return array.astype(np.int32) if array.dtype == np.uint16 else array


def _on_face(mean, fields, marks):
    """[V] bool, see Head.face. The forehead ends where hair usually begins."""
    skin = fields[:, [FIELDS.index(name) for name in ("ear", "mouth", "eye", "teeth", "tongue")]]
    y, z = mean[:, 1], mean[:, 2]
    forehead = marks[27, 1] + 0.75 * (marks[27, 1] - marks[33, 1]) * 2
    return (skin.sum(1) < 0.5) & (y > marks[8, 1] - 0.02) & (y < forehead) & (z > 0.2)


def _texture_places(mean, hair_angles, hair_drop):
    """Places on the pattern tile, in tiles: around and along the head, strands along the hair."""
    around = np.arctan2(mean[:, 0], mean[:, 2] + 0.3) * 0.8
    skin = np.stack([around, mean[:, 1]], 1) / 2.56
    strands = np.stack([hair_angles[:, 0] / 180, -hair_angles[:, 1] / 60 + 2 * hair_drop], 1)
    return np.concatenate([skin, strands]).astype(np.float32)
