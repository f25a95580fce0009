"""CyCADA's image-translation step, jaxgen against PyTorch, on the CPU or on one GPU.

    python -m benchmarks.cycada_step
    python -m benchmarks.cycada_step --batch=8 --features=64 --blocks=9 --record
    python -m benchmarks.cycada_step --batch=1 --features=64 --blocks=9 --size=256 --memory

Two generators and two discriminators at 32 pixels, least-squares losses both ways, both cycles,
Adam for each pair. jaxgen runs its own training step, which keeps a moving average of the
generators and measures norms besides. PyTorch runs NCHW and channels-last, each with its own
memory settings and with jaxgen's (freed memory kept); the ratio is over the fastest. Images/s
count pairs. --memory prints what the compiled step allocates instead. On a machine that does other
work, compare with --cores=1: threads that wait for each other then lose more than they should.
Needs the extra "bench".
"""

import argparse
from functools import partial

import numpy as np

from benchmarks import timing

# (batch, features, blocks): the compact generator of the digit runs, and that of the released
# code.
SETTINGS = ((32, 16, 2), (8, 64, 9))


def make_batch(batch: int, size: int):
    """Source and target images, uint8 [B, size, size, 3]."""
    return np.random.default_rng(0).integers(0, 256, (2, batch, size, size, 3), dtype=np.uint8)


def jaxgen_step(batch: int, features: int, blocks: int, size: int, remat: bool):
    """The compiled training step, its state and batch."""
    import jax
    import jax.numpy as jnp

    from experiments.configs.cycada.default import get_config
    from jaxgen.tasks import cycada_translation
    from jaxgen.training.state import run_key

    config = get_config()
    config.data.update(size=size, channels=3)
    config.translation.generator.update(features=features, blocks=blocks, remat=remat)
    config.translation.discriminator.update(features=features)
    config.translation.semantic.mode = "none"
    config.translation.pool = 0
    source, target = map(jnp.asarray, make_batch(batch, size))
    labels = jnp.zeros(batch, jnp.int32)
    data = {"source": {"image": source, "label": labels}, "target": {"image": target}}
    state = jax.jit(partial(cycada_translation.init_state, config))(run_key(0))
    step = jax.jit(partial(cycada_translation.train_step, config), donate_argnums=0)
    return step.lower(state, data).compile(), state, data


def jaxgen_run(*, batch, features, blocks, size, remat, cores):
    """A function that trains one step in jaxgen."""
    timing.restrict(cores)
    from jaxgen import host_memory

    host_memory.keep_freed()
    import jax

    step, state, data = jaxgen_step(batch, features, blocks, size, remat)

    def run():
        nonlocal state
        state = jax.block_until_ready(step(state, data)[0])

    return run


def torch_run(*, batch, features, blocks, size, channels_last, keep_freed, compiled, cores):
    """The same in PyTorch."""
    timing.restrict(cores)
    if keep_freed:
        from jaxgen import host_memory

        host_memory.keep_freed()
    torch, device = timing.use_torch()

    from benchmarks import torch_cycle_gan as peer

    layout = torch.channels_last if channels_last else torch.contiguous_format
    images = make_batch(batch, size).transpose(0, 1, 4, 2, 3) / np.float32(127.5) - 1
    images = torch.from_numpy(images)
    source, target = (x.to(device).contiguous(memory_format=layout) for x in images)
    translation = peer.Translation(features, blocks, layout)
    if compiled:
        timing.compile_networks(translation)
    return lambda: translation.step(source, target)


def memory(batch: int, features: int, blocks: int, size: int) -> None:
    """Prints what the compiled step allocates, with and without recomputed blocks."""
    for remat in (False, True):
        step, _, _ = jaxgen_step(batch, features, blocks, size, remat)
        sizes = step.memory_analysis()
        print(
            f"  remat={remat}: {sizes.temp_size_in_bytes / 2**20:.0f} MiB of temporary arrays, "
            f"{sizes.argument_size_in_bytes / 2**20:.0f} MiB of state and batch"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, help="all three, or none for both settings")
    parser.add_argument("--features", type=int)
    parser.add_argument("--blocks", type=int)
    parser.add_argument("--size", type=int, default=32, help="pixels")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cores", type=int, default=0, help="use so many only; 0: all")
    parser.add_argument("--memory", action="store_true", help="print the memory, time nothing")
    parser.add_argument("--compiled", action="store_true", help="torch.compile as a peer, too")
    parser.add_argument("--record", action="store_true", help="append to docs/results/speed.jsonl")
    args = parser.parse_args()
    chosen = (args.batch, args.features, args.blocks)
    if any(chosen) and not all(chosen):
        parser.error("--batch, --features and --blocks belong together")
    for setting in [chosen] if all(chosen) else SETTINGS:
        measure(setting, args)


def measure(setting, args):
    batch, features, blocks = setting
    variant = f"features={features},blocks={blocks},batch={batch},size={args.size}"
    if args.cores:
        variant += f",cores={args.cores}"
    if args.memory:
        print(f"cycada_translation_step {variant}")
        memory(*setting, args.size)
        return
    options = dict(batch=batch, features=features, blocks=blocks, size=args.size, cores=args.cores)
    contestants = {"jaxgen": (jaxgen_run, options | dict(remat=False))}
    contestants |= timing.torch_variants(torch_run, options, compiled=args.compiled)
    seconds = timing.interleaved(contestants, rounds=args.rounds)
    name = "cycada_translation_step"
    timing.report(f"{name} {variant}", seconds, ours="jaxgen", items=batch)
    if args.record:
        rows = timing.records("cycada_step", name, variant, seconds, ours="jaxgen", items=batch)
        timing.append(rows)


if __name__ == "__main__":
    main()
