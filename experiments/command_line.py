"""What the command lines of all systems share: flags, config, folder, one-line errors."""

import ast
import logging
import re
import shlex
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from jaxgen import xla_cpu
from jaxgen.host_memory import keep_freed
from jaxgen.training.config import flatten
from jaxgen.training.errors import (
    CheckpointMismatch,
    ConfigError,
    HostLost,
    NotFinite,
    Stopped,
)
from jaxgen.training.workdir import (
    CONFIG_FILE,
    kept_configs,
    only_run,
    open_workdir,
    saved_config,
)

CONFIGS = Path(__file__).parent / "configs"
MODES = ("train", "evaluate", "predict", "export")
SHARED_MODES = ("train", "evaluate")  # by several processes

Mode = Callable[[ConfigDict, Path], None]
_log = logging.getLogger(__name__)
_OPTION = re.compile(r"--?config\.(?P<key>(?:\w+\.)+options\.\w+)=(?P<value>.*)", re.DOTALL)


def run(system: str, check: Callable[[ConfigDict], None], modes: Mapping[str, Mode]) -> None:
    """Parses the command line and runs its mode; a wrong flag or key is one line, exit code 2.

    Args:
        system: folder below experiments/configs; its default.py is the default config.
        check: raises ConfigError for a config that cannot work. It runs before JAX starts.
        modes: name of --mode -> function of config and workdir.
    """
    _set_up_logging()
    try:
        _define_flags(system)
        config = _read_config()
        check(config)
    except (AttributeError, KeyError) as error:  # config_flags: an override of an unknown key
        reason = " ".join(str(error.args[0]).replace("\\n", " ").replace("\\'", "'").split())
        sys.exit(_usage(f"unknown key in a --config.KEY=VALUE override: {reason}"))
    except (flags.Error, ConfigError, TypeError, ValueError, OSError) as error:
        sys.exit(_usage(str(error)))
    keep_freed()  # before JAX opens its backend
    if flags.FLAGS.distributed:
        _run_with_others(modes, config)
    else:
        _run_mode(modes, config)


def _run_with_others(modes, config):
    """One of several processes: it ends when all are done, or at once if anything fails."""
    from jaxgen.training import hosts, joining

    given = flags.FLAGS
    code = 1
    try:
        joining.join(given.coordinator, given.num_processes, given.process_id)
        if not hosts.is_first():  # the first process speaks for all, until something is wrong
            logging.getLogger().setLevel(logging.WARNING)
        _run_mode(modes, config)
        joining.finish()
        return
    except HostLost as error:
        _usage(str(error))
    except ConfigError as error:
        code = _usage(str(error))
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
        if isinstance(ended.__cause__, Stopped):  # as all others, after the same step
            joining.finish()
            raise
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    joining.leave(code)


def _run_mode(modes, config):
    """Opens the workdir and runs the mode; what a user can mend reads as one message."""
    from jaxgen.training import hosts, joining

    mode = flags.FLAGS.mode
    folder = Path(flags.FLAGS.workdir).expanduser()
    before = kept_configs(folder)
    try:
        workdir = open_workdir(flags.FLAGS.workdir, config, save_config=mode == "train")
    except ConfigError as error:
        sys.exit(_usage(str(error)))
    xla_cpu.check_backend()  # JAX may have found no accelerator and fallen back to the CPU
    alone = mode == "train" and hosts.is_first()
    try:
        with joining.naming_lost_hosts(), only_run(workdir) if alone else nullcontext():
            modes[mode](config, workdir)
    except Stopped as stopped:
        module = sys.modules["__main__"].__spec__
        command = ["python", *(["-m", module.name] if module else sys.argv[:1]), *sys.argv[1:]]
        print(f"{stopped} Go on with: {shlex.join(command)}", flush=True)
        raise SystemExit(stopped.exit_code or flags.FLAGS.stopped_exit_code) from stopped
    except (ValueError, OSError, NotFinite) as error:
        replaced = kept_configs(workdir)[len(before) :]
        if isinstance(error, CheckpointMismatch) and replaced and hosts.is_first():
            # The checkpoints are of the earlier config, so the folder stays what it was.
            replaced[-1].replace(workdir / CONFIG_FILE)
        # The place in the code is one file away, unless the disk is full.
        details = hosts.own_path(workdir / "error.txt")
        try:
            details.write_text(traceback.format_exc())
            where = f"traceback: {details}"
        except OSError as problem:
            where = f"its traceback could not be written: {problem}"
        sys.exit(_usage(f"{error}\n({where})"))


def define_boxes() -> None:
    """The flag --boxes, for systems that look at faces. Two of them may meet in one process."""
    if "boxes" not in flags.FLAGS:
        text = "predict: CSV or JSON of face boxes; else faces are searched."
        flags.DEFINE_string("boxes", "", text)


def check_batches(config: ConfigDict, devices, *, training: bool) -> None:
    """Raises ValueError naming the first batch size that the mesh `devices` cannot share.

    Without `training`, sections called "train" do not count.
    """
    from jaxgen.training import mesh

    values = dict(flatten(config))
    for key in values:
        section, _, name = key.rpartition(".")
        if name.endswith("batch_size") and (training or section.split(".")[-1] != "train"):
            parts = values.get(f"{section}.micro_batches", 1)
            mesh.check_divisible(devices, micro_batches=parts, **{key: values[key]})


