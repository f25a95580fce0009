"""Small files that tests of builders write and read."""

import csv

from jaxgen.data import label_maps

SHAPE = (20, 30)  # height, width of made scenes


def write_csv(path, header, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header.split(","), *rows])


def config_of(name, root, tmp_path, **options):
    place = {"manual_dir": str(root), "data_dir": str(tmp_path / "tfds"), "options": options}
    return {"name": name, "validation_fraction": 0.0, **place}


def load(config, split):
    return {scene["name"]: scene for scene in label_maps.open_scenes(config, split)}
