"""The folder of one run, and the caches that runs share."""

import logging
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ml_collections import ConfigDict

from jaxgen.training.config import flatten, from_json, to_json
from jaxgen.training.errors import ConfigError
from jaxgen.training.files import write_atomically

CONFIG_FILE = "config.json"

_log = logging.getLogger(__name__)


def open_workdir(path: str, config, *, save_config: bool) -> Path:
    """Makes the folder, proves that it can be written, and saves config.json in it.

    An earlier config.json with other values is kept as config.1.json, config.2.json ... Of several
    processes the first one saves, and all of them must see what it writes.

    Args:
        path: any path; ~ is expanded.
        config: ConfigDict of the run.
        save_config: False where the run only reads what an earlier one trained.

    Raises:
        SystemExit: the folder cannot be made or written; the message says why.
        ConfigError: processes see different folders, or an earlier config.json is damaged.
    """
    from jaxgen.training import hosts

    workdir = Path(path).expanduser().absolute()
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=workdir):
            pass
        if save_config and hosts.is_first():
            _keep_other(workdir, config)
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


def kept_configs(workdir: Path) -> list[Path]:
    """Earlier configs of the run in a folder, the last one last."""
    found = {int(path.name.split(".")[1]): path for path in workdir.glob("config.[0-9]*.json")}
    return [found[number] for number in sorted(found)]


@contextmanager
def only_run(workdir: Path) -> Iterator[None]:
    """While it is open, no other process of this machine trains in the folder.

    Raises:
        ConfigError: another one does.
    """
    import filelock

    owner = workdir / ".training"
    lock = filelock.FileLock(workdir / ".lock")
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        who = owner.read_text() if owner.exists() else "another process"
        raise ConfigError(
            f"{who} trains in {workdir}: wait for its end or stop it, or use another --workdir."
        ) from None
    except (OSError, NotImplementedError) as error:  # a file system without locks
        _log.warning("%s cannot be locked (%s): do not train in it twice", workdir, error)
        yield
        return
    try:
        owner.write_text(f"process {os.getpid()} of {socket.gethostname()}")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def _keep_other(workdir: Path, config) -> None:
    """Keeps an earlier config of other values, and says which keys differ."""
    path = workdir / CONFIG_FILE
    if not path.exists():
        return
    # Both as JSON has them: it knows no tuples.
    old, new = dict(flatten(saved_config(workdir))), dict(flatten(from_json(to_json(config))))
    changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    if not changed:
        return
    for key in changed:
        _log.warning(
            "config.%s was %r when this run began, now %r", key, old.get(key), new.get(key)
        )
    before = kept_configs(workdir)
    number = 1 + (int(before[-1].name.split(".")[1]) if before else 0)
    kept = workdir / f"config.{number}.json"
    path.rename(kept)
    _log.warning("the earlier config is kept as %s", kept)


def enable_compilation_cache() -> None:
    """Keeps compiled programs in the user's cache folder, so that the next start is fast.

    JAX_COMPILATION_CACHE_DIR, if set, wins.
    """
    import jax

    if jax.config.jax_compilation_cache_dir:
        return
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
        (base / "jaxgen" / "xla").mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:  # no such place, or a user without a home
        _log.warning("no compilation cache: %s", error)
        return
    jax.config.update("jax_compilation_cache_dir", str(base / "jaxgen" / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
