"""Points on a triangle mesh, for building the asset: ray hits as vertices and weights."""

import numpy as np


def cast(origins, directions, vertices, triangles, *, nearest=True):
    """Where rays meet the mesh.

    Args:
        origins, directions: [N, 3] float.
        vertices: [V, 3]; triangles: [T, 3].
        nearest: True takes the first hit, False the last one (the outside of a shell).

    Returns:
        corners [N, 3] vertex numbers, weights [N, 3] barycentrics, distance [N] (NaN for a
        miss, whose corners and weights mean nothing).
    """
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    found, weights, distances = [], [], []
    for origin, direction in zip(origins, directions, strict=True):
        normal = np.cross(direction, c - a)
        determinant = np.einsum("td,td->t", b - a, normal)
        with np.errstate(divide="ignore", invalid="ignore"):
            u = np.einsum("td,td->t", origin - a, normal) / determinant
            across = np.cross(origin - a, b - a)
            v = across @ direction / determinant
            t = np.einsum("td,td->t", c - a, across) / determinant
        hit = (u >= -1e-6) & (v >= -1e-6) & (u + v <= 1 + 1e-6) & (t > 1e-6)
        t = np.where(hit, t, np.inf if nearest else -np.inf)
        best = t.argmin() if nearest else t.argmax()
        found.append(triangles[best])
        weights.append([1 - u[best] - v[best], u[best], v[best]])
        distances.append(t[best] if hit.any() else np.nan)
    return np.array(found), np.array(weights), np.array(distances)
