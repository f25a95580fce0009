"""Your own scenes: a folder of images, and a folder of label maps with the same names.

    images/a.jpg  images/drive/b.png     labels/a.png  labels/drive/b.png     classes.txt

in the folder itself or, for fixed splits, in `train/` and `test/` below it (with one `classes.txt`
above both). Without such folders, `test` is the share `test_fraction` of the images, chosen by a
hash of their names; with 0 all is `train`. A folder without `labels/` is unlabelled: it serves as a
target domain, and all of it is `train`.

A label map is a grey or indexed PNG of the size of its image, whose values are class numbers: value
k is line k of `classes.txt`, counted from 0. Without that file give the option `num_classes`. 255
and the numbers in the option `ignore_ids` are ignored; any other number that no line stands for is
an error.
Pictures are turned upright by their EXIF tag, so label maps belong to the upright picture.
"""

import colorsys

import tensorflow_datasets as tfds

from jaxgen.data import hashing, text_files
from jaxgen.data.builders import images, label_ids, scenes


class SceneFolder(scenes.SceneBuilder):
    """Images and label maps of the user's."""

    # 1.0.0 read other labels for names with a dot, and split a test part off unlabelled scenes.
    VERSION = tfds.core.Version("1.1.0")
    LAYOUT = (
        "  images/NAME.jpg (or .png ...) + labels/NAME.png + classes.txt, one name a line\n"
        "  or the first two below train/ and test/; without labels/ the images are unlabelled"
    )
    OPTIONS = {  # noqa: RUF012
        **scenes.SceneBuilder.OPTIONS,
        "num_classes": 0,
        "ignore_ids": (),
        "test_fraction": 0.2,
    }
    UPRIGHT = True

    @classmethod
    def files(cls, manual_dir, options):
        """Every image and label, and the list of classes."""
        del options
        folders = [
            manual_dir / part / kind for part in ("", "train", "test")
            for kind in ("images", "labels")
        ]  # fmt: skip
        names = manual_dir / "classes.txt"
        found = [path for folder in folders for path in images.list_images(folder)]
        return [*found, names] if found and names.exists() else found

    @property
    def classes(self):
        """The lines of classes.txt, or numbers."""
        path = self.builder_config.manual_dir / "classes.txt"
        count = self.builder_config.options["num_classes"]
        if not path.exists():
            return tuple(f"class {k}" for k in range(count))
        names = tuple(line.strip() for line in text_files.read_text(path).splitlines())
        names = names[: len(names) - (names[-1:] == ("",))]
        plain = all(name and name.isprintable() for name in names)
        if not plain or len(set(names)) != len(names):
            raise ValueError(f"{path}: every line is the name of one class, no two are alike")
        if count and count != len(names):
            raise ValueError(f"{path} names {len(names)} classes, the option num_classes {count}")
        return names

    @property
    def palette(self):
        """Hues as far apart as so many classes allow; light and dark in turn."""
        count = len(self.classes)
        colours = (colorsys.hsv_to_rgb(k / count, 0.75, (0.95, 0.6)[k % 2]) for k in range(count))
        return tuple(tuple(round(255 * value) for value in colour) for colour in colours)

    def parts(self):
        """`train` and `test`."""
        root = self.builder_config.manual_dir
        found = {part: _scenes(root / part, prefix=f"{part}/") for part in ("train", "test")}
        if not any(found.values()):
            share = self.builder_config.options["test_fraction"]
            found = {"train": [], "test": []}
            for scene in _scenes(root, prefix=""):
                # Without labels nothing can be measured, and training would miss these scenes.
                is_labelled = scene.label is not None
                in_test = is_labelled and hashing.uniform(f"test/{scene.group}") < share
                found["test" if in_test else "train"].append(scene)
        labelled = any(s.label is not None for part in found.values() for s in part)
        if labelled and not self.classes:
            raise ValueError(
                f"{root} has labels but no classes.txt: write one class name a line, in the order "
                "of the label numbers, or set the option num_classes"
            )
        return {name: part for name, part in found.items() if part}

    def read_label(self, path):
        """Class numbers as they are."""
        ignored = (*self.builder_config.options["ignore_ids"], label_ids.IGNORE)
        table = {k: k for k in range(len(self.classes))} | dict.fromkeys(ignored, label_ids.IGNORE)
        return label_ids.map_ids(label_ids.read_ids(path), table, path)


def _scenes(folder, prefix) -> list[scenes.Scene]:
    labels, found = folder / "labels", []
    for image in images.list_images(folder / "images"):
        inside = image.relative_to(folder / "images").with_suffix("").as_posix()
        # Not with_suffix again: of a name like "a.v2" it would take ".v2" for a suffix.
        label = labels / f"{inside}.png" if labels.is_dir() else None
        name = f"{prefix}{inside}"
        found.append(scenes.Scene(image, label, name, group=name))
    return found
