"""Checks a config against a schema before anything slow starts.

A schema maps each dotted key to a rule; a rule takes a value and returns what it expected
if the value is wrong, or None. So a misspelt key, a missing key and a bad value all fail
within a second or two, naming the key.
"""

import difflib
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping

import ml_collections

from jaxgen.training.errors import ConfigError

Rule = Callable[[object], str | None]
Schema = Mapping[str, Rule]


def integer(minimum: int = 0) -> Rule:
    """An int of at least `minimum`."""

    def rule(value):
        good = isinstance(value, int) and not isinstance(value, bool) and value >= minimum
        return None if good else f"an integer >= {minimum}"

    return rule


def number(minimum: float = -math.inf, maximum: float = math.inf, *, above: bool = False) -> Rule:
    """A finite int or float in [minimum, maximum], or (minimum, maximum] if `above`."""

    def rule(value):
        good = isinstance(value, int | float) and not isinstance(value, bool)
        good = good and math.isfinite(value) and minimum <= value <= maximum
        good = good and not (above and value == minimum)
        return None if good else f"a number {'>' if above else '>='} {minimum} and <= {maximum}"

    return rule


def one_of(*choices) -> Rule:
    """One of the listed values."""

    def rule(value):
        good = any(type(value) is type(choice) and value == choice for choice in choices)
        # 1 stands for 1.0 where the choices are floats.
        good = good or (type(value) is int and float(value) in choices)
        return None if good else "one of " + ", ".join(repr(choice) for choice in choices)

    return rule


def anything(value) -> str | None:
    """Any value."""
    del value


def boolean(value) -> str | None:
    """True or False."""
    return None if isinstance(value, bool) else "True or False"


def text(value) -> str | None:
    """A string, possibly empty."""
    return None if isinstance(value, str) else "a string"


def compute_type(value) -> str | None:
    """A type that networks compute in; parameters, statistics and losses stay float32."""
    return one_of("float32", "bfloat16")(value)


def check(config: ml_collections.ConfigDict, schema: Schema) -> None:
    """Raises ConfigError naming the first unknown key, missing key or bad value."""
    values = dict(flatten(config))
    # A rule for "a.b.*" covers whatever lies below a.b: options that another part checks.
    free = tuple(key.removesuffix("*") for key in schema if key.endswith(".*"))
    for key in values:
        if key not in schema and not key.startswith(free):
            near = difflib.get_close_matches(key, schema, n=1)
            hint = f" Did you mean config.{near[0]}?" if near else ""
            raise ConfigError(f"unknown key config.{_short(key)}.{hint}")
    for key, rule in schema.items():
        if key.endswith(".*"):
            continue
        if key not in values:
            raise ConfigError(f"missing key config.{key}: start from the system's default.py.")
        expected = rule(values[key])
        if expected:
            raise ConfigError(f"config.{key}={_short(repr(values[key]))}: expected {expected}.")


def chosen_stages(asked: str, stages: tuple[str, ...]) -> tuple[str, ...]:
    """The stages that config.stages asks for, in the order in which they run.

    Args:
        asked: names with commas between them, in any order.
        stages: all that there are, in order.

    Raises:
        ConfigError: one of them is none, or none is asked for.
    """
    names = [name.strip() for name in asked.split(",") if name.strip()]
    for name in names:
        if name not in stages:
            raise ConfigError(f"config.stages names {name!r}: it may hold {', '.join(stages)}.")
    if not names:
        raise ConfigError(f"config.stages is empty: name some of {', '.join(stages)}.")
    return tuple(name for name in stages if name in names)


def flatten(config: Mapping, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yields (dotted key, value) of every leaf."""
    for key, value in config.items():
        if isinstance(value, Mapping | ml_collections.ConfigDict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def to_json(config: ml_collections.ConfigDict) -> str:
    """The config as indented JSON, keys sorted."""
    return json.dumps(config.to_dict(), indent=2, sort_keys=True, default=str)


def from_json(text: str) -> ml_collections.ConfigDict:
    """Reads what `to_json` wrote.

    Raises:
        ValueError: it is not that.
    """
    try:
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError("not a JSON object")
        return ml_collections.ConfigDict(values)
    except (AttributeError, TypeError, RecursionError) as error:  # of keys that no config can have
        raise ValueError(_short(str(error))) from error


def _short(text: str) -> str:
    return text if len(text) <= 200 else text[:200] + " ..."


def config_hash(config: ml_collections.ConfigDict) -> str:
    """Twelve hexadecimal digits that identify the config's values."""
    return hashlib.sha256(to_json(config).encode()).hexdigest()[:12]


# What every experiment's config has, for the shared loop and optimisers.
TRAINING_SCHEMA: Schema = {
    "seed": integer(),
    "train.steps": integer(1),
    "train.log_every": integer(1),
    "train.validate_every": integer(1),
    "train.checkpoint_every": integer(1),
    "train.ema_decay": number(0, 0.999999),
    "train.tensorboard": boolean,
    # Memory of the devices, see docs/scaling.md.
    "train.micro_batches": integer(1),
    "train.shard_parameters_above": integer(),
    # A loss that is NaN or infinite: stop, or go on from the last checkpoint with later data.
    "train.on_nan": one_of("stop", "rollback"),
    "train.max_rollbacks": integer(1),
}


def optimiser_schema(prefix: str) -> Schema:
    """The schema of one `optimiser` section, see jaxgen.training.optimiser."""
    return {
        f"{prefix}.name": one_of("adam", "adamw", "sgd"),
        f"{prefix}.learning_rate": number(0, 10, above=True),
        f"{prefix}.schedule": one_of("constant", "cosine", "step", "half", "linear"),
        f"{prefix}.warmup_steps": integer(),
        f"{prefix}.weight_decay": number(0, 1),
        f"{prefix}.b1": number(0, 0.9999),
        f"{prefix}.clip_norm": number(0),
    }
