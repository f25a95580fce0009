"""Heatmap kernels against closed forms, numeric integration, NumPy and finite differences."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jax.test_util import check_grads

from jaxgen.kernels.heatmap import (
    SCALE_FLOOR,
    Moments,
    batched,
    gaussian_kl,
    gaussian_moments,
    laplace_kl,
    laplace_moments,
    laplace_nll,
    masked_mean,
    render_gaussian,
    render_laplace,
    replace_missing,
    soft_argmax,
)

MOMENTS = {"laplace": laplace_moments, "gaussian": gaussian_moments}
KL = {"laplace": laplace_kl, "gaussian": gaussian_kl}
RENDER = {"laplace": render_laplace, "gaussian": render_gaussian}
FAMILIES = tuple(KL)
DENSITY = {
    "laplace": lambda x, m, s: np.exp(-np.abs(x - m) / s) / (2 * s),
    "gaussian": lambda x, m, s: np.exp(-(((x - m) / s) ** 2) / 2) / (s * np.sqrt(2 * np.pi)),
}


def moments(mean, scale):
    return Moments(jnp.array(mean, jnp.float32), jnp.array(scale, jnp.float32))


def numpy_moments(logits, family, temperature=1.0):
    """The definitions, in float64, on the full grid."""
    logits = np.asarray(logits, np.float64) / temperature
    probs = np.exp(logits - logits.max())
    probs /= probs.sum()
    y, x = np.mgrid[: probs.shape[0], : probs.shape[1]]
    mean = np.array([(probs * x).sum(), (probs * y).sum()])
    offset = np.stack([x - mean[0], y - mean[1]])
    if family == "laplace":
        scale = (probs * np.abs(offset)).sum((1, 2))
    else:
        scale = np.sqrt((probs * offset**2).sum((1, 2)))
    return mean, np.maximum(scale, SCALE_FLOOR)


def training_loss(logits, target_mean):
    """What a train step computes for one landmark."""
    target = Moments(target_mean, jnp.ones(2))
    pred = laplace_moments(logits)
    return laplace_kl(pred, target) + gaussian_kl(gaussian_moments(logits), target)


class VariantsTest(chex.TestCase):
    """The kernels give NumPy's values however they are compiled."""

    @chex.variants(with_jit=True, without_jit=True, with_device=True, with_pmap=True)
    @parameterized.product(family=FAMILIES, shape=[(8, 8), (5, 9)], temperature=[1.0, 0.3])
    def test_moments_equal_the_definition(self, family, shape, temperature):
        logits = np.random.default_rng(0).normal(0, 3, shape).astype(np.float32)
        fn = self.variant(lambda x: MOMENTS[family](x, temperature))
        mean, scale = numpy_moments(logits, family, temperature)
        got = fn(logits)
        # pmap returns one copy per device.
        np.testing.assert_allclose(np.reshape(got.mean, (-1, 2))[0], mean, rtol=2e-5, atol=2e-5)
        np.testing.assert_allclose(np.reshape(got.scale, (-1, 2))[0], scale, rtol=2e-5, atol=2e-5)

    @chex.variants(with_jit=True, without_jit=True, with_pmap=True)
    def test_soft_argmax_is_the_mean_of_the_moments(self):
        logits = np.random.default_rng(1).normal(0, 3, (6, 7)).astype(np.float32)
        got = np.reshape(self.variant(soft_argmax)(logits), (-1, 2))[0]
        np.testing.assert_allclose(got, numpy_moments(logits, "laplace")[0], rtol=1e-5)


