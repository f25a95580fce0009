"""Scaling over devices: bytes between them, what hardware would make of it, and what it does.

    python -m benchmarks.scaling                      # compiles for 8 devices; times nothing
    python -m benchmarks.scaling --shard=65536        # large parameters split over the devices
    python -m benchmarks.scaling --measure            # strong and weak scaling over 1, 2, 4, ...

Without --measure each training step is compiled for --devices devices and its collectives are
read from the compiled program; nothing runs, so the networks are those of the papers and every
device gets the paper's batch. The roofline divides the program's operations and bytes by what
vendors print for their chips: a bound, no forecast. --measure times steps on the devices that are
there, with few rounds where they are virtual ones of a CPU: those share its cores, so that only
the overhead shows. --record appends what was compiled or measured to docs/results/speed.jsonl.
"""

import argparse
import os
import statistics
import sys
import time
from typing import NamedTuple

import numpy as np

from benchmarks import timing, training_steps
from benchmarks.collectives import Traffic, traffic

STUDY = "scaling"
LARGEST = ("laplace", "cycada_translation", "dr_gan", "tiny_faces_gan", "tiny_faces_detector")


class Chip(NamedTuple):
    """What a vendor prints, for one chip."""

    operations: float  # per second, bfloat16, dense
    memory: float  # bytes per second of its own memory
    links: float  # bytes per second to other chips, one way, all links together
    source: str


CHIPS = {
    "TPU v5e-8": Chip(
        197e12, 819e9, 400e9 / 2, "https://cloud.google.com/tpu/docs/v5e (ICI: 400 GB/s both ways)"
    ),
    "8 x H100 SXM": Chip(
        989e12,
        3.35e12,
        900e9 / 2,
        "https://www.nvidia.com/en-us/data-center/h100/ (NVLink: 900 GB/s both ways; "
        "1,979 TFLOP/s with sparsity, half without)",
    ),
}
ASSUMPTIONS = """\
Assumptions: operations and bytes are those that XLA counts in the float32 program that it compiled
for one CPU device of {devices}, whose fusions and convolution forms are not an accelerator's;
bfloat16 would about halve the bytes. Peak rates of matrix units; small channel counts do not reach
them. A ring for every collective over all links, at their full rate, without latency. No overlap:
a step takes the longer of arithmetic and memory, and then the network. Instructions inside of a
conditional count, whether or not its branch runs."""


class Program(NamedTuple):
    """A training step compiled for some devices; figures are those of one device."""

    images: int  # of the whole batch
    parameters: int  # elements, of all players
    state: int  # bytes of parameters, moments, averages and the rest, on one device
    operations: float
    memory: float  # bytes that it reads and writes
    traffic: dict[str, Traffic]

    @property
    def sent(self) -> float:
        """Bytes to the next device of a ring."""
        return sum(kind.sent for kind in self.traffic.values())


def compile_program(name: str, setting: str, devices: int, *, shard: int, **changes) -> Program:
    """Compiles a step for `devices` devices, each with the config's batch.

    Args:
        name: of `training_steps.NAMES`.
        setting: of `training_steps.SETTINGS`.
        devices: at most those that there are.
        shard: parameters of more elements are split over them; 0 splits none.
        **changes: of the config.
    """
    import jax

    from jaxgen.training import mesh
    from jaxgen.training.state import Player, run_key

    made = training_steps.build(name, setting, batches=devices, **changes)
    where = mesh.data_mesh(jax.devices()[:devices])
    shapes = jax.eval_shape(made.init, run_key(0))
    state = jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        shapes,
        mesh.shard_large(where, shapes, above=shard),
    )
    lowered = mesh.compile_step(where, made.step, state).lower(state, made.batch)
    # The machine code is never run: it may be slow. The program that is read stays the same.
    compiled = lowered.compile({"xla_backend_optimization_level": 0})
    players = jax.tree.leaves(shapes, is_leaf=lambda node: isinstance(node, Player))
    costs = compiled.cost_analysis()
    return Program(
        images=made.images,
        parameters=sum(
            x.size for p in players if isinstance(p, Player) for x in jax.tree.leaves(p.params)
        ),
        state=sum(_bytes_on_one(leaf) for leaf in jax.tree.leaves(state)),
        operations=costs["flops"],
        memory=costs["bytes accessed"],
        traffic=traffic(compiled.as_text(), devices),
    )


