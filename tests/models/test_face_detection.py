"""Shapes, parameter counts and priors of the detector; ImageNet weights find their places."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.models import pretrained
from jaxgen.models.detection_backbones import (
    ConvNormRelu,
    Light,
    ResNet50,
    Vgg16Maps,
    make_backbone,
)
from jaxgen.models.face_detection import PRIOR, FaceDetector, detector_anchors

IMAGES = jax.ShapeDtypeStruct((2, 64, 96, 3), jnp.float32)


def shapes_of(module, images=IMAGES):
    """Shapes of variables and outputs, without computing."""
    variables = jax.eval_shape(lambda x: module.init(jax.random.key(0), x, train=False), images)
    return variables, jax.eval_shape(
        lambda v, x: module.apply(v, x, train=False), variables, images
    )


def count(tree):
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("backbone", "parameters", "channels"),
    [
        # torchvision's 25,557,032 without the 2,049,000 of the classifier.
        (ResNet50(), 23_508_032, (256, 512, 1024, 2048)),
        # torchvision's `features` of VGG16.
        (Vgg16Maps(), 14_714_688, (128, 256, 512, 512)),
        # A 3 x 3 convolution from i to o channels and its norm: 9 i o + 2 o. Stem 12 -> c and
        # 4 c -> c, then for each stride one from the stride before and two of its own.
        (Light(), 779_584, (32, 64, 96, 128)),
        (Light(width=0.25, norm="group"), 49_744, (8, 16, 24, 32)),
    ],
    ids=["resnet50", "vgg16", "light", "narrow"],
)
def test_trunks(backbone, parameters, channels):
    variables, maps = shapes_of(backbone)
    assert count(variables["params"]) == parameters
    strides = (4, 8, 16, 32)
    expected = [(2, 64 // s, 96 // s, c) for s, c in zip(strides, channels, strict=True)]
    assert [each.shape for each in maps] == expected


@pytest.mark.parametrize("shape", [(64, 96), (128, 32)])
def test_one_answer_for_every_anchor(shape):
    sizes = ((8, 16), (32,), (64,), (128, 256))
    images = jax.ShapeDtypeStruct((2, *shape, 3), jnp.float32)
    variables, raw = shapes_of(FaceDetector(), images)
    anchors = detector_anchors(shape, strides=(4, 8, 16, 32), sizes=sizes, aspect=1.25)
    assert raw.logits.shape == (2, len(anchors)) and raw.offsets.shape == (2, len(anchors), 4)
    assert count(variables["params"]) == 880_228


def test_frozen_statistics_do_not_move():
    layer = ConvNormRelu(8, norm="frozen")
    images = jnp.ones((2, 4, 4, 8))
    variables = layer.init(jax.random.key(0), images, train=False)
    _, mutated = layer.apply(variables, images, train=True, mutable=["batch_stats"])
    np.testing.assert_array_equal(mutated["batch_stats"]["norm"]["mean"], 0)
    trunk = make_backbone("resnet50", width=1.0, norm="group", module_name="backbone")
    assert trunk.norm == "frozen"  # batches of one picture say nothing about ImageNet's statistics


def test_fewer_branches():
    detector = FaceDetector(strides=(8, 16), anchors_per_cell=(1, 3), max_out=1)
    _, raw = shapes_of(detector)
    assert raw.logits.shape == (2, 8 * 12 + 3 * 4 * 6)


def test_an_untrained_detector_takes_few_anchors_for_faces():
    detector = FaceDetector(width=0.25, features=8, norm="group")
    images = jnp.zeros((1, 32, 32, 3))
    variables = jax.jit(lambda x: detector.init(jax.random.key(0), x, train=False))(images)
    raw = jax.jit(lambda v, x: detector.apply(v, x, train=False))(variables, images)
    assert float(jax.nn.sigmoid(raw.logits).mean()) == pytest.approx(PRIOR, rel=0.2)


def test_images_must_divide():
    with pytest.raises(ValueError, match="64 x 100 pixels: both must be multiples of 32"):
        shapes_of(FaceDetector(), jax.ShapeDtypeStruct((1, 64, 100, 3), jnp.float32))


def torch_names(variables, rename):
    """A state dict of random arrays under PyTorch's names, from the shapes of a trunk."""
    import flax

    rng, stored = np.random.default_rng(0), {}
    leaves = {"kernel": "weight", "scale": "weight", "bias": "bias"}
    leaves |= {"mean": "running_mean", "var": "running_var"}
    for (_, _, *module, leaf), array in flax.traverse_util.flatten_dict(variables).items():
        values = rng.normal(size=array.shape).astype(np.float32)
        if values.ndim == 4:
            values = values.transpose(3, 2, 0, 1)
        stored[f"{rename(module)}.{leaves[leaf]}"] = np.ascontiguousarray(values)
    return stored


def inside(variables):
    return {name: {"backbone": tree} for name, tree in variables.items()}


def test_resnet50_takes_torchvisions_names(tmp_path):
    from safetensors.numpy import save_file

    variables = inside(shapes_of(ResNet50())[0])
    parts = {"downsample_conv": "downsample.0", "downsample_bn": "downsample.1"}

    def rename(module):
        return ".".join(parts.get(part, part.replace("_", ".")) for part in module)

    stored = torch_names(variables, rename)
    assert "layer3.5.conv2.weight" in stored and "layer1.0.downsample.1.running_var" in stored
    save_file(stored | {"fc.weight": np.zeros((10, 4), np.float32)}, tmp_path / "r.safetensors")
    loaded = pretrained.load_resnet50(variables, tmp_path / "r.safetensors", inside="backbone")
    kernel = loaded["params"]["backbone"]["layer3_5"]["conv2"]["kernel"]
    np.testing.assert_array_equal(kernel, stored["layer3.5.conv2.weight"].transpose(2, 3, 1, 0))


def test_vgg16_takes_torchvisions_names(tmp_path):
    from safetensors.numpy import save_file

    variables = inside(shapes_of(Vgg16Maps())[0])
    # torchvision counts rectifiers and poolings too.
    places = dict(zip(sorted(variables["params"]["backbone"]), VGG16_PLACES, strict=True))
    stored = torch_names(variables, lambda module: f"features.{places[module[0]]}")
    save_file(stored, tmp_path / "v.safetensors")
    loaded = pretrained.load_vgg16_trunk(variables, tmp_path / "v.safetensors", inside="backbone")
    bias = loaded["params"]["backbone"]["conv5_3"]["bias"]
    np.testing.assert_array_equal(bias, stored["features.28.bias"])
    del stored["features.28.bias"]
    save_file(stored, tmp_path / "less.safetensors")
    with pytest.raises(ValueError, match=r"missing: features\.28\.bias"):
        pretrained.load_vgg16_trunk(variables, tmp_path / "less.safetensors", inside="backbone")


VGG16_PLACES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
