"""Head pose from 68 landmarks, for sets without pose labels.

The face is a person and an expression of the CC0 head model under weak perspective (a turn, one
scale, a shift). Turn and shape are fitted in turns: the turn to the points, then shape coefficients
to what is left, held near the mean. Jaw points are left out, because they follow the outline of the
face and are other points of the head in every pose.

Angles are degrees as in all of jaxgen: yaw > 0 turns the nose to the image's right, pitch > 0
raises it, roll > 0 tilts the head clockwise. They are what the camera sees: a turned face that is
near the camera and off its axis shows up to 3 degrees more of yaw than its head turned. On the
rendered people of `synthetic_multipie` (yaw up to 60) the mean error is 3.2, 2.5 and 1.7 degrees in
yaw, pitch and roll, 95 % below 7.0, 7.1 and 4.5 (docs/results/dr_gan.md).
"""

import functools

import numpy as np

from jaxgen.data.synthetic import asset

_JAW = 17
_ROUNDS, _TURNS = 8, 10  # shape fits, and pose fits between two of them
_PERSON, _EXPRESSION = 0.85, 0.3  # standard deviations of the coefficients
_NOISE = 0.1  # decimetres: how exactly landmarks are placed, and how well the model fits a face


def head_pose(points: np.ndarray) -> np.ndarray:
    """Pose of one face; about 15 ms.

    Args:
        points: [68, 2] (x, y) in pixels, iBUG order. The jaw, points 1-17, may be NaN.

    Returns:
        [3] float64 degrees (yaw, pitch, roll); |yaw| up to 90.

    Raises:
        ValueError: points are missing or lie on one line, so that they show no pose.
    """
    points = np.asarray(points, np.float64)
    if points.shape != (68, 2):
        raise ValueError(f"head pose needs [68, 2] points, got {points.shape}")
    image = points[_JAW:] * (1, -1)  # y up, as in the model
    if not np.isfinite(image).all():
        raise ValueError("head pose needs points 18-68; some are missing or not finite")
    image = image - image.mean(0)
    width, height = np.linalg.svd(image, compute_uv=False)
    if not height > 0.05 * width:
        raise ValueError("head pose cannot be told from points that coincide or lie on one line")
    mean, basis = _model()
    shape, turn = mean, _project(image.T @ np.linalg.pinv(mean.T))
    for _ in range(_ROUNDS):
        # Depths are what the picture lacks: fill them in from the last turn, and turn in 3-D.
        for _ in range(_TURNS):
            seen = shape @ turn[:2].T
            scale = (image * seen).sum() / np.square(seen).sum()
            solid = np.column_stack([image, scale * (shape @ turn[2])])
            turn = _nearest_rotation(solid.T @ shape)
        change = (basis @ turn[:2].T).reshape(len(basis), -1)
        rest = (image / scale - mean @ turn[:2].T).ravel()
        normal = change @ change.T + _NOISE**2 * np.eye(len(basis))
        shape = mean + np.tensordot(np.linalg.solve(normal, change @ rest), basis, 1)
    return _angles(turn)


@functools.cache
def _model():
    """Inner landmarks of the mean head [51, 3] and their changes [112, 51, 3] per deviation."""
    head = asset.load_head()
    corners, weights = np.asarray(head.landmark_corners), np.asarray(head.landmark_weights)
    basis = [
        spread * np.einsum("kpcx,pc->kpx", np.asarray(changes, np.float64)[:, corners], weights)
        for spread, changes in ((_PERSON, head.identity), (_EXPRESSION, head.expression))
    ]
    mean, basis = np.asarray(head.marks, np.float64)[_JAW:], np.concatenate(basis)
    return mean - mean.mean(0), basis - basis.mean(1, keepdims=True)


def _project(affine):
    """The rotation whose first two rows are nearest to a [2, 3] map, up to scale."""
    left, _, right = np.linalg.svd(affine, full_matrices=False)
    rows = left @ right
    return np.vstack([rows, np.cross(*rows)])


def _nearest_rotation(matrix):
    left, _, right = np.linalg.svd(matrix)
    return left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right


def _angles(rotation):
    """Inverse of `jaxgen.data.synthetic.camera.rotation_matrix`, in NumPy: [3] degrees."""
    pitch = np.arcsin(np.clip(-rotation[2, 1], -1, 1))
    roll = np.arctan2(rotation[0, 1], rotation[1, 1])
    yaw = np.arctan2(-rotation[2, 0], rotation[2, 2])
    return np.degrees([yaw, pitch, roll])
