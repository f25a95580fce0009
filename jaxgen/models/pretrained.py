"""ImageNet weights of VGG16, ResNet-50 and DRN-C-26 from `.safetensors` files into Flax variables.

The files hold PyTorch state dicts: torchvision's or timm's names for VGG16, those of the authors
for DRN. Layers that only classify ImageNet are left out. Needs the extra "pretrained".
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax
import jax.numpy as jnp
import numpy as np

from jaxgen.data import text_files
from jaxgen.models.vgg import STAGES, STAGES_19

Variables = Mapping[str, Any]

# PyTorch's name of each of our leaves.
_LEAVES = {
    ("params", "kernel"): "weight",
    ("params", "bias"): "bias",
    ("params", "scale"): "weight",
    ("batch_stats", "mean"): "running_mean",
    ("batch_stats", "var"): "running_var",
}


def load_vgg16(variables: Variables, path: str | Path) -> Variables:
    """Puts ImageNet weights into the trunk of an `Fcn8s`.

    Args:
        variables: of `Fcn8s`; the scores keep their values.
        path: `.safetensors` file with the names of torchvision's or timm's `vgg16`.

    Returns:
        New variables of the same structure.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is another kind of file, or its names or shapes do not fit.
    """
    layers = _vgg_layers(STAGES)
    layers |= {"fc6": "classifier.0", "fc7": "classifier.3"}
    renamed = {"pre_logits.fc1": "classifier.0", "pre_logits.fc2": "classifier.3"}  # timm
    return _load(
        variables,
        path,
        names=lambda module: layers[module[1]] if module[0] == "vgg" else None,
        renamed=renamed,
        left_out=("classifier.6", "head.fc"),
    )


def load_vgg19_trunk(variables: Variables, path: str | Path, *, inside: str) -> Variables:
    """Puts ImageNet weights into a trunk `Vgg19Trunk`.

    Args:
        variables: of a network that holds the trunk; everything else keeps its values.
        path: `.safetensors` file with the names of torchvision's or timm's `vgg19`.
        inside: name of the trunk in that network.

    Returns:
        New variables of the same structure.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is another kind of file, or its names or shapes do not fit.
    """
    return _load_vgg_trunk(variables, path, inside, STAGES_19)


def load_drn26(variables: Variables, path: str | Path) -> Variables:
    """Puts ImageNet weights and running statistics into a `Drn26`.

    Args:
        variables: of `Drn26`; the layer "score" keeps its values.
        path: `.safetensors` file with the names of the authors' `drn_c_26`.

    Returns:
        New variables of the same structure.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is another kind of file, or its names or shapes do not fit.
    """

    def names(module):
        if module[0] == "score":
            return None
        inside = {"downsample_conv": "downsample.0", "downsample_bn": "downsample.1"}
        # layer3_0 is the first block of layer3, layer3.0 in PyTorch.
        return ".".join(inside.get(part, part.replace("_", ".")) for part in module)

    return _load(variables, path, names=names, renamed={}, left_out=("fc",))


def load_resnet50(variables: Variables, path: str | Path, *, inside: str) -> Variables:
    """Puts ImageNet weights and running statistics into a trunk `ResNet50`.

    Args:
        variables: of a network that holds the trunk; everything else keeps its values.
        path: `.safetensors` file with the names of torchvision's or timm's `resnet50`.
        inside: name of the trunk in that network.

    Returns:
        New variables of the same structure.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is another kind of file, or its names or shapes do not fit.
    """
    renamed = {"downsample_conv": "downsample.0", "downsample_bn": "downsample.1"}

    def names(module):
        if module[0] != inside:
            return None
        return ".".join(renamed.get(part, part.replace("_", ".")) for part in module[1:])

    return _load(variables, path, names=names, renamed={}, left_out=("fc",))


def load_vgg16_trunk(variables: Variables, path: str | Path, *, inside: str) -> Variables:
    """Puts ImageNet weights into a trunk `Vgg16Maps`; arguments as in `load_resnet50`.

    The file has the names of torchvision's or timm's `vgg16`.
    """
    return _load_vgg_trunk(variables, path, inside, STAGES)


def read(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a `.safetensors` file by name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is another kind of file, damaged, or holds a value that is not finite.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(
            f"{path}: only .safetensors files are read, because other formats can run code. "
            "Convert a PyTorch file once, where PyTorch is installed: "
            'safetensors.torch.save_file(torch.load("weights.pth", weights_only=True), '
            '"weights.safetensors")'
        )
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of pretrained weights")
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ImportError as error:
        raise ImportError('pretrained weights need: pip install "jaxgen[pretrained]"') from error
    try:
        arrays = load_file(path)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: not a complete .safetensors file: {error}") from error
    for name, array in arrays.items():
        if not np.isfinite(array.astype(np.float32)).all():
            raise ValueError(f"{path}: {text_files.quoted(name)} holds values that are not finite")
    return arrays


def _load_vgg_trunk(variables, path, inside, stages):
    layers = _vgg_layers(stages)
    classifier = [f"classifier.{place}" for place in (0, 3, 6)]  # torchvision
    classifier += ["pre_logits.fc1", "pre_logits.fc2", "head.fc"]  # timm
    return _load(
        variables,
        path,
        names=lambda module: layers[module[1]] if module[0] == inside else None,
        renamed={},
        left_out=classifier,
    )


def _load(variables, path, *, names, renamed, left_out):
    """Replaces every array whose module has a name in the file.

    Args:
        variables: nested dict of arrays.
        path: of the file.
        names: path of a module, such as ("layer3_0", "bn1") -> its name in the file, or None
            to keep what it has.
        renamed: modules that may carry another name in the file -> the one `names` gives.
        left_out: modules of the file that nothing here has.
    """
    flat = flax.traverse_util.flatten_dict(variables)
    wanted = {}
    for place in flat:
        collection, *module, leaf = place
        name = names(module)
        if name is not None:
            wanted[f"{name}.{_LEAVES[collection, leaf]}"] = place

    found = {}
    for name, array in read(path).items():
        module, _, leaf = name.rpartition(".")
        if module not in left_out and leaf != "num_batches_tracked":
            found[f"{renamed.get(module, module)}.{leaf}"] = array

    problems = [f"missing: {name}" for name in sorted(wanted.keys() - found.keys())]
    problems += [f"unexpected: {name}" for name in sorted(found.keys() - wanted.keys())]
    loaded = dict(flat)
    for name in wanted.keys() & found.keys():
        place = wanted[name]
        array = _to_flax(found[name], flat[place].shape)
        if array is None:
            problems.append(
                f"shape of {name}: {found[name].shape} does not fit {flat[place].shape}"
            )
        else:
            loaded[place] = jnp.asarray(array, flat[place].dtype)
    if problems:
        shown = "; ".join(problems[:8]) + (" ..." if len(problems) > 8 else "")
        raise ValueError(
            f"{path}: {len(problems)} entries do not fit the network; is it the weights of "
            f"another one? {shown}"
        )
    return flax.traverse_util.unflatten_dict(loaded)


def _to_flax(array, shape):
    """PyTorch's [D, C, h, w], or [D, C h w] of a dense layer, to [h, w, C, D]; None if unfit."""
    if len(shape) != 4:
        return array if array.shape == shape else None
    h, w, c, d = shape
    if array.shape not in ((d, c, h, w), (d, c * h * w)):
        return None
    return array.reshape(d, c, h, w).transpose(2, 3, 1, 0)


def _vgg_layers(stages):
    """Name of each convolution here -> its name in torchvision.

    torchvision has one list of convolutions, rectifiers and poolings, and names them by place.
    """
    layers, place = {}, 0
    for stage, (_, convolutions) in enumerate(stages, 1):
        for index in range(convolutions):
            layers[f"conv{stage}_{index + 1}"] = f"features.{place + 2 * index}"
        place += 2 * convolutions + 1
    return layers
