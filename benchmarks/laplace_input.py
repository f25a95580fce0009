"""Images per second of the LaplaceKL input pipeline, next to nothing else.

    python -m benchmarks.laplace_input
    python -m benchmarks.laplace_input --sets=synthetic_faces,helen --manual_dir=DIR  # 300-W files

The stages add up: reading a record and decoding its image, the crop, the changes of appearance,
and all of it through Grain with batches. "cpu" is processor time per image over all threads: what
the pipeline takes away from a training step that computes on the same cores.
"""

import sys
import time

import numpy as np
from absl import app, flags

from benchmarks import timing
from jaxgen.data import augment, crop, flip_pairs, pipeline, sources

_SETS = flags.DEFINE_list("sets", ["synthetic_faces"], "Of synthetic_faces and helen.")
_MANUAL_DIR = flags.DEFINE_string("manual_dir", "", "Folder that holds helen/trainset.")
_DATA_DIR = flags.DEFINE_string("data_dir", "", "Prepared sets; '' is TFDS's default.")
_SIZE = flags.DEFINE_integer("size", 80, "Side of the crop in pixels.")
_BATCH = flags.DEFINE_integer("batch", 16, "Images per batch.")
_THREADS = flags.DEFINE_integer("threads", 2, "Threads that read ahead.")
_WORKERS = flags.DEFINE_integer("workers", 0, "Processes that read ahead, beside the threads.")
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Interleaved rounds.")
_OUTPUT = flags.DEFINE_string("output", "", "JSON lines file to add the records to.")

MARGIN = 1.3
IMAGES = 960  # per round and stage; many, since streams read a few batches ahead
SETTINGS = augment.Settings(
    rotation=20, scale=0.15, shift=0.06, flip=0.5, colour=0.3, blur=0.1, noise=8, grey=0.1,
    occlusion=0.2,
)  # fmt: skip
CONFIGS = {
    "synthetic_faces": {"name": "synthetic_faces"},
    "helen": {"name": "w300", "train_split": "helen_train"},
}


def main(_):
    for name in _SETS.value:
        config = CONFIGS[name] | {"data_dir": _DATA_DIR.value, "manual_dir": _MANUAL_DIR.value}
        processor = {}
        stages = contestants(config, processor)
        seconds = timing.interleaved(stages, rounds=_ROUNDS.value, warmup=1)
        print(f"{name}, {_SIZE.value} px, batches of {_BATCH.value}")
        print(timing.table(seconds, IMAGES))
        for stage, cpu in processor.items():
            print(f"{stage:24s} {1e3 * np.median(cpu) / IMAGES:9.3f} ms cpu per image")
        if _OUTPUT.value:
            timing.append_records(_OUTPUT.value, records(name, seconds))


def contestants(config, processor):
    """Stage -> function that handles `IMAGES` images; `processor` collects its cpu seconds."""
    plain = sources.open_source(config, "train")
    cached = sources.open_source({**config, "cache": True}, "train")
    options = {
        "batch_size": _BATCH.value, "size": _SIZE.value, "margin": MARGIN, "seed": 0,
        "augment": SETTINGS, "flip_order": flip_pairs.for_points(cached.num_points),
        "num_threads": _THREADS.value, "num_workers": _WORKERS.value,
    }  # fmt: skip
    streams = {
        "batches": pipeline.labelled_batches(plain, **options),
        "batches, cached": pipeline.labelled_batches(cached, **options),
    }
    rng = np.random.default_rng(0)
    order = rng.integers(0, len(plain), IMAGES)
    example = cached[0]
    matrix = crop.crop_matrix(example["box"], size=_SIZE.value, margin=MARGIN, rotation=10)
    small = crop.crop_image(example["image"], matrix, _SIZE.value)
    stages = {
        "read and decode": lambda: [plain[i] for i in order],
        "crop": lambda: [
            crop.crop_image(example["image"], matrix, _SIZE.value) for _ in range(IMAGES)
        ],
        "change appearance": lambda: [
            augment.change_appearance(rng, SETTINGS, small) for _ in range(IMAGES)
        ],
        **{name: lambda s=s: take(s, IMAGES // _BATCH.value) for name, s in streams.items()},
    }

    def timed(name, run):
        start = time.process_time()
        run()
        processor.setdefault(name, []).append(time.process_time() - start)

    return {name: lambda n=name, r=run: timed(n, r) for name, run in stages.items()}


def take(stream, batches):
    for _ in range(batches):
        next(stream)


def records(data_set, seconds):
    """One record a stage, in the form of docs/results/speed.jsonl."""
    return [
        {
            "study": "laplace_input", "dataset": data_set, "split": "train", "method": "jaxgen",
            "variant": f"{stage}, size={_SIZE.value}, batch={_BATCH.value}", "seed": 0,
            "steps": len(times), "metric": "images_per_second",
            "value": IMAGES / float(np.median(times)),
            "command": " ".join(["python -m benchmarks.laplace_input", *sys.argv[1:]]),
        }
        for stage, times in seconds.items()
    ]  # fmt: skip


if __name__ == "__main__":
    app.run(main)
