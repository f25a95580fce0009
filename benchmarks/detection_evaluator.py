"""WIDER FACE's evaluation of 1,000 images: jaxgen's vectorised form against the plain loops.

    python -m benchmarks.detection_evaluator
    python -m benchmarks.detection_evaluator --images=3000 --record

The loops are those of the published evaluation: every prediction of every image against every true
box, then every threshold of every image. Predictions and faces are drawn at random, most of the
predictions near a face. Both must give the same figure.
"""

import argparse
from functools import partial

import numpy as np

from benchmarks import timing

THRESHOLDS = 1000


def make_set(seed: int, *, images: int, faces: int, proposals: int):
    """Random predictions [N, 5], true boxes [M, 4] and counted [M] of every image."""
    rng = np.random.default_rng(seed)
    found, true, counted = [], [], []
    for _ in range(images):
        count = rng.integers(0, 2 * faces + 1)
        low = rng.uniform(0, 500, (count, 2))
        boxes = np.concatenate([low, low + np.exp(rng.uniform(2, 5, (count, 1))) * [1, 1.3]], 1)
        number = rng.integers(0, 2 * proposals + 1)
        low = rng.uniform(0, 500, (number, 2))
        guesses = np.concatenate([low, low + rng.uniform(8, 100, (number, 2))], 1)
        scores = rng.uniform(0, 0.7, number)
        near = np.flatnonzero(rng.random(number) < 0.6) if count else np.zeros(0, int)
        chosen = boxes[rng.integers(count, size=len(near))] if count else np.zeros((0, 4))
        sides = np.tile(chosen[:, 2:] - chosen[:, :2], 2)
        guesses[near] = chosen + sides * rng.normal(0, 0.1, chosen.shape)
        scores[near] = rng.beta(4, 2, len(near))
        guesses[:, 2:] = np.maximum(guesses[:, 2:], guesses[:, :2] + 1)
        found.append(np.concatenate([guesses, scores[:, None]], 1))
        true.append(boxes)
        counted.append(rng.random(count) < 0.8)
    return found, true, counted


def naive_average_precision(predictions, ground_truth, counted) -> float:
    """The published evaluation, step by step, in percent."""
    every = [row[4] for image in predictions for row in image]
    low, high = min(every), max(every)
    proposals, matched, faces = [0] * THRESHOLDS, [0] * THRESHOLDS, 0
    for image, boxes, keep in zip(predictions, ground_truth, counted, strict=True):
        faces += int(sum(keep))
        if not len(image) or not len(boxes):
            continue
        rows = sorted(image.tolist(), key=lambda row: -row[4])
        taken, is_proposal, found = [0] * len(boxes), [], []
        for row in rows:
            overlaps = [_iou(row, box) for box in boxes.tolist()]
            best = max(range(len(overlaps)), key=overlaps.__getitem__)
            counts = True
            if overlaps[best] >= 0.5:
                if not keep[best]:
                    counts = False
                elif not taken[best]:
                    taken[best] = 1
            is_proposal.append(counts)
            found.append(sum(taken))
        scores = [(row[4] - low) / (high - low) for row in rows]
        for t in range(THRESHOLDS):
            threshold = 1 - (t + 1) / THRESHOLDS
            above = [place for place, score in enumerate(scores) if score >= threshold]
            if above:
                proposals[t] += sum(is_proposal[: above[-1] + 1])
                matched[t] += found[above[-1]]
    recall, precision = [0.0], [0.0]
    for m, p in zip(matched, proposals, strict=True):
        if p:
            recall.append(m / faces)
            precision.append(m / p)
    recall, precision = [*recall, 1.0], [*precision, 0.0]
    for place in reversed(range(len(precision) - 1)):
        precision[place] = max(precision[place], precision[place + 1])
    steps = range(1, len(recall))
    return 100 * sum((recall[i] - recall[i - 1]) * precision[i] for i in steps)


def _iou(a, b):
    w = min(a[2], b[2]) - max(a[0], b[0]) + 1
    h = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if w <= 0 or h <= 0:
        return 0.0
    areas = [(c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b)]
    return w * h / (sum(areas) - w * h)


def jaxgen_run(**options):
    """The library's evaluation."""
    from jaxgen.metrics import detection

    return partial(detection.wider_average_precision, *make_set(0, **options))


def loops_run(**options):
    """The plain loops."""
    return partial(naive_average_precision, *make_set(0, **options))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--faces", type=int, default=12, help="mean number in an image")
    parser.add_argument("--proposals", type=int, default=150, help="mean number in an image")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--record", action="store_true", help="append to docs/results/speed.jsonl")
    args = parser.parse_args()
    options = dict(images=args.images, faces=args.faces, proposals=args.proposals)
    values = jaxgen_run(**options)(), loops_run(**options)()
    print(f"AP {values[0]:.6f} (jaxgen), {values[1]:.6f} (loops)")
    if abs(values[0] - values[1]) > 1e-6:
        raise SystemExit("the two evaluations differ")
    seconds = timing.interleaved(
        {"jaxgen": (jaxgen_run, options), "loops": (loops_run, options)}, rounds=args.rounds
    )
    variant = ",".join(f"{name}={value}" for name, value in options.items())
    timing.report(f"wider_average_precision {variant}", seconds, ours="jaxgen", items=args.images)
    if args.record:
        study = dict(study="detection_evaluator", name="wider_average_precision")
        timing.append(
            timing.records(
                seconds=seconds, variant=variant, ours="jaxgen", items=args.images, **study
            )
        )


if __name__ == "__main__":
    main()
