"""Every reader of files that the library has, each with a small valid file of its own.

`benchmarks.fuzz_readers` and tests/data/test_fuzz_readers.py break these files in many ways.
"""

import dataclasses
import functools
import gzip
import importlib
import io
import json
import os
import shutil
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from jaxgen.training.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Reader:
    """One reader of one kind of file.

    Attributes:
        name: in the table.
        file: name that the file must have.
        sample: a valid file.
        read: path -> anything.
        check: result of `read` -> what is impossible about it, or None.
        raises: the documented errors.
        text: the sample is UTF-8 text, so that other encodings are tried.
        knows_its_end: the format says how long it is, so that a cut file must be an error or read
            as the same. A list with one entry a line cannot say so.
        slow: reading takes a tenth of a second, so that a tenth of the inputs must do.
    """

    name: str
    file: str
    sample: bytes
    read: Callable[[Path], Any]
    check: Callable[[Any], str | None] = lambda result: None
    raises: tuple[type[Exception], ...] = (ValueError, OSError)
    text: bool = False
    knows_its_end: bool = False
    slow: bool = False

    def same(self, path: Path, result) -> bool:
        """Whether a result is what the whole sample gives."""
        path.write_bytes(self.sample)
        return _plain(self.read(path)) == _plain(result)


def readers() -> list[Reader]:
    """The table; readers whose optional package is not installed are left out."""
    return [
        *_points(), *_lists(), *_digits(), *_matlab(), *_tables(), *_weights(), *_pictures(),
        *_videos(), *_runs(), *_checkpoints(),
    ]  # fmt: skip


def _plain(result):
    """A result in a form that == compares by value."""
    if isinstance(result, np.ndarray) or hasattr(result, "__array__"):
        array = np.asarray(result)
        return (array.shape, str(array.dtype), array.tobytes())
    if isinstance(result, dict):
        return {key: _plain(value) for key, value in result.items()}
    if isinstance(result, list | tuple):
        return [_plain(value) for value in result]
    if dataclasses.is_dataclass(result):
        return _plain(vars(result))
    return result


def _finite(shape=None, most=1e9):
    """A check: an array of finite numbers of plausible size."""

    def check(array):
        array = np.asarray(array)
        if shape is not None and array.shape != shape:
            return f"shape {array.shape}"
        if array.size and not (np.abs(array) <= most).all():
            return "not finite, or beyond any picture"
        return None

    return check


def _inside(folder, paths):
    """A check in words alone: no link is followed, a name may hold what no path may."""
    root = os.path.normpath(folder) + os.sep
    outside = [path for path in paths if not os.path.normpath(path).startswith(root)]
    return f"leaves the folder: {outside[0]}" if outside else None


# ------------------------------------------------------------------ points and their labels


def _points():
    from jaxgen.data import flip_pairs
    from jaxgen.data.builders import cfp, multipie, pts

    lines = [f"{10 * i + 3.25:.3f} {7 * i + 90.5:.3f}" for i in range(5)]
    text = "\n".join(["version: 1", "n_points: 5", "{", *lines, "}", ""])
    yield Reader(
        "pts", "face.pts", text.encode(), lambda path: pts.read_pts(path, 5), _finite((5, 2)),
        text=True, knows_its_end=True,
    )  # fmt: skip
    text = "\n".join(f"{i + 0.5:.2f},{90 - i}" for i in range(30))
    yield Reader(
        "cfp_fiducials", "01.txt", text.encode(), cfp.read_fiducials, _finite((30, 2)), text=True
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
            wrong = _finite(most=1e6)(annotation.boxes)
            wrong = wrong or _finite(most=100)(annotation.flags)
            wrong = wrong or _inside("/set/images", [Path("/set/images", annotation.file)])
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
            wrong = _finite()(face.points) or _finite((4,))(face.box)
            if isinstance(face.image, Path):
                wrong = wrong or _inside("/set", [face.image])
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


# ------------------------------------------------------------------ digits


def _digits():
    from jaxgen.data.builders import mnist_idx, usps

    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 5), np.uint8)
    idx = bytes([0, 0, 8, 3]) + struct.pack(">3I", *pixels.shape) + pixels.tobytes()
    row = "6.0000 " + " ".join(f"{v:.4f}" for v in np.linspace(-1, 1, 256)) + " \n"

    def read(path):
        return mnist_idx.read_idx(path, axes=3)

    yield Reader("idx", "images-idx3-ubyte", idx, read, knows_its_end=True)
    yield Reader(
        "idx_gz", "images-idx3-ubyte.gz", gzip.compress(idx, mtime=0), read, knows_its_end=True
    )

    def check(found):
        images, labels = found
        good = images.shape[1:] == (16, 16) and len(images) == len(labels)
        return None if good and ((labels >= 0) & (labels <= 9)).all() else "labels"

    yield Reader("usps", "zip.train", (row * 3).encode(), usps.read_zip_text, check, text=True)
    packed = gzip.compress((row * 3).encode(), mtime=0)
    yield Reader("usps_gz", "zip.train.gz", packed, usps.read_zip_text, check, knows_its_end=True)


