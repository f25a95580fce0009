"""Turns records into tables and a figure that docs show.

    python -m experiments.studies.tables laplace

Reads docs/results/laplace.jsonl, writes docs/results/laplace.md and
docs/images/laplace_results.png.
"""

import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby

from experiments.studies import records

# Metric of the figure, in percent, by system.
HEADLINE = {"laplace": "nme_inter_ocular", "cycada": "accuracy"}


def grouped(rows: list[dict]) -> dict[tuple, dict[str, list[float]]]:
    """(study, dataset, split, variant, steps, method) -> metric -> values over seeds."""
    groups: dict[tuple, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        key = tuple(row[k] for k in ("study", "dataset", "split", "variant", "steps", "method"))
        groups[key][row["metric"]].append(row["value"])
    return dict(sorted(groups.items(), key=lambda group: group[0]))


def cell(values: Sequence[float], *, digits: int = 2, sign: str = "") -> str:
    """Mean and standard deviation over seeds; one seed is shown as such.

    Args:
        values: one a seed, at least one.
        digits: after the point.
        sign: "+" shows the sign of means that are not negative, too.
    """
    # Adding zero turns "-0.0" into "0.0".
    mean = f"{round(statistics.mean(values), digits) + 0.0:{sign}.{digits}f}"
    if len(values) == 1:
        return f"{mean} (1 seed)"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}"


def markdown(groups: dict[tuple, dict[str, list[float]]]) -> str:
    """One table a study: a row a method and variant, a column a metric."""
    lines = []
    for study in dict.fromkeys(key[0] for key in groups):
        mine = {key: metrics for key, metrics in groups.items() if key[0] == study}
        metrics = list(dict.fromkeys(name for found in mine.values() for name in found))
        lines += [f"## {study}", ""]
        lines.append("| data | variant | steps | method | seeds | " + " | ".join(metrics) + " |")
        lines.append("|---|---|---|---|---|" + "---|" * len(metrics))
        for (_, dataset, split, variant, steps, method), found in mine.items():
            seeds = max(len(values) for values in found.values())
            cells = [cell(found[name]) if name in found else "" for name in metrics]
            row = [f"{dataset} {split}", variant, str(steps), method, str(seeds), *cells]
            lines.append("| " + " | ".join(row) + " |")
        lines.append("")
    return "\n".join(lines)


def figure(groups: dict[tuple, dict[str, list[float]]], metric: str):
    """What was tested: every seed as a dot, the mean as a bar in the colour of its method."""
    from jaxgen.training.figures import COLOURS, INK, label, new_figure

    # What was chosen on validation data is no result.
    tested = {key: v[metric] for key, v in groups.items() if metric in v and "test" in key[2]}
    methods = sorted({key[5] for key in tested})
    count = len(tested) + len({key[:-1] for key in tested})
    drawing, axes = new_figure(8, 0.7 + 0.26 * count)
    ax = axes[0, 0]
    places, row = [], 0
    for (_, dataset, _, variant, steps), keys in groupby(tested, key=lambda key: key[:-1]):
        # A line of its own says what the bars below it share.
        title = f" {dataset}: {variant}, {steps} steps"
        ax.text(0, row, title, color=INK, fontsize=9, weight="bold", va="center")
        for key in keys:
            row += 1
            colour = COLOURS[methods.index(key[5]) % len(COLOURS)]
            ax.barh(row, statistics.mean(tested[key]), color=colour, alpha=0.45, height=0.8)
            ax.plot(tested[key], [row] * len(tested[key]), "o", color=INK, markersize=4)
            places.append(row)
        row += 1
    ax.set_yticks(places, [key[5] for key in tested])
    ax.set_ylim(row - 0.4, -0.6)
    ax.set_xlim(left=0)
    label(ax, x=f"{metric}, %")
    return drawing


def main(system: str) -> None:
    """Writes the table and the figure of one system."""
    groups = grouped(records.read(system))
    if not groups:
        sys.exit(f"{records.records_path(system)} holds no record: run a study first")
    docs = records.ROOT / "docs"
    title = f"# Measured results: {system}\n\nMade by `python -m experiments.studies.tables"
    table = docs / "results" / f"{system}.md"
    table.write_text(
        f"{title} {system}` from {system}.jsonl, where each number has its command. Mean ± "
        f"standard deviation over seeds.\n\n{markdown(groups)}"
    )
    (docs / "images").mkdir(exist_ok=True)
    if system in HEADLINE:
        image = docs / "images" / f"{system}_results.png"
        figure(groups, HEADLINE[system]).savefig(image, dpi=110, bbox_inches="tight")
    print(f"wrote {table}")


if __name__ == "__main__":
    main(*sys.argv[1:])
