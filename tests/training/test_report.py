"""The report of a run: flat results, one self-contained page, whole files only."""

import base64
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxgen.training.config import config_hash
from jaxgen.training.figures import Line, curves
from jaxgen.training.files import write_atomically
from jaxgen.training.report import Picture, write_report
from jaxgen.training.report_page import Table

CONFIG = ConfigDict({"seed": 3, "data": {"name": "<faces> & 'more'"}})


def picture(name="curve", caption="Goes up."):
    line = Line(np.arange(3.0), np.arange(3.0))
    return Picture(name, curves({"a": line}, x="step", y="loss"), caption)


def report(directory, **changes):
    arguments = dict(
        title="A run",
        metrics={"nme_inter_ocular": 6.25, "faces": 330},
        split="test",
        step=1000,
        seed=3,
        images_per_second=48.5,
        config=CONFIG,
    )
    return write_report(directory, **(arguments | changes))


class Page(HTMLParser):
    """Collects the text, the tags and their attributes of a page; checks that tags are closed."""

    def __init__(self, path):
        super().__init__()
        self.open, self.text, self.tags = [], "", []
        self.feed(path.read_text())
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "wbr"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data


def test_results_are_flat_and_say_what_they_belong_to(tmp_path):
    report(tmp_path, metrics={"nme_inter_ocular": np.float32(6.25), "rank": np.array([7])})
    results = json.loads((tmp_path / "results.json").read_text())
    assert results == {
        "nme_inter_ocular": 6.25,
        "rank": 7,
        "split": "test",
        "step": 1000,
        "seed": 3,
        "images_per_second": 48.5,
        "config_hash": config_hash(CONFIG),
    }


def test_numbers_that_json_has_not_become_null(tmp_path):
    report(tmp_path, metrics={"a": float("nan"), "b": np.inf}, images_per_second=None)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["a"] is results["b"] is results["images_per_second"] is None


def test_the_page_holds_its_pictures_and_asks_for_nothing_else(tmp_path):
    index = report(tmp_path, pictures=[picture("one"), picture("two", "Goes down.")])
    page = Page(index)
    sources = [attrs["src"] for tag, attrs in page.tags if tag == "img"]
    embedded = [base64.b64decode(source.partition("base64,")[2]) for source in sources]
    assert embedded == [(tmp_path / name).read_bytes() for name in ("one.png", "two.png")]
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}
    assert not re.search(r"https?:|url\(|@import", index.read_text())
    assert "Goes down." in page.text
    assert ("meta", {"name": "color-scheme", "content": "light dark"}) in page.tags


def test_large_photographs_are_embedded_smaller_than_their_file(tmp_path):
    from jaxgen.training.figures import image_grid

    noise = np.random.default_rng(0).integers(0, 255, (4, 90, 90, 3), np.uint8)
    figure = image_grid(list(noise), columns=2, smooth=True)
    index = report(tmp_path, pictures=[Picture("grid", figure, "Noise.")])
    assert "data:image/jpeg;base64," in index.read_text()
    assert index.stat().st_size < (tmp_path / "grid.png").stat().st_size


def test_order_is_metrics_tables_pictures_config(tmp_path):
    table = Table("Subsets", ("subset", "nme"), [("pose", 7.5), ("blur", None)], "In percent.")
    text = Page(report(tmp_path, tables=[table], pictures=[picture()])).text
    parts = ["A run", "nme_inter_ocular", "6.250", "Subsets", "pose", "7.500", "Goes up.", "Config"]
    positions = [text.index(part) for part in parts]
    assert positions == sorted(positions)


def test_all_text_is_escaped(tmp_path):
    evil = "<script>alert('x')</script>&\""
    index = report(
        tmp_path,
        title=evil,
        summary=evil,
        split=evil,
        metrics={evil: 1.0},
        meanings={evil: evil},
        headline=[evil],
        tables=[Table(evil, (evil,), [(evil,)], evil)],
        pictures=[picture(caption=evil)],
        config={evil: evil},
    )
    page = Page(index)
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.text.count(evil) >= 12
    assert next(attrs["alt"] for tag, attrs in page.tags if tag == "img") == evil


def test_headline_is_shown_with_its_meaning_and_the_rest_is_folded(tmp_path):
    index = report(tmp_path, headline=["nme_inter_ocular"], meanings={"nme_inter_ocular": "error"})
    page = Page(index)
    assert "6.25error" in page.text
    assert page.text.index("More numbers") < page.text.index("faces")
    assert [tag for tag, _ in page.tags].count("details") == 2


def test_config_is_shown_by_dotted_key(tmp_path):
    text = Page(report(tmp_path)).text
    assert "data.name" in text and "<faces> & 'more'" in text


def test_a_second_report_replaces_the_first_and_leaves_no_temporary_file(tmp_path):
    report(tmp_path, metrics={"nme_inter_ocular": 9.0})
    report(tmp_path, pictures=[picture()])
    assert json.loads((tmp_path / "results.json").read_text())["nme_inter_ocular"] == 6.25
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"results.json", "index.html", "curve.png"}


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "results.json"
    target.write_text("old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_atomically(target, b"new")
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]


def test_a_directory_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot write the report to .*file/report.*--workdir"):
        report(tmp_path / "file" / "report")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(metrics={"a": "good"}), "flat numbers, but a is str"),
        (dict(metrics={"a": {"b": 1}}), "flat numbers, but a is dict"),
        (dict(metrics={"a": np.ones(3)}), "flat numbers, but a is ndarray"),
        (dict(metrics={"seed": 1.0}), "'seed' is an argument"),
        (dict(headline=["auc"]), "headline 'auc' is not among the metrics"),
        (dict(pictures=[picture("../x")]), "use letters"),
        (dict(pictures=[picture("x"), picture("x")]), "two pictures are named 'x'"),
    ],
)
def test_bad_arguments_write_nothing(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        report(tmp_path / "report", **changes)
    assert not (tmp_path / "report").exists()
