"""LaplaceKL training step and inference, jaxgen against PyTorch, on the CPU or a GPU.

    python -m benchmarks.laplace_step --width=1/8 --batch=16
    python -m benchmarks.laplace_step --width=1/4 --norm=batch --record

The same network (4 halvings, 80 pixels, 68 landmarks), loss and optimiser (Adam with L2) on
both sides; dropout 0.2 without normalisation, as in the paper, else none. PyTorch runs NCHW
and channels-last, each with its own memory settings and with jaxgen's (freed memory kept);
the ratio is over the fastest. Needs the extra "bench".
"""

import argparse
from fractions import Fraction
from functools import partial

import numpy as np

from benchmarks import timing

SIZE, POINTS = 80, 68


def make_batch(batch: int):
    """Images [B, S, S, 3] and points [B, K, 2], float32."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(batch, SIZE, SIZE, 3)).astype(np.float32)
    return images, rng.uniform(10, 70, (batch, POINTS, 2)).astype(np.float32)


def jaxgen_run(*, batch, width, norm, dropout, train):
    """A function that trains one step, or infers one batch, in jaxgen."""
    from jaxgen import host_memory

    host_memory.keep_freed()
    import jax
    import jax.numpy as jnp
    import optax

    from jaxgen.kernels.heatmap import Moments, batched, laplace_kl, laplace_moments
    from jaxgen.models.landmark import LandmarkNet

    images, points = map(jnp.asarray, make_batch(batch))
    net = LandmarkNet(POINTS, width=width, norm=norm, dropout=dropout)
    variables = jax.jit(partial(net.init, train=False))(jax.random.key(0), images)
    optimiser = optax.chain(optax.add_decayed_weights(1e-5), optax.adam(1e-3))

    def infer(variables, images):
        return batched(laplace_moments)(net.apply(variables, images, train=False))

    def step(state, images, points):
        def loss(params):
            logits, mutated = net.apply(
                {"params": params, "batch_stats": state["batch_stats"]},
                images,
                train=True,
                rngs={"dropout": jax.random.fold_in(jax.random.key(1), state["step"])},
                mutable=["batch_stats"],
            )
            pred = batched(laplace_moments)(logits)
            kl = batched(laplace_kl)(pred, Moments(points, jnp.ones_like(points)))
            return kl.mean(), mutated.get("batch_stats", {})

        (_, batch_stats), grads = jax.value_and_grad(loss, has_aux=True)(state["params"])
        updates, opt_state = optimiser.update(grads, state["opt_state"], state["params"])
        params = optax.apply_updates(state["params"], updates)
        return dict(
            params=params, opt_state=opt_state, batch_stats=batch_stats, step=state["step"] + 1
        )

    if not train:
        compiled = jax.jit(infer)
        return lambda: jax.block_until_ready(compiled(variables, images))
    compiled = jax.jit(step, donate_argnums=0)
    state = dict(
        params=variables["params"],
        batch_stats=variables.get("batch_stats", {}),
        opt_state=optimiser.init(variables["params"]),
        step=jnp.int32(0),
    )

    def run():
        nonlocal state
        state = jax.block_until_ready(compiled(state, images, points))

    return run


def torch_run(*, batch, width, norm, dropout, train, channels_last, keep_freed, compiled):
    """The same in PyTorch."""
    if keep_freed:
        from jaxgen import host_memory

        host_memory.keep_freed()
    torch, device = timing.use_torch()

    from benchmarks import torch_landmark_net as peer

    layout = torch.channels_last if channels_last else torch.contiguous_format
    images, points = make_batch(batch)
    images = torch.from_numpy(images).to(device).permute(0, 3, 1, 2)
    images = images.contiguous(memory_format=layout)
    points = torch.from_numpy(points).to(device)
    net = peer.LandmarkNet(POINTS, width, norm, dropout).to(memory_format=layout).train(train)
    if compiled:
        timing.compile_networks(net)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3, weight_decay=1e-5)

    def infer():
        with torch.inference_mode():
            peer.laplace_moments(net(images))

    def step():
        optimiser.zero_grad(set_to_none=True)
        loss = peer.laplace_kl(*peer.laplace_moments(net(images)), points)
        loss.backward()
        optimiser.step()

    return step if train else infer


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=Fraction, default=Fraction(1, 8))
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--norm", choices=["none", "batch"], default="none")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--compiled", action="store_true", help="torch.compile as a peer, too")
    parser.add_argument("--record", action="store_true", help="append to docs/results/speed.jsonl")
    args = parser.parse_args()
    dropout = 0.2 if args.norm == "none" else 0.0
    network = dict(batch=args.batch, width=float(args.width), norm=args.norm, dropout=dropout)
    variant = f"width={args.width},norm={args.norm},batch={args.batch},size={SIZE}"
    for name, train in (("laplace_train_step", True), ("laplace_inference", False)):
        options = dict(network, train=train)
        contestants = {"jaxgen": (jaxgen_run, options)}
        contestants |= timing.torch_variants(torch_run, options, compiled=args.compiled)
        seconds = timing.interleaved(contestants, rounds=args.rounds)
        timing.report(f"{name} {variant}", seconds, ours="jaxgen", items=args.batch)
        if args.record:
            timing.append(
                timing.records(
                    "laplace_step", name, variant, seconds, ours="jaxgen", items=args.batch
                )
            )


if __name__ == "__main__":
    main()
