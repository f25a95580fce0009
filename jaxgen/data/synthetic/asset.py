"""The head asset: what is in it, how it is stored, how it is read.

Units: decimetres in model space (see `camera`). The two bases are stored as int8 codes with
one scale per component, which keeps the file near 1 MB and shifts no vertex by 0.1 mm.
"""

from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

ASSET = Path(__file__).parents[1] / "assets" / "head.npz"
FIELDS = ("lip", "lower", "ear", "lid", "mouth", "eye", "teeth", "tongue")


class Head(NamedTuple):
    """Arrays of the head model.

    Attributes:
        mean: [V, 3] float32, mean person at rest.
        triangles: [T, 3] int32, counter-clockwise seen from outside.
        neighbours: [V, N] int32 triangles around each vertex, padded with T.
        identity: [60, V, 3] float32, displacement per standard deviation.
        expression: [52, V, 3] float32, displacement of each face unit at full strength.
        fields: [V, len(FIELDS)] float32 in [0, 1], what the surface is there.
        transfer: [V, 9] float32, light that arrives through each spherical harmonic in the
            mean shape, shadows of the head on itself included (1 / pi folded in).
        landmark_corners, landmark_weights: [51, 3] surface points of iBUG points 18-68.
        jaw_corners, jaw_weights: [17, M, 3] tracks of the jaw points; see `landmarks`.
        jaw_directions: [17, 2] where each track points in the image, x right, y down.
    """

    mean: jnp.ndarray
    triangles: jnp.ndarray
    neighbours: jnp.ndarray
    identity: jnp.ndarray
    expression: jnp.ndarray
    fields: jnp.ndarray
    transfer: jnp.ndarray
    landmark_corners: jnp.ndarray
    landmark_weights: jnp.ndarray
    jaw_corners: jnp.ndarray
    jaw_weights: jnp.ndarray
    jaw_directions: jnp.ndarray


def load_head(path: Path = ASSET) -> Head:
    """Reads the asset into host memory (NumPy arrays; compiled code takes them as they are)."""
    with np.load(path, allow_pickle=False) as arrays:
        triangles = arrays["triangles"].astype(np.int32)
        mean = arrays["mean"]
        fields = np.stack([arrays[f"field_{name}"] for name in FIELDS], 1) / np.float32(255)
        return Head(
            mean=mean,
            triangles=triangles,
            neighbours=neighbours(triangles, len(mean)),
            identity=dequantise(arrays, "identity"),
            expression=dequantise(arrays, "expression"),
            fields=fields,
            transfer=dequantise(arrays, "transfer").T,
            landmark_corners=arrays["landmark_corners"].astype(np.int32),
            landmark_weights=arrays["landmark_weights"],
            jaw_corners=arrays["jaw_corners"].astype(np.int32),
            jaw_weights=arrays["jaw_weights"],
            jaw_directions=arrays["jaw_directions"],
        )


def quantise(values):
    """[K, ...] float -> int8 codes and [K] float32 scales."""
    limit = np.abs(values).reshape(len(values), -1).max(1)
    scales = np.where(limit > 0, limit, 1) / 127
    codes = np.round(values / scales.reshape(-1, *[1] * (values.ndim - 1)))
    return codes.astype(np.int8), scales.astype(np.float32)


def dequantise(arrays, name):
    """Inverse of `quantise` for the pair `{name}_codes`, `{name}_scales`."""
    codes = arrays[f"{name}_codes"].astype(np.float32)
    return codes * arrays[f"{name}_scales"].reshape(-1, *[1] * (codes.ndim - 1))


def neighbours(triangles, size):
    """[V, N] triangles that meet at each vertex, padded with len(triangles)."""
    owner = triangles.ravel()
    order = np.argsort(owner, kind="stable")
    owner, triangle = owner[order], order // 3
    rank = np.arange(len(owner)) - np.searchsorted(owner, owner)
    table = np.full((size, rank.max() + 1), len(triangles), np.int32)
    table[owner, rank] = triangle
    return table
