"""From the name of a data set to its prepared builder.

`find` names everything a config may say; `prepare` writes a set once.
"""

import dataclasses
import importlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from jaxgen.data import text_files

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Sets:
    """Names of the data sets of one kind.

    Attributes:
        manual: sets over the user's files -> (module beside this one, class).
        packaged: sets that the package makes by itself -> (module beside this one, class).
        tfds: sets that TFDS provides -> (their name there, converter in `tfds_sets`).
    """

    manual: Mapping[str, tuple[str, str]]
    packaged: Mapping[str, tuple[str, str]]
    tfds: Mapping[str, tuple[str, str]]

    @property
    def names(self) -> list[str]:
        """Everything that a config may say."""
        return sorted([*self.manual, *self.packaged, *self.tfds, "prepared"])


FACES = Sets(
    manual={
        "w300": ("w300", "W300"),
        "wflw": ("wflw", "Wflw"),
        "cofw": ("cofw", "Cofw"),
        "aflw19": ("aflw19", "Aflw19"),
        "w300vw": ("w300vw", "W300vw"),
        "points_csv": ("points_csv", "PointsCsv"),
        "image_folder": ("unlabelled", "ImageFolder"),
        "video_folder": ("unlabelled", "VideoFolder"),
    },
    packaged={"synthetic_faces": ("synthetic_faces", "SyntheticFaces")},
    tfds={name: (name, name) for name in ("the300w_lp", "aflw2k3d", "celeb_a")},
)
CLASSES = Sets(
    manual={
        "mnist": ("mnist_idx", "MnistIdx"),
        "usps": ("usps", "Usps"),
        "svhn": ("svhn_mat", "SvhnMat"),
        "mnist_m": ("mnist_m", "MnistM"),
        "image_classes": ("image_classes", "ImageClasses"),
    },
    packaged={
        "uci_digits": ("uci_digits", "UciDigits"),
        "synthetic_digits": ("synthetic_digits", "SyntheticDigits"),
    },
    tfds={
        "tfds_mnist": ("mnist", "classified"),
        "tfds_svhn_cropped": ("svhn_cropped", "classified"),
    },
)
RECOGNITION = Sets(
    manual={
        "multipie": ("multipie", "Multipie"),
        "casia_webface": ("identity_folder", "CasiaWebface"),
        "cfp": ("cfp", "Cfp"),
        "face_templates": ("face_templates", "FaceTemplates"),
        "identity_folder": ("identity_folder", "IdentityFolder"),
    },
    packaged={"synthetic_multipie": ("synthetic_multipie", "SyntheticMultipie")},
    tfds={},
)


@dataclasses.dataclass(frozen=True)
class DataSet:
    """A builder and how to read it.

    Attributes:
        builder: a TFDS builder, prepared or not.
        convert: (stored record, its position) -> example of `jaxgen.data.sources`, its image
            still encoded.
        split_parts: the stored splits whose sum is a split that the user names.
    """

    builder: Any
    convert: Callable[[dict, int], dict]
    split_parts: Callable[[str], tuple[str, ...]] = lambda split: (split,)


def find(
    name: str, *, sets: Sets, manual_dir="", data_dir="", options: Mapping | None = None
) -> DataSet:
    """The data set of a name; arguments as in `sources.open_source`, `sets` to look it up in.

    Raises:
        ValueError: an unknown name or option, or missing files; the message says what to do.
    """
    import tensorflow_datasets as tfds

    options = dict(options.items()) if options else {}
    place = {"data_dir": data_dir or None, "file_format": "array_record"}
    if name in sets.manual:
        builder_class = _load(sets.manual[name])
        folder = manual_folder(manual_dir or "", builder_class, options)
        builder = builder_class.from_folder(folder, data_dir=data_dir or None, options=options)
        return DataSet(builder, stored_example, builder.split_parts)
    if name in sets.packaged:
        unknown = sorted(set(options) - {"config"})
        if unknown:
            raise ValueError(
                f"data set {name} has no option {unknown[0]!r}; `options` of this data set in the "
                "config may hold ['config'], the name of one of its variants"
            )
        return DataSet(_load(sets.packaged[name])(**place, **options), stored_example)
    if name in sets.tfds:
        from jaxgen.data.builders import tfds_sets

        tfds_name, converter = sets.tfds[name]
        return DataSet(tfds.builder(tfds_name, **place, **options), getattr(tfds_sets, converter))
    if name == "prepared":
        _info_file(data_dir)
        return DataSet(tfds.builder_from_directory(data_dir), stored_example)
    raise ValueError(
        f"config.data.name (or that of another data section) is one of {sets.names}, got {name!r}"
    )


