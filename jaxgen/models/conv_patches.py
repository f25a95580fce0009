"""What a kernel reads of an image. Activations are [B, H, W, C]."""

import jax.numpy as jnp


def patches(x, size: int, *, stride: int = 1, padding: int = 0):
    """What a kernel reads at each of its places. [B, H, W, C] -> [B, H', W', size * size * C]."""
    x = pad(x, padding)
    h, w = ((n - size) // stride + 1 for n in x.shape[1:3])
    reads = [
        x[:, i : i + stride * (h - 1) + 1 : stride, j : j + stride * (w - 1) + 1 : stride]
        for i in range(size)
        for j in range(size)
    ]
    return jnp.concatenate(reads, -1)


def pad(x, pixels: int):
    """Zeros on every side. [B, H, W, C] -> [B, H + 2 pixels, W + 2 pixels, C]."""
    return jnp.pad(x, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)))