def open_devices(config, *, training: bool = False):
    """The mesh of all devices, checked against the batch sizes, those of training if asked for."""
    from jaxgen.training import mesh
    from jaxgen.training.workdir import enable_compilation_cache

    enable_compilation_cache()
    devices = mesh.data_mesh()
    check_batches(config, devices, training=training)
    return devices


def print_results(numbers: Mapping[str, float], report: Path) -> None:
    """Prints the figures in columns and where the report is, once for all processes."""
    from jaxgen.training import hosts

    if not hosts.is_first():
        return
    width = max(map(len, numbers))
    for name, value in numbers.items():
        print(f"  {name:<{width}}  {value:.4g}")
    print(f"report: {report / 'index.html'}")


def _define_flags(system: str) -> None:
    known = [arg for arg in sys.argv if not _OPTION.fullmatch(arg)]  # see `_options`
    config_flags.DEFINE_config_file(
        "config",
        str(CONFIGS / system / "default.py"),
        "Config file, optionally FILE:variant; any key can be set with --config.a.b=value.",
        sys_argv=known,
    )
    flags.DEFINE_string("workdir", f"runs/{system}", "Folder of the run: all output goes there.")
    flags.DEFINE_enum("mode", "train", MODES, "train also evaluates at its end.")
    flags.DEFINE_string(
        "input", "", "predict: an image or a folder; a video for landmarks and tiny faces."
    )
    flags.DEFINE_bool(
        "distributed",
        False,
        "Join the other processes of a TPU pod or a cluster, see docs/hosts.md. What JAX cannot "
        "detect is said by the next three flags.",
    )
    flags.DEFINE_integer(
        "stopped_exit_code",
        0,
        "Exit code after SIGTERM has stopped a run before its end. Kubernetes takes 0 for done.",
        lower_bound=0,
    )
    flags.DEFINE_string("coordinator", "", "HOST:PORT of process 0, for all processes.")
    flags.DEFINE_integer("num_processes", None, "Processes of the whole run.", lower_bound=1)
    flags.DEFINE_integer("process_id", None, "Number of this process, from 0.", lower_bound=0)
    if {"-h", "-help", "--help", "--helpfull"} & set(sys.argv):
        print(sys.modules["__main__"].__doc__, flags.FLAGS.get_help(), sep="\n")
        sys.exit(0)
    rest = flags.FLAGS(known)[1:]
    if rest:
        raise flags.Error(f"not a flag: {rest[0]!r}. Flags are written --name=value.")
    given = flags.FLAGS
    if given.distributed and given.mode not in SHARED_MODES:
        raise flags.Error(f"--mode={given.mode} runs in one process: leave --distributed out.")
    for name in ("coordinator", "num_processes", "process_id"):
        if given[name].present and not given.distributed:
            raise flags.Error(f"--{name} says who takes part in a run with --distributed: add it.")


def _read_config() -> ConfigDict:
    """The config of --config; without it, the one of the run that the workdir holds."""
    flag = flags.FLAGS["config"]
    config = flag.value
    workdir = Path(flags.FLAGS.workdir).expanduser()
    given = any(a.lstrip("-").split("=")[0] == "config" for a in sys.argv[1:])
    if not given and (workdir / CONFIG_FILE).exists():
        config = _with_new_keys(saved_config(workdir), config)
        _log.info("no --config: that of the run in %s", workdir)
        config.update_from_flattened_dict(config_flags.get_override_values(flag))
    for key, value in _options().items():
        _set_option(config, key, value)
    return config


def _with_new_keys(saved: ConfigDict, default: ConfigDict) -> ConfigDict:
    """A run's config, with what keys that it does not know have by default."""
    known = dict(flatten(saved))
    for key, value in flatten(default):
        if key in known or ".options." in f".{key}":  # options are those of one data set
            continue
        *sections, name = key.split(".")
        place = saved
        for section in sections:
            if section not in place:
                place[section] = ConfigDict()
            place = place[section]
        place[name] = value
    return saved


def _options() -> dict[str, object]:
    """Dotted key -> value of every --config.SECTION.options.NAME=VALUE.

    A config does not list the options of all data sets, so its flags do not know them; the data
    set checks their names and values.
    """
    found = (_OPTION.fullmatch(arg) for arg in sys.argv[1:])
    return {match["key"]: _literal(match["value"]) for match in found if match}


def _literal(text: str) -> object:
    """A Python literal, such as True, 3 or (90, 120); anything else is a string."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _set_option(config: ConfigDict, key: str, value: object) -> None:
    *sections, name = key.split(".")
    for section in sections:
        config = config[section]
    with config.unlocked():
        config[name] = value


def _usage(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


def _set_up_logging() -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname).1s %(message)s", force=True)
    for noisy in ("jax", "orbax", "grain", "tensorboardX", "matplotlib"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # Orbax logs, with a traceback, what it raises: the command line says it once.
    logging.getLogger("absl").setLevel(logging.CRITICAL)
