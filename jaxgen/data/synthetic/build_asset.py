"""Builds jaxgen/data/assets/head.npz from the public MakeHuman / MPFB2 data (CC0 1.0).

    python -m jaxgen.data.synthetic.build_asset MAKEHUMAN_DIR

MAKEHUMAN_DIR holds `3dobjs/base.obj`, `targets/` and `textures/` as in the MPFB2 release.
Takes a few minutes; users never need it, the result is part of the package.

What it makes: the head part of the base mesh, a principal-component basis of random people
(`identities`), the 52 face units as expression basis, per-vertex fields that say what a
point of the surface is (`regions`), the 68 landmarks as points on the surface
(`place_landmarks`), a hair shell (`hair_shell`) and how much light each vertex receives from
every side (`light_transfer`).
"""

import argparse
from pathlib import Path

import numpy as np

from jaxgen.data.synthetic import (
    hair_shell,
    identities,
    light_transfer,
    makehuman,
    place_landmarks,
    regions,
)
from jaxgen.data.synthetic.asset import ASSET, FIELDS, quantise
from jaxgen.data.synthetic.expressions import UNITS

IDENTITY_SIZE = 60
PEOPLE = 2500  # random people behind the identity basis
EXTRA_GROUPS = (
    "helper-l-eye", "helper-r-eye", "helper-upper-teeth", "helper-lower-teeth", "helper-tongue",
)  # fmt: skip
LOWEST = 4.5  # the body is cut at the upper chest (decimetres, base mesh)


def main(argv=None):
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("makehuman_dir", type=Path)
    parser.add_argument("--out", type=Path, default=ASSET)
    args = parser.parse_args(argv)
    arrays = build(args.makehuman_dir)
    np.savez_compressed(args.out, **arrays)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.2f} MB")


def build(root: Path) -> dict[str, np.ndarray]:
    """All arrays of the asset; see `asset.Head` for what they mean."""
    mesh = makehuman.read_mesh(root / "3dobjs" / "base.obj")
    size = len(mesh.vertices)
    keep, triangles, quads = head_part(mesh)
    folders = (*identities.SPREADS, "macrodetails", "faceunits")
    targets = {
        folder: {
            name: delta[keep]
            for name, delta in makehuman.read_targets(root / "targets" / folder, size).items()
        }
        for folder in folders
    }
    base = mesh.vertices[keep]
    units = targets.pop("faceunits")
    fields = regions.vertex_fields(mesh, quads, keep, units, root / "textures")
    people = sample_people(base, targets, fields)
    mean, basis, variance = principal_shapes(people, fields)
    print(f"identity basis holds {variance:.1%} of the variance")

    eyes = fields["eye"] > 0
    expression = np.stack([units[name] for name in UNITS])
    expression[:, eyes] = 0  # the gaze turns the painted iris, not the eyeball
    expression *= people_scale(base, mean)

    origin = ear_centre(mean, fields)
    mean = mean - origin
    arrays = {
        "mean": mean.astype(np.float32),
        "head_triangles": triangles.astype(np.uint16),
        "skull_angles": hair_shell.angles(mean).astype(np.float32),
        "eyes": eyeballs(mean, fields["eye"] > 0.5),
        **{f"field_{k}": np.round(fields[k] * 255).astype(np.uint8) for k in FIELDS},
    }
    jaw_open = expression[UNITS.index("jawOpen")]
    arrays |= place_landmarks.place(mean, triangles, fields, 0.5 * jaw_open)
    shut_lids(mean, expression, arrays["landmark_corners"], arrays["landmark_weights"])
    for name, values in (("identity", basis), ("expression", expression)):
        arrays[f"{name}_codes"], arrays[f"{name}_scales"] = quantise(values)
    codes, scales = quantise(light(mean, triangles, fields, jaw_open).T)
    arrays |= {"transfer_codes": codes, "transfer_scales": scales}
    arrays |= hair_shell.build(mean, triangles, fields)
    return arrays


def light(mean, triangles, fields, jaw_open):
    """[V, 9] light transfer; inside the mouth it is the one of an open mouth."""
    closed = light_transfer.compute(mean.astype(np.float32), triangles)
    opened = light_transfer.compute((mean + 0.55 * jaw_open).astype(np.float32), triangles)
    inner = fields["mouth"] + fields["teeth"] + fields["tongue"] > 0.5
    lips = 0.5 * fields["lip"][:, None]
    return np.where(inner[:, None], opened, (1 - lips) * closed + lips * opened)


