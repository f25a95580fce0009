"""Layers written out in NumPy, to hold networks against: nothing of them is compiled."""

import jax
import numpy as np


def convolved(x, kernel, *, stride=1, dilation=1, padding=0):
    """A convolution, written out. x: [B, H, W, C]."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    reach = dilation * (kernel.shape[0] - 1) + 1
    windows = np.lib.stride_tricks.sliding_window_view(x, (reach, reach), (1, 2))
    windows = windows[:, ::stride, ::stride, :, ::dilation, ::dilation]
    return np.einsum("bhwcij,ijcd->bhwd", windows, kernel, optimize=True)


def normalised(x, name, weights, moments):
    """Batch normalisation in inference mode, by the layer of that name."""
    weights, moments = weights[name], moments[name]
    x = (x - moments["mean"]) / np.sqrt(moments["var"] + 1e-5)
    return x * weights["scale"] + weights["bias"]


def random_variables(shapes, seed=0):
    """He-scaled kernels, statistics and biases that are not those at the start."""
    rng = np.random.default_rng(seed)

    def fill(path, x):
        if path[-1].key == "kernel":
            return rng.normal(0, np.sqrt(2 / np.prod(x.shape[:-1])), x.shape).astype(np.float32)
        low, high = {"var": (0.5, 1.5), "scale": (0.7, 1.3)}.get(path[-1].key, (-0.2, 0.2))
        return rng.uniform(low, high, x.shape).astype(np.float32)

    return jax.tree.map_with_path(fill, shapes)
