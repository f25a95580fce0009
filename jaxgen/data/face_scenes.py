"""Pictures with all their faces, as detectors read them: find, prepare once, split, by position.

A scene is a dict of NumPy arrays:

    image uint8 [H, W, 3]
    boxes float32 [N, 4]    (x0, y0, x1, y1) pixels, edge to edge, inside the image, with area
    ignored bool [N]        marked invalid: neither to be found nor wrong where it is
    flags int32 [N, 6]      blur, expression, illumination, invalid, occlusion, pose
    name str

N may be 0. Pictures stay encoded until they are read, so that a set may be larger than the memory.
"""

from collections.abc import Callable, Sequence

import numpy as np

from jaxgen.data import splits
from jaxgen.data.builders import images, registry
from jaxgen.data.builders.wider_face import FLAGS

FACE_SCENES = registry.Sets(
    manual={"wider_face": ("wider_face", "WiderFace")},
    packaged={"synthetic_crowds": ("synthetic_crowds", "SyntheticCrowds")},
    tfds={"tfds_wider_face": ("wider_face", "wider_face")},
)
_INVALID, _OCCLUSION = FLAGS.index("invalid"), FLAGS.index("occlusion")


class FaceScenes(Sequence):
    """Scenes of one split by position. Safe to read from several threads; picklable."""

    def __init__(self, records, convert: Callable, *, positions=None, cache=False):
        """Wraps stored records.

        Args:
            records: random access to stored examples whose pictures are still encoded.
            convert: (record, its position) -> example of a builder.
            positions: the records to use, in order; None means all.
            cache: keep every decoded scene in memory after its first use.
        """
        self._records, self._convert = records, convert
        self._positions = np.arange(len(records)) if positions is None else np.asarray(positions)
        self._cache = {} if cache else None

    def __len__(self):
        return len(self._positions)

    def __getitem__(self, position) -> dict:
        position = range(len(self))[position]
        if self._cache is not None and position in self._cache:
            return dict(self._cache[position])
        scene = self.labels(position)
        data = self._record(position)["image"]
        try:
            scene["image"] = np.asarray(images.open_image(data, name=scene["name"]))
        except ValueError as error:
            raise ValueError(
                f"{error}: the stored picture is damaged; delete the prepared data set and start "
                "again. Of training pictures config.data.max_corrupt may be unreadable"
            ) from error
        if self._cache is not None:
            self._cache[position] = scene
        return dict(scene)

    def labels(self, position) -> dict:
        """The scene without its picture: fast."""
        example = self._record(range(len(self))[position])
        boxes = np.asarray(example["boxes"], np.float32).reshape(-1, 4)
        flags = example.get("flags")
        flags = _flags_of_rendered(example) if flags is None else np.asarray(flags, np.int32)
        flags = flags.reshape(-1, len(FLAGS))
        return {
            "boxes": boxes,
            "ignored": flags[:, _INVALID] > 0,
            "flags": flags,
            "name": example["name"],
        }

    def select(self, positions, *, cache=False) -> "FaceScenes":
        """The scenes of just these positions."""
        chosen = self._positions[positions]
        return FaceScenes(self._records, self._convert, positions=chosen, cache=cache)

    def _record(self, position):
        index = int(self._positions[position])
        return self._convert(self._records[index], index)


def open_face_scenes(data_config, split: str) -> FaceScenes:
    """Opens one split of the set that a config names, preparing the set on first use.

    Args:
        data_config: mapping (ml_collections or dict). `name` is one of `FACE_SCENES`, or
            "prepared"; the other keys (manual_dir, data_dir, options, cache, train_split,
            validation_fraction, label_fraction, label_seed) are those of `sources.open_source`.
        split: "train"; "validation", images held out of training; "val", the published validation
            images of WIDER FACE, which everyone tests on; or any other split of the set.

    Raises:
        ValueError: files, options or split are wrong; the message says which and what to do.
    """
    if split == "val" and data_config.get("name", "") == "tfds_wider_face":
        split = "validation[:]"  # plain "validation" is what is held out of training
    part = splits.open_part(data_config, split, sets=FACE_SCENES, is_labelled=lambda data_set: True)
    convert = part.data_set.convert
    records = splits.stored_records(part)

    def label_of(position):
        example = convert(records[int(position)], int(position))
        return {key: example[key] for key in ("name", "group")}

    positions = part.choose(len(records), label_of)
    cache = bool(data_config.get("cache", False))
    return FaceScenes(records, convert, positions=positions, cache=cache)


def _flags_of_rendered(example) -> np.ndarray:
    """Flags of rendered faces: how far they are covered is known, everything else is usual."""
    seen = np.asarray(example["seen"])
    flags = np.zeros((len(seen), len(FLAGS)), np.int32)
    flags[:, _OCCLUSION] = np.digitize(1 - seen, [0.05, 0.3])
    return flags
