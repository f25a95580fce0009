"""State dicts of PyTorch find their places, and files that do not fit are refused by name."""

import flax
import jax
import numpy as np
import pytest

from jaxgen.models.drn import Drn26
from jaxgen.models.face_discriminator import FaceDiscriminator
from jaxgen.models.pretrained import load_drn26, load_vgg16, load_vgg19_trunk, read

save_file = pytest.importorskip("safetensors.numpy").save_file


@pytest.fixture(scope="module")
def drn():
    """Variables of a network, all arrays random, without running it."""
    net, rng = Drn26(3), np.random.default_rng(0)
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    shapes = jax.eval_shape(lambda x: net.init(jax.random.key(0), x, train=False), image)
    return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), shapes)


def drn_file(drn):
    """The same network's state dict: names written here from the authors' code, not by rule."""

    def conv(layer):
        return np.ascontiguousarray(layer["kernel"].transpose(3, 2, 0, 1))

    params, statistics, file = drn["params"], drn["batch_stats"], {}

    def norm(name, layer, stats):
        file.update(
            {
                f"{name}.weight": layer["scale"],
                f"{name}.bias": layer["bias"],
                f"{name}.running_mean": stats["mean"],
                f"{name}.running_var": stats["var"],
                f"{name}.num_batches_tracked": np.int64(7),
            }
        )

    file["conv1.weight"] = conv(params["conv1"])
    norm("bn1", params["bn1"], statistics["bn1"])
    for layer, blocks in enumerate([1, 1, 2, 2, 2, 2, 1, 1], 1):
        for index in range(blocks):
            block, stats = params[f"layer{layer}_{index}"], statistics[f"layer{layer}_{index}"]
            for number in (1, 2):
                name = f"layer{layer}.{index}"
                file[f"{name}.conv{number}.weight"] = conv(block[f"conv{number}"])
                norm(f"{name}.bn{number}", block[f"bn{number}"], stats[f"bn{number}"])
            # Where the channels change: layers 2 to 6.
            if 2 <= layer <= 6 and index == 0:
                file[f"{name}.downsample.0.weight"] = conv(block["downsample_conv"])
                norm(f"{name}.downsample.1", block["downsample_bn"], stats["downsample_bn"])
    file |= {"fc.weight": np.zeros((1000, 512, 1, 1)), "fc.bias": np.zeros(1000)}
    return {name: np.asarray(array) for name, array in file.items()}


def test_drn_weights_and_statistics_find_their_places(drn, tmp_path):
    save_file(drn_file(drn), tmp_path / "drn.safetensors")
    blank = jax.tree.map(np.zeros_like, drn)
    loaded = load_drn26(blank, tmp_path / "drn.safetensors")
    assert jax.tree.structure(loaded) == jax.tree.structure(drn)
    for place, array in flax.traverse_util.flatten_dict(loaded).items():
        expected = blank if "score" in place else drn
        np.testing.assert_array_equal(
            array, flax.traverse_util.flatten_dict(expected)[place], err_msg=str(place)
        )


def small_vgg():
    """Variables with the names of an Fcn8s, two channels each, and their torchvision names."""
    rng = np.random.default_rng(1)
    names = {
        "conv1_1": 0, "conv1_2": 2, "conv2_1": 5, "conv2_2": 7, "conv3_1": 10, "conv3_2": 12,
        "conv3_3": 14, "conv4_1": 17, "conv4_2": 19, "conv4_3": 21, "conv5_1": 24, "conv5_2": 26,
        "conv5_3": 28,
    }  # fmt: skip
    torch = {name: f"features.{place}" for name, place in names.items()}
    torch |= {"fc6": "classifier.0", "fc7": "classifier.3"}
    size = {"fc6": 7, "fc7": 1}
    vgg = {
        name: {
            "kernel": rng.normal(size=(size.get(name, 3),) * 2 + (2, 2)).astype(np.float32),
            "bias": rng.normal(size=2).astype(np.float32),
        }
        for name in torch
    }
    score = {"kernel": np.ones((1, 1, 2, 3), np.float32), "bias": np.ones(3, np.float32)}
    return {"params": {"vgg": vgg, "score_fc7": score}}, torch