# ------------------------------------------------------------------ MATLAB


def _cell(values):
    array = np.empty((len(values), 1), object)
    for row, value in enumerate(values):
        array[row, 0] = value
    return array


def _mat(content, *, packed):
    from scipy import io as scipy_io

    stream = io.BytesIO()
    scipy_io.savemat(stream, content, do_compression=packed)
    # The header holds the time of writing.
    return b"MATLAB 5.0 MAT-file".ljust(116) + stream.getvalue()[116:]


def _matlab():
    try:
        import scipy  # noqa: F401
    except ModuleNotFoundError:
        return
    from jaxgen.data import wider_levels
    from jaxgen.data.builders import aflw19, svhn_mat

    rng = np.random.default_rng(0)
    svhn = {"X": rng.integers(0, 256, (4, 4, 3, 3), np.uint8), "y": np.array([[10], [1], [7]])}

    def check_svhn(found):
        images, labels = found
        good = len(images) == len(labels) and ((labels >= 0) & (labels <= 9)).all()
        return None if good else "labels"

    for name, packed in (("svhn_mat", False), ("svhn_mat_packed", True)):
        yield Reader(
            name, "train_32x32.mat", _mat(svhn, packed=packed), svhn_mat.read_mat,
            check_svhn, knows_its_end=True,
        )  # fmt: skip

    level = {
        "event_list": _cell(["0--Parade", "1--Dancing"]),
        "file_list": _cell([_cell(["a", "b"]), _cell(["c"])]),
        "face_bbx_list": _cell(
            [_cell([np.array([[10.0, 20, 6, 8], [1, 2, 3, 4]]), np.array([[5.0, 5, 5, 5]])]),
             _cell([np.array([[7.0, 8, 9, 10]])])]
        ),
        "gt_list": _cell([_cell([np.array([[2]]), np.zeros((0, 1))]), _cell([np.array([[1]])])]),
    }  # fmt: skip

    def check_level(found):
        for faces in found.values():
            if wrong := _finite()(faces.boxes):
                return wrong
        return None

    for name, packed in (("wider_levels_mat", False), ("wider_levels_mat_packed", True)):
        yield Reader(
            name, "wider_easy_val.mat", _mat(level, packed=packed), wider_levels.read_level,
            check_level, knows_its_end=True,
        )  # fmt: skip

    aflw = {
        "data": rng.uniform(20, 60, (3, 38)),
        "mask_new": np.ones((3, 19)),
        "bbox": np.tile([15.0, 65.0, 16.0, 66.0], (3, 1)),
        "nameList": _cell([f"0/image{i:05d}.jpg" for i in range(3)]),
        "ra": np.array([[3, 1, 2]]),
    }

    def read_aflw(path):
        stub = SimpleNamespace(
            builder_config=SimpleNamespace(manual_dir=path.parent), _content=aflw19._read(path)
        )
        orders = {split: aflw19.Aflw19._order(stub, split) for split in aflw19.COUNTS}
        return [
            face for split, rows in orders.items()
            for face in aflw19.Aflw19._faces(stub, split, rows)
        ]  # fmt: skip

    def check_aflw(found):
        for face in found:
            wrong = _finite((19, 2))(face.points) or _finite((4,))(face.box)
            if wrong or ".." in face.image.parts:
                return wrong or f"leaves the folder: {face.image}"
        return None

    yield Reader(
        "aflw_mat", "AFLWinfo_release.mat", _mat(aflw, packed=True), read_aflw, check_aflw,
        knows_its_end=True,
    )  # fmt: skip
    yield from _hdf5(rng)


