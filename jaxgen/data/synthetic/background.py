"""Procedural surroundings: gradients, patches, boxes, stripes, more or less out of focus."""

import jax
import jax.numpy as jnp

from jaxgen.data.synthetic import texture
from jaxgen.data.synthetic.dice import Dice
from jaxgen.data.synthetic.materials import mix, smoothstep, to_linear

BOXES = 8
OCTAVES = (0.14, 0.06, 0.025, 0.01)  # filter widths relative to the image


def background(settings, palette, key, size):
    """Draws what is behind the head.

    Args:
        settings: [6] in [0, 1]: clutter, fineness, blur, edges, slope, stripes.
        palette: [4, 3] sRGB; the last one belongs to the clothes.
        key: PRNG key.
        size: side of the image.

    Returns:
        [size, size, 3] linear light.
    """
    clutter, fineness, blur, edges, slope, stripes = settings
    dice = Dice(key, 8 + BOXES * 7)
    grid = jnp.arange(size) / size
    x, y = grid[None, :], grid[:, None]
    colors = to_linear(palette)
    turn = dice.uniform() * 6.28
    ramp = 0.5 + 0.5 * jnp.clip((x - 0.5) * jnp.cos(turn) + (y - 0.5) * jnp.sin(turn), -1, 1)
    image = mix(colors[0], colors[1], ramp * slope)

    layers = texture.noise_tile(
        key, [(size * c,) * 2 for c in OCTAVES for _ in range(3)], size=size
    )
    layers = layers.reshape(size, size, len(OCTAVES), 3)
    falloff = (0.35 + 0.5 * fineness) ** jnp.arange(len(OCTAVES))
    cloud = 0.5 * jnp.einsum("yxoc,o->yxc", layers, falloff)
    soft = 0.05 + blur  # sharp or soft borders between patches of colour
    patch, second = (smoothstep(-soft, soft, cloud[..., c]) for c in (0, 1))
    image = mix(image, mix(colors[2], colors[0] * 0.5, second), patch * clutter)

    # Boxes: door frames, shelves, windows; painted one over the other.
    boxes = (
        dice.uniform((BOXES, 2)),  # centre
        0.02 + 0.3 * dice.uniform((BOXES, 2)) ** 2,  # half sides
        dice.uniform((BOXES, 3)) ** 1.5,  # colour
        clutter * (edges * BOXES > jnp.arange(BOXES)),  # opacity
    )
    soft = 0.004 + 0.08 * blur

    def paint(image, box):
        centre, half, color, opacity = box
        side = half[:, None] - jnp.abs(grid - centre[:, None])
        across, down = smoothstep(-soft, soft, side)
        return mix(image, color * (0.5 + colors[0]), opacity * down[:, None] * across), None

    image, _ = jax.lax.scan(paint, image, boxes)
    wave = jnp.sin((x * jnp.cos(turn) + y * jnp.sin(turn)) * (20 + 120 * fineness))
    image = image * (1 + 0.5 * stripes * (wave * (1 - blur) + 0.3 * cloud[..., 2]))[..., None]
    return jnp.maximum(image, 0)
