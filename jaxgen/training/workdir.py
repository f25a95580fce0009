"""The folder of one run, and the caches that runs share."""

import logging
import os
import tempfile
from pathlib import Path

from ml_collections import ConfigDict

from jaxgen.training.config import flatten, from_json, to_json
from jaxgen.training.errors import ConfigError
from jaxgen.training.files import write_atomically

CONFIG_FILE = "config.json"

_log = logging.getLogger(__name__)


def open_workdir(path: str, config, *, save_config: bool) -> Path:
    """Makes the folder, proves that it can be written, and saves config.json in it.

    Of several processes the first one saves, and all of them must see what it writes.

    Args:
        path: any path; ~ is expanded.
        config: ConfigDict of the run.
        save_config: False where the run only reads what an earlier one trained.

    Raises:
        SystemExit: the folder cannot be made or written; the message says why.
        ConfigError: processes see different folders.
    """
    from jaxgen.training import hosts

    workdir = Path(path).expanduser().absolute()
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=workdir):
            pass
        if save_config and hosts.is_first():
            _warn_of_changes(workdir / CONFIG_FILE, config)
            write_atomically(workdir / CONFIG_FILE, to_json(config).encode())
    except OSError as error:
        raise SystemExit(
            f"cannot write to --workdir={workdir}: {error.strerror}. Choose another folder."
        ) from error
    hosts.check_shared(workdir)
    return workdir


def saved_config(workdir: Path) -> ConfigDict:
    """The config of the run that a folder holds.

    Raises:
        ConfigError: the folder holds no run.
    """
    try:
        return from_json((workdir / CONFIG_FILE).read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{workdir} is not the --workdir of a run: {CONFIG_FILE} in it cannot be read ({error})"
        ) from error


def _warn_of_changes(path: Path, config) -> None:
    """Says which keys differ from those that the folder's run began with."""
    if not path.exists():
        return
    # Both as JSON has them: it knows no tuples.
    old, new = (dict(flatten(from_json(text))) for text in (path.read_text(), to_json(config)))
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            _log.warning(
                "config.%s was %r when this run began, now %r", key, old.get(key), new.get(key)
            )


def enable_compilation_cache() -> None:
    """Keeps compiled programs in the user's cache folder, so that the next start is fast.

    JAX_COMPILATION_CACHE_DIR, if set, wins.
    """
    import jax

    if jax.config.jax_compilation_cache_dir:
        return
    base = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    try:
        (base / "jaxgen" / "xla").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _log.warning("no compilation cache: %s", error)
        return
    jax.config.update("jax_compilation_cache_dir", str(base / "jaxgen" / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
