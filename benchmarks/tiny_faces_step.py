"""The tiny-face GAN's steps, jaxgen against PyTorch, on the CPU or on one GPU.

    python -m benchmarks.tiny_faces_step
    python -m benchmarks.tiny_faces_step --batch=2 --low=32 --width=1 --blocks=8 --record
    python -m benchmarks.tiny_faces_step --parity

The step of the generator alone (pixel loss on both images) and that of both networks together,
with batch normalisation and the compact discriminator on both sides, Adam for each network. jaxgen
runs its own training steps, which keep moving averages and measure norms and accuracies besides.
PyTorch runs NCHW and channels-last, each with its own memory settings and with jaxgen's (freed
memory kept); the ratio is over the fastest. --parity times nothing: PyTorch writes random weights,
both generators run them, and the largest difference is printed; exit code 1 above 1e-4 of the
largest value. On a machine that does other work, compare with --cores=1. Needs the extra "bench".
"""

import argparse
import sys
from functools import partial

import numpy as np

from benchmarks import timing

FEATURES, STAGES = 16, 4  # of the discriminator
# (batch, low, width, blocks): the networks of the default config, and those of the paper.
SETTINGS = ((16, 16, 0.25, 3), (2, 32, 1.0, 8))
STEPS = ("generator", "joint")


def make_batch(batch: int, low: int):
    """{"face", "background"} of half the batch each, random pixels."""
    rng = np.random.default_rng(0)

    def part():
        count, box = batch // 2, np.tile(np.array([0, 0, 9, 9], np.float32), (batch // 2, 1))
        return {
            "image": rng.integers(0, 256, (count, 4 * low, 4 * low, 3), dtype=np.uint8),
            "low": rng.integers(0, 256, (count, low, low, 3), dtype=np.uint8),
            "paired": np.ones(count, bool),
            "box": box,
            "face_box": box,
        }

    return {"face": part(), "background": part()}


def make_config(low: int, width: float, blocks: int):
    """The default sections with the paper's layers at a given size."""
    from experiments.configs.tiny_faces.gan_sections import gan_sections

    config = gan_sections()
    config.crops.update(high=4 * low, flip=0.0)
    config.generator.update(width=width, blocks=blocks, norm="batch", global_skip=False)
    config.discriminator.update(features=FEATURES, stages=STAGES, dropout=0.0)
    return config


def jaxgen_run(*, step, batch, low, width, blocks, cores):
    """A function that trains one step in jaxgen."""
    timing.restrict(cores)
    from jaxgen import host_memory

    host_memory.keep_freed()
    import jax

    from jaxgen.tasks import tiny_faces, tiny_faces_warm_start
    from jaxgen.training.state import run_key

    config = make_config(low, width, blocks)
    if step == "joint":
        init, train = tiny_faces.init_state, tiny_faces.train_step
    else:
        init, train = tiny_faces_warm_start.init_generator, tiny_faces_warm_start.generator_step
    state = jax.jit(partial(init, config))(run_key(0))
    compiled = jax.jit(partial(train, config), donate_argnums=0)
    data = jax.device_put(make_batch(batch, low))

    def run():
        nonlocal state
        state = jax.block_until_ready(compiled(state, data)[0])

    return run


def torch_run(*, step, batch, low, width, blocks, channels_last, keep_freed, compiled, cores):
    """The same in PyTorch."""
    timing.restrict(cores)
    if keep_freed:
        from jaxgen import host_memory

        host_memory.keep_freed()
    torch, device = timing.use_torch()

    from benchmarks import torch_super_resolution as peer

    layout = torch.channels_last if channels_last else torch.contiguous_format
    gan = peer.Gan(
        width=width, blocks=blocks, features=FEATURES, stages=STAGES, side=4 * low,
        memory_format=layout,
    )  # fmt: skip
    if compiled:
        timing.compile_networks(gan)
    parts = make_batch(batch, low)

    def images(name):
        both = np.concatenate([parts[part][name] for part in ("face", "background")])
        floats = torch.from_numpy(both.transpose(0, 3, 1, 2) / np.float32(127.5) - 1)
        return floats.to(device).contiguous(memory_format=layout)

    is_face = (torch.arange(batch) < batch // 2).float()
    train = gan.joint_step if step == "joint" else gan.generator_step
    return partial(train, images("low"), images("image"), is_face)


def parity(width: float = 0.25, blocks: int = 2) -> float:
    """Largest difference of both images between the libraries, over the largest value."""
    import jax
    import torch

    from benchmarks import torch_super_resolution as peer
    from jaxgen.models.super_resolution import Generator

    torch.manual_seed(0)
    theirs = peer.Generator(width, blocks)
    peer.randomise(theirs)
    theirs.eval()
    low = np.random.default_rng(0).uniform(-1, 1, (2, 12, 16, 3)).astype(np.float32)
    with torch.inference_mode():
        expected = theirs(torch.from_numpy(np.ascontiguousarray(low.transpose(0, 3, 1, 2))))
    ours = Generator(width=width, blocks=blocks)
    found = jax.jit(lambda v, x: ours.apply(v, x, train=False))(peer.as_flax(theirs), low)
    worst = 0.0
    for name, image, other in zip(("coarse", "refined"), found, expected, strict=True):
        other = other.numpy().transpose(0, 2, 3, 1)
        difference, largest = np.abs(image - other).max(), np.abs(other).max()
        print(f"{name}: largest difference {difference:.2e}, largest value {largest:.3g}")
        worst = max(worst, float(difference / largest))
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, help="all four, or none for both settings")
    parser.add_argument("--low", type=int, help="pixels of a low-resolution crop")
    parser.add_argument("--width", type=float)
    parser.add_argument("--blocks", type=int)
    parser.add_argument("--step", choices=STEPS, help="one of them only")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cores", type=int, default=0, help="use so many only; 0: all")
    parser.add_argument("--parity", action="store_true", help="compare values, time nothing")
    parser.add_argument("--compiled", action="store_true", help="torch.compile as a peer, too")
    parser.add_argument("--record", action="store_true", help="append to docs/results/speed.jsonl")
    args = parser.parse_args()
    if args.parity:
        sys.exit(int(parity() > 1e-4))
    chosen = (args.batch, args.low, args.width, args.blocks)
    if any(chosen) and not all(chosen):
        parser.error("--batch, --low, --width and --blocks belong together")
    for setting in [chosen] if all(chosen) else SETTINGS:
        for step in [args.step] if args.step else STEPS:
            measure(step, setting, args)


def measure(step, setting, args):
    batch, low, width, blocks = setting
    variant = f"low={low},width={width:g},blocks={blocks},batch={batch}"
    if args.cores:
        variant += f",cores={args.cores}"
    options = dict(step=step, batch=batch, low=low, width=width, blocks=blocks, cores=args.cores)
    contestants = {"jaxgen": (jaxgen_run, options)}
    contestants |= timing.torch_variants(torch_run, options, compiled=args.compiled)
    seconds = timing.interleaved(contestants, rounds=args.rounds)
    name = f"tiny_faces_{step}_step"
    timing.report(f"{name} {variant}", seconds, ours="jaxgen", items=batch)
    if args.record:
        rows = timing.records("tiny_faces_step", name, variant, seconds, ours="jaxgen", items=batch)
        timing.append(rows)


if __name__ == "__main__":
    main()
