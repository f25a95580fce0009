"""DR-GAN's training step, jaxgen against PyTorch, on the CPU or on one GPU.

    python -m benchmarks.dr_gan_step
    python -m benchmarks.dr_gan_step --people=4 --images=4 --size=96 --width=1 --record
    python -m benchmarks.dr_gan_step --part=encoder          # its gradient alone; or decoder

Encoder, decoder and discriminator, sets fused by confidence, both sides updated, Adam for each;
no warm start and no pixel loss. jaxgen runs its own training step, which keeps moving averages and
measures norms and accuracies besides. PyTorch runs NCHW and channels-last, each with its own memory
settings and with jaxgen's (freed memory kept); the ratio is over the fastest. Images/s count real
images. On a machine that does other work, compare with --cores=1. Needs the extra "bench".
"""

import argparse
from functools import partial

import numpy as np

from benchmarks import timing

POSES, IDENTITIES = 9, 120
# (people, images of each, pixels, width): the default config, and a small batch of the papers'.
SETTINGS = ((16, 4, 48, 0.25), (4, 4, 96, 1.0))
PARTS = ("step", "encoder", "decoder")


def make_config(people: int, images: int, size: int, width: float):
    """The default config with the papers' losses at a given size."""
    from experiments.configs.dr_gan.default import get_config

    config = get_config()
    config.data.size = size
    config.model.update(width=width, halvings=3 if size < 96 else 4)
    config.gan.update(images=images, drop_images=0.0, warm_start="none")
    config.gan.weights.pixel = 0.0
    config.gan.train.batch_size = people
    config.gan.schedule.slow_every = 1
    return config


def make_batch(people: int, images: int, size: int):
    """Random pixels, people and poses."""
    rng = np.random.default_rng(0)
    pose = rng.integers(0, POSES, (people, images)).astype(np.int32)
    return {
        "image": rng.integers(0, 256, (people, images, size, size, 3), dtype=np.uint8),
        "identity": rng.permutation(IDENTITIES)[:people].astype(np.int32),
        "pose": pose,
        "yaw": (15.0 * pose - 60).astype(np.float32),
        "mask": np.ones((people, images), bool),
    }


def jaxgen_run(*, part, people, images, size, width, cores):
    """A function that trains one step in jaxgen, or takes the gradient of one network."""
    timing.restrict(cores)
    from jaxgen import host_memory

    host_memory.keep_freed()
    import jax

    from jaxgen.tasks import dr_gan
    from jaxgen.training.state import run_key

    config = make_config(people, images, size, width)
    state = jax.jit(lambda key: dr_gan.init_state(config, key, IDENTITIES))(run_key(0))
    batch = make_batch(people, images, size)
    if part != "step":
        gradient, inputs = jaxgen_gradient(config, part, batch)
        variables = {
            kind: getattr(state.generator, kind)[part] for kind in ("params", "batch_stats")
        }
        return lambda: jax.block_until_ready(gradient(variables, *inputs))
    step = jax.jit(partial(dr_gan.train_step, config), donate_argnums=0)
    data = {"faces": jax.device_put(batch)}

    def run():
        nonlocal state
        state = jax.block_until_ready(step(state, data)[0])

    return run


def jaxgen_gradient(config, part, batch):
    """Gradient of a network's mean output in its parameters, compiled, and its inputs."""
    import jax

    from jaxgen.kernels.pixels import scale
    from jaxgen.tasks import dr_gan, dr_gan_poses

    count, side = batch["pose"].size, config.data.size
    if part == "encoder":
        net, inputs = dr_gan.encoder_net(config), [scale(batch["image"]).reshape(-1, side, side, 3)]
    else:
        net = dr_gan.decoder_net(config)
        code = dr_gan_poses.real_poses(config, batch).code
        feature, noise = (
            np.ones((count, config.model.features)),
            np.ones((count, config.model.noise)),
        )
        inputs = [feature.astype(np.float32), code, noise.astype(np.float32)]

    def mean_output(params, statistics, *inputs):
        variables = {"params": params, "batch_stats": statistics}
        found, _ = net.apply(variables, *inputs, train=True, mutable=["batch_stats"])
        return jax.tree.leaves(found)[0].mean()

    compiled = jax.jit(jax.grad(mean_output))
    return lambda v, *inputs: compiled(v["params"], v["batch_stats"], *inputs), inputs


def torch_run(*, part, people, images, size, width, channels_last, keep_freed, compiled, cores):
    """The same in PyTorch, as `jaxgen_run`."""
    timing.restrict(cores)
    if keep_freed:
        from jaxgen import host_memory

        host_memory.keep_freed()
    torch, device = timing.use_torch()

    from benchmarks import torch_dr_gan as peer

    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = make_config(people, images, size, width).model
    gan = peer.DrGan(
        people=IDENTITIES, poses=POSES, features=model.features, noise=model.noise, size=size,
        width=width, halvings=model.halvings, memory_format=layout,
    )  # fmt: skip
    if compiled:
        timing.compile_networks(gan)
    batch = make_batch(people, images, size)
    floats = batch["image"].reshape(-1, size, size, 3).transpose(0, 3, 1, 2) / np.float32(127.5)
    pixels = torch.from_numpy(floats - 1).to(device).contiguous(memory_format=layout)
    if part == "encoder":
        return lambda: gan.encoder(pixels)[0].mean().backward()
    if part == "decoder":
        code = torch.ones(len(pixels), model.features + POSES + model.noise)
        return lambda: gan.decoder(code).mean().backward()
    pixels = pixels.unflatten(0, (people, images))
    labels = (torch.from_numpy(batch[key]).long().to(device) for key in ("identity", "pose"))
    return partial(gan.step, pixels, *labels)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, help="all four, or none for both settings")
    parser.add_argument("--images", type=int, help="of each person")
    parser.add_argument("--size", type=int, help="pixels")
    parser.add_argument("--width", type=float)
    parser.add_argument("--part", choices=PARTS, default="step")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cores", type=int, default=0, help="use so many only; 0: all")
    parser.add_argument("--compiled", action="store_true", help="torch.compile as a peer, too")
    parser.add_argument("--record", action="store_true", help="append to docs/results/speed.jsonl")
    args = parser.parse_args()
    chosen = (args.people, args.images, args.size, args.width)
    if any(chosen) and not all(chosen):
        parser.error("--people, --images, --size and --width belong together")
    for people, images, size, width in [chosen] if all(chosen) else SETTINGS:
        variant = f"people={people},images={images},size={size},width={width:g}"
        if args.cores:
            variant += f",cores={args.cores}"
        options = dict(
            part=args.part, people=people, images=images, size=size, width=width, cores=args.cores
        )
        seconds = timing.interleaved(
            {"jaxgen": (jaxgen_run, options)}
            | timing.torch_variants(torch_run, options, compiled=args.compiled),
            rounds=args.rounds,
        )
        name, count = f"dr_gan_{args.part}", people * images
        timing.report(f"{name} {variant}", seconds, ours="jaxgen", items=count)
        if args.record:
            rows = timing.records("dr_gan_step", name, variant, seconds, ours="jaxgen", items=count)
            timing.append(rows)


if __name__ == "__main__":
    main()