def _hdf5(rng):
    try:
        import h5py
    except ModuleNotFoundError:
        return
    from jaxgen.data.builders import cofw

    stream, count = io.BytesIO(), 2
    with h5py.File(stream, "w", track_order=False) as file:
        references = np.empty((1, count), h5py.ref_dtype)
        for i in range(count):
            file[f"#refs#/{i}"] = rng.integers(0, 256, (3, 9, 8), np.uint8)
            references[0, i] = file[f"#refs#/{i}"].ref
        file.create_dataset("IsTr", data=references, dtype=h5py.ref_dtype)
        file["phisTr"] = rng.uniform(1, 60, (87, count))
        file["bboxesTr"] = np.tile([[11.0], [13.0], [60.0], [64.0]], (1, count))

    def check(found):
        for face in found:
            if wrong := _finite((29, 2))(face.points) or _finite((4,))(face.box):
                return wrong
        return None

    yield Reader(
        "cofw_mat", "COFW_train_color.mat", stream.getvalue(),
        lambda path: list(cofw.Cofw._faces(None, "train", path, "Tr")), check,
        knows_its_end=False,  # a page of free space may follow the data
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
    folder = Path(_FOLDER.name)
    for name in ("a.jpg", "b.jpg"):
        (folder / name).write_bytes(b"")

    def check_boxes(found):
        return next(
            (wrong for name in found.names for k in range(20) for face in found.of(name, k)
             if (wrong := _finite((4,))(face.box))), None,
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
            wrong = _finite()(points) or _finite((4,))(face.box) or _inside(folder, [face.image])
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
        lambda found: next((w for p in found.values() if (w := _finite((5, 2))(p))), None),
        text=True,
    )  # fmt: skip
    text = "name,yaw\nperson/1.jpg,-30\nperson/2.jpg,12.5\n"
    yield Reader(
        "yaws_csv", "yaws.csv", text.encode(), face_labels.read_yaws,
        lambda found: _finite(most=180)(list(found.values())), text=True,
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
            if picture.box is not None and (wrong := _finite((4,))(picture.box)):
                return wrong
        return _inside(folder, listed)

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


_FOLDER = tempfile.TemporaryDirectory(prefix="jaxgen-fuzz-")


# ------------------------------------------------------------------ weights and arrays


def _weights():
    from jaxgen.data import face_pair_files
    from jaxgen.tasks import cycada_data
    from jaxgen.training import export

    try:
        from safetensors import numpy as safe
    except ModuleNotFoundError:
        pass
    else:
        from jaxgen.models import pretrained

        arrays = {"layer.weight": np.ones((2, 3), np.float32), "layer.bias": np.zeros(2, "f4")}
        yield Reader(
            "safetensors", "weights.safetensors", safe.save(arrays), pretrained.read,
            lambda found: next((w for a in found.values() if (w := _finite(most=np.inf)(a))), None),
            knows_its_end=True,
        )  # fmt: skip

    stream = io.BytesIO()
    np.savez_compressed(stream, image=np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3))

    def read_translated(path):
        domains = cycada_data.Domains(SimpleNamespace(data=SimpleNamespace(task="digits")))
        source = _Arrays(np.zeros((1, 4, 4, 3), np.uint8))
        domains._opened["source", "train"] = source
        return domains.translated(path.parent, "train").image

    yield Reader(
        "translated_npz", "train.npz", stream.getvalue(), read_translated, knows_its_end=True
    )

    stream = io.BytesIO()
    np.save(stream, np.arange(12, dtype=np.float32).reshape(3, 4))

    def read_crops(path):
        others = [path.with_name(f"{name}.npy") for name in face_pair_files.NAMES]
        for other in others:
            if other != path and not other.exists():
                np.save(other, np.zeros(3, np.float32))
        found = face_pair_files.open_split(path.parent)
        return {name: np.array(array) for name, array in found.items()}

    yield Reader(
        "crops_npy", "box.npy", stream.getvalue(), read_crops,
        lambda found: None if len({len(a) for a in found.values()}) == 1 else "unequal lengths",
        raises=(ConfigError,), knows_its_end=True,
    )  # fmt: skip

    def artifact():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.stablehlo"
            export.write_artifact(path, lambda x: x + 1, [((2,), np.float32)], description={})
            return path.read_bytes()

    yield Reader("stablehlo", "net.stablehlo", artifact(), export.read_artifact)


class _Arrays:
    """A source of images in memory, as `Domains` holds one."""

    def __init__(self, image):
        self.image = image

    def _replace(self, image):
        return _Arrays(image)


# ------------------------------------------------------------------ pictures and videos


def _pictures():
    from jaxgen.data import labelled_images
    from jaxgen.data.builders import images, label_ids

    y, x = np.mgrid[:12, :16]
    picture = Image.fromarray(np.stack([x * 15, y * 20, x * y], -1).astype(np.uint8))

    def saved(kind, image=picture, **options):
        stream = io.BytesIO()
        image.save(stream, kind, **options)
        return stream.getvalue()

    def read(path):
        image = images.open_image(path, upright=True)
        images.is_plain(path, ("JPEG",))
        return np.asarray(image)

    def check(array):
        good = array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8
        return None if good else f"{array.dtype} {array.shape}"

    exif = Image.Exif()
    exif[274] = 6
    kinds = [("JPEG", "jpg", dict(exif=exif)), ("PNG", "png", dict(exif=exif)), ("BMP", "bmp", {})]
    kinds += [("WEBP", "webp", {}), ("TIFF", "tif", dict(compression="tiff_deflate"))]
    for kind, ending, options in kinds:
        data = saved(kind, **options)
        # A TIFF may end with tags that nobody needs for its pixels, a JPEG with two bytes.
        yield Reader(f"image_{ending}", f"a.{ending}", data, read, check, knows_its_end=True)
    palette = saved("PNG", Image.fromarray((x % 5).astype(np.uint8)))

    def read_label(path):
        table = {k: k for k in range(5)} | {255: 255}
        return label_ids.map_ids(label_ids.read_ids(path), table, path)

    yield Reader("label_png", "label.png", palette, read_label, knows_its_end=True)
    yield Reader(
        "stored_image", "a.jpg", saved("JPEG"),
        lambda path: labelled_images.decode(path.read_bytes(), size=8, channels=3, name=str(path)),
        check, knows_its_end=True,
    )  # fmt: skip


def _videos():
    try:
        import av
    except ModuleNotFoundError:
        return
    from jaxgen.data import media

    def video(ending):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"v.{ending}"
            with av.open(str(path), "w") as container:
                stream = container.add_stream("mpeg4", rate=10)
                stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
                for i in range(4):
                    image = np.full((16, 32, 3), 40 * i, np.uint8)
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
                container.mux(stream.encode())
            return path.read_bytes()

    for ending in ("mp4", "mkv", "avi"):
        yield Reader(
            f"video_{ending}", f"v.{ending}", video(ending),
            lambda path: [frame.image for frame in media.read_video(path)],
            lambda frames: None if frames and all(f.dtype == np.uint8 for f in frames) else "none",
            raises=(ValueError,),
        )  # fmt: skip


# ------------------------------------------------------------------ what runs leave behind


def _runs():
    from experiments.studies import records
    from jaxgen.tasks import dr_gan_predict, dr_gan_stages
    from jaxgen.training import config, logging, workdir

    def read_config(check, path):
        found = workdir.saved_config(path.parent)
        try:
            check(found)
        except ConfigError as error:  # it names the key; the command line names the run
            raise ConfigError(f"{path}: {error}") from error
        return config.to_json(found)

    for system in ("laplace", "cycada", "dr_gan", "tiny_faces"):
        default = importlib.import_module(f"experiments.configs.{system}.default").get_config()
        schema = importlib.import_module(f"jaxgen.tasks.{system}_schema")
        yield Reader(
            f"config_{system}", "config.json", config.to_json(default).encode(),
            functools.partial(read_config, schema.check_config), raises=(ConfigError,), text=True,
            knows_its_end=True,
        )  # fmt: skip

    text = "".join(json.dumps({"step": k, "train/loss": 1 / k}) + "\n" for k in range(1, 5))

    def check_metrics(found):
        good = all(isinstance(row, dict) and isinstance(row.get("step"), int) for row in found)
        return None if good else f"records {found}"[:80]

    yield Reader(
        "metrics_jsonl", "metrics.jsonl", text.encode(), logging.read_metrics, check_metrics,
        text=True,
    )  # fmt: skip
    text = json.dumps({"threshold": 0.25, "accuracy": 91.0}, indent=1)

    def read_threshold(path):
        report = path.parent / "report"
        report.mkdir(exist_ok=True)
        (report / "results.json").unlink(missing_ok=True)
        if path.is_file():
            (report / "results.json").write_bytes(path.read_bytes())
        return dr_gan_predict.threshold_of(path.parent)

    yield Reader(
        "results_json", "results.json", text.encode(), read_threshold, _finite(),
        raises=(ConfigError,), text=True, knows_its_end=True,
    )  # fmt: skip
    yield Reader(
        "people_json", dr_gan_stages.PEOPLE_FILE, b'{"people": 320}\n',
        lambda path: dr_gan_stages.people_count(path.parent),
        lambda n: None if 0 < n < 10**8 else f"{n} people", raises=(ConfigError,), text=True,
        knows_its_end=True,
    )  # fmt: skip

    facts = dict(study="s", dataset="d", split="t", method="m", variant="v", seed=0, steps=9)
    text = json.dumps(facts | dict(metric="nme", value=3.5, command="python -m x")) + "\n"

    def read_records(path):
        before, records.ROOT = records.ROOT, path.parent
        try:
            target = records.records_path("laplace")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            if path.is_dir():
                raise IsADirectoryError(21, "Is a directory", str(path))
            target.write_bytes(path.read_bytes())
            return records.read("laplace")
        finally:
            records.ROOT = before

    yield Reader(
        "study_records", "laplace.jsonl", (text * 3).encode(), read_records,
        lambda found: None if all(isinstance(r, dict) for r in found) else "no record",
        text=True,
    )  # fmt: skip


def _checkpoints():
    import jax

    from jaxgen.training import checkpoint, mesh
    from jaxgen.training.errors import CheckpointMismatch

    state = {"weights": jax.numpy.arange(6.0), "step": jax.numpy.int32(3)}
    like = mesh.abstract_replicated(mesh.data_mesh(jax.devices()[:1]), state)
    metric = "validation/error"
    # Kept until the process ends, as one more folder of samples.
    saved = Path(_FOLDER.name) / "checkpoints"
    shutil.rmtree(saved, ignore_errors=True)
    writer = checkpoint.Checkpoints(saved, best_metric=metric)
    writer.save(3, jax.device_put(state), {"next": 3}, {metric: 0.5})
    writer.close()

    def read(inside, path):
        folder = path.parent / "run" / "checkpoints"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(saved, folder)
        target = folder / "3" / inside
        target.unlink()
        if path.is_dir():
            target.mkdir()
        else:
            target.write_bytes(path.read_bytes())
        found, step = checkpoint.restore_one(folder, like, best_metric=metric, which="best")
        return jax.device_get(found), step

    def check(found):
        restored, step = found
        same = step == 3 and restored["step"] == 3 and (restored["weights"] == np.arange(6)).all()
        return None if same else f"restored {restored}"

    files = {"metadata": "state/_METADATA", "manifest": "state/manifest.ocdbt",
             "position": "position/metadata", "metrics": "metrics/metrics",
             "digests": "digests.json"}  # fmt: skip
    for name, inside in files.items():
        yield Reader(
            f"checkpoint_{name}", "checkpoints", (saved / "3" / inside).read_bytes(),
            functools.partial(read, inside), check, raises=(CheckpointMismatch,),
            text=name != "manifest", slow=True,
        )  # fmt: skip
