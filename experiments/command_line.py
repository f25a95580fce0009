"""What the command lines of all systems share: flags, config, folder, one-line errors."""

import logging
import shlex
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from jaxgen.host_memory import keep_freed
from jaxgen.training.config import flatten
from jaxgen.training.errors import ConfigError, NotFinite, Stopped
from jaxgen.training.workdir import CONFIG_FILE, open_workdir, saved_config

CONFIGS = Path(__file__).parent / "configs"
MODES = ("train", "evaluate", "predict", "export")

Mode = Callable[[ConfigDict, Path], None]


def run(system: str, check: Callable[[ConfigDict], None], modes: Mapping[str, Mode]) -> None:
    """Parses the command line and runs its mode; a wrong flag or key is one line, exit code 2.

    Args:
        system: folder below experiments/configs; its default.py is the default config.
        check: raises ConfigError for a config that cannot work. It runs before JAX starts.
        modes: name of --mode -> function of config and workdir.
    """
    _set_up_logging()
    keep_freed()  # before JAX opens its backend: a training step on CPU is 1.3 to 1.6 times faster
    try:
        _define_flags(system)
        config = _read_config()
        check(config)
    except (AttributeError, KeyError) as error:  # config_flags: an override of an unknown key
        reason = " ".join(str(error.args[0]).replace("\\n", " ").replace("\\'", "'").split())
        sys.exit(_usage(f"unknown key in a --config.KEY=VALUE override: {reason}"))
    except (flags.Error, ConfigError, TypeError, ValueError, OSError) as error:
        sys.exit(_usage(str(error)))
    if flags.FLAGS.distributed:
        import jax

        jax.distributed.initialize()
    mode = flags.FLAGS.mode
    workdir = open_workdir(flags.FLAGS.workdir, config, save_config=mode == "train")
    try:
        modes[mode](config, workdir)
    except Stopped as stopped:
        module = sys.modules["__main__"].__spec__
        command = ["python", *(["-m", module.name] if module else sys.argv[:1]), *sys.argv[1:]]
        print(f"{stopped} Go on with: {shlex.join(command)}", flush=True)
        sys.exit(stopped.exit_code)
    except (ValueError, OSError, NotFinite) as error:
        # What a user can mend reads as one message; the place in the code is one file away.
        details = workdir / "error.txt"
        details.write_text(traceback.format_exc())
        sys.exit(_usage(f"{error}\n(traceback: {details})"))


def define_boxes() -> None:
    """The flag --boxes, for systems that look at faces. Two of them may meet in one process."""
    if "boxes" not in flags.FLAGS:
        text = "predict: CSV or JSON of face boxes; else faces are searched."
        flags.DEFINE_string("boxes", "", text)


def check_batches(config: ConfigDict, devices) -> None:
    """Raises ValueError naming the first batch size that the mesh `devices` cannot share."""
    from jaxgen.training import mesh

    values = dict(flatten(config))
    for key in values:
        section, _, name = key.rpartition(".")
        if name.endswith("batch_size"):
            parts = values.get(f"{section}.micro_batches", 1)
            mesh.check_divisible(devices, micro_batches=parts, **{key: values[key]})


def open_devices(config):
    """The mesh of all devices, checked against the batch sizes."""
    from jaxgen.training import mesh
    from jaxgen.training.workdir import enable_compilation_cache

    enable_compilation_cache()
    devices = mesh.data_mesh()
    check_batches(config, devices)
    return devices


def print_results(numbers: Mapping[str, float], report: Path) -> None:
    """Prints the figures in columns and where the report is."""
    width = max(map(len, numbers))
    for name, value in numbers.items():
        print(f"  {name:<{width}}  {value:.4g}")
    print(f"report: {report / 'index.html'}")


def _define_flags(system: str) -> None:
    config_flags.DEFINE_config_file(
        "config",
        str(CONFIGS / system / "default.py"),
        "Config file, optionally FILE:variant; any key can be set with --config.a.b=value.",
    )
    flags.DEFINE_string("workdir", f"runs/{system}", "Folder of the run: all output goes there.")
    flags.DEFINE_enum("mode", "train", MODES, "train also evaluates at its end.")
    flags.DEFINE_string("input", "", "predict: an image or a folder; a video for landmarks.")
    flags.DEFINE_bool("distributed", False, "Join the other processes of a pod or cluster.")
    if {"-h", "-help", "--help", "--helpfull"} & set(sys.argv):
        print(sys.modules["__main__"].__doc__, flags.FLAGS.get_help(), sep="\n")
        sys.exit(0)
    rest = flags.FLAGS(sys.argv)[1:]
    if rest:
        raise flags.Error(f"not a flag: {rest[0]!r}. Flags are written --name=value.")


def _read_config() -> ConfigDict:
    """The config of --config; without it, modes other than train use the run's own."""
    flag = flags.FLAGS["config"]
    config = flag.value
    workdir = Path(flags.FLAGS.workdir).expanduser()
    given = any(a.lstrip("-").split("=")[0] == "config" for a in sys.argv[1:])
    if flags.FLAGS.mode == "train" or given or not (workdir / CONFIG_FILE).exists():
        return config
    config = saved_config(workdir)
    config.update_from_flattened_dict(config_flags.get_override_values(flag))
    return config


def _usage(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


def _set_up_logging() -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname).1s %(message)s", force=True)
    for noisy in ("jax", "orbax", "grain", "tensorboardX", "matplotlib"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # Orbax logs, with a traceback, what it raises: the command line says it once.
    logging.getLogger("absl").setLevel(logging.CRITICAL)