def eyeballs(mean, ball):
    """[2, 4] centre and radius of the eyeballs, the image's left one first."""
    rows = []
    for side in (mean[:, 0] < 0, mean[:, 0] > 0):
        points = mean[ball & side]
        # A sphere through many points, by least squares.
        system = np.concatenate([2 * points, np.ones((len(points), 1))], 1)
        x = np.linalg.lstsq(system, (points**2).sum(1), rcond=None)[0]
        rows.append([*x[:3], np.sqrt(x[3] + x[:3] @ x[:3])])
    return np.array(rows, np.float32)


def head_part(mesh):
    """Vertices above the chest with eyes, teeth and tongue.

    Returns:
        keep: [V] numbers of the kept vertices in the base mesh, ascending.
        triangles: [T, 3] into `keep`, front faces counter-clockwise (y up).
        quads: [F] which of the mesh's quads they come from.
    """
    body = (mesh.groups == "body") & (mesh.vertices[mesh.quads][:, :, 1].max(1) > LOWEST)
    quads = np.flatnonzero(body | np.isin(mesh.groups, EXTRA_GROUPS))
    faces = mesh.quads[quads]
    keep, faces = np.unique(faces, return_inverse=True)
    faces = faces.reshape(-1, 4)
    triangles = np.stack([faces[:, [0, 1, 2]], faces[:, [0, 2, 3]]], 1).reshape(-1, 3)
    return keep, triangles, quads


def sample_people(base, targets, fields):
    """[N, V, 3] random people, each moved and scaled onto the base by its head."""
    sliders = identities.detail_sliders(targets)
    rng = np.random.default_rng(0)
    people = np.empty((PEOPLE, *base.shape), np.float32)
    head = fields["head"] > 0.5
    for i in range(PEOPLE):
        person = base + identities.sample_person(rng, targets, sliders)
        people[i] = align(person, base, head)
    return people


def align(person, base, head):
    """Takes out height and overall size: they are the camera's to choose."""
    centre = person[head].mean(0)
    spread = np.sqrt(((person[head] - centre) ** 2).sum(1).mean())
    goal = base[head].mean(0)
    size = np.sqrt(((base[head] - goal) ** 2).sum(1).mean())
    return (person - centre) * (size / spread) + goal


def principal_shapes(people, fields):
    """Mean and leading components, in units of one standard deviation.

    Components are sought with the face weighted above neck and chest, whose variation would
    otherwise take the first places.

    Returns:
        mean [V, 3], basis [IDENTITY_SIZE, V, 3], share of the weighted variance kept.
    """
    mean = people.mean(0, dtype=np.float64)
    offsets = (people - mean).reshape(len(people), -1)
    weight = np.repeat(0.15 + fields["head"] + 1.5 * fields["face"], 3)
    rows = (offsets * weight).astype(np.float64)
    values, vectors = np.linalg.eigh(rows @ rows.T / len(rows))
    order = np.argsort(values)[::-1][:IDENTITY_SIZE]
    scores = vectors[:, order] * np.sqrt(len(rows))  # unit variance, uncorrelated
    basis = scores.T @ offsets / len(rows)  # regression of the shape on the scores
    kept = values[order].sum() / values.sum()
    return mean, basis.reshape(IDENTITY_SIZE, -1, 3), kept


def shut_lids(mean, expression, corners, weights):
    """Scales the blinks, in place, so that full strength just shuts the lids."""
    for name, upper, lower in (("eyeBlinkRight", 38, 42), ("eyeBlinkLeft", 45, 47)):
        unit = expression[UNITS.index(name)]

        def height(shape, number):
            row = number - 18
            return (shape[corners[row], 1] * weights[row]).sum()

        gap = height(mean, upper) - height(mean, lower)
        closing = height(unit, lower) - height(unit, upper)
        unit *= 1.05 * gap / closing


def people_scale(base, mean):
    """Size of the mean person relative to the base mesh, for the expression basis."""
    return np.linalg.norm(mean.std(0)) / np.linalg.norm(base.std(0))


def ear_centre(mean, fields):
    """A point between the ears, a little in front of them: the head turns about it."""
    ears = mean[fields["ear"] > 0.5].mean(0)
    return np.array([0.0, ears[1], ears[2] + 0.15])


if __name__ == "__main__":
    main()
