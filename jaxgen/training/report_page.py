"""The page of a report as one string of HTML: no script, no file beside it, no network.

All text that callers give is escaped. Colours follow the reader's light or dark setting; pictures
keep a white ground, because figures are drawn on white. Tables scroll sideways on a phone.
"""

import re
from collections.abc import Mapping, Sequence
from html import escape
from string import Template
from typing import Any, NamedTuple


class Table(NamedTuple):
    """A table of the report. Numbers are set right, with their digits below each other."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""


class Embedded(NamedTuple):
    """A picture inside the page."""

    data_uri: str
    caption: str
    wide: bool  # takes the whole width; two narrow ones share a row on a large screen


def render_page(
    *,
    title: str,
    summary: str,
    headline: Sequence[str],
    numbers: Mapping[str, float | None],
    meanings: Mapping[str, str],
    facts: Mapping[str, Any],
    tables: Sequence[Table],
    pictures: Sequence[Embedded],
    config: Mapping[str, Any],
) -> str:
    """The whole page; arguments as in `report.write_report`, config flat by dotted key."""
    rows = [(name, numbers[name], meanings[name]) for name in numbers if name in meanings]
    metrics = Table("Metrics", ("metric", "value", "meaning"), rows)
    rest = [(name, numbers[name]) for name in numbers if name not in meanings]
    if not rows:
        metrics, rest = Table("Metrics", ("metric", "value"), rest), []
    return _PAGE.substitute(
        title=escape(title),
        summary=f"<p class=summary>{escape(summary)}</p>" if summary else "",
        facts="".join(
            f"<div><dt>{escape(name.replace('_', ' '))}</dt><dd>{_fact(value)}</dd></div>"
            for name, value in facts.items()
        ),
        headline="".join(
            f"<div><b>{_large(numbers[name])}</b><span>{escape(meanings.get(name) or name)}</span>"
            "</div>"
            for name in headline
        ),
        tables="".join(_table(table, code=table is metrics) for table in (metrics, *tables)),
        pictures="".join(_figure(picture) for picture in pictures),
        rest=_folded("More numbers", ("metric", "value"), rest),
        config=_folded("Config", ("key", "value"), list(config.items())),
    )


def _figure(picture: Embedded) -> str:
    style, caption = " class=wide" if picture.wide else "", escape(picture.caption)
    image = f'<img src="{picture.data_uri}" alt="{caption}">'
    return f"<figure{style}>{image}<figcaption>{caption}</figcaption></figure>"


def _folded(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table of names that opens on a click; nothing where there are no rows."""
    if not rows:
        return ""
    table = _table(Table("", columns, rows), code=True)
    return f"<details><summary>{escape(title)}</summary>{table}</details>"


def _table(table: Table, *, code: bool) -> str:
    """HTML of a table; `code` sets the first column as names of a program."""
    numeric = [
        all(_is_number(row[i]) or row[i] is None for row in table.rows)
        for i in range(len(table.columns))
    ]
    classes = [" class=number" if flag else "" for flag in numeric]
    head = "".join(
        f"<th{style}>{escape(str(name))}</th>"
        for name, style in zip(table.columns, classes, strict=True)
    )
    body = ""
    for row in table.rows:
        cells = [_cell(value) for value in row]
        if code:
            # A long name may break after "_" and "." on a phone.
            cells[0] = "<code>" + re.sub(r"([_.])", r"\1<wbr>", cells[0]) + "</code>"
        pairs = zip(cells, classes, strict=True)
        body += "<tr>" + "".join(f"<td{style}>{cell}</td>" for cell, style in pairs) + "</tr>"
    title = f"<h2>{escape(table.title)}</h2>" if table.title else ""
    caption = f"<p class=caption>{escape(table.caption)}</p>" if table.caption else ""
    scroll = f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f"<section>{title}{scroll}</div>{caption}</section>"


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        # The same number of decimals all the way down a column, unless they would all be zero.
        plain = value == 0 or 0.01 <= abs(value) < 1e6
        return f"{value:.3f}" if plain else f"{value:.3g}"
    return escape(str(value))


def _fact(value: Any) -> str:
    return _large(value) if isinstance(value, float) else _cell(value)


def _large(value: float | None) -> str:
    """Three digits are what one can take in at a glance: 6.17, 10.0, 330."""
    if value is None or isinstance(value, int):
        return "–" if value is None else str(value)
    return f"{value:#.3g}" if abs(value) < 99.5 else f"{value:.0f}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
:root { --ground: #f6f7f9; --card: #fff; --ink: #1f2328; --faint: #59636e; --line: #dfe3e8;
  --accent: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #0f1217; --card: #181c22; --ink: #e6e9ed; --faint: #9aa4af; --line: #2c323a;
    --accent: #6cb8ea; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1000px; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .5rem; letter-spacing: -.01em; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .75rem; }
.summary { margin: 0 0 1rem; max-width: 46rem; color: var(--faint); }
.facts { display: flex; flex-wrap: wrap; gap: .25rem 1.75rem; margin: 0; font-size: .9rem; }
.facts div { display: flex; gap: .4rem; }
.facts dt { color: var(--faint); }
.facts dd { margin: 0; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.headline { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: 1rem;
  margin: 1.75rem 0 0; }
.headline:empty { display: none; }
.headline div, .scroll, figure, details { background: var(--card); border: 1px solid var(--line);
  border-radius: 10px; }
.headline div { padding: 1rem 1.25rem; }
.headline b { display: block; font-size: 2rem; line-height: 1.15; color: var(--accent);
  font-variant-numeric: tabular-nums; }
.headline span { font-size: .875rem; color: var(--faint); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; padding: .45rem 1rem; vertical-align: top; }
th { color: var(--faint); font-weight: 600; border-bottom: 1px solid var(--line); }
tbody tr + tr td { border-top: 1px solid var(--line); }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
td:last-child:not(.number) { width: 100%; min-width: 9rem; max-width: 0; }
td { overflow-wrap: break-word; }
code { font: .92em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.pictures { display: grid; grid-template-columns: 1fr 1fr;
  grid-auto-flow: dense; gap: 1.25rem; margin-top: 2.5rem; }
figure { margin: 0; overflow: hidden; display: flex; flex-direction: column; min-width: 0; }
figure.wide { grid-column: 1 / -1; }
figure img { display: block; width: 100%; margin: auto; background: #fff; padding: .75rem; }
figcaption { margin-top: auto; padding: .75rem 1.25rem; font-size: .9rem; color: var(--faint);
  border-top: 1px solid var(--line); }
.caption { margin: .5rem 0 0; font-size: .875rem; color: var(--faint); }
details { margin-top: 1.25rem; }
summary { padding: .8rem 1.25rem; font-weight: 600; cursor: pointer; }
details .scroll { border: 0; border-top: 1px solid var(--line); border-radius: 0; }
@media (min-width: 701px) { td code { white-space: nowrap; } wbr { display: none; } }
@media (max-width: 700px) { .pictures { grid-template-columns: 1fr; } }
@media (max-width: 600px) {
  main { padding: 1.5rem .75rem 3rem; } h1 { font-size: 1.5rem; } th, td { padding: .4rem .7rem; }
  figure img { padding: .25rem; }
}
</style>
</head>
<body>
<main>
<header>
<h1>$title</h1>
$summary
<dl class="facts">$facts</dl>
</header>
<div class="headline">$headline</div>
$tables
<section class="pictures">$pictures</section>
$rest
$config
</main>
</body>
</html>
""")
