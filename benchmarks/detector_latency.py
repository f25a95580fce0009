"""How long the face detector takes for a picture, by the size of the picture.

    python -m benchmarks.detector_latency
    python -m benchmarks.detector_latency --cores=1 --record

The default detector with random weights: its work does not depend on them but for the number of
boxes, which static shapes bound. A picture goes through all passes, tile by tile, repeats
suppressed, as in `predict`, without decoding and drawing. Compiled before the clock starts. Each
size runs in a process of its own, in turn with the others.
"""

import argparse
import statistics

import numpy as np

from benchmarks import timing

SIZES = ((480, 640), (1080, 1920), (2160, 3840))  # height, width


def detector_run(*, height: int, width: int, cores: int):
    """A function that detects in one picture."""
    timing.restrict(cores)
    from jaxgen import host_memory

    host_memory.keep_freed()
    import jax

    from experiments.configs.tiny_faces.default import get_config
    from jaxgen.tasks import detection_inference, tiny_faces_detector

    config = get_config()
    variables = tiny_faces_detector.init_state(config, jax.random.key(0)).network.ema
    compiled = detection_inference.compile_detector(config)
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    picture = small.repeat(8, 0).repeat(8, 1)  # blocks, so that there are edges

    def run():
        def detect(images):
            return compiled(variables, images)

        return list(detection_inference.detect_pictures(config, detect, [(0, picture)]))

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cores", type=int, default=0, help="use so many only; 0: all")
    parser.add_argument("--record", action="store_true", help="append to docs/results/speed.jsonl")
    args = parser.parse_args()
    contestants = {
        f"{height} x {width}": (detector_run, dict(height=height, width=width, cores=args.cores))
        for height, width in SIZES
    }
    seconds = timing.interleaved(contestants, rounds=args.rounds, warmup=1)
    rows = []
    for (height, width), (name, times) in zip(SIZES, seconds.items(), strict=True):
        middle, millions = statistics.median(times), height * width / 1e6
        print(f"{name:12s} {middle:7.2f} s, {middle / millions:6.2f} s a megapixel")
        variant = f"height={height},width={width},cores={args.cores or 'all'}"
        facts = dict(method="jaxgen", variant=variant, rounds=args.rounds)
        found = dict(metric="seconds_per_megapixel", value=middle / millions)
        rows.append(timing.record("detector_latency", "random blocks", **facts, **found))
    if args.record:
        timing.append(rows)


if __name__ == "__main__":
    main()
