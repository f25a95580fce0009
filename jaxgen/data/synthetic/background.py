"""Procedural surroundings: gradients, blobs, boxes, stripes, more or less out of focus."""

import jax.numpy as jnp
from jax import random

from jaxgen.data.synthetic import noise
from jaxgen.data.synthetic.materials import mix, smoothstep, to_linear

BOXES = 8


def background(settings, palette, key, size):
    """Draws what is behind the head.

    Args:
        settings: [6] in [0, 1]: clutter, scale, blur, edges, mixing, stripes.
        palette: [4, 3] sRGB; the last one belongs to the clothes.
        key: PRNG key.
        size: side of the image.

    Returns:
        [size, size, 3] linear light.
    """
    clutter, scale, blur, edges, mixing, stripes = settings
    k = iter(random.split(key, 6))
    grid = jnp.arange(size) / size
    x, y = jnp.meshgrid(grid, grid)
    places = jnp.stack([x, y], -1)
    colors = to_linear(palette)
    turn = random.uniform(next(k)) * 6.28
    slope = 0.5 + 0.5 * jnp.clip((x - 0.5) * jnp.cos(turn) + (y - 0.5) * jnp.sin(turn), -1, 1)
    image = mix(colors[0], colors[1], slope * mixing)
    cloud = noise.fractal_noise(noise.lattice(next(k), 2, 3), places * (2 + 10 * scale), octaves=3)
    # Sharp or soft boundaries between the patches of colour.
    soft = 0.05 + blur
    patch = smoothstep(-soft, soft, cloud[..., 0])
    image = mix(image, mix(colors[2], colors[0] * 0.5, smoothstep(-soft, soft, cloud[..., 1])),
                patch * clutter)  # fmt: skip
    # Boxes: door frames, shelves, windows.
    corner = random.uniform(next(k), (BOXES, 4))
    shade = random.uniform(next(k), (BOXES, 3)) ** 1.5
    edge = 0.004 + 0.08 * blur
    for b in range(BOXES):
        centre, half = corner[b, :2], 0.02 + 0.3 * corner[b, 2:] ** 2
        inside = jnp.minimum(half[0] - jnp.abs(x - centre[0]), half[1] - jnp.abs(y - centre[1]))
        image = mix(image, shade[b] * (0.5 + colors[b % 3]),
                    smoothstep(-edge, edge, inside) * (edges > b / BOXES) * clutter)  # fmt: skip
    wave = jnp.sin((x * jnp.cos(turn) + y * jnp.sin(turn)) * (20 + 120 * scale))
    image = image * (1 + 0.5 * stripes * (wave * (1 - blur) + 0.3 * cloud[..., 2]))[..., None]
    return jnp.maximum(image, 0)
