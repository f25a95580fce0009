"""Rules of the house that a reader relies on and that decay unless something checks them."""

import importlib
import inspect
import pkgutil
import subprocess
import sys

import absl.logging
import flax.linen as nn
import pytest

import jaxgen

MODULES = [
    module.name
    for module in pkgutil.walk_packages(jaxgen.__path__, "jaxgen.")
    if not module.ispkg and not module.name.endswith("__main__")
]


def public_functions(module):
    return [
        function
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if not name.startswith("_") and function.__module__ == module.__name__
    ]


@pytest.mark.parametrize("name", MODULES)
def test_public_functions_follow_the_house(name):
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} has no docstring"
    for function in public_functions(module):
        where = f"{name}.{function.__name__}"
        assert function.__doc__, f"{where} has no docstring"
        parameters = inspect.signature(function).parameters
        if "train" in parameters:
            assert parameters["train"].default is inspect.Parameter.empty, where
        if "key" in parameters and name.startswith(("jaxgen.kernels", "jaxgen.models")):
            assert next(iter(parameters)) == "key", f"{where}: the key comes first"


@pytest.mark.parametrize("name", [m for m in MODULES if m.startswith("jaxgen.models")])
def test_networks_ask_for_train(name):
    module = importlib.import_module(name)
    for cls_name, cls in inspect.getmembers(module, inspect.isclass):
        if issubclass(cls, nn.Module) and cls.__module__ == name:
            train = inspect.signature(cls.__call__).parameters.get("train")
            assert train is None or train.default is inspect.Parameter.empty, cls_name


def test_no_heavy_or_unsafe_import():
    code = (
        "import importlib, sys\n"
        f"for name in {MODULES!r}: importlib.import_module(name)\n"
        "print([m for m in ('tensorflow', 'torch', 'cv2', 'keras') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip().splitlines()[-1] == "[]", result.stderr


@pytest.mark.parametrize("name", MODULES)
def test_messages_are_seen_on_the_command_line(name):
    """Command lines silence absl's logger, because Orbax logs with a traceback what it raises."""
    if name != "jaxgen.data.builders.manual":  # which sets how much TFDS may say
        assert getattr(importlib.import_module(name), "logging", None) is not absl.logging


def test_importing_the_command_line_is_light():
    # A misspelt flag must not wait for JAX, TFDS and matplotlib.
    code = (
        "import sys, experiments.laplace\n"
        "heavy = ('jax', 'flax', 'tensorflow_datasets', 'matplotlib')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip().splitlines()[-1] == "[]", result.stderr
