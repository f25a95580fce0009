"""Our points against what annotators click: the mean shape of real faces."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.data.builders import pts, synthetic_faces
from jaxgen.data.flip_pairs import TABLES, permutation
from jaxgen.data.synthetic import asset, render


def mean_shape(shapes):
    """Generalised Procrustes mean of [N, 68, 2] shapes and their mirror images."""
    mirrored = shapes[:, permutation(TABLES[68], 68)] * [-1, 1]
    shapes = np.concatenate([shapes, mirrored])
    shapes = shapes - shapes.mean(1, keepdims=True)
    shapes /= np.linalg.norm(shapes, axis=(1, 2), keepdims=True)
    mean = shapes[0]
    for _ in range(5):
        mean = np.mean([align(shape, mean) for shape in shapes], 0)
        mean /= np.linalg.norm(mean)
    return mean


def align(shape, goal):
    """Least-squares similarity of a centred shape onto a centred goal."""
    u, s, vt = np.linalg.svd(shape.T @ goal)
    return shape @ (u @ vt) * s.sum() / (shape**2).sum()


def test_the_mean_shape_is_that_of_annotated_faces(real_data):
    files = sorted((real_data / "300w" / "helen" / "trainset").glob("*.pts"))[:400]
    real = np.stack([pts.read_pts(path, 68) for path in files])
    # Near-frontal: the nose tip between the eyes.
    across = (real[:, 30, 0] - real[:, 36, 0]) / (real[:, 45, 0] - real[:, 36, 0])
    real = mean_shape(real[(across > 0.3) & (across < 0.7)])

    def points_of(head, numbers):
        scene = synthetic_faces.scene_of(numbers)
        space = render.pose_head(head, scene)[1]
        return space[:, :2] / space[:, 2:], scene.angles[0]

    numbers = jnp.array([(0, 1, person, 0, 0, 0) for person in range(200)])
    found, yaw = jax.jit(jax.vmap(points_of, in_axes=(None, 0)))(asset.load_head(), numbers)
    ours = mean_shape(np.asarray(found)[np.abs(yaw) < 35])
    residual = np.abs(align(ours, real) - real).max(1) / np.linalg.norm(real[36] - real[45])
    assert residual.max() < 0.045
    assert residual.mean() < 0.02
