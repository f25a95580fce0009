"""Valid files of the readers of points, lists and tables."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from benchmarks.reader_case import FOLDER, Reader, finite, inside


def readers():
    """All of them."""
    yield from _points()
    yield from _lists()
    yield from _tables()


# ------------------------------------------------------------------ points and their labels


def _points():
    from jaxgen.data import flip_pairs
    from jaxgen.data.builders import cfp, multipie, pts

    lines = [f"{10 * i + 3.25:.3f} {7 * i + 90.5:.3f}" for i in range(5)]
    text = "\n".join(["version: 1", "n_points: 5", "{", *lines, "}", ""])
    yield Reader(
        "pts", "face.pts", text.encode(), lambda path: pts.read_pts(path, 5), finite((5, 2)),
        text=True, knows_its_end=True,
    )  # fmt: skip
    text = "\n".join(f"{i + 0.5:.2f},{90 - i}" for i in range(30))
    yield Reader(
        "cfp_fiducials", "01.txt", text.encode(), cfp.read_fiducials, finite((30, 2)), text=True
    )
    text = "0,4  # corners\n\n1,3\n"
    yield Reader(
        "flip_pairs", "pairs.txt", text.encode(),
        lambda path: flip_pairs.for_points(5, path),
        lambda order: None if sorted(order) == [*range(5)] else "no permutation", text=True,
    )  # fmt: skip

    def names(path):
        try:
            name = path.read_text(encoding="utf-8").strip()
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: {error}") from None
        return name, multipie._parts(Path(name))

    def check(found):
        name, parts = found
        if parts is None:
            return None
        good = "_".join(parts) == Path(name).name[:16] and all(p.isascii() for p in parts)
        good = good and not Path(name).name[16:17].isdigit()
        return None if good else f"{name!r} read as {parts}"

    yield Reader("multipie_names", "names.txt", b"s1/001_01_01_051_07.png", names, check, text=True)


# ------------------------------------------------------------------ lists of the official sets


def _lists():
    from jaxgen.data import verification_pairs
    from jaxgen.data.builders import wflw, wider_face

    usual = "0 0 0 0 0 0"
    text = f"0--Parade/a.jpg\n2\n10 20 6 8 {usual}\n1 2 3 4 2 1 1 0 2 1\n"
    text += f"0--Parade/b.jpg\n0\n0 0 0 0 {usual}\n1--Dancing/c.jpg\n1\n7 8 9 10 {usual}\n"

    def check_wider(found):
        for annotation in found:
            wrong = finite(most=1e6)(annotation.boxes)
            wrong = wrong or finite(most=100)(annotation.flags)
            wrong = wrong or inside("/set/images", [Path("/set/images", annotation.file)])
            if wrong:
                return wrong
        return None

    yield Reader(
        "wider_face_text", "wider_face_train_bbx_gt.txt", text.encode(),
        wider_face.read_annotations, check_wider, text=True,
    )  # fmt: skip

    values = [f"{i + 0.25}" for i in range(196)] + ["3", "4", "90", "99", *"010010"]
    text = "".join(" ".join([*values, f"0--Parade/{name}.jpg\n"]) for name in "ab")

    def read_wflw(path):
        stub = SimpleNamespace(builder_config=SimpleNamespace(manual_dir=Path("/set")))
        return list(wflw.Wflw._faces(stub, path))

    def check_faces(found):
        for face in found:
            wrong = finite()(face.points) or finite((4,))(face.box)
            if isinstance(face.image, Path):
                wrong = wrong or inside("/set", [face.image])
            if wrong:
                return wrong
        return None

    yield Reader("wflw_list", "list_98pt.txt", text.encode(), read_wflw, check_faces, text=True)

    text = "".join(f"{i} ../Data/Images/{i:03d}/frontal/01.jpg\n" for i in range(1, 6))
    yield Reader(
        "cfp_pictures", "Pair_list_F.txt", text.encode(), verification_pairs._read_pictures,
        lambda found: next(
            (f"{name!r}" for name in found.values() if name.count("/") != 2), None
        ),
        text=True,
    )  # fmt: skip
    listed = {str(i): f"{i:03d}/frontal/01" for i in range(1, 8)}
    text = "".join(f"{1 + i % 7},{1 + i % 5}\n" for i in range(verification_pairs.CFP_PAIRS))
    yield Reader(
        "cfp_pairs", "same.txt", text.encode(),
        lambda path: verification_pairs._read_pairs(path, [listed, listed]), text=True,
    )  # fmt: skip


# ------------------------------------------------------------------ a user's own tables


def _tables():
    from jaxgen.data import face_boxes, recognition_sets, verification_pairs
    from jaxgen.data.builders import (
        face_labels,
        face_templates,
        points_csv,
        scene_folder,
    )  # fmt: skip

    # Pictures that lists name; the folder goes when the process ends.
    folder = Path(FOLDER.name)
    for name in ("a.jpg", "b.jpg"):
        (folder / name).write_bytes(b"")

    def check_boxes(found):
        return next(
            (wrong for name in found.names for k in range(20) for face in found.of(name, k)
             if (wrong := finite((4,))(face.box))), None,
        )  # fmt: skip

    text = "name,x0,y0,x1,y1,score,frame\na.jpg,102.5,80,190,188.25,0.98,\nclip.mp4,4,3,9,10,,17\n"
    yield Reader(
        "face_boxes_csv", "boxes.csv", text.encode(), face_boxes.read_face_boxes, check_boxes,
        text=True,
    )  # fmt: skip
    rows = [dict(name="a.jpg", x0=1, y0=2.5, x1=3, y1=4, score=0.5), dict(name="b", x0=1, y0=2,
            x1=3, y1=4, frame=3)]  # fmt: skip
    yield Reader(
        "face_boxes_json", "boxes.json", json.dumps(rows).encode(), face_boxes.read_face_boxes,
        check_boxes, text=True, knows_its_end=True,
    )  # fmt: skip

    text = "image,split,group,box_x0,box_y0,box_x1,box_y1,nose_x,nose_y,eye_x,eye_y\n"
    text += "a.jpg,train,anna,10,12,90,99,52.5,60,38,41.25\nb.jpg,test,ben,,,,,120,88,11,12\n"

    def check_faces(found):
        _, faces = found
        for face in faces:
            points = face.points[np.isfinite(face.points[:, 0])]
            wrong = finite()(points) or finite((4,))(face.box) or inside(folder, [face.image])
            if wrong:
                return wrong
        return None

    yield Reader(
        "points_csv", "points.csv", text.encode(),
        lambda path: points_csv.read_table(path, folder), check_faces, text=True,
    )  # fmt: skip

    text = "name,face,frame,point,x,y\n" + "".join(f"a.jpg,0,0,{k},{k + 0.5},9\n" for k in range(5))
    yield Reader(
        "landmarks_csv", "landmarks.csv", text.encode(), face_labels.read_landmarks,
        lambda found: next((w for p in found.values() if (w := finite((5, 2))(p))), None),
        text=True,
    )  # fmt: skip
    text = "name,yaw\nperson/1.jpg,-30\nperson/2.jpg,12.5\n"
    yield Reader(
        "yaws_csv", "yaws.csv", text.encode(), face_labels.read_yaws,
        lambda found: finite(most=180)(list(found.values())), text=True,
    )  # fmt: skip

    def read_templates(path):
        options = {**face_templates.FaceTemplates.OPTIONS, "templates": path.name}
        for name in ("a.jpg", "b.jpg"):
            (path.parent / name).touch()
        listed = face_templates.FaceTemplates.picture_files(path.parent, options)
        config = SimpleNamespace(manual_dir=path.parent, options=options)
        found = face_templates.FaceTemplates.pictures(SimpleNamespace(builder_config=config))
        return path.parent, found["test"], listed

    def check_templates(found):
        folder, pictures, listed = found
        for picture in pictures:
            if picture.box is not None and (wrong := finite((4,))(picture.box)):
                return wrong
        return inside(folder, listed)

    text = "template_id,subject_id,path,x0,y0,x1,y1\n1,9,a.jpg,1,2,30,40\n2,8,b.jpg,,,,\n"
    yield Reader(
        "templates_csv", "templates.csv", text.encode(), read_templates, check_templates, text=True
    )

    def read_pairs(path):
        faces = recognition_sets.Faces(**dict.fromkeys(recognition_sets.Faces._fields))
        faces = faces._replace(subset=("1", "2", "2"))
        options = {"pairs": path.name}
        data = {"name": "face_templates", "manual_dir": str(path.parent), "options": options}
        return verification_pairs.template_pairs(data, faces)

    text = "template_a,template_b,same\n1,2,0\n2,2,1\n"
    yield Reader("template_pairs", "pairs.csv", text.encode(), read_pairs, text=True)

    def read_classes(path):
        config = SimpleNamespace(manual_dir=path.parent, options={"num_classes": 0})
        return scene_folder.SceneFolder.classes.fget(SimpleNamespace(builder_config=config))

    yield Reader(
        "class_names", "classes.txt", b"road\nsky\nface\n", read_classes,
        lambda names: None if all(n.isprintable() for n in names) else f"names {names}", text=True,
    )  # fmt: skip
