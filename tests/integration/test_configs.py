"""Every config file in the repository satisfies its system's schema, in each of its variants."""

import importlib.util
from pathlib import Path

import pytest

from jaxgen.tasks import cycada_schema, dr_gan_schema, laplace_schema, tiny_faces_schema

CONFIGS = Path(__file__).parents[2] / "experiments" / "configs"
CHECKS = {
    "laplace": laplace_schema.check_config,
    "cycada": cycada_schema.check_config,
    "dr_gan": dr_gan_schema.check_config,
    "tiny_faces": tiny_faces_schema.check_config,
}
DIGITS = ("mnist_to_usps", "usps_to_mnist", "svhn_to_mnist")
VARIANTS = {
    "laplace/default": ("", "smoke"),
    "laplace/helen": ("", "adversarial"),
    "laplace/synthetic_to_real": ("", "adversarial"),
    "laplace/paper": ("adversarial", "supervised"),
    "cycada/default": ("", "smoke"),
    "cycada/digits": DIGITS,
    "cycada/paper": DIGITS,
    "cycada/camvid": ("", "small"),
    "cycada/road_scenes": ("gta5_drn26", "gta5_fcn8s", "synthia_fcn8s"),
    "dr_gan/default": ("", "smoke"),
    "dr_gan/paper": ("", "single", "cvpr"),
    "dr_gan/multipie": ("", "single"),
    "tiny_faces/default": ("", "smoke"),
    "tiny_faces/wider_face": ("", "part"),
}
NAMES = sorted(
    f"{path.parent.name}/{path.stem}"
    for path in CONFIGS.glob("*/*.py")
    if not path.stem.endswith("_sections")  # parts that several configs share
)


def load(name):
    spec = importlib.util.spec_from_file_location(Path(name).stem, CONFIGS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", NAMES)
def test_config_satisfies_the_schema(name):
    module, system = load(name), name.split("/")[0]
    assert module.__doc__ and f"python -m experiments.{system}" in module.__doc__
    for variant in VARIANTS.get(name, ("",)):
        CHECKS[system](module.get_config(variant))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "laplace/my_faces"])
def test_unknown_variant_is_refused(name):
    with pytest.raises(ValueError, match="nonsense"):
        load(name).get_config("nonsense")
