import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.data.synthetic import asset, camera, degrade, lighting, texture
from jaxgen.kernels.blur import blur


def unit(rng, *shape):
    v = rng.normal(size=(*shape, 3))
    return jnp.asarray(v / np.linalg.norm(v, axis=-1, keepdims=True), jnp.float32)


def test_uniform_light_of_one_gives_one_everywhere():
    normals = unit(np.random.default_rng(0), 50)
    found = lighting.irradiance(lighting.ambient(jnp.array([1.0, 0.5, 0])), normals)
    np.testing.assert_allclose(found, np.tile([1, 0.5, 0], (50, 1)), atol=1e-5)


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_a_lamp_gives_its_colour_to_what_faces_it_and_least_to_what_turns_away(spread):
    direction = unit(np.random.default_rng(1))
    color = jnp.array([1.0, 0.6, 0.3])
    light = lighting.lamp(direction, color, spread=spread)
    np.testing.assert_allclose(lighting.irradiance(light, direction), color, rtol=1e-4)
    assert (lighting.irradiance(light, -direction) < 0.1 * color).all()


def test_turning_the_light_is_turning_the_head_the_other_way():
    rng = np.random.default_rng(2)
    light = jnp.asarray(rng.normal(size=(9, 3)), jnp.float32)
    rotation = camera.rotation_matrix(jnp.array([40.0, -20, 15]))
    directions = unit(rng, 20)
    np.testing.assert_allclose(
        lighting.harmonics(directions) @ lighting.rotate_to_head(light, rotation),
        lighting.harmonics(directions @ rotation.T) @ light,
        atol=1e-4,
    )


def test_the_head_shadows_itself_where_one_expects():
    head = asset.load_head()
    received = np.asarray(head.transfer @ lighting.ambient(jnp.ones(3)))[:, 0]
    forehead = received[(head.mean[:, 1] > 0.6) & (head.mean[:, 2] > 0.6)]
    inside = received[head.fields[:, asset.FIELDS.index("mouth")] > 0.9]
    assert forehead.mean() > 0.9
    assert inside.mean() < 0.35
    assert received.max() < 1.05


def test_blur_keeps_the_light_and_zero_changes_nothing():
    image = jnp.asarray(np.random.default_rng(3).uniform(size=(16, 24, 3)), jnp.float32)
    np.testing.assert_allclose(blur(image, 0.0), image, atol=1e-5)
    flat = jnp.full((16, 24, 3), 0.4)
    np.testing.assert_allclose(blur(flat, 2.0), flat, atol=1e-5)
    assert blur(image, 2.0).std() < 0.5 * image.std()


def test_compression_loses_more_the_stronger_it_is():
    image = jnp.asarray(np.random.default_rng(4).uniform(size=(16, 24, 3)), jnp.float32)
    loss = [float(jnp.abs(degrade.compress(image, s) - image).mean()) for s in (0.0, 0.2, 1.0)]
    assert loss[0] < 2e-3 < loss[1] < loss[2]
    with pytest.raises(ValueError, match="8 x 8"):
        degrade.compress(image[:15], 0.5)


def test_noise_tiles_repeat_without_a_seam():
    tile = texture.noise_tile(jax.random.key(0), [(4.0, 4.0), (1.0, 8.0)], size=64)
    inner = np.abs(np.diff(tile, axis=0)).mean((0, 1))
    seam = np.abs(tile[0] - tile[-1]).mean(0)
    np.testing.assert_allclose(tile.std((0, 1)), 1, atol=0.1)
    assert (seam < 2 * inner).all()
    places = jnp.array([[0.25, 0.5], [1.25, -0.5]])
    np.testing.assert_array_equal(*texture.look_up(tile, places))
