"""The 68 iBUG landmarks of a posed head.

Points 18-68 are material points of the surface. The jaw, points 1-17, follows the visible
outline as the field annotates it: each jaw point has a track on the surface from the ear or
the underside of the jaw towards the front of the face, and is the place where the track
reaches farthest outwards in the image. On the far side of a turned head that is the
silhouette of the cheek; on the near side it is the edge of the jaw.
"""

import chex
import jax.numpy as jnp


def surface_points(vertices, corners, weights):
    """Points on the mesh. vertices: [V, 3]; corners, weights: [..., 3] -> [..., 3]."""
    return (vertices[corners] * weights[..., None]).sum(-2)


def landmarks(head, vertices, roll):
    """The 68 points of a posed head.

    Args:
        head: asset.Head.
        vertices: [V, 3] float32 in camera space (see `camera`); further columns are carried along.
        roll: [] degrees, clockwise in the image.

    Returns:
        [68, 3] float32 in camera space, iBUG order (and the further columns).
    """
    chex.assert_rank(vertices, 2)
    fixed = surface_points(vertices, head.landmark_corners, head.landmark_weights)
    tracks = surface_points(vertices, head.jaw_corners, head.jaw_weights)  # [17, M, 3]
    angle = jnp.deg2rad(roll)
    c, s = jnp.cos(angle), jnp.sin(angle)
    outward = head.jaw_directions @ jnp.array([[c, s], [-s, c]])  # x right, y down
    image = tracks[..., :2] / tracks[..., 2:3]
    reach = jnp.einsum("jmc,jc->jm", image, outward)
    place = _peak(reach)
    return jnp.concatenate([_along(tracks, place), fixed])


def _peak(values):
    """Sub-sample position of the maximum of each row. values: [J, M] -> [J] in [0, M - 1]."""
    last = values.shape[1] - 1
    top = values.argmax(1)
    inner = jnp.clip(top, 1, last - 1)
    row = jnp.arange(len(values))
    before, here, after = (values[row, inner + k] for k in (-1, 0, 1))
    bend = before - 2 * here + after
    shift = 0.5 * (before - after) / jnp.where(bend < -1e-9, bend, -1.0)
    return jnp.where(inner == top, inner + jnp.clip(shift, -0.5, 0.5), top)


def _along(tracks, place):
    """Linear interpolation of [J, M, 3] at positions [J] -> [J, 3]."""
    low = jnp.clip(jnp.floor(place).astype(jnp.int32), 0, tracks.shape[1] - 2)
    part = (place - low)[:, None]
    row = jnp.arange(len(tracks))
    return (1 - part) * tracks[row, low] + part * tracks[row, low + 1]
