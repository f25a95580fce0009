"""The 68 iBUG landmarks as points on the surface of the mean head, found from the front.

Points 18-68 are material points: three vertices and their weights each. Lids and lips are
found where the eyeballs and the painted lips end; brows and nose are given by place. The
jaw, points 1-17, is where the field marks the visible outline of the face, so each of them is
a short track on the surface from the ear or the underside of the jaw towards the front; at
run time the point is taken where the track reaches farthest out in the image.
"""

import numpy as np

from jaxgen.data.synthetic import surface

TRACK = 24  # samples of a jaw track
# Fan of jaw tracks, image's left half: direction around the face (degrees, 0 = sideways, 90 =
# down), where the track starts and ends (degrees of turn towards the front).
FAN = np.array([-32.0, -20, -8, 8, 24, 39.5, 55.5, 72.5, 90])
START = np.array([0.0, 2, 2, 2, 4, 14, 26, 34, 38])
END = 78.0
FAN_CENTRE = np.array([0.0, -0.29, 0.12])

# Seen from the front, image's left side (decimetres, mean head): points 18-22, 28-31, 32-34.
BROW = [(-0.58, 0.29), (-0.49, 0.36), (-0.365, 0.385), (-0.235, 0.37), (-0.115, 0.33)]
BRIDGE = [(0.0, 0.18), (0.0, 0.07), (0.0, -0.04), (0.0, -0.15)]
BASE = [(-0.135, -0.235), (-0.08, -0.255), (0.0, -0.275)]
# Where points sit between the corners of eye and mouth, as shares of the width.
UPPER_LID, LOWER_LID = (0.32, 0.68), (0.29, 0.66)
UPPER_LIP, LOWER_LIP = (0.19, 0.37, 0.5), (0.17, 0.35, 0.5)
UPPER_INNER, LOWER_INNER = (0.09, 0.36, 0.5), (0.36, 0.5)

# Each of a half's points -> iBUG numbers on the image's left and right (the same: on the middle).
NUMBERS = {
    "brow": [(18, 27), (19, 26), (20, 25), (21, 24), (22, 23)],
    "bridge": [(28, 28), (29, 29), (30, 30), (31, 31)],
    "base": [(32, 36), (33, 35), (34, 34)],
    "eye": [(37, 46), (40, 43), (38, 45), (39, 44), (42, 47), (41, 48)],
    "lip": [(49, 55), (50, 54), (51, 53), (52, 52), (60, 56), (59, 57), (58, 58)],
    "inner": [(61, 65), (62, 64), (63, 63), (68, 66), (67, 67)],
}


def place(mean, triangles, fields, jaw_open):
    """All landmark arrays of the asset.

    Args:
        mean: [V, 3] mean head; triangles: [T, 3].
        fields: name -> [V].
        jaw_open: [V, 3] displacement that opens the mouth well.

    Returns:
        dict of arrays; see `asset.Head`.
    """
    corners, weights = np.zeros((69, 3), int), np.zeros((69, 3))
    for side in (0, 1):
        mirror = np.array([1 - 2 * side, 1, 1])  # the image's right half is looked at mirrored
        vertices = mean * mirror
        faces = triangles[:, :: 1 - 2 * side]  # mirroring turns faces inside out
        halves = {
            **_given(vertices, faces),
            "eye": _eye(vertices, faces, fields),
            "lip": _outer_lip(vertices, faces, fields),
            "inner": _inner_lip(vertices + jaw_open * mirror, faces, fields),
        }
        for part, points in halves.items():
            for numbers, (corner, weight) in zip(NUMBERS[part], points, strict=True):
                corners[numbers[side]], weights[numbers[side]] = corner, weight
    corners, weights = corners[18:], weights[18:]

    jaw_corners, jaw_weights, directions = _jaw(mean, triangles, fields)
    tracks = (mean[jaw_corners] * jaw_weights[..., None]).sum(-2)
    reach = np.einsum("jmc,jc->jm", tracks[..., :2] * [1, -1], directions)
    jaw = tracks[np.arange(17), reach.argmax(1)]
    fixed = (mean[corners] * weights[..., None]).sum(-2)
    return {
        "marks": np.concatenate([jaw, fixed]).astype(np.float32),
        "landmark_corners": corners.astype(np.uint16),
        "landmark_weights": weights.astype(np.float32),
        "jaw_corners": jaw_corners.astype(np.uint16),
        "jaw_weights": jaw_weights.astype(np.float32),
        "jaw_directions": directions.astype(np.float32),
    }


def _given(vertices, triangles):
    """Brow and nose points at their places."""
    hits, x, y = surface.survey(vertices, triangles, centre=(0, 0.1), width=1.3, step=0.002)

    def at(places):
        return [hits.at(np.abs(y - py).argmin(), np.abs(x - px).argmin()) for px, py in places]

    return {"brow": at(BROW), "bridge": at(BRIDGE), "base": at(BASE)}


