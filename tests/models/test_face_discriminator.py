"""The discriminator: published sizes, heads, and what its trunks take."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.models.face_discriminator import FaceDiscriminator
from jaxgen.models.vgg import Vgg19Trunk, imagenet_range


def shapes_of(net, side):
    """(what comes out, variables), as shapes."""
    image = jax.ShapeDtypeStruct((8, side, side, 3), jnp.float32)
    return jax.eval_shape(lambda x: net.init_with_output(jax.random.key(0), x, train=False), image)


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_published_number_of_parameters():
    said, variables = shapes_of(FaceDiscriminator(), 128)
    params = variables["params"]
    assert count(params["trunk"]) == 20_024_384
    # 8 x 8 x 512 features, because the last pooling is left out; one weight each and a bias.
    assert count(params["real"]) + count(params["face"]) == 2 * (8 * 8 * 512 + 1) == 65_538
    assert said.real.shape == said.face.shape == (8,) and said.offsets is None


def test_box_head_and_compact_trunk():
    net = FaceDiscriminator(trunk="compact", features=4, stages=2, box_head=True)
    said, variables = shapes_of(net, 16)
    assert said.offsets.shape == (8, 4)
    assert variables["params"]["box"]["kernel"].shape == (4 * 4 * 8, 4)
    assert "batch_stats" in variables
    plain = FaceDiscriminator(trunk="compact", features=4, stages=2, norm="none")
    assert "batch_stats" not in shapes_of(plain, 16)[1]


def test_vgg19_sees_images_in_the_range_of_imagenet(monkeypatch):
    seen = []
    monkeypatch.setattr(Vgg19Trunk, "__call__", lambda self, x: seen.append(x) or x[:, :2, :2])
    images = np.random.default_rng(0).uniform(-1, 1, (1, 16, 16, 3)).astype(np.float32)
    FaceDiscriminator().init(jax.random.key(0), images, train=False)
    np.testing.assert_allclose(seen[0], imagenet_range(images))


def test_unknown_trunk_is_refused():
    with pytest.raises(ValueError, match="trunk"):
        shapes_of(FaceDiscriminator(trunk="vgg16"), 32)
