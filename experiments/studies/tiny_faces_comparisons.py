"""Rows of tiny_faces_ablation against each other, seed by seed: what docs/tiny_faces.md says.

    python -m experiments.studies.tiny_faces_comparisons

Prints the tables from docs/results/tiny_faces.jsonl, in Markdown, and draws
docs/images/tiny_faces_results.png. A difference is taken within a seed, where both rows have run:
detectors of two seeds differ more than what is asked here.
"""

import statistics
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from experiments.studies import records, tiny_faces_ablation
from experiments.studies.tables import cell
from experiments.studies.tiny_faces_ablation import COMPACT, LONGER, STEPS, in_one_go

Values = Mapping[int, float]  # seed -> value

# Metric, in percent but for PSNR -> title of its column.
SHOWN = {
    "ap": "AP, all faces",
    "ap_height_0_10": "below 10 px",
    "ap_height_10_16": "10 to 16",
    "ap_height_0_16": "below 16",
    "ap_height_16_32": "16 to 32",
    "ap_height_32_96": "32 to 96",
    "psnr_faces": "PSNR of faces, dB",
    "face_accuracy": "faces told from background",
}
HEADLINE = "ap_height_0_16"
NAMES = {
    "detector": "the detector",
    "bicubic_classifier": "bicubic crops and a classifier",
    "full": "the full method",
    "oracle": "the boxes with perfect scores",
}
PAIRS = (("bicubic_classifier", "detector"), ("full", "detector"), ("full", "bicubic_classifier"))
SECOND_LOOKS = ("bicubic_classifier", "full")


class Setting(NamedTuple):
    """Where the rows of one question are: (variant, steps) of each."""

    title: str
    full: tuple[str, int]
    bicubic_classifier: tuple[str, int]
    detector: tuple[str, int]  # and oracle, and bicubic enlargement


_BASE = (COMPACT, STEPS)
# A tenth of the adversarial loss in the discriminator; and a faster one besides.
_LESS, _BOTH = (f"{COMPACT},{remedy}" for remedy in tiny_faces_ablation.LONGER_REMEDIES)
_NEW, _, _GENERATOR = (f"{COMPACT},{remedy}" for remedy in tiny_faces_ablation.FROM_NEW)
SETTINGS = (
    Setting("two schedules", _BASE, (COMPACT, in_one_go(STEPS)), _BASE),
    Setting("with the remedy", (_LESS, STEPS), (COMPACT, in_one_go(STEPS)), _BASE),
    Setting("longer, with both remedies", (_BOTH, LONGER), (COMPACT, in_one_go(LONGER)), _BASE),
    Setting("one schedule", *[(_NEW, in_one_go(STEPS))] * 3),
    Setting("one schedule, longer", *[(_NEW, in_one_go(LONGER))] * 3),
    Setting("longer, better generator", *[(_GENERATOR, in_one_go(LONGER))] * 3),
)


def rows_of(rows: list[dict], dataset: str, setting: Setting) -> dict[str, dict[str, Values]]:
    """The values that a setting compares.

    Args:
        rows: records of the study.
        dataset: of tiny_faces_ablation.DATASETS.
        setting: one of SETTINGS.

    Returns:
        Method of NAMES -> metric -> seed -> value, percent or dB; no seed where nothing has run.
    """
    places = setting._asdict() | {"oracle": setting.detector, "bicubic": setting.detector}
    found = {method: defaultdict(dict) for method in places if method != "title"}
    for row in rows:
        method = row["method"]
        if row["dataset"] != dataset or method not in found:
            continue
        if (row["variant"], row["steps"]) == places[method]:
            found[method][row["metric"]][row["seed"]] = row["value"]
    # What the bicubic classifier sees is plain enlargement.
    found["bicubic_classifier"]["psnr_faces"] = found.pop("bicubic")["psnr_faces"]
    return found


def difference(one: Values, other: Values) -> Values:
    """one - other of the seeds that both have."""
    return {seed: one[seed] - other[seed] for seed in sorted(one.keys() & other.keys())}


