"""The report that ends every run: results.json, pictures, and one page that holds it all.

`report/results.json` is flat: numbers under the standard names of their metrics, and which split,
step, seed, speed and config they belong to. `report/index.html` is self-contained: it can be mailed
or opened from a disk. Each file is written beside its final name and then moved there, the page
last: who opens the folder during a run sees a whole older report or a whole newer file.
"""

import base64
import json
import math
import re
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from jaxgen.training import hosts
from jaxgen.training.config import config_hash, flatten
from jaxgen.training.files import write_atomically
from jaxgen.training.report_page import Embedded, Table, render_page


class Picture(NamedTuple):
    """A figure of the report."""

    name: str  # file name without suffix: letters, digits, "_" and "-"
    figure: Any  # matplotlib Figure
    caption: str  # one sentence that says what to see


def write_report(
    directory: str | Path,
    *,
    title: str,
    metrics: Mapping[str, Any],
    split: str,
    step: int,
    seed: int,
    images_per_second: float | None,
    config: ConfigDict | Mapping,
    pictures: Sequence[Picture] = (),
    tables: Sequence[Table] = (),
    headline: Sequence[str] = (),
    meanings: Mapping[str, str] | None = None,
    summary: str = "",
    facts: Mapping[str, str] = MappingProxyType({}),
) -> Path:
    """Writes results.json, one PNG a picture, and index.html; of several processes the first one.

    Args:
        directory: made if it does not exist; files of the same names are replaced.
        title: of the page.
        metrics: flat numbers by standard name. NaN and infinity become null.
        split: what the numbers were measured on.
        step: training steps that the evaluated model had done.
        seed: of the run.
        images_per_second: training speed; None where it was not measured.
        config: of the run.
        pictures: in the order of the page.
        tables: further tables, below the metrics.
        headline: names of the one to four metrics that the page shows large.
        meanings: metric -> meaning and unit, a few words. If given, the page shows the metrics
            that have one, and folds the others away.
        summary: a sentence or two below the title.
        facts: what else results.json and the page say of the model, such as its stage.

    Returns:
        The path of index.html.

    Raises:
        ValueError: a metric is no number, a name is taken or unfit, a headline is not a metric.
        OSError: the directory cannot be written; the message names it.
    """
    directory = Path(directory)
    config = config if isinstance(config, ConfigDict) else ConfigDict(dict(config))
    facts = {
        "split": split,
        "step": int(step),
        "seed": int(seed),
        "images_per_second": _number("images_per_second", images_per_second),
        "config_hash": config_hash(config),
        **facts,
    }
    numbers = {name: _number(name, value) for name, value in metrics.items()}
    _check_names(numbers, facts, pictures, headline)
    if not hosts.is_first():
        return directory / "index.html"
    images = {picture.name: _png(picture.figure) for picture in pictures}
    page = render_page(
        title=title,
        summary=summary,
        headline=headline,
        numbers=numbers,
        meanings=meanings or {},
        facts=facts,
        tables=tables,
        pictures=[
            Embedded(
                _data_uri(images[picture.name]),
                picture.caption,
                wide=picture.figure.get_figwidth() > 6.5,
            )
            for picture in pictures
        ],
        config=dict(flatten(config)),
    )
    results = json.dumps(numbers | facts, indent=2, allow_nan=False) + "\n"
    files = {f"{name}.png": image for name, image in images.items()}
    files |= {"results.json": results.encode(), "index.html": page.encode()}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            write_atomically(directory / name, content)
    except OSError as error:
        raise OSError(
            f"cannot write the report to {directory}: {error.strerror or error}. "
            "Choose a --workdir on a disk with space that you may write to."
        ) from error
    return directory / "index.html"


def _number(name: str, value: Any) -> float | int | None:
    """A plain number for JSON: arrays of one element count, not-a-number becomes None."""
    value = value.item() if getattr(value, "size", 0) == 1 else value
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"results are flat numbers, but {name} is {type(value).__name__}")
    return value if math.isfinite(value) else None


def _check_names(numbers, facts, pictures: Sequence[Picture], headline: Sequence[str]) -> None:
    taken = sorted(numbers.keys() & facts.keys())
    if taken:
        raise ValueError(f"{taken[0]!r} is an argument of write_report, not a metric")
    for name in headline:
        if name not in numbers:
            raise ValueError(f"headline {name!r} is not among the metrics: {sorted(numbers)}")
    names = [picture.name for picture in pictures]
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise ValueError(f"picture name {name!r}: use letters, digits, _ and - only")
        if names.count(name) > 1:
            raise ValueError(f"two pictures are named {name!r}")


def _png(figure: Any) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _data_uri(png: bytes) -> str:
    """The picture for the page. Photographs become JPEG there, a fifth of the size on a phone."""
    if len(png) < 300_000:
        return "data:image/png;base64," + base64.b64encode(png).decode()
    from PIL import Image

    buffer = BytesIO()
    Image.open(BytesIO(png)).convert("RGB").save(buffer, "JPEG", quality=90, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
