"""Reads the public MakeHuman / MPFB2 base mesh and morph targets (CC0) from their files.

Only `build_asset` needs this: jaxgen ships the result. Units are the files': decimetres,
y up, z out of the face, x to the subject's left.
"""

import gzip
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Mesh(NamedTuple):
    """A mesh of quads.

    Attributes:
        vertices: [V, 3] float64.
        texture: [U, 2] float64 texture coordinates, origin at the lower left.
        quads: [F, 4] vertex numbers.
        texture_quads: [F, 4] numbers into `texture`.
        groups: [F] str, name of the group that each quad belongs to.
    """

    vertices: np.ndarray
    texture: np.ndarray
    quads: np.ndarray
    texture_quads: np.ndarray
    groups: np.ndarray


def read_mesh(path: Path) -> Mesh:
    """Reads a Wavefront file that holds only quads with texture coordinates."""
    vertices, texture, quads, texture_quads, groups, group = [], [], [], [], [], ""
    with open(path) as lines:
        for line in lines:
            kind, *values = line.split() or [""]
            if kind == "v":
                vertices.append([float(v) for v in values[:3]])
            elif kind == "vt":
                texture.append([float(v) for v in values[:2]])
            elif kind == "g":
                group = values[0]
            elif kind == "f":
                corners = [corner.split("/") for corner in values]
                quads.append([int(c[0]) - 1 for c in corners])
                texture_quads.append([int(c[1]) - 1 for c in corners])
                groups.append(group)
    return Mesh(*(np.array(part) for part in (vertices, texture, quads, texture_quads, groups)))


def read_target(path: Path, size: int) -> np.ndarray:
    """Reads one morph target, plain or gzipped: [size, 3] float64 displacements."""
    delta = np.zeros((size, 3))
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt") as lines:
        for line in lines:
            fields = line.split()
            if len(fields) == 4 and not fields[0].startswith("#"):
                delta[int(fields[0])] = [float(v) for v in fields[1:]]
    return delta


def read_targets(folder: Path, size: int) -> dict[str, np.ndarray]:
    """Every target of a folder by name, for example `chin-width-incr`."""
    paths = sorted(folder.glob("*.target*"))
    if not paths:
        raise FileNotFoundError(
            f"{folder} holds no *.target files: give the folder that has 3dobjs/ and targets/ of "
            "MakeHuman's or MPFB2's data"
        )
    return {path.name.split(".target")[0]: read_target(path, size) for path in paths}
