"""Hair: where it grows, how far it stands off the skull, how it hangs.

Angles are degrees around the skull: azimuth 0 is the face, +-180 the back, elevation 90 the
crown. The same hairline decides where the shell stands off and where the skin is painted.
"""

import jax.numpy as jnp

from jaxgen.data.synthetic import texture
from jaxgen.data.synthetic.materials import smoothstep

# Natural hairline: elevation over |azimuth|.
_AZIMUTH = (0.0, 25, 45, 62, 76, 90, 104, 120, 150, 180)
_LINE = (36.0, 35, 29, 16, -6, -2, -12, -32, -48, -52)
SUNK = -0.09  # decimetres: below the skin


def hairline(style, hat, angles, *, painted=False):
    """How far inside the hair a place on the skull is, in degrees of elevation (< 0: outside).

    Args:
        style: [6] in [0, 1]: length, volume, fringe, height of the hairline, parting, curl.
        hat: [] 0 or 1; a hat covers what its own edge encloses.
        angles: [..., 2] (azimuth, elevation) in degrees.
        painted: True for roots on the skin: hair that only hangs over it leaves no roots.

    Returns:
        [...] float32.
    """
    length, _, fringe, height, parting, _ = style
    azimuth, elevation = angles[..., 0], angles[..., 1]
    # A side parting turns the front line a little.
    front = smoothstep(75.0, 40.0, jnp.abs(azimuth))
    turned = azimuth + front * 24 * (parting - 0.5)
    line = jnp.interp(jnp.abs(turned), jnp.array(_AZIMUTH), jnp.array(_LINE))
    line += front * jnp.where(fringe > 0.7, -60 * (fringe - 0.7), 16 * height**2 - 4)
    line += jnp.where(height > 0.85, 30 * front * (height - 0.85) / 0.15, 0.0)  # receding
    long = smoothstep(0.5, 0.62, length)
    side = smoothstep(64.0, 92.0, jnp.abs(azimuth))
    line = line - 70 * long * side * (not painted)
    band = (
        22
        + 14 * jnp.cos(jnp.deg2rad(azimuth))
        - 14 * (1 - front) * smoothstep(90, 150, jnp.abs(azimuth))
    )
    return elevation - jnp.where(hat > 0, band, line)


def hair_vertices(head, rest, style, hat, tile):
    """Places the grid points of the hair shell.

    Args:
        head: asset.Head.
        rest: [V, 3] skin vertices at rest pose.
        style: [6] in [0, 1], see `hairline`.
        hat: [] 0 or 1.
        tile: [S, S, 1] pattern for tufts.

    Returns:
        [H, 3] float32, rest pose; [H] bool, True where there is hair above the skin.
    """
    length, volume, _, _, _, curl = style
    azimuth, elevation = head.hair_angles[:, 0], head.hair_angles[:, 1]
    drop = head.hair_drop
    tufts = 0.5 * texture.look_up(tile, jnp.stack([azimuth / 180, elevation / 90 + drop], -1))
    inside = hairline(style, hat, head.hair_angles) + 5 * tufts[:, 0] * (1 - hat)
    long = smoothstep(0.5, 0.62, length)

    bald = (length < 0.06) & (hat == 0)
    depth = 0.02 + 0.2 * length * (0.4 + volume) * (1 - long) + long * (0.08 + 0.12 * volume)
    depth = jnp.where(hat > 0, 0.07, depth) * (1 + (0.25 + 0.5 * curl) * tufts[:, 0] * (1 - hat))
    crown = 1 + 0.4 * volume * smoothstep(20, 80, elevation)
    stand = SUNK + (depth * crown - SUNK) * smoothstep(-7.0, 9.0, inside)
    stand = jnp.where(bald, SUNK, stand)

    flat = elevation < -5  # the rim pushes sideways only, the rest along the radius
    azimuth, elevation = jnp.deg2rad(azimuth), jnp.deg2rad(jnp.where(flat, 0, elevation))
    out = jnp.stack(
        [jnp.sin(azimuth) * jnp.cos(elevation), jnp.sin(elevation),
         jnp.cos(azimuth) * jnp.cos(elevation)], -1
    )  # fmt: skip
    # Hanging part: short hair ends at the nape, long hair falls to the shoulders.
    back = smoothstep(95.0, 135.0, jnp.abs(head.hair_angles[:, 0]))
    side = smoothstep(55.0 + 25 * curl, 80.0 + 25 * curl, jnp.abs(head.hair_angles[:, 0]))
    fall = 0.3 * back * (1 - long) + long * side * (0.5 + 1.6 * smoothstep(0.55, 1.0, length))
    fall = fall * jnp.where(bald | (hat > 0), 0.0, 1.0)
    inward = drop * (0.22 * back * (1 - long) + 0.1 * long)
    moved = rest[head.hair_anchor] - head.mean[head.hair_anchor]
    place = head.hair_base + moved + out * (stand - inward)[:, None]
    place = place - (drop * fall)[:, None] * jnp.array([0.0, 1, 0])
    return place, (stand > 0) & ((drop == 0) | (fall > 0.05))
