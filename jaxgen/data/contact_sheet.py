"""A look at aligned faces: one row a person, one column a pose.

    python -m jaxgen.data.contact_sheet --name cfp --manual-dir DATA/cfp --classes=-90,0,90

Lines at the template's eyes and mouth show at a glance whether a set is aligned: wrong landmarks, a
mirrored yaw or a cut chin are seen here before they cost a training.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from jaxgen.data import face_alignment, recognition_batches, recognition_sets

_LINE = (255, 40, 40)


def contact_sheet(
    faces: recognition_sets.Faces, *, people: int = 8, per_pose: int = 1, lines: bool = True
) -> np.ndarray:
    """The middle crops of some people by pose.

    Args:
        faces: a set.
        people: rows; the first ones by number.
        per_pose: pictures of each pose class side by side, the first ones by name.
        lines: whether the heights of eyes and mouth are drawn.

    Returns:
        [people * S, classes * per_pose * S, 3] uint8; black where a person has no such picture.
    """
    side = faces.image.shape[1]
    size = round(side * face_alignment.SEEN / face_alignment.SIDE)
    seen = np.array(recognition_batches.middle(faces.image, size))
    if seen.shape[-1] == 1:
        seen = np.repeat(seen, 3, -1)
    rows = []
    for own in faces.rows_of_people()[:people]:
        row = []
        for pose in range(len(faces.classes)):
            found = [seen[k] for k in own if faces.pose[k] == pose][:per_pose]
            row += found + [np.zeros_like(seen[0])] * (per_pose - len(found))
        rows.append(np.concatenate(row, 1))
    sheet = np.concatenate(rows)
    if lines:
        for height in (face_alignment.TEMPLATE[0, 1], face_alignment.TEMPLATE[3, 1]):
            line = round((height + 0.5) * side / face_alignment.SIDE - 0.5) - (side - size) // 2
            sheet[line::size] = _LINE
    return sheet


def main(argv=None):
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", default="synthetic_multipie", help="name of the set")
    parser.add_argument("--manual-dir", default="", help="folder of the set's files")
    parser.add_argument("--data-dir", default="", help="where prepared sets are kept")
    parser.add_argument("--options", default="{}", help="of the set's builder, as JSON")
    parser.add_argument("--split", default="train")
    parser.add_argument("--classes", default="-60,-45,-30,-15,0,15,30,45,60", help="yaws")
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--per-pose", type=int, default=1)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--no-lines", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("contact_sheet.png"))
    args = parser.parse_args(argv)
    config = {"name": args.name, "manual_dir": args.manual_dir, "data_dir": args.data_dir}
    faces = recognition_sets.open_faces(
        {**config, "options": json.loads(args.options)},
        args.split,
        size=args.size,
        classes=[float(c) for c in args.classes.split(",")],
    )
    sheet = contact_sheet(
        faces, people=args.people, per_pose=args.per_pose, lines=not args.no_lines
    )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(args.out)
    print(f"{args.out}: {len(faces.name)} pictures of {len(faces.people)} people in the split")


if __name__ == "__main__":
    main()
