"""What the builders over a user's files share: how they are found, configured and cached.

A builder reads one official layout and turns it into examples; `face_sets`, `class_sets` and others
add the form of those. TFDS keeps a prepared set by its config name, so that name holds a digest of
the options and of every file's name, size and time: changed data are prepared anew and never read
from an old copy.
"""

import abc
import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import tensorflow_datasets as tfds
from absl import logging


@dataclasses.dataclass(eq=False, kw_only=True)
class ManualConfig(tfds.core.BuilderConfig):
    """Where the files lie and how they are stored; the name is a digest of both."""

    manual_dir: Path
    options: dict


class ManualBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Base of the builders over files that the user has downloaded or made.

    A subclass says which files there are (`files`), how a stored example looks (`_info`) and
    lists the examples (`splits`).

    Class attributes:
        FOLDER: name of the folder that the official archives unpack to; "" for own data.
        LAYOUT: what must lie in the folder; printed when something is missing.
        OPTIONS: option -> default.
        NOUN: what an example is, for messages.
    """

    VERSION = tfds.core.Version("1.0.0")
    FOLDER = ""
    LAYOUT = ""
    OPTIONS = {}  # noqa: RUF012 (read only)
    NOUN = "examples"

    @classmethod
    def from_folder(cls, manual_dir, *, data_dir=None, options=None) -> "ManualBuilder":
        """A builder over one folder.

        Args:
            manual_dir: the folder described by `LAYOUT`.
            data_dir: where prepared sets are kept; None is TFDS's default.
            options: changes to `OPTIONS`.

        Raises:
            ValueError: an unknown option, or the folder lacks what every use needs.
        """
        options = cls.complete_options(options)
        manual_dir = Path(manual_dir).resolve()
        files = cls.files(manual_dir, options)
        if not files:
            raise ValueError(f"{manual_dir} holds no files of {cls.name}. Expected:\n{cls.LAYOUT}")
        config = ManualConfig(
            name=digest(manual_dir, files, options), manual_dir=manual_dir, options=options
        )
        # TFDS warns of every config that is no class attribute; ours depend on the user's files.
        with _log_errors_only():
            return cls(data_dir=data_dir, config=config, file_format="array_record")

    @classmethod
    def complete_options(cls, options: dict | None) -> dict:
        """The given options over the defaults.

        Raises:
            ValueError: an unknown option.
        """
        unknown = sorted(set(options or {}) - set(cls.OPTIONS))
        if unknown:
            raise ValueError(
                f"data set {cls.name} has no option {unknown[0]!r}; `options` of this data set in "
                f"the config may hold {sorted(cls.OPTIONS)}"
            )
        return {**cls.OPTIONS, **(options or {})}

    @classmethod
    @abc.abstractmethod
    def files(cls, manual_dir: Path, options: dict) -> list[Path]:
        """Every file that the set is made from; a change in any of them prepares it anew."""

    @abc.abstractmethod
    def splits(self) -> dict[str, Iterable[dict]]:
        """The splits that the files allow, each with its stored examples.

        The `name` of an example is unique in its split.
        """

    def split_parts(self, split: str) -> tuple[str, ...]:
        """The stored splits whose sum is the split that the user asked for.

        Raises:
            ValueError: it is not all there.
        """
        return (split,)

    def require(self, split: str, found: int, expected: int) -> None:
        """Raises ValueError where an official split has another count than published."""
        if found != expected and not self.builder_config.options["allow_partial"]:
            raise ValueError(
                f"{self.name} {split!r} has {found} {self.NOUN} in "
                f"{self.builder_config.manual_dir}, but {expected} are published. Complete it, or "
                "set its option allow_partial=True (--config.data.options.allow_partial=True; a "
                "domain of CyCADA has --config.source.options or --config.target.options) and do "
                "not compare with published results"
            )

    def _split_generators(self, dl_manager):
        del dl_manager  # nothing is downloaded
        return {split: _by_name(examples) for split, examples in self.splits().items()}

    def _generate_examples(self):  # the generators above are complete
        raise NotImplementedError


def digest(root: Path, files: Iterable[Path], options: dict) -> str:
    """Short name of one state of the files and options."""
    listing = []
    for path in sorted(files):
        stat = path.stat()
        inside = path.relative_to(root) if path.is_relative_to(root) else path
        listing.append((str(inside), stat.st_size, stat.st_mtime_ns))
    text = json.dumps([listing, sorted(options.items())], default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _by_name(examples: Iterable[dict]) -> Iterator[tuple[str, dict]]:
    for example in examples:
        yield example["name"], example


@contextlib.contextmanager
def _log_errors_only():
    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)
