import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.data.synthetic import raster

SHAPE = (24, 32)


@jax.jit
def draw(points, depth, triangles, sides):
    return raster.rasterise(points, 1 / depth, triangles, sides, shape=SHAPE, near=1.0, far=50.0)


def grid_mesh(rng, columns=9, rows=7):
    """A crumpled sheet that covers the whole image, split into triangles."""
    x, y = np.meshgrid(np.linspace(-3, SHAPE[1] + 2, columns), np.linspace(-3, SHAPE[0] + 2, rows))
    points = np.stack([x, y], -1)
    points[1:-1, 1:-1] += rng.uniform(-1.2, 1.2, points[1:-1, 1:-1].shape)
    number = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = (
        v.ravel() for v in (number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:])
    )
    triangles = np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)])
    return points.reshape(-1, 2).astype(np.float32), triangles.astype(np.int32)


def test_a_sheet_has_no_cracks_and_each_pixel_the_triangle_around_it():
    rng = np.random.default_rng(0)
    points, triangles = grid_mesh(rng)
    found = draw(
        points, np.full(len(points), 5.0, np.float32), triangles, np.ones(len(triangles), np.int32)
    )
    assert (found.triangle >= 0).all()
    place = (points[triangles[found.triangle]] * np.asarray(found.weights)[..., None]).sum(2)
    x, y = np.meshgrid(np.arange(SHAPE[1]), np.arange(SHAPE[0]))
    np.testing.assert_allclose(place, np.stack([x, y], -1), atol=1e-3)
    assert found.weights.min() > -1e-4


def test_weights_are_correct_in_perspective():
    # A sheet that recedes: the ray through each pixel meets its plane at a known depth.
    rng = np.random.default_rng(1)
    points, triangles = grid_mesh(rng)
    focal, centre = 20.0, np.array([16.0, 12.0])
    ray = (points - centre) / focal
    depth = 8 / (1 + 0.4 * ray[:, 0] - 0.3 * ray[:, 1])  # z = 8 - 0.4 x + 0.3 y
    corners = np.concatenate([ray, np.ones((len(ray), 1))], 1) * depth[:, None]
    found = draw(points, depth.astype(np.float32), triangles, np.ones(len(triangles), np.int32))
    space = raster.interpolate(found, jnp.asarray(triangles), jnp.asarray(corners, jnp.float32))
    np.testing.assert_allclose(
        space[..., 2], 8 - 0.4 * space[..., 0] + 0.3 * space[..., 1], rtol=1e-4
    )
    np.testing.assert_allclose(1 / found.inverse_depth, space[..., 2], rtol=1e-4)


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_the_nearer_triangle_wins_whatever_the_order(order):
    points = np.array([[2, 2], [2, 20], [28, 2], [0, 0], [0, 23], [31, 0]], np.float32)
    depth = np.array([4, 4, 4, 9, 9, 9], np.float32)
    triangles = np.array([[0, 1, 2], [3, 4, 5]], np.int32)[order]
    found = draw(points, depth, triangles, np.ones(2, np.int32))
    assert found.triangle[5, 5] == order.index(0)
    np.testing.assert_allclose(found.inverse_depth[5, 5], 0.25, rtol=1e-5)
    assert found.triangle[1, 1] == order.index(1)
    assert found.triangle[23, 31] == -1
    assert found.inverse_depth[23, 31] == 0


@pytest.mark.parametrize(("sides", "drawn"), [(0, False), (1, False), (2, True)])
def test_backs_are_drawn_only_on_demand(sides, drawn):
    points = np.array([[2, 2], [28, 2], [2, 20]], np.float32)  # clockwise as seen
    found = draw(
        points, np.full(3, 4.0, np.float32), np.array([[0, 1, 2]], np.int32), np.array([sides])
    )
    assert bool((found.triangle >= 0).any()) == drawn


def test_too_many_triangles_are_refused():
    with pytest.raises(ValueError, match="triangles"):
        draw(np.zeros((3, 2), np.float32), np.ones(3, np.float32),
             np.zeros((2**14 + 1, 3), np.int32), np.ones(2**14 + 1, np.int32))  # fmt: skip
