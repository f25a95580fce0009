"""Everything that decides an image: who, with what expression, how lit, how photographed.

All of them are small arrays, so a batch of scenes is one pytree and rendering is a vmap.
Colours are sRGB in [0, 1] unless a name says otherwise.
"""

from typing import NamedTuple

import jax.numpy as jnp


class Person(NamedTuple):
    """What stays the same in every picture of one person.

    Attributes:
        shape: [60] identity coefficients in standard deviations.
        tone: [] in [0, 1], skin from light to dark.
        warmth: [] about 0, skin from pink to olive.
        flush: [] in [0, 1], redness of cheeks, nose and ears.
        freckles: [] in [0, 1], strength of small spots.
        wear: [] in [0, 1], coarseness of the skin.
        lips: [] in [0, 1], from pale to painted.
        brow: [2] thickness and density (each about 0, 1 is much).
        beard: [3] in [0, 1], strength on moustache, chin and jaw.
        hair: [3] colour.
        iris: [3] colour.
        style: [6] of the hair: length, volume, fringe, hairline, parting, curl.
        texture: uint32 key of the skin's and hair's random patterns.
    """

    shape: jnp.ndarray
    tone: jnp.ndarray
    warmth: jnp.ndarray
    flush: jnp.ndarray
    freckles: jnp.ndarray
    wear: jnp.ndarray
    lips: jnp.ndarray
    brow: jnp.ndarray
    beard: jnp.ndarray
    hair: jnp.ndarray
    iris: jnp.ndarray
    style: jnp.ndarray
    texture: jnp.ndarray


class Scene(NamedTuple):
    """One picture of one person.

    Attributes:
        person: Person.
        expression: [52] in [0, 1].
        gaze: [2] degrees, eyes relative to the head: to the image's right, up.
        angles: [3] degrees, (yaw, pitch, roll).
        follow: [] share of the turn that the shoulders take.
        distance: [] decimetres from the camera.
        fill: [] longer side of the landmarks' box relative to the image.
        shift: [2] of the box's centre from the image's centre, relative to the image.
        light: [9, 3] harmonics of the surroundings, linear light.
        lamps: [2, 3] directions of the lamps that make highlights.
        lamp_colors: [2, 3] linear light.
        exposure: [] factor on linear light.
        background: [6] clutter: strength, scale, blur, edges, and two mixing numbers.
        palette: [4, 3] colours of background and clothes.
        hat: [] 0 or 1, in the third colour of the palette.
        glasses: [4] presence (0 or 1), size, roundness, tint.
        frame_color: [3] of the glasses.
        occluder: [6] presence, (x, y) relative to the box, angle, spread, width.
        balance: [3] gain per colour channel.
        blur: [] pixels, standard deviation.
        grain: [] noise level in [0, 0.1].
        jpeg: [] in [0, 1], strength of block compression.
        key: uint32 key of everything random at pixel level.
    """

    person: Person
    expression: jnp.ndarray
    gaze: jnp.ndarray
    angles: jnp.ndarray
    follow: jnp.ndarray
    distance: jnp.ndarray
    fill: jnp.ndarray
    shift: jnp.ndarray
    light: jnp.ndarray
    lamps: jnp.ndarray
    lamp_colors: jnp.ndarray
    exposure: jnp.ndarray
    background: jnp.ndarray
    palette: jnp.ndarray
    hat: jnp.ndarray
    glasses: jnp.ndarray
    frame_color: jnp.ndarray
    occluder: jnp.ndarray
    balance: jnp.ndarray
    blur: jnp.ndarray
    grain: jnp.ndarray
    jpeg: jnp.ndarray
    key: jnp.ndarray