def original_name(name: str, data_dir: str) -> str:
    """The set that a prepared folder was made from; every other name is that of its own set.

    Args:
        name: as in `find`.
        data_dir: as in `find`; read for "prepared" only.

    Raises:
        ValueError: the folder holds no prepared set.
    """
    if name != "prepared":
        return name
    path = _info_file(data_dir)
    info = text_files.read_json(path)
    if not isinstance(info, dict) or not isinstance(info.get("name"), str):
        raise ValueError(f"{path}: it does not say what set it is of")
    return info["name"]


def _info_file(data_dir) -> Path:
    path = Path(data_dir) / "dataset_info.json"
    if not data_dir or not path.exists():
        raise ValueError(
            "config.data.data_dir must be the folder of one prepared set, the one that holds "
            f"dataset_info.json, got {data_dir!r}"
        )
    return path


def prepare(builder) -> None:
    """Writes the set to the data directory unless it is there, with TFDS's progress bar.

    Of several processes, of one run or of several, the first one writes; the others find the
    set, or write one of their own where their data directory is another.
    """
    from jaxgen.training import hosts

    with hosts.first_alone(f"preparing {builder.name}"):
        if not builder.data_path.exists():
            with _alone(builder):
                if not builder.data_path.exists():  # another run wrote it meanwhile
                    _write(builder)
        written = builder.data_path / "dataset_info.json"
        if not builder.info.splits and written.exists():  # another process wrote it
            builder.info.read_from_directory(builder.data_path)


@contextmanager
def _alone(builder) -> Iterator[None]:
    """Waits while another run writes the same set. Buckets have no locks: there both write."""
    folder = os.fspath(builder.data_path.parent)
    if "://" in folder:
        yield
        return
    import filelock

    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"cannot write {builder.name} to {folder} ({error.strerror}): name another folder in "
            "config.data.data_dir or TFDS_DATA_DIR"
        ) from error
    lock = filelock.FileLock(os.path.join(folder, f".{builder.data_path.name}.lock"))
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        _log.info("another run prepares %s in %s: waiting for it", builder.name, folder)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _write(builder):
    try:
        builder.download_and_prepare()
    except ModuleNotFoundError as error:
        if error.name != "tensorflow":
            raise
        raise ValueError(
            f"preparing {builder.name} for the first time needs TensorFlow: "
            "pip install 'jaxgen[prepare]'. Reading it afterwards does not."
        ) from None
    except OSError:
        # Where there are no locks, another process may have finished the set a moment ago.
        if not builder.data_path.exists():
            raise


def manual_folder(manual_dir: str, builder_class, options: Mapping | None = None) -> Path:
    """The folder of a set's files: given, below $JAXGEN_DATA, or its official place there.

    Raises:
        ValueError: none of them exists; the message names the key and the layout.
    """
    options = builder_class.complete_options(options)
    root, official = os.environ.get("JAXGEN_DATA", ""), builder_class.FOLDER
    tried = [Path(manual_dir).expanduser()] if manual_dir else []
    if root and (manual_dir or official):
        tried.append(Path(root).expanduser() / (manual_dir or official))
    for folder in filter(Path.is_dir, tried):
        # The user may name the folder itself or the one above it. 300-W has a folder of its own
        # name inside too: the one that holds more files of the set is meant.
        below = folder / official
        if not official or not below.is_dir():
            return folder
        return max((folder, below), key=lambda f: len(builder_class.files(f, options)))
    looked = ", ".join(str(folder) for folder in tried) or "nothing was named"
    above = f"or the environment variable JAXGEN_DATA to the folder above {official}/. "
    raise ValueError(
        f"no folder for data set {builder_class.name!r} (looked for: {looked}). Set "
        "config.data.manual_dir (or that of the section that names this set) to it, "
        f"{above if official else 'absolute or below $JAXGEN_DATA. '}"
        f"Expected layout:\n{builder_class.LAYOUT}"
    )


def stored_example(record: dict, index: int) -> dict:
    """A record of our own builders: text as str, the rest as it is."""
    del index
    text = {key: record[key].decode() for key in ("name", "group", "subset") if key in record}
    return {
        "subset": "",
        "group": text["name"],
        "source_matrix": np.eye(3)[:2],
        **record,
        **text,
    }


def _load(where):
    module, name = where
    return getattr(importlib.import_module(f"jaxgen.data.builders.{module}"), name)