@pytest.mark.parametrize("names", ["torchvision", "timm"])
def test_vgg_weights_find_their_places(names, tmp_path):
    variables, torch = small_vgg()
    file = {"classifier.6.weight": np.zeros((9, 2), np.float32)}
    if names == "timm":
        torch |= {"fc6": "pre_logits.fc1", "fc7": "pre_logits.fc2"}
        file = {"head.fc.weight": np.zeros((9, 2), np.float32)}
    for ours, theirs in torch.items():
        layer = variables["params"]["vgg"][ours]
        weight = np.ascontiguousarray(layer["kernel"].transpose(3, 2, 0, 1))
        if theirs.startswith("classifier"):  # torchvision's dense layers
            weight = weight.reshape(2, -1)
        file |= {f"{theirs}.weight": weight, f"{theirs}.bias": layer["bias"]}
    save_file(file, tmp_path / "vgg.safetensors")
    blank = jax.tree.map(np.zeros_like, variables)
    loaded = load_vgg16(blank, tmp_path / "vgg.safetensors")
    expected = {"params": dict(variables["params"], score_fc7=blank["params"]["score_fc7"])}
    jax.tree.map(np.testing.assert_array_equal, loaded, expected)


def test_missing_unexpected_and_misshapen_entries_are_named(drn, tmp_path):
    file = drn_file(drn)
    file["layer9.weight"] = file.pop("layer3.1.bn2.running_var")
    file["conv1.weight"] = file["conv1.weight"][:, :1]
    save_file(file, tmp_path / "drn.safetensors")
    with pytest.raises(ValueError) as error:
        load_drn26(drn, tmp_path / "drn.safetensors")
    for part in (
        "missing: layer3.1.bn2.running_var",
        "unexpected: layer9.weight",
        "conv1.weight: (16, 1, 7, 7) does not fit (7, 7, 3, 16)",
        "drn.safetensors: 3 entries",
    ):
        assert part in str(error.value)


def test_weights_of_another_network_are_refused(drn, tmp_path):
    save_file({"features.0.weight": np.zeros((2, 2))}, tmp_path / "vgg.safetensors")
    with pytest.raises(ValueError, match="another one"):
        load_drn26(drn, tmp_path / "vgg.safetensors")


def test_files_that_can_run_code_are_refused(tmp_path):
    (tmp_path / "drn.pth").write_bytes(b"anything")
    with pytest.raises(ValueError, match="weights_only=True"):
        read(tmp_path / "drn.pth")


def test_missing_and_broken_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read(tmp_path / "nowhere.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"12345")
    with pytest.raises(ValueError, match="broken"):
        read(tmp_path / "broken.safetensors")


def test_vgg19_weights_find_their_places(tmp_path):
    net, rng = FaceDiscriminator(), np.random.default_rng(0)
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    shapes = jax.eval_shape(lambda x: net.init(jax.random.key(0), x, train=False), image)
    # torchvision's list: a rectifier after each convolution, a pooling after each stage.
    places = [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34]
    names = [f"conv{s}_{i}" for s, n in enumerate((2, 2, 4, 4, 4), 1) for i in range(1, n + 1)]
    file = {"classifier.0.weight": np.zeros((2, 2), np.float32)}
    marks = {}
    for place, name in zip(places, names, strict=True):
        h, w, c, d = shapes["params"]["trunk"][name]["kernel"].shape
        file[f"features.{place}.weight"] = np.zeros((d, c, h, w), np.float32)
        marks[name] = rng.normal(size=(2,)).astype(np.float32)
        file[f"features.{place}.weight"][1, 2, 0, 1] = marks[name][0]
        file[f"features.{place}.bias"] = np.full(d, marks[name][1])
    save_file(file, tmp_path / "vgg19.safetensors")
    loaded = load_vgg19_trunk(shapes, tmp_path / "vgg19.safetensors", inside="trunk")["params"]
    for name, (weight, bias) in marks.items():
        assert loaded["trunk"][name]["kernel"][0, 1, 2, 1] == weight
        assert (loaded["trunk"][name]["bias"] == bias).all()
    assert loaded["face"] == shapes["params"]["face"]  # the heads keep what they have
    del file["features.34.bias"]
    save_file(file, tmp_path / "broken.safetensors")
    with pytest.raises(ValueError, match=r"missing: features\.34\.bias"):
        load_vgg19_trunk(shapes, tmp_path / "broken.safetensors", inside="trunk")