def test_batched_sharded_pmapped_and_looped_agree():
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 2, (16, 6, 7, 3)).astype(np.float32)
    points = rng.uniform(0, 5, (16, 3, 2)).astype(np.float32)
    lifted = jax.value_and_grad(lambda x, p: jnp.sum(batched(training_loss)(x, p)))
    # One device, one jit.
    value, grad = jax.jit(lifted)(logits, points)
    # A Python loop over single heatmaps.
    single = jax.jit(jax.value_and_grad(training_loss))
    looped = [[single(logits[b, :, :, k], points[b, k]) for k in range(3)] for b in range(16)]
    np.testing.assert_allclose(value, sum(v for row in looped for v, _ in row), rtol=1e-5)
    loop_grad = np.stack([np.stack([g for _, g in row], -1) for row in looped])
    np.testing.assert_allclose(grad, loop_grad, rtol=1e-4, atol=1e-6)
    # The batch split over eight devices.
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    split = NamedSharding(mesh, PartitionSpec("data"))
    value_s, grad_s = jax.jit(lifted)(*jax.device_put((logits, points), split))
    np.testing.assert_allclose(value_s, value, rtol=1e-5)
    np.testing.assert_allclose(grad_s, grad, rtol=1e-4, atol=1e-6)
    # pmap over eight devices, two images each.
    per_device = [x.reshape(8, 2, *x.shape[1:]) for x in (logits, points)]
    value_p, grad_p = jax.pmap(lifted)(*per_device)
    np.testing.assert_allclose(value_p.sum(), value, rtol=1e-5)
    np.testing.assert_allclose(grad_p.reshape(grad.shape), grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_forty_thousand_vmapped_heatmaps_agree_with_numpy(family):
    # The CPU backend as installed goes wrong from about 33,000 rows; see jaxgen/xla_cpu.py.
    logits = np.random.default_rng(3).normal(0, 2, (40_000, 8, 8)).astype(np.float32)
    got = jax.jit(jax.vmap(MOMENTS[family]))(logits)
    probs = np.exp(logits - logits.max((1, 2), keepdims=True)).astype(np.float64)
    probs /= probs.sum((1, 2), keepdims=True)
    marginals = np.stack([probs.sum(1), probs.sum(2)], 1)  # [N, 2, 8]
    mean = marginals @ np.arange(8)
    offset = np.arange(8) - mean[..., None]
    if family == "laplace":
        scale = (marginals * np.abs(offset)).sum(-1)
    else:
        scale = np.sqrt((marginals * offset**2).sum(-1))
    np.testing.assert_allclose(got.mean, mean, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(got.scale, np.maximum(scale, SCALE_FLOOR), rtol=1e-4, atol=1e-4)


def test_laplace_kl_has_the_published_values():
    # (d, b1) -> KL per axis for b2 = 1.
    table = {(0, 1): 0, (0, 0.5): 0.193, (0, 2): 0.307, (1, 1): 0.368}
    table |= {(2, 1): 1.135, (5, 1): 4.007, (5, 2): 3.471, (1, 0.2): 1.611}
    for (distance, scale), expected in table.items():
        pred = moments([10.0, 20.0 - distance], [1.0, scale])
        got = laplace_kl(pred, moments([10.0, 20.0], [1.0, 1.0]))
        assert got == pytest.approx(expected, abs=6e-4), (distance, scale)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=25, deadline=None)
@given(
    mean=st.tuples(*[st.floats(-3, 3)] * 4),
    scale=st.tuples(*[st.floats(0.3, 3)] * 4),
)
def test_kl_equals_numeric_integration(family, mean, scale):
    x = np.linspace(-70, 70, 280_001)
    expected = 0.0
    for m1, m2, s1, s2 in zip(mean[:2], mean[2:], scale[:2], scale[2:], strict=True):
        p = DENSITY[family](x, m1, s1)
        log_p = {"laplace": -np.abs(x - m1) / s1, "gaussian": -(((x - m1) / s1) ** 2) / 2}
        log_q = {"laplace": -np.abs(x - m2) / s2, "gaussian": -(((x - m2) / s2) ** 2) / 2}
        expected += np.trapezoid(p * (log_p[family] - log_q[family] + np.log(s2 / s1)), x)
    got = KL[family](moments(mean[:2], scale[:2]), moments(mean[2:], scale[2:]))
    assert got == pytest.approx(expected, rel=2e-4, abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_reverse_kl_is_the_swap_of_arguments(family):
    a, b = moments([1.0, 2.0], [0.5, 2.0]), moments([3.0, 2.0], [1.0, 1.0])
    assert KL[family](a, a) == pytest.approx(0, abs=1e-6)
    assert abs(KL[family](a, b) - KL[family](b, a)) > 0.1


def test_laplace_nll_equals_log_density_and_is_lowest_at_the_distance():
    def nll(scale):
        return laplace_nll(moments([4.0, 4.0], [scale, scale]), jnp.array([6.5, 1.5]))

    assert nll(0.7) == pytest.approx(-2 * np.log(DENSITY["laplace"](2.5, 0.0, 0.7)), rel=1e-5)
    assert jax.grad(nll)(2.5) == pytest.approx(0, abs=1e-5)
    assert nll(2.5) < min(nll(2.4), nll(2.6))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mean", [(20.0, 13.0), (20.37, 13.81), (20.5, 13.5)])
def test_rendered_moments_come_back(family, mean):
    target = moments(mean, (1.7, 2.4))
    heatmap = RENDER[family](target, (32, 48))
    assert heatmap.sum() == pytest.approx(1, abs=1e-5)
    got = MOMENTS[family](jnp.log(heatmap))
    # The pixel grid moves a Laplace a little (its peak is sharp), a Gaussian hardly at all.
    tolerance = {"laplace": 0.12, "gaussian": 2e-3}[family]
    np.testing.assert_allclose(got.mean, target.mean, atol=tolerance)
    np.testing.assert_allclose(got.scale, target.scale, atol=tolerance)


def test_laplace_on_the_grid_has_the_documented_bias():
    for offset, expected in ((0.0, 0.85), (0.5, 1.08)):
        heatmap = render_laplace(moments([40 + offset] * 2, [1.0, 1.0]), (80, 80))
        scale = laplace_moments(jnp.log(heatmap)).scale
        np.testing.assert_allclose(scale, expected, atol=0.006)


@pytest.mark.parametrize("family", FAMILIES)
def test_rendering_survives_a_mean_far_outside(family):
    heatmap = RENDER[family](moments([1e4, -1e4], [1.0, 1.0]), (6, 8))
    assert heatmap.argmax() == 7  # row 0, last column: the corner next to it
    assert heatmap.sum() == pytest.approx(1, abs=1e-5)


@functools.cache
def jitted_moments(family):
    return jax.jit(MOMENTS[family])


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=20, deadline=None)
@given(dx=st.integers(0, 7), dy=st.integers(0, 5), seed=st.integers(0, 99))
def test_translated_heatmap_has_translated_mean_and_same_scale(family, dx, dy, seed):
    blob = np.random.default_rng(seed).normal(0, 2, (5, 4))
    canvas = np.full((2, 12, 13), -1e4, np.float32)
    canvas[0, :5, :4] = blob
    canvas[1, dy : dy + 5, dx : dx + 4] = blob
    before, after = (jitted_moments(family)(x) for x in canvas)
    np.testing.assert_allclose(after.mean - before.mean, [dx, dy], atol=1e-4)
    np.testing.assert_allclose(after.scale, before.scale, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_equal_finite_differences(family):
    logits = np.random.default_rng(4).normal(0, 1, (6, 5)).astype(np.float32)

    def loss(logits, target_mean, scale):
        return KL[family](MOMENTS[family](logits, 0.7), Moments(target_mean, scale))

    arguments = (logits, jnp.array([1.3, 4.6]), jnp.array([1.0, 0.8]))
    check_grads(loss, arguments, order=1, modes=["rev"], atol=2e-2, rtol=2e-2, eps=1e-2)


@pytest.mark.parametrize("family", FAMILIES)
def test_second_derivatives_are_those_of_a_plain_softmax(family):
    """In every order of modes, of one heatmap and of several."""
    logits = np.random.default_rng(10).normal(0, 1, (2, 4, 3)).astype(np.float32)

    def plain(x):
        p = jax.nn.softmax(x.ravel()).reshape(x.shape)
        columns, rows = p.sum(0), p.sum(1)
        places = [(columns, jnp.arange(3.0)), (rows, jnp.arange(4.0))]
        offsets = [(q, n - (q * n).sum()) for q, n in places]
        if family == "laplace":
            return sum((q * jnp.abs(d)).sum() for q, d in offsets)
        return sum(jnp.sqrt((q * d**2).sum()) for q, d in offsets)

    def kernel(x):
        return MOMENTS[family](x).scale.sum()

    def squared_gradient(f, x):
        return jnp.square(jax.grad(f)(x)).sum()

    def second(f):
        each = jax.vmap(jax.grad(lambda x: squared_gradient(f, x)))(logits)
        whole = jax.grad(lambda x: jax.vmap(lambda one: squared_gradient(f, one))(x).sum())(logits)
        return (
            jax.hessian(f)(logits[0]),
            jax.grad(jax.grad(lambda s: f(s * logits[0])))(1.0),
            each,
            whole,
        )

    found, expected = (jax.jit(lambda f=f: second(f))() for f in (kernel, plain))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=1e-5)


def one_hot(shape, row, column, height):
    heatmap = np.zeros(shape, np.float32)
    heatmap[row, column] = height
    return heatmap


EXTREMES = {
    "flat": np.zeros((8, 9), np.float32),
    "flat and huge": np.full((8, 9), 1e4, np.float32),
    "one pixel at the corner": one_hot((8, 9), 0, 0, 1e4),
    "one pixel at the border": one_hot((8, 9), 7, 4, 1e4),
    "hole": one_hot((8, 9), 3, 3, -1e4),
    "huge noise": np.random.default_rng(5).normal(0, 1e4, (8, 9)).astype(np.float32),
    "largest floats": np.random.default_rng(6).choice([-3e38, 3e38], (8, 9)).astype(np.float32),
    "one pixel": np.zeros((1, 1), np.float32),
}


@pytest.mark.parametrize("name", EXTREMES)
def test_values_and_gradients_are_finite(name):
    losses = {
        "kl": training_loss,
        "reverse": lambda x, m: laplace_kl(Moments(m, jnp.ones(2)), laplace_moments(x)),
        "nll": lambda x, m: laplace_nll(laplace_moments(x), m),
        "gaussian reverse": lambda x, m: gaussian_kl(Moments(m, jnp.ones(2)), gaussian_moments(x)),
    }
    for loss in losses.values():
        value, grad = jax.value_and_grad(loss)(EXTREMES[name], jnp.array([3.0, 2.0]))
        assert np.isfinite(value)
        assert np.isfinite(grad).all()


def test_one_bright_pixel_is_found_exactly():
    heatmap = one_hot((8, 9), 5, 2, 1e4)  # row 5, column 2: x = 2, y = 5
    got = laplace_moments(heatmap)
    np.testing.assert_allclose(got.mean, [2, 5], atol=1e-6)
    np.testing.assert_allclose(got.scale, SCALE_FLOOR)


def test_bfloat16_is_summed_in_float32():
    logits = np.random.default_rng(7).normal(0, 1, (64, 64)).astype(jnp.bfloat16)
    got = laplace_moments(logits)
    mean, scale = numpy_moments(logits.astype(np.float64), "laplace")
    assert got.mean.dtype == got.scale.dtype == jnp.float32
    np.testing.assert_allclose(got.mean, mean, atol=1e-3)
    np.testing.assert_allclose(got.scale, scale, atol=1e-3)
    loss, grad = jax.value_and_grad(training_loss)(logits, jnp.array([3.0, 2.0]))
    assert loss.dtype == jnp.float32 and grad.dtype == jnp.bfloat16


def test_no_full_size_grid_or_normalised_heatmap_is_made():
    """Forward: the logits, their maximum and exponential; every other array is 1-D."""
    jaxpr = jax.make_jaxpr(laplace_moments)(jnp.zeros((40, 50))).jaxpr
    full = [str(e.primitive) for e in jaxpr.eqns if any(v.aval.size == 2000 for v in e.outvars)]
    assert set(full) <= {"div", "sub", "exp"} and len(full) <= 3, full


def test_batched_takes_masks_moments_and_scalars():
    rng = np.random.default_rng(8)
    logits = rng.normal(size=(2, 6, 7, 3)).astype(np.float32)

    def kernel(logits, target, mask, temperature):
        kl = laplace_kl(laplace_moments(logits, temperature), target)
        return jnp.where(mask, kl, 0.0)

    target = Moments(rng.uniform(size=(2, 3, 2)), np.ones((2, 3, 2)))
    mask = np.array([[True, False, True], [False, True, True]])
    got = batched(kernel)(logits, target, mask, 0.5)
    assert got.shape == (2, 3)
    assert ((got > 0) == mask).all()
    expected = kernel(logits[1, :, :, 2], Moments(target.mean[1, 2], np.ones(2)), True, 0.5)
    np.testing.assert_allclose(got[1, 2], expected, rtol=1e-5)


def test_batched_rendering_returns_heatmaps_with_landmarks_last():
    target = Moments(np.array([[[1.0, 2.0], [6.0, 1.0], [3.0, 3.0]]]), np.full((1, 3, 2), 0.5))
    heatmaps = batched(functools.partial(render_gaussian, shape=(6, 8)))(target)
    assert heatmaps.shape == (1, 6, 8, 3)
    np.testing.assert_allclose(
        batched(laplace_moments)(jnp.log(heatmaps + 1e-30)).mean, target.mean, atol=0.1
    )


def test_batched_refuses_an_unbatched_heatmap():
    with pytest.raises(ValueError, match=r"x\[None\]"):
        batched(soft_argmax)(np.zeros(5))
    with pytest.raises(ValueError, match="rank"):
        batched(soft_argmax)(1.0)
    with pytest.raises(AssertionError):
        batched(soft_argmax)(np.zeros((6, 7, 3)))


def test_wrong_shapes_are_refused():
    with pytest.raises(AssertionError):
        laplace_moments(jnp.zeros((2, 6, 7)))
    with pytest.raises(AssertionError):
        laplace_kl(moments([1.0], [1.0]), moments([1.0, 2.0], [1.0, 1.0]))
    with pytest.raises(AssertionError):
        masked_mean(jnp.zeros((4, 1)), jnp.ones(4, bool))


@pytest.mark.parametrize("missing", [0.0, np.nan, np.inf])
def test_missing_labels_touch_neither_value_nor_gradient(missing):
    rng = np.random.default_rng(9)
    logits = rng.normal(size=(2, 5, 6, 4)).astype(np.float32)
    points = rng.uniform(0, 4, (2, 4, 2)).astype(np.float32)
    mask = np.array([[True, True, False, True], [False, False, True, True]])
    points[~mask] = missing

    @jax.jit
    @jax.value_and_grad
    def loss(logits, points):
        target = Moments(replace_missing(points, mask), jnp.ones(points.shape))
        kl = batched(laplace_kl)(batched(laplace_moments)(logits), target)
        return masked_mean(kl, mask)

    value, grad = loss(logits, points)
    kept = [(b, k) for b, k in np.argwhere(mask)]
    singles = [
        laplace_kl(laplace_moments(logits[b, :, :, k]), Moments(points[b, k], np.ones(2)))
        for b, k in kept
    ]
    np.testing.assert_allclose(value, np.mean(singles), rtol=1e-5)
    assert np.isfinite(grad).all()
    touched = np.abs(grad).max((1, 2)) > 0
    assert (touched == mask).all()


def test_masked_mean_of_nothing_is_zero():
    values = jnp.full((2, 3), jnp.nan)
    value, grad = jax.value_and_grad(masked_mean)(values, jnp.zeros((2, 3), bool))
    assert value == 0
    assert (grad == 0).all()
