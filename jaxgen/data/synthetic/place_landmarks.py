"""The 68 iBUG landmarks as points on the surface of the mean head.

Points 18-68 are material points: three vertices and their weights each. The jaw, points
1-17, is where the field marks the visible outline of the face, so each of them is a short
track on the surface that runs from the ear or the underside of the jaw towards the front;
at run time the point is taken where the track reaches farthest out in the image.
"""

import json

import numpy as np

from jaxgen.data.synthetic import surface

TRACK = 24  # samples of a jaw track
# Fan of jaw tracks, subject's right half: direction around the face (degrees, 0 = sideways,
# 90 = down) and where the track starts (degrees of turn from sideways/down to the front).
FAN = np.array([-36.0, -22, -8, 8, 25, 43, 60, 75, 90])
START = np.array([10.0, 8, 6, 2, 0, 0, 5, 12, 15])


def place(root, mean, triangles, keep, fields):
    number = {int(v): i for i, v in enumerate(keep)}
    draft = json.loads((root / "landmarks68_draft.json").read_text())
    draft.setdefault("61", draft["49"])
    draft.setdefault("65", draft["55"])
    corners = np.array([[number[draft[str(k)]]] * 3 for k in range(18, 69)])
    weights = np.tile([1.0, 0, 0], (51, 1))

    head = mean[:, 1] > -1.3
    skin = head & (fields["ear"] < 0.5) & (fields["eye"] + fields["teeth"] + fields["tongue"] == 0)
    shell = triangles[skin[triangles].all(1)]
    centre = np.array([0.0, mean[number[draft["34"]], 1] - 0.02, 0.12])
    angles = np.deg2rad(np.concatenate([FAN, 180 - FAN[-2::-1]]))
    starts = np.deg2rad(np.concatenate([START, START[-2::-1]]))
    tracks = []
    for angle, start in zip(angles, starts, strict=True):
        out = np.array([-np.cos(angle), -np.sin(angle), 0])
        turn = np.linspace(start, np.deg2rad(78), TRACK)[:, None]
        rays = np.cos(turn) * out + np.sin(turn) * np.array([0, 0, 1.0])
        tracks.append(surface.cast(np.tile(centre, (TRACK, 1)), rays, mean, shell, nearest=False))
    jaw_corners, jaw_weights = (np.stack([t[k] for t in tracks]) for k in (0, 1))
    directions = np.stack([-np.cos(angles), np.sin(angles)], 1)
    track_points = (mean[jaw_corners] * jaw_weights[..., None]).sum(-2)
    reach = np.einsum("jmc,jc->jm", track_points[..., :2] * [1, -1], directions)
    jaw = track_points[np.arange(17), reach.argmax(1)]
    fixed = (mean[corners] * weights[..., None]).sum(-2)
    return {
        "marks": np.concatenate([jaw, fixed]).astype(np.float32),
        "landmark_corners": corners.astype(np.uint16),
        "landmark_weights": weights.astype(np.float32),
        "jaw_corners": jaw_corners.astype(np.uint16),
        "jaw_weights": jaw_weights.astype(np.float32),
        "jaw_directions": directions.astype(np.float32),
    }
