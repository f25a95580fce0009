"""Opening a segmentation set by its config: find, prepare once, split, read by position.

A scene is a dict of NumPy arrays:

    image uint8 [H, W, 3]; label uint8 [H, W], class numbers, 255 = ignore; name str

Scenes of a set may differ in size. Pictures stay encoded until they are read, so that a set may be
larger than the memory. Unlabelled parts have label maps of 255 alone, and `labelled` is False.
"""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from jaxgen.data import splits
from jaxgen.data.builders import images, registry

SCENES = registry.Sets(
    manual={
        "camvid": ("camvid", "Camvid"),
        "cityscapes": ("cityscapes", "Cityscapes"),
        "gta5": ("gta5", "Gta5"),
        "synthia": ("synthia", "Synthia"),
        "scene_folder": ("scene_folder", "SceneFolder"),
        "face_parts": ("face_parts", "FaceParts"),
    },
    packaged={"synthetic_parts": ("synthetic_parts", "SyntheticParts")},
    tfds={},
)


class Scenes(Sequence):
    """Scenes of one split by position. Safe to read from several threads; picklable.

    Attributes:
        classes: names of the classes.
        palette: uint8 [K, 3], a colour for each.
        labelled: whether there are label maps.
    """

    def __init__(self, records, *, classes, palette, labelled, positions=None, cache=False):
        """Wraps stored records.

        Args:
            records: random access to stored examples whose pictures are still encoded.
            classes: K names.
            palette: [K, 3] colours.
            labelled: whether the label maps say anything.
            positions: the records to use, in order; None means all.
            cache: keep every decoded scene in memory after its first use.
        """
        self._records = records
        self._positions = np.arange(len(records)) if positions is None else np.asarray(positions)
        self._cache = {} if cache else None
        self.classes, self.palette = tuple(classes), np.asarray(palette, np.uint8)
        self.labelled = labelled

    def __len__(self):
        return len(self._positions)

    def __getitem__(self, position) -> dict:
        return self.read(position)

    def read(self, position, *, with_label=True) -> dict:
        """One scene; without its label map if that is not asked for."""
        position = range(len(self))[position]
        known = {} if self._cache is None else self._cache.get(position, {})
        if "image" not in known or (with_label and "label" not in known):
            record = self._records[int(self._positions[position])]
            name = record["name"].decode()
            image = known.get("image")
            if image is None:
                image = np.asarray(images.open_image(record["image"], name=name))
            known = {"image": image, "name": name}
            if with_label:
                known["label"] = _label(record, name)
            if self._cache is not None:
                self._cache[position] = known
        keys = ("image", "name", "label") if with_label else ("image", "name")
        return {key: known[key] for key in keys}

    @property
    def names(self) -> list[str]:
        """Names of all scenes."""
        return [self._records[int(i)]["name"].decode() for i in self._positions]


def open_scenes(data_config, split: str) -> Scenes:
    """Opens one split of the segmentation set that a config names, preparing it on first use.

    Args:
        data_config: mapping (ml_collections or dict). `name` is one of `SCENES`, or "prepared"; the
            other keys (manual_dir, data_dir, options, cache, train_split, validation_fraction,
            label_fraction, label_seed) are those of `sources.open_source`.
        split: "train" (or the name given as train_split), "validation" (groups held out of it), or
            any other split of the set, such as "test" or "dusk_test".

    Raises:
        ValueError: files, options or split are wrong; the message says which and what to do.
    """
    part = splits.open_part(data_config, split, sets=SCENES, is_labelled=_is_labelled)
    builder = part.data_set.builder
    coded = [name for name in ("image", "label", "mask") if name in builder.info.features]
    records = splits.stored_records(part, coded)
    positions = part.choose(
        len(records), lambda i: {key: records[int(i)][key].decode() for key in ("name", "group")}
    )
    classes, palette = _classes(builder)
    unlabelled = (builder.info.metadata or {}).get("unlabelled", ())
    return Scenes(
        records,
        classes=classes,
        palette=palette,
        labelled=not set(part.stored) & set(unlabelled),
        positions=positions,
        cache=bool(data_config.get("cache", False)),
    )


def _label(record, name) -> np.ndarray:
    """Label map of a stored example; masks of rendered faces are mapped to the common classes."""
    data = record["label"] if "label" in record else record["mask"]
    try:
        with Image.open(io.BytesIO(data)) as image:
            label = np.asarray(image, np.uint8)
    except images.UNREADABLE as error:
        raise ValueError(
            f"{name}: the stored label map is damaged ({error}); delete the prepared data set and "
            "start again, or train without it with config.data.max_corrupt"
        ) from error
    if "mask" in record:
        from jaxgen.data.builders import part_polygons

        return part_polygons.rendered_mask(label, record["points"])
    return label


def _classes(builder):
    """Names and colours of a set's classes."""
    if "mask" in builder.info.features:
        from jaxgen.data.builders import part_polygons

        return part_polygons.CLASSES, part_polygons.PALETTE
    metadata = builder.info.metadata or {}
    if "classes" not in metadata:
        raise ValueError(f"{builder.data_path} is no prepared segmentation set")
    return metadata["classes"], metadata["palette"]


def _is_labelled(data_set) -> bool:
    """Whether any part of the set has labels."""
    info = data_set.builder.info
    unlabelled = (info.metadata or {}).get("unlabelled", ())
    return "mask" in info.features or not unlabelled or set(info.splits) != set(unlabelled)
