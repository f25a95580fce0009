"""Images per second of the input pipeline, stage by stage, beside the training step it feeds.

    python -m benchmarks.laplace_input
    python -m benchmarks.laplace_input --set=helen --manual_dir=/path/to/300w --record

Needs the prepared data set of the default config (`python -m experiments.laplace` makes it), or
the official files. The step is the default config's without its discriminator, the fastest that
the pipeline has to feed.
"""

import argparse
import statistics

import numpy as np

from benchmarks import timing

IMAGES = 480  # a round of each stage: many, since streams read a few batches ahead
STAGES = ("read and decode", "crop", "change appearance", "batches", "batches cached")
STEP = "jaxgen training step"
SETS = {
    "synthetic_faces": {"name": "synthetic_faces"},
    "helen": {"name": "w300", "train_split": "helen_train"},
}


def input_stage(*, stage, data, size, batch, threads):
    """One stage over IMAGES images."""
    from jaxgen.data import augment, crop, flip_pairs, pipeline, sources

    config = default_config()
    settings = augment.settings_from(config.augment)
    source = sources.open_source(data | {"cache": stage.endswith("cached")}, "train")
    rng = np.random.default_rng(0)
    if stage == "read and decode":
        order = rng.integers(0, len(source), IMAGES)
        return lambda: [source[row] for row in order]
    example = source[0]
    matrix = crop.crop_matrix(example["box"], size=size, margin=config.data.margin, rotation=10)
    if stage == "crop":
        return lambda: [crop.crop_image(example["image"], matrix, size) for _ in range(IMAGES)]
    if stage == "change appearance":
        small = crop.crop_image(example["image"], matrix, size)
        return lambda: [augment.change_appearance(rng, settings, small) for _ in range(IMAGES)]
    stream = pipeline.labelled_batches(
        source,
        batch_size=batch,
        size=size,
        margin=config.data.margin,
        seed=0,
        augment=settings,
        flip_order=flip_pairs.for_points(source.num_points),
        num_threads=threads,
    )
    return lambda: [next(stream) for _ in range(IMAGES // batch)]


def training_step(*, size, batch):
    """Training steps over IMAGES images."""
    from jaxgen import host_memory

    host_memory.keep_freed()
    from functools import partial

    import jax

    from jaxgen.tasks import laplace
    from jaxgen.training.state import run_key

    config = default_config()
    config.adversarial.weight = 0.0
    config.data.crop_size = size
    rng = np.random.default_rng(0)
    count = config.model.num_points
    images = rng.integers(0, 256, (batch, size, size, 3), np.uint8)
    points = rng.uniform(5, size - 5, (batch, count, 2)).astype(np.float32)
    labelled = dict(image=images, points=points, mask=np.ones((batch, count), bool))
    step = jax.jit(partial(laplace.train_step, config), donate_argnums=0)
    state = jax.jit(partial(laplace.init_state, config))(run_key(0))

    def run():
        nonlocal state
        for _ in range(IMAGES // batch):
            state, metrics = step(state, {"labelled": labelled})
        jax.block_until_ready(metrics)

    return run


def default_config():
    """The config of `python -m experiments.laplace`."""
    from experiments.configs.laplace import default

    return default.get_config()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", choices=list(SETS), default="synthetic_faces")
    parser.add_argument("--manual_dir", default="", help="folder of the official files")
    parser.add_argument("--data_dir", default="", help="prepared sets; default: TFDS's")
    parser.add_argument("--size", type=int, default=80, help="side of the crop in pixels")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2, help="that read ahead")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--record", action="store_true", help="append to docs/results/speed.jsonl")
    args = parser.parse_args()
    data = SETS[args.set] | {"data_dir": args.data_dir, "manual_dir": args.manual_dir}
    shape = dict(size=args.size, batch=args.batch)
    reading = dict(data=data, threads=args.threads, **shape)
    contestants = {f"jaxgen {s}": (input_stage, dict(stage=s, **reading)) for s in STAGES}
    contestants[STEP] = (training_step, shape)
    seconds = timing.interleaved(contestants, rounds=args.rounds, warmup=1)
    facts = dict(ours="jaxgen batches cached", items=IMAGES)
    name, variant = f"laplace_input {args.set}", f"batch={args.batch},size={args.size}"
    compared = {key: seconds.pop(key) for key in (facts["ours"], STEP)}
    timing.report(f"{name} {variant}", compared, **facts)
    for stage, times in seconds.items():
        print(f"  {stage:38s} {IMAGES / statistics.median(times):9.1f} images/s")
    if args.record:
        timing.append(timing.records("laplace_input", name, variant, compared, **facts))


if __name__ == "__main__":
    main()
