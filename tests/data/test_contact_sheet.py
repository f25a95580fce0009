"""Contact sheets: who stands where."""

import numpy as np
from PIL import Image

from jaxgen.data import contact_sheet, recognition_sets


def test_people_are_rows_and_poses_are_columns(multipie, tmp_path):
    faces = recognition_sets.open_faces(
        {"name": "synthetic_multipie", "options": {"config": "tiny"}},
        "train",
        size=24,
        classes=(-45, 0, 45, 90),
    )
    sheet = contact_sheet.contact_sheet(faces, people=2, per_pose=2, lines=False)
    assert sheet.shape == (2 * 24, 4 * 2 * 24, 3)
    row = int(np.flatnonzero((faces.identity == 1) & (faces.yaw == 45))[0])
    np.testing.assert_array_equal(sheet[24:48, 4 * 24 : 5 * 24], faces.image[row, 2:26, 2:26])
    assert not sheet[:, 5 * 24 : 6 * 24].any() and not sheet[:, 6 * 24 :].any()
    options = ["--size=24", "--people=1", "--split=gallery", '--options={"config": "tiny"}']
    contact_sheet.main([*options, "--out", str(tmp_path / "a.png")])
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (9 * 24, 24)