def _bytes_on_one(leaf):
    size = getattr(leaf.dtype, "itemsize", 4)
    return int(np.prod(leaf.sharding.shard_shape(leaf.shape))) * size


def roofline(program: Program, chip: Chip) -> dict[str, float]:
    """Seconds of a step that each limit alone would take, of all of them, and images per second."""
    limits = {
        "arithmetic": program.operations / chip.operations,
        "memory": program.memory / chip.memory,
        "network": program.sent / chip.links,
    }
    busy = max(limits["arithmetic"], limits["memory"])
    step = busy + limits["network"]
    return limits | {
        "step": step,
        "images_per_second": program.images / step,
        "efficiency": busy / step,  # over one device, of which the network is not asked
    }


def print_program(name: str, program: Program) -> None:
    """Prints what a step sends and how long it would take."""
    megabytes = 1e6
    print(f"\n{name}: {program.parameters:,} parameters, {program.images} images a step")
    print(
        f"  one device: {program.operations / 1e9:.1f} GFLOP, {program.memory / megabytes:.0f} MB "
        f"read and written, {program.state / megabytes:.1f} MB of state"
    )
    for kind, found in sorted(program.traffic.items()):
        print(
            f"  {kind:18s} {found.count:4d} of {found.payload / megabytes:9.3f} MB, "
            f"sends {found.sent / megabytes:9.3f} MB"
        )
    for chip, facts in CHIPS.items():
        found = roofline(program, facts)
        parts = ", ".join(
            f"{limit} {1e6 * found[limit]:.0f} us" for limit in ("arithmetic", "memory", "network")
        )
        print(
            f"  {chip}: {parts}; at most {found['images_per_second']:,.0f} images/s, "
            f"{100 * found['efficiency']:.1f} % of eight times one"
        )
    sys.stdout.flush()


def program_records(name, setting, devices, shard, program) -> list[dict]:
    """Records of a compiled step; none of them depends on how busy the machine is."""
    variant = f"setting={setting},devices={devices},shard={shard}"
    rows = [
        (f"{kind.replace('-', '_')}_bytes", found.payload)
        for kind, found in program.traffic.items()
    ]
    rows += [
        ("sent_bytes", program.sent),
        ("state_bytes", program.state),
        ("flops", program.operations),
        ("bytes_accessed", program.memory),
    ]
    records = [_record(name, variant, metric, value) for metric, value in rows]
    for chip, facts in CHIPS.items():
        found = roofline(program, facts)
        for metric in ("images_per_second", "efficiency"):
            where = f"{variant},chip={chip}"
            records.append(_record(name, where, f"roofline_{metric}", found[metric]))
    return records


# ------------------------------------------------------------------------------- measured


def measure(name: str, setting: str, count: int, batches: int, *, rounds: int, shard: int):
    """Median seconds of a step over `count` devices, and images in it."""
    import jax

    from jaxgen.training import mesh
    from jaxgen.training.state import run_key

    made = training_steps.build(name, setting, batches=batches)
    where = mesh.data_mesh(jax.devices()[:count])
    rng = np.random.default_rng(0)
    batch = mesh.put_batch(where, jax.tree.map(lambda x: _fill(rng, x), made.batch))
    state = mesh.compile_init(where, made.init, shard_above=shard)(run_key(0))
    state = jax.tree.map(lambda x: x.copy(), state)  # no buffer twice: the step donates them
    step = mesh.compile_step(where, made.step, state)
    seconds = []
    for _ in range(rounds + 2):
        began = time.perf_counter()
        state, metrics = step(state, batch)
        jax.block_until_ready((state, metrics))
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[2:]), made.images