def markdown(found: Mapping[str, Mapping[str, Values]]) -> str:
    """The table of one setting, see `rows_of`: means over seeds, then differences."""
    lines = ["| | " + " | ".join(SHOWN.values()) + " |", "|---" * (len(SHOWN) + 1) + "|"]

    def line(title, columns, sign=""):
        cells = [cell(list(v.values()), digits=1, sign=sign) if v else "" for v in columns]
        lines.append("| " + " | ".join([title, *cells]) + " |")

    for method, name in NAMES.items():
        line(name, [found[method].get(metric, {}) for metric in SHOWN])
    for one, other in PAIRS:
        columns = [
            difference(found[one].get(metric, {}), found[other].get(metric, {})) for metric in SHOWN
        ]
        line(f"{NAMES[one]} over {NAMES[other]}", columns, "+")
    return "\n".join(lines)


def figure(rows: list[dict]):
    """Points of AP below 16 px over the detector, a dot a seed; settings with three seeds.

    Args:
        rows: records of the study.

    Returns:
        A matplotlib figure, one panel a data set.

    Raises:
        ValueError: no setting has three seeds.
    """
    from jaxgen.training.figures import COLOURS, DASHES, INK, label, new_figure

    panels = {}
    for dataset in tiny_faces_ablation.DATASETS:
        gains = {}
        for setting in SETTINGS:
            found = {m: v[HEADLINE] for m, v in rows_of(rows, dataset, setting).items()}
            both = {m: difference(found[m], found["detector"]) for m in SECOND_LOOKS}
            if all(len(values) >= 3 for values in both.values()):
                gains[setting.title] = both
        if gains:
            panels[dataset] = gains
    if not panels:
        raise ValueError("no setting has three seeds: run experiments.studies.tiny_faces_ablation")
    tallest = max(map(len, panels.values()))
    drawing, axes = new_figure(10, 1.2 + 0.6 * tallest, columns=len(panels))
    for ax, (dataset, gains) in zip(axes[0], panels.items(), strict=True):
        for place, both in enumerate(gains.values()):
            for number, method in enumerate(SECOND_LOOKS):
                values = list(both[method].values())
                height = place + 0.16 * (2 * number - 1)
                first = place == 0 and ax is axes[0, 0]
                style = dict(color=COLOURS[number], label=NAMES[method] if first else None)
                ax.plot(values, [height] * len(values), "os"[number], markersize=6, **style)
                mean = statistics.mean(values)
                ax.plot([mean] * 2, [height - 0.13, height + 0.13], color=INK, linewidth=2)
        ax.set_yticks(range(len(gains)), gains)
        ax.set_ylim(len(gains) - 0.5, -0.5)
        ax.set_xlim(left=min(0, ax.get_xlim()[0]))
        ax.axvline(0, color=INK, linewidth=1, linestyle=DASHES[1])
        label(ax, x="AP below 16 px over the detector, points", title=dataset)
    # Below both panels, where no dot can be.
    drawing.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9, labelcolor=INK)
    return drawing


def main() -> None:
    """Prints every setting that has run, and draws the figure."""
    study = tiny_faces_ablation.STUDY
    rows = [row for row in records.read("tiny_faces") if row["study"] == study]
    for dataset in tiny_faces_ablation.DATASETS:
        for setting in SETTINGS:
            found = rows_of(rows, dataset, setting)
            seeds = sorted(found["full"].get(HEADLINE, {}))
            if not seeds:
                continue
            print(f"\n{dataset}, {setting.title}, seeds {', '.join(map(str, seeds))}\n")
            print(markdown(found))
            print()
            for one, other in PAIRS:
                each = difference(found[one][HEADLINE], found[other][HEADLINE])
                text = ", ".join(f"seed {seed} {value:+.1f}" for seed, value in each.items())
                print(f"below 16 px, {NAMES[one]} over {NAMES[other]}: {text}")
    image = records.ROOT / "docs" / "images" / "tiny_faces_results.png"
    figure(rows).savefig(image, dpi=110, bbox_inches="tight")
    print(f"\nwrote {image}")


if __name__ == "__main__":
    main()
