"""Valid files of the readers of images, videos and arrays of images."""

import gzip
import io
import struct
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image

from benchmarks.reader_case import Reader, finite


def readers():
    """All of them."""
    yield from _digits()
    yield from _matlab()
    yield from _pictures()
    yield from _videos()


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
            if wrong := finite()(faces.boxes):
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
            wrong = finite((19, 2))(face.points) or finite((4,))(face.box)
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
            if wrong := finite((29, 2))(face.points) or finite((4,))(face.box):
                return wrong
        return None

    yield Reader(
        "cofw_mat", "COFW_train_color.mat", stream.getvalue(),
        lambda path: list(cofw.Cofw._faces(None, "train", path, "Tr")), check,
        knows_its_end=False,  # a page of free space may follow the data
    )  # fmt: skip


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
