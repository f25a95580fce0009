"""Draws one figure per rendered set, from examples as they are stored.

    python -m jaxgen.data.synthetic.gallery --out docs/images

Prepares a small configuration of each set in a temporary folder, reads it back and writes
synthetic_faces.png, synthetic_multipie.png, synthetic_crowds.png, synthetic_parts.png and
synthetic_digits.png.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from jaxgen.data import labelled_images
from jaxgen.data.builders import (
    synthetic_crowds,
    synthetic_faces,
    synthetic_multipie,
    synthetic_parts,
)

COLORS = np.array(
    [(20, 20, 25), (224, 172, 145), (110, 60, 30), (250, 250, 250), (240, 200, 120), (200, 60, 80),
     (235, 100, 110), (90, 10, 20), (205, 130, 100), (180, 120, 100), (90, 70, 160), (60, 130, 120),
     (70, 200, 230)], np.uint8,
)  # fmt: skip


def main(argv=None):
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, figure in (
            ("faces", faces_figure), ("multipie", multipie_figure), ("parts", parts_figure),
            ("crowds", crowds_figure), ("digits", digits_figure),
        ):  # fmt: skip
            path = args.out / f"synthetic_{name}.png"
            # 256 dithered colours keep the files small.
            picture = figure(folder)
            palette = picture.quantize(256)
            picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(
                path, optimize=True
            )
            print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


def faces_figure(folder):
    """Two rows in studio style with points, two rows in street style."""
    config = synthetic_faces.SyntheticFacesConfig(
        name="gallery",
        people=dict(train=20, unlabelled=20),
        wildness=dict(train=(0, 20), unlabelled=(100, 100)),
        pictures=1,
    )
    builder = _prepared(synthetic_faces.SyntheticFaces, config, folder)
    studio = [with_points(face) for face in builder.as_data_source("train")]
    street = [Image.fromarray(face["image"]) for face in builder.as_data_source("unlabelled")]
    return sheet(studio + street, columns=10)


def multipie_figure(folder):
    """One person a row, one yaw a column."""
    config = synthetic_multipie.SyntheticMultipieConfig(
        name="gallery", people=5, held_out=1, yaws=tuple(range(-90, 91, 15)), train_pictures=1
    )
    builder = _prepared(synthetic_multipie.SyntheticMultipie, config, folder)
    faces = sorted(builder.as_data_source("train"), key=lambda face: (face["person"], face["yaw"]))
    return sheet([Image.fromarray(face["image"]).resize((88, 88)) for face in faces], columns=13)


def parts_figure(folder):
    """Pictures above their masks."""
    config = synthetic_parts.SyntheticPartsConfig(name="gallery", people=dict(train=20), size=112)
    faces = list(_prepared(synthetic_parts.SyntheticParts, config, folder).as_data_source("train"))
    rows = [faces[:10], faces[10:]]
    images = [
        image
        for row in rows
        for image in (
            *(Image.fromarray(face["image"]) for face in row),
            *(Image.fromarray(COLORS[face["mask"][..., 0]]) for face in row),
        )
    ]
    return sheet(images, columns=10)


def crowds_figure(folder):
    """Scenes with the boxes of their faces."""
    config = synthetic_crowds.SyntheticCrowdsConfig(
        name="gallery", size=320, scenes=dict(train=6), people=dict(train=60)
    )
    scenes = []
    for scene in _prepared(synthetic_crowds.SyntheticCrowds, config, folder).as_data_source(
        "train"
    ):
        image = Image.fromarray(scene["image"])
        pen = ImageDraw.Draw(image)
        for box in scene["boxes"]:
            pen.rectangle([float(v) for v in box], outline=(0, 255, 80))
        scenes.append(image)
    return sheet(scenes, columns=3)


def digits_figure(folder):
    """Three rows of rendered digits, three rows of the handwritten ones that they are to help."""
    sheets = []
    for name in ("synthetic_digits", "uci_digits"):
        options = {"config": "tiny"} if name == "synthetic_digits" else {}
        config = dict(name=name, data_dir=folder, options=options, validation_fraction=0.0)
        images = labelled_images.open_images(config, "train", size=32, channels=3).image[:60]
        sheets += [Image.fromarray(image).resize((48, 48)) for image in images]
    return sheet(sheets, columns=20)


def with_points(face, radius=0.8):
    """A face with its landmarks: green where visible, red where hidden."""
    image = Image.fromarray(face["image"])
    pen = ImageDraw.Draw(image)
    for (x, y), visible in zip(face["points"], face["visible"], strict=True):
        color = (40, 255, 60) if visible else (255, 50, 50)
        pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=color)
    return image


def sheet(images, *, columns):
    """Images of one size as a sheet, row by row."""
    width, height = images[0].size
    result = Image.new("RGB", (columns * width, -(-len(images) // columns) * height))
    for number, image in enumerate(images):
        result.paste(image, (number % columns * width, number // columns * height))
    return result


def _prepared(builder_class, config, folder):
    builder = builder_class(config=config, data_dir=folder, file_format="array_record")
    builder.download_and_prepare()
    return builder


if __name__ == "__main__":
    main()
