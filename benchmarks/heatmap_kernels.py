"""Heatmap to point and divergence, forward and backward, against dsntnn and kornia.

    python -m benchmarks.heatmap_kernels
    python -m benchmarks.heatmap_kernels --batch=64 --size=64 --record

Each contestant turns logits into a distribution, takes its mean, compares the distribution
with one around the label and sends the gradient back to the logits. jaxgen does it with the
moments and the closed form; dsntnn and kornia have the Gaussian divergence only, summed over
the pixels of a rendered target. A last contestant computes jaxgen's equations in plain
PyTorch. Needs the extra "bench".
"""

import argparse

import numpy as np

from benchmarks import timing

POINTS = 68


def make_batch(batch: int, size: int):
    """Logits [B, S, S, K] and points [B, K, 2], float32."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (batch, size, size, POINTS)).astype(np.float32)
    return logits, rng.uniform(0.1 * size, 0.9 * size, (batch, POINTS, 2)).astype(np.float32)


def jaxgen_run(*, batch, size):
    """Laplace moments and KL."""
    from jaxgen import host_memory

    host_memory.keep_freed()
    import jax
    import jax.numpy as jnp

    from jaxgen.kernels.heatmap import Moments, batched, laplace_kl, laplace_moments

    logits, points = map(jnp.asarray, make_batch(batch, size))

    @jax.jit
    @jax.value_and_grad
    def loss(logits, points):
        target = Moments(points, jnp.ones_like(points))
        return batched(laplace_kl)(batched(laplace_moments)(logits), target).mean()

    return lambda: jax.block_until_ready(loss(logits, points))


def torch_run(*, batch, size, library):
    """The same for one of the PyTorch libraries, logits [B, K, S, S]."""
    from jaxgen import host_memory

    host_memory.keep_freed()
    torch, device = timing.use_torch()

    logits, points = make_batch(batch, size)
    logits = torch.from_numpy(np.ascontiguousarray(logits.transpose(0, 3, 1, 2))).to(device)
    logits.requires_grad_()
    points = torch.from_numpy(points).to(device)
    loss = {"dsntnn": _dsntnn, "kornia": _kornia, "pytorch": _pytorch}[library](size)

    def run():
        logits.grad = None
        loss(logits, points).backward()

    return run


def _dsntnn(size):
    import dsntnn

    def loss(logits, points):
        heatmaps = dsntnn.flat_softmax(logits)
        mean = dsntnn.dsnt(heatmaps)
        target = dsntnn.pixel_to_normalized_coordinates(points, (size, size))
        divergence = dsntnn.kl_reg_losses(heatmaps, target, sigma_t=1.0)
        return (dsntnn.euclidean_losses(mean, target) + divergence).mean()

    return loss


def _kornia(size):
    import torch
    from kornia.geometry.subpix import (
        render_gaussian2d,
        spatial_expectation2d,
        spatial_softmax2d,
    )
    from kornia.losses import kl_div_loss_2d

    sigma = torch.ones(1, 2)

    def loss(logits, points):
        heatmaps = spatial_softmax2d(logits)
        mean = spatial_expectation2d(heatmaps, normalized_coordinates=False)
        flat = points.reshape(-1, 2)
        target = render_gaussian2d(
            flat, sigma.expand_as(flat), (size, size), normalized_coordinates=False
        ).view_as(heatmaps)
        divergence = kl_div_loss_2d(heatmaps, target)
        return divergence + (mean - points).norm(dim=-1).mean()

    return loss


def _pytorch(size):
    from benchmarks.torch_landmark_net import laplace_kl, laplace_moments

    return lambda logits, points: laplace_kl(*laplace_moments(logits), points)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=80)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--record", action="store_true", help="append to docs/results/speed.jsonl")
    args = parser.parse_args()
    options = dict(batch=args.batch, size=args.size)
    contestants = {"jaxgen": (jaxgen_run, options)}
    for library in ("dsntnn", "kornia", "pytorch"):
        contestants[library] = (torch_run, options | {"library": library})
    seconds = timing.interleaved(contestants, rounds=args.rounds)
    variant = f"points={POINTS},batch={args.batch},size={args.size}"
    name = "moments_and_kl_gradient"
    # PyTorch with jaxgen's equations is no library that a user could pick: a second table.
    libraries = {name: times for name, times in seconds.items() if name != "pytorch"}
    plain = {name: seconds[name] for name in ("jaxgen", "pytorch")}
    timing.report(f"{name} {variant}", libraries, ours="jaxgen", items=args.batch)
    timing.report("the same equations in PyTorch", plain, ours="jaxgen", items=args.batch)
    if args.record:
        study = dict(study="heatmap_kernels", name=name, ours="jaxgen", items=args.batch)
        timing.append(timing.records(seconds=libraries, variant=variant, **study))
        variant += ",same equations"
        timing.append(timing.records(seconds=plain, variant=variant, **study))


if __name__ == "__main__":
    main()
