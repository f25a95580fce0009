"""Heatmaps to points and scales, the losses between them, and heatmaps from points.

A heatmap is one array of unnormalised log-probabilities ("logits"), [H, W], row-major, of
any float type; its distribution is softmax(logits / temperature) over all H * W cells, so a
temperature below 1 sharpens it. Points are (x, y) in heatmap pixels, pixel centres at
integers from 0. Everything is computed and returned in float32.

All functions but the mask helpers take ONE heatmap or ONE landmark; `batched` lifts them to
[B, H, W, K] heatmaps and [B, K, 2] points. x and y are treated as independent: means and
scales need the two marginals only, which are exact, and cost one softmax.

Values and gradients stay finite for flat, one-hot, huge (1e4) and border heatmaps, because
no measured scale is below SCALE_FLOOR.

Source: Robinson et al., Laplace Landmark Localization, ICCV 2019.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxgen.kernels.marginals import marginals

# Pixels. The log of a scale has no bound: a one-hot heatmap would have an infinite loss. Far
# below the 0.4 px that a Laplace of scale 1/2 keeps on the pixel grid, so it never binds there.
SCALE_FLOOR = 0.05


class Moments(NamedTuple):
    """Where a distribution over pixels sits and how wide it is, per axis."""

    mean: chex.Array  # [..., 2] (x, y), pixels
    scale: chex.Array  # [..., 2] pixels, > 0: Laplace b = E|x - E x|, or Gaussian sigma


def soft_argmax(logits: chex.Array, temperature: float = 1.0) -> chex.Array:
    """Expected position under a heatmap's distribution.

    Args:
        logits: [H, W] float.
        temperature: > 0, divides the logits.

    Returns:
        [2] float32, (E x, E y) in pixels, inside the image.

    Source: Honari et al., Improving Landmark Localization, CVPR 2018.
    """
    return jnp.stack([_mean(marginal) for marginal in _marginals(logits, temperature)])


def laplace_moments(logits: chex.Array, temperature: float = 1.0) -> Moments:
    """Mean and mean absolute deviation: the Laplace that a heatmap stands for.

    Args:
        logits: [H, W] float.
        temperature: > 0, divides the logits.

    Returns:
        Moments: mean [2] (E x, E y) and scale [2] (E|x - E x|, E|y - E y|) >= SCALE_FLOOR,
        float32 pixels.
    """

    def scale(marginal, mean):
        return jnp.maximum(_expect(marginal, jnp.abs(_pixels(marginal) - mean)), SCALE_FLOOR)

    return _moments(logits, temperature, scale)


def gaussian_moments(logits: chex.Array, temperature: float = 1.0) -> Moments:
    """Mean and standard deviation: the Gaussian that a heatmap stands for.

    Args:
        logits: [H, W] float.
        temperature: > 0, divides the logits.

    Returns:
        Moments: mean [2] (E x, E y) and scale [2] (sigma_x, sigma_y) >= SCALE_FLOOR,
        float32 pixels.
    """

    def scale(marginal, mean):
        variance = _expect(marginal, jnp.square(_pixels(marginal) - mean))
        # The floor comes first: the slope of a root at zero is infinite.
        return jnp.sqrt(jnp.maximum(variance, SCALE_FLOOR**2))

    return _moments(logits, temperature, scale)


def laplace_kl(pred: Moments, target: Moments) -> chex.Array:
    """KL(pred || target) between two Laplace distributions, summed over x and y.

    log(b2 / b1) - 1 + d / b2 + (b1 / b2) exp(-d / b1), with d = |mean1 - mean2|. Swap the
    arguments for the reverse divergence.

    Args:
        pred: Moments [2], [2] in pixels, scale > 0.
        target: the same.

    Returns:
        [] float32 >= 0, nats.

    Source: the loss of Robinson et al., ICCV 2019.
    """
    pred, target = _float32(pred, target)
    distance = jnp.abs(pred.mean - target.mean)
    ratio = pred.scale / target.scale
    return jnp.sum(
        distance / target.scale + ratio * jnp.exp(-distance / pred.scale) - jnp.log(ratio) - 1
    )


def gaussian_kl(pred: Moments, target: Moments) -> chex.Array:
    """KL(pred || target) between two axis-aligned Gaussians, summed over x and y.

    log(s2 / s1) - 1/2 + (s1^2 + d^2) / (2 s2^2), with d = mean1 - mean2. Swap the arguments
    for the reverse divergence.

    Args:
        pred: Moments [2], [2] in pixels, scale > 0.
        target: the same.

    Returns:
        [] float32 >= 0, nats.
    """
    pred, target = _float32(pred, target)
    ratio = pred.scale / target.scale
    offset = (pred.mean - target.mean) / target.scale
    return jnp.sum((jnp.square(ratio) + jnp.square(offset) - 1) / 2 - jnp.log(ratio))


def laplace_nll(pred: Moments, target_mean: chex.Array) -> chex.Array:
    """Negative log density of a known point under the predicted Laplace, summed over x and y.

    log(2 b) + d / b with d = |mean - target_mean|: for a known d it is lowest at b = d.

    Args:
        pred: Moments [2], [2] in pixels, scale > 0.
        target_mean: [2] float, pixels.

    Returns:
        [] float32, nats; negative where the density exceeds 1.
    """
    (pred,) = _float32(pred)
    chex.assert_shape(target_mean, (2,))
    distance = jnp.abs(pred.mean - target_mean)
    return jnp.sum(jnp.log(2 * pred.scale) + distance / pred.scale)


def render_laplace(moments: Moments, shape: tuple[int, int]) -> chex.Array:
    """A Laplace density taken at the pixel centres and normalised to sum 1.

    The mean may lie between pixels or outside the image. Taking a density at pixel centres
    moves its moments a little: a scale of 1 px is measured as 0.85 (mean on a pixel) to 1.08
    (mean half way between two).

    Args:
        moments: Moments [2], [2] in pixels, scale > 0.
        shape: (H, W).

    Returns:
        [H, W] float32 probabilities that sum to 1.
    """
    return _render(moments, shape, lambda distance: -jnp.abs(distance))


def render_gaussian(moments: Moments, shape: tuple[int, int]) -> chex.Array:
    """A Gaussian density taken at the pixel centres and normalised to sum 1.

    Args:
        moments: Moments [2], [2] in pixels, scale > 0; the mean may lie between pixels or
            outside the image.
        shape: (H, W).

    Returns:
        [H, W] float32 probabilities that sum to 1.
    """
    return _render(moments, shape, lambda distance: -jnp.square(distance) / 2)


def batched(kernel: Callable) -> Callable:
    """Lifts a kernel of one heatmap or one landmark to a batch of K landmarks per image.

    Arrays of rank 4 are heatmaps [B, H, W, K], of rank 2 or 3 values per landmark [B, K] or
    [B, K, n] (points, scales, masks), of rank 0 shared options; pytrees of these work too.
    Static options go in first: `batched(functools.partial(render_laplace, shape=(80, 80)))`.

    Args:
        kernel: function of positional arrays; heatmaps [H, W], points [2].

    Returns:
        Function of the same arguments with batch and landmark axes. Heatmaps come back as
        [B, H, W, K], points as [B, K, 2], numbers as [B, K].
    """

    def lifted(*args):
        args = jax.tree.map(jnp.asarray, args)
        ranks = {leaf.ndim for leaf in jax.tree.leaves(args)}
        if not ranks & {2, 3, 4} or ranks - {0, 2, 3, 4}:
            raise ValueError(
                "batched kernels take heatmaps [B, H, W, K], values per landmark [B, K, ...] and "
                f"scalars, not arrays of rank {sorted(ranks)}: add the batch axis with x[None]"
            )
        image_axes = jax.tree.map(lambda leaf: 0 if leaf.ndim else None, args)
        # Heatmaps keep their landmark axis last, so that none of them moves in memory.
        landmark_axes = jax.tree.map(lambda leaf: {0: None, 4: 2}.get(leaf.ndim, 0), args)

        def per_image(*args):
            output = jax.vmap(kernel, landmark_axes)(*args)
            return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 2) if x.ndim == 3 else x, output)

        return jax.vmap(per_image, image_axes)(*args)

    return lifted


def replace_missing(points: chex.Array, mask: chex.Array) -> chex.Array:
    """Zeros in place of points without a label, so that a NaN there reaches no gradient.

    Call it before anything is computed from labels: a loss of NaN that is masked afterwards
    still sends 0 * NaN = NaN backwards.

    Args:
        points: [..., K, 2] float, anything where `mask` is False.
        mask: [..., K] bool, True where there is a label.

    Returns:
        [..., K, 2], finite where the labels are.
    """
    chex.assert_equal_shape_prefix([points, mask], mask.ndim)
    return jnp.where(mask[..., None], points, 0)


def masked_mean(values: chex.Array, mask: chex.Array) -> chex.Array:
    """Mean of the values that `mask` keeps; 0 if it keeps none.

    With targets from `replace_missing`, labels that are missing touch neither the result nor
    its gradient:

        kl = batched(laplace_kl)(pred, Moments(replace_missing(points, mask), scale))  # [B, K]
        loss = masked_mean(kl, mask)

    Args:
        values: any shape, float.
        mask: the same shape, bool.

    Returns:
        [] float32.
    """
    chex.assert_equal_shape([values, mask])
    total = jnp.sum(jnp.where(mask, values.astype(jnp.float32), 0))
    return total / jnp.maximum(jnp.sum(mask), 1)


def _moments(logits, temperature, scale) -> Moments:
    marginals = _marginals(logits, temperature)
    means = [_mean(marginal) for marginal in marginals]
    scales = [scale(*pair) for pair in zip(marginals, means, strict=True)]
    return Moments(jnp.stack(means), jnp.stack(scales))


def _marginals(logits, temperature):
    chex.assert_rank(logits, 2)
    return marginals(logits.astype(jnp.float32) / temperature)


def _pixels(marginal):
    return jnp.arange(marginal.size, dtype=jnp.float32)


def _expect(marginal, values):
    return jnp.sum(marginal * values)


def _mean(marginal):
    return _expect(marginal, _pixels(marginal))


def _render(moments, shape, log_density):
    (moments,) = _float32(moments)
    columns, rows = (
        # A softmax of the log density: finite however far away the mean is.
        jax.nn.softmax(log_density((jnp.arange(size) - mean) / scale))
        for size, mean, scale in zip(shape[::-1], moments.mean, moments.scale, strict=True)
    )
    return rows[:, None] * columns[None, :]


def _float32(*moments: Moments):
    for each in moments:
        chex.assert_shape([each.mean, each.scale], (2,))
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), moments)