def _fill(rng, x):
    """Random pixels and points; labels 0; everything there."""
    if x.dtype == np.uint8:
        return rng.integers(0, 256, x.shape, np.uint8)
    if x.dtype == np.float32:
        return rng.uniform(2, 14, x.shape).astype(np.float32)
    return np.ones(x.shape, x.dtype) if x.dtype == bool else np.zeros(x.shape, x.dtype)


def measure_scaling(name: str, args) -> list[dict]:
    """Strong scaling (one batch for all) and weak scaling (one batch for each)."""
    import jax

    most = min(args.devices, jax.device_count())
    counts = [n for n in (1, 2, 4, 8, 16, 32, 64, 128, 256) if n <= most]
    rows = []
    for kind in ("strong", "weak"):
        for count in counts:
            batches = most if kind == "strong" else count
            options = dict(rounds=args.rounds, shard=args.shard)
            seconds, images = measure(name, args.setting, count, batches, **options)
            rate = images / seconds
            print(f"  {kind:6s} {count:3d} devices: {1e3 * seconds:9.2f} ms, {rate:9.1f} images/s")
            device = jax.devices()[0].device_kind
            variant = f"setting={args.setting},scaling={kind},devices={count},shard={args.shard}"
            rows.append(_record(name, f"{variant},{device}", "images_per_second", rate))
            sys.stdout.flush()
    return rows


def _record(name, variant, metric, value):
    return {
        "study": STUDY,
        "dataset": f"{name}_step",
        "split": "",
        "method": "jaxgen",
        "variant": variant,
        "seed": 0,
        "steps": 1,
        "metric": metric,
        "value": round(float(value), 4),
        "command": " ".join(["python", "-m", "benchmarks.scaling", *sys.argv[1:]]),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", default=",".join(LARGEST), help="names with commas between")
    parser.add_argument("--setting", choices=training_steps.SETTINGS, help="size of the networks")
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--shard", type=int, default=0, help="shard parameters above: elements")
    parser.add_argument("--measure", action="store_true", help="time steps on what there is")
    parser.add_argument("--rounds", type=int, default=5, help="timed steps with --measure")
    parser.add_argument("--record", action="store_true", help="append to docs/results/speed.jsonl")
    args = parser.parse_args()
    names = args.steps.split(",")
    for name in names:
        if name not in training_steps.NAMES:
            parser.error(f"--steps: {name!r} is none of {', '.join(training_steps.NAMES)}")
    if not args.measure:
        # Compiling needs devices that differ, not real ones.
        os.environ["JAX_PLATFORMS"] = "cpu"
    # More threads than cores: collectives of virtual devices wait for each other in the pool.
    os.environ.setdefault("NPROC", str(2 * args.devices))
    flag = f"--xla_force_host_platform_device_count={args.devices}"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}"
    import jaxgen  # noqa: F401  (sets the XLA flag that this jaxlib needs)

    if args.measure:
        args.setting = args.setting or "default"
        for name in names:
            print(f"{name}, {args.setting}")
            rows = measure_scaling(name, args)
            if args.record:
                timing.append(rows)
        return
    setting = args.setting or "paper"
    print(ASSUMPTIONS.format(devices=args.devices))
    for chip, facts in CHIPS.items():
        print(
            f"{chip}: {facts.operations / 1e12:.0f} TFLOP/s, {facts.memory / 1e9:.0f} GB/s of "
            f"memory, {facts.links / 1e9:.0f} GB/s to other chips; {facts.source}"
        )
    for name in names:
        program = compile_program(name, setting, args.devices, shard=args.shard)
        print_program(f"{name}, {setting}", program)
        if args.record:
            timing.append(program_records(name, setting, args.devices, args.shard, program))


if __name__ == "__main__":
    main()