def _eye(vertices, triangles, fields):
    """Corners, upper and lower lid of the image's left eye: skin at the edge of the opening."""
    ball = fields["eye"] > 0.5
    centre = vertices[ball & (vertices[:, 0] < 0)].mean(0)[:2]
    hits, _, _ = surface.survey(vertices, triangles, centre=centre, width=0.5, step=0.001)
    opening = ball[hits.corners].any(-1) & hits.hit
    columns = np.flatnonzero(opening.any(0))
    left, right = columns[0] - 6, columns[-1] + 14  # the tear duct belongs to the eye

    def row_of(column):
        rows = np.flatnonzero(opening[:, column])
        return rows[0], rows[-1]

    outer = hits.at(int(np.mean(row_of(columns[0]))), left)
    inner = hits.at(int(np.mean(row_of(columns[-1]))), right)
    at = [int(round(left + share * (right - left))) for share in (*UPPER_LID, *LOWER_LID)]
    upper = [hits.at(row_of(c)[0] - 3, c) for c in at[:2]]
    lower = [hits.at(row_of(c)[1] + 3, c) for c in at[2:]]
    return [outer, inner, *upper, *lower]


def _outer_lip(vertices, triangles, fields):
    """Corner, upper and lower edge of the red of the lips, to the middle."""
    hits, x, _ = surface.survey(vertices, triangles, centre=(0, -0.46), width=0.7, step=0.001)
    red = ((fields["lip"][hits.corners] * hits.weights).sum(-1) > 0.65) & hits.hit
    columns = np.flatnonzero(red.any(0))
    left, width = columns[0] + 8, -2 * x[columns[0] + 8] / 0.001

    def rows_of(column):
        rows = np.flatnonzero(red[:, column])
        return rows[0], rows[-1]

    corner = hits.at(int(np.mean(rows_of(left))), left)
    upper = [int(round(left + share * width)) for share in UPPER_LIP]
    lower = [int(round(left + share * width)) for share in LOWER_LIP]
    dip = [0, 0, 12]  # the bow of the lip is lower in the middle than the paint, in rows
    return [
        corner,
        *(hits.at(rows_of(c)[0] + d, c) for c, d in zip(upper, dip, strict=True)),
        *(hits.at(rows_of(c)[1], c) for c in lower),
    ]


def _inner_lip(vertices, triangles, fields):
    """Inner corner, upper and lower inner edge of the lips of an open mouth, to the middle."""
    hits, x, _ = surface.survey(vertices, triangles, centre=(0, -0.55), width=0.8, step=0.001)
    inside = (fields["mouth"] + fields["teeth"] + fields["tongue"])[hits.corners].max(-1) > 0.5
    lip = (fields["lip"][hits.corners] * hits.weights).sum(-1) > 0.3
    lower = (fields["lower"][hits.corners] * hits.weights).sum(-1) > 0.5
    gap = inside | ~hits.hit
    columns = np.flatnonzero((gap & (np.abs(x) < 0.3)).any(0))
    left, width = columns[0], -2 * x[columns[0]] / 0.001

    def edges(column):
        upper_rows = np.flatnonzero((lip & ~lower & ~gap)[:, column])
        lower_rows = np.flatnonzero((lip & lower & ~gap)[:, column])
        return upper_rows[-1], lower_rows[0]

    def column_of(share):
        return int(round(left + (share - UPPER_INNER[0]) / (1 - 2 * UPPER_INNER[0]) * width)) + 2

    upper = [hits.at(edges(column_of(s))[0], column_of(s)) for s in UPPER_INNER]
    return [*upper, *(hits.at(edges(column_of(s))[1], column_of(s)) for s in LOWER_INNER)]


def _jaw(mean, triangles, fields):
    """Tracks of points 1-17: corners and weights [17, TRACK, 3], directions [17, 2]."""
    others = fields["ear"] + fields["eye"] + fields["teeth"] + fields["tongue"]
    skin = (mean[:, 1] > -1.3) & (others < 0.5)
    shell = triangles[skin[triangles].all(1)]
    fan = np.deg2rad(np.concatenate([FAN, 180 - FAN[-2::-1]]))
    starts = np.concatenate([START, START[-2::-1]])
    corners, weights = [], []
    for angle, start in zip(fan, starts, strict=True):
        out = np.array([-np.cos(angle), -np.sin(angle), 0])
        turn = np.deg2rad(np.linspace(start, END, TRACK))[:, None]
        rays = np.cos(turn) * out + np.sin(turn) * np.array([0, 0, 1.0])
        hits, _ = surface.cast_outwards(FAN_CENTRE, rays, mean, shell)
        corners.append(hits.corners)
        weights.append(hits.weights)
    directions = np.stack([-np.cos(fan), np.sin(fan)], 1)  # x right, y down
    return np.stack(corners), np.stack(weights), directions
