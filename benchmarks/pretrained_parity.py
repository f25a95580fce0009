"""Are loaded weights the same network? PyTorch writes random ones, both sides run them.

    python -m benchmarks.pretrained_parity

Every weight and running statistic of DRN-C-26 and of FCN-8s on VGG16 is random, is written as
`.safetensors` under PyTorch's names and read by jaxgen.models.pretrained. Prints the largest
difference of the logits on random images and exits with 1 where it is above 1e-4 of the
largest logit. Needs the extras "bench" and "pretrained" and 4 GB of memory.
"""

import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.torch
import torch

from benchmarks import torch_segmentation as peer
from jaxgen.models.drn import Drn26
from jaxgen.models.pretrained import load_drn26, load_vgg16
from jaxgen.models.segmentation import Fcn8s
from jaxgen.models.vgg import imagenet_range

CLASSES = 19
SIZES = {"drn26": ((64, 96), (129, 100)), "fcn8s": ((64, 96), (45, 33))}


def randomise(net: torch.nn.Module) -> None:
    """Weights that keep activations near 1, and running statistics unlike the initial ones."""
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                torch.nn.init.normal_(module.bias, std=0.1)
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.1)
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)


def blank(net) -> dict:
    """Variables of a network, all zero."""
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    shapes = jax.eval_shape(lambda x: net.init(jax.random.key(0), x, train=False), image)
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)


def score(layer: torch.nn.Conv2d) -> dict:
    """A scoring layer, which files of pretrained weights do not have."""
    kernel = layer.weight.detach().numpy().transpose(2, 3, 1, 0)
    return {"kernel": kernel, "bias": layer.bias.detach().numpy()}


def make(name: str, folder: Path):
    """The PyTorch network, and ours with the weights that it wrote."""
    path = folder / f"{name}.safetensors"
    if name == "drn26":
        theirs, ours, load = peer.Drn26(CLASSES), Drn26(CLASSES), load_drn26
        written, scores = theirs, {"score": theirs.fc}
    else:
        theirs, ours, load = peer.Fcn8s(CLASSES), Fcn8s(CLASSES), load_vgg16
        written = theirs.vgg
        scores = {key: getattr(theirs, key) for key in ("score_fc7", "score_pool4", "score_pool3")}
    randomise(theirs)
    if name == "fcn8s":  # against the factors before these layers, so that each one counts
        theirs.score_pool4.weight.data *= 100
        theirs.score_pool3.weight.data *= 10_000
    safetensors.torch.save_file(written.state_dict(), path)
    variables = load(blank(ours), path)
    variables["params"] |= {key: score(layer) for key, layer in scores.items()}
    return theirs.eval(), ours, variables


def compare(theirs, ours, variables, size: tuple[int, int]) -> tuple[float, float]:
    """Largest difference between the logits, and largest logit."""
    images = np.random.default_rng(0).uniform(-1, 1, (2, *size, 3)).astype(np.float32)
    # A jitted function takes the variables as argument, or it would hold them as constants.
    logits = jax.jit(lambda v, x: ours.apply(v, x, train=False))(variables, images)
    standardised = np.asarray(imagenet_range(images)).transpose(0, 3, 1, 2)
    with torch.inference_mode():
        expected = theirs(torch.from_numpy(np.ascontiguousarray(standardised)))
    expected = expected.numpy().transpose(0, 2, 3, 1)
    return float(np.abs(logits - expected).max()), float(np.abs(expected).max())


def main() -> int:
    torch.manual_seed(0)
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for name, sizes in SIZES.items():
            networks = make(name, Path(folder))
            for size in sizes:
                difference, largest = compare(*networks, size)
                worst = max(worst, difference / largest)
                print(
                    f"{name} {size[0]} x {size[1]}: largest difference {difference:.2e}, "
                    f"largest logit {largest:.3g}"
                )
    return int(worst > 1e-4)


if __name__ == "__main__":
    sys.exit(main())
