"""From identity, expression and pose to vertices and normals."""

import chex
import jax.numpy as jnp

from jaxgen.data.synthetic import camera

# Height over which the neck hands the head's turn over to the shoulders (decimetres).
SHOULDERS, JAW = -1.7, -1.06


def shape(head, identity, expression):
    """Vertices at rest pose.

    Args:
        head: asset.Head.
        identity: [60] float, standard deviations.
        expression: [52] float in [0, 1], strength of the face units.

    Returns:
        [V, 3] float32, model space.
    """
    chex.assert_shape([identity, expression], [(len(head.identity),), (len(head.expression),)])
    return (
        head.mean
        + jnp.tensordot(identity, head.identity, 1)
        + jnp.tensordot(expression, head.expression, 1)
    )


def pose(reference, vertices, angles, follow):
    """Turns the head; the shoulders follow by a share.

    Args:
        reference: [V, 3] the same vertices on the mean head; their height decides how far
            a vertex turns with the head.
        vertices: [V, 3] float32, model space at rest.
        angles: [3] degrees, (yaw, pitch, roll) of the head.
        follow: [] share of yaw and roll that the shoulders take.

    Returns:
        [V, 3] float32, posed, model axes.
    """
    rotation = camera.rotation_matrix(angles)
    shoulders = camera.rotation_matrix(angles * follow * jnp.array([1.0, 0.0, 1.0]))
    rise = (reference[:, 1] - SHOULDERS) / (JAW - SHOULDERS)
    # The throat moves with the chin, the nape with the spine.
    rise = jnp.clip(rise + 0.25 * jnp.clip(reference[:, 2] - 0.2, -1, 1), 0, 1)
    rise = (rise * rise * (3 - 2 * rise))[:, None]
    return rise * (vertices @ rotation.T) + (1 - rise) * (vertices @ shoulders.T)


def normals(vertices, triangles, neighbours):
    """Area-weighted vertex normals.

    Args:
        vertices: [V, 3]; triangles: [T, 3]; neighbours: [V, N] triangles at each vertex,
            padded with T.

    Returns:
        [V, 3] unit.
    """
    corner = vertices[triangles]
    face = jnp.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    face = jnp.concatenate([face, jnp.zeros((1, 3))])  # the padding of `neighbours`
    total = face[neighbours].sum(1)
    return total / jnp.maximum(jnp.linalg.norm(total, axis=-1, keepdims=True), 1e-12)
