"""Builds the surface that hair is made of: a grid around the skull that can also hang down.

Rows run from the crown to the rim (like circles of latitude around the skull), then straight
down; columns run around the head. `hair` decides at run time how far each grid point stands
off the skull, and lets those that carry no hair sink below the skin.
"""

import numpy as np

from jaxgen.data.synthetic import surface

CENTRE = np.array([0.0, 0.35, -0.1])  # of the skull, mean head (decimetres)
COLUMNS = 44
ELEVATIONS = np.array([90, 82, 74, 66, 58, 50, 42, 34, 27, 20, 13, 6, -2, -10], float)
HANGING = 8  # rows below the rim


def build(mean, triangles, fields):
    """Grid of hair points on the mean head.

    Returns:
        hair_base [H, 3] points on the skull (hanging rows: on the rim), hair_anchor [H] the
        skin vertex whose displacement each follows, hair_angles [H, 2] (azimuth, elevation)
        in degrees, hair_drop [H] in [0, 1] how far down a hanging row is, hair_triangles
        [T, 3] into the grid.
    """
    solid = ("ear", "eye", "teeth", "tongue", "mouth")
    skin = sum(fields[name] for name in solid) < 0.5
    shell = triangles[skin[triangles].all(1)]
    azimuths = np.linspace(-180, 180, COLUMNS)
    radius = np.stack([_radii(mean, shell, azimuths, e) for e in ELEVATIONS])
    grid = np.stack(np.meshgrid(azimuths, ELEVATIONS), -1)
    base = CENTRE + direction(grid) * radius[..., None]

    rim = np.repeat(base[-1:], HANGING, 0)
    base = np.concatenate([base, rim]).reshape(-1, 3)
    grid = np.concatenate([grid, np.repeat(grid[-1:], HANGING, 0)]).reshape(-1, 2)
    drop = np.concatenate([np.zeros(len(ELEVATIONS)), np.arange(1, HANGING + 1) / HANGING])
    candidates = np.flatnonzero(skin & (mean[:, 1] > -0.6))
    distance = ((base[:, None] - mean[candidates]) ** 2).sum(-1)
    return {
        "hair_base": base.astype(np.float32),
        "hair_anchor": candidates[distance.argmin(1)].astype(np.uint16),
        "hair_angles": grid.astype(np.float32),
        "hair_drop": np.repeat(drop, COLUMNS).astype(np.float32),
        "hair_triangles": _grid_triangles(len(drop), COLUMNS).astype(np.uint16),
    }


def direction(angles):
    """(azimuth, elevation) in degrees [..., 2] -> unit vectors [..., 3]; 0, 0 is straight ahead."""
    azimuth, elevation = np.deg2rad(angles[..., 0]), np.deg2rad(angles[..., 1])
    flat = np.cos(elevation)
    return np.stack([np.sin(azimuth) * flat, np.sin(elevation), np.cos(azimuth) * flat], -1)


def angles(points):
    """Inverse of `direction` for points [..., 3] around the skull: [..., 2] degrees."""
    x, y, z = np.moveaxis(points - CENTRE, -1, 0)
    return np.rad2deg(np.stack([np.arctan2(x, z), np.arctan2(y, np.hypot(x, z))], -1))


def _radii(mean, shell, azimuths, elevation):
    """Distance from the centre to the skin around one circle; ears are bridged over."""
    rays = direction(np.stack([azimuths, np.full_like(azimuths, elevation)], -1))
    hits, radius = surface.cast_outwards(CENTRE, rays, mean, shell)
    known = hits.hit
    return np.interp(azimuths, azimuths[known], radius[known], period=360)


def _grid_triangles(rows, columns):
    number = np.arange(rows * columns).reshape(rows, columns)
    a, b = number[:-1, :-1].ravel(), number[:-1, 1:].ravel()
    c, d = number[1:, :-1].ravel(), number[1:, 1:].ravel()
    return np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)])
