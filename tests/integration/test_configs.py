"""Every config file in the repository satisfies the schema, in each of its variants."""

import importlib.util
from pathlib import Path

import pytest

from jaxgen.tasks.laplace_schema import check_config

CONFIGS = Path(__file__).parents[2] / "experiments" / "configs" / "laplace"
VARIANTS = {
    "default": ("", "smoke"),
    "helen": ("", "adversarial"),
    "synthetic_to_real": ("", "adversarial"),
    "paper": ("adversarial", "supervised"),
}


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.py")), ids=lambda path: path.stem)
def test_config_satisfies_the_schema(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.__doc__ and "python -m experiments.laplace" in module.__doc__
    for variant in VARIANTS.get(path.stem, ("",)):
        config = module.get_config(variant)
        check_config(config)
        assert config.optimiser.learning_rate > 0


@pytest.mark.parametrize("stem", ["default", "helen", "paper"])
def test_unknown_variant_is_refused(stem):
    spec = importlib.util.spec_from_file_location(stem, CONFIGS / f"{stem}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(ValueError, match="nonsense"):
        module.get_config("nonsense")
