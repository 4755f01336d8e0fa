import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
from fabricated_run import LABELS, SKILL, fabricate

from lowres.report.findings import findings, headline
from lowres.report.markdown import escape, to_markdown
from lowres.report.markup import Html, element
from lowres.report.page import to_html, write_report
from lowres.report.results import load_results
from lowres.report.summary import Summary, summarise

VOID = {"meta", "br", "link", "path", "use", "line", "circle", "rect"}


class Reader(HTMLParser):
    """Collects text and attributes, and fails where elements do not close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.attributes: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_is_whole_and_asks_nothing_of_the_network(summary: Summary) -> None:
    page = to_html(summary)
    reader = Reader()
    reader.feed(page)
    assert not reader.open
    loaded = [value for name, value in reader.attributes if name in ("src", "href", "xlink:href")]
    assert all(value.startswith("#") for value in loaded)
    assert "@import" not in page and not re.search(r"url\((?!#)", page)
    ids = [value for name, value in reader.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert "prefers-color-scheme: dark" in page


def test_labels_and_messages_never_become_markup(summary: Summary) -> None:
    page = to_html(summary)
    assert "<b>negative" not in page
    reader = Reader()
    reader.feed(page)
    assert set(LABELS) <= set(reader.text)
    assert "loss became <nan> at step 40; lower lm.lr" in reader.text


def test_a_headline_names_what_the_models_are(summary: Summary) -> None:
    assert headline(summary).startswith(
        "With 100 labels of vi/sentiment, multifit (QRNN architecture, 6.02 M, from scratch) is better than tfidf by ."
    )
    said = "\n".join(findings(summary))
    assert "the gain of multifit from pretraining is +." in said
    page = to_html(summary)
    assert "GPT-J architecture, 5.87 M, from scratch" in page
    assert not re.search(r">GPT-J<", page)


def test_an_unresolved_headline_says_so(tmp_path: Path) -> None:
    summary = summarise(load_results(fabricate(tmp_path / "run", methods=("gptj-scratch", "tfidf"), faults=False)))
    assert re.fullmatch(
        r"With 100 labels of vi/sentiment, .*tfidf.* are unresolved \(difference \.\d{3} \[-\.\d{3}, \.\d{3}\]\)\.",
        headline(summary),
    )


def test_missing_cells_are_said_and_never_averaged_over(summary: Summary) -> None:
    for text in (to_html(summary), to_markdown(summary.results, summary)):
        assert "2 of 70 cells did not end ok (gptj-scratch)" in text
        assert "4 of 6 cells" in text
        assert "not tried" in text and "nan" in text


def test_write_report_leaves_page_tables_and_markdown(tmp_path: Path) -> None:
    folder = fabricate(tmp_path / "run", methods=("majority", "tfidf"))
    page = write_report(folder)
    assert page == folder / "report.html"
    written = {path.name for path in folder.iterdir() if path.is_file()}
    assert written >= {"report.html", "results.parquet", "results.csv", "results.md"}
    assert not [name for name in written if "partial" in name]
    frame = load_results(folder).frame()
    assert pd.read_parquet(folder / "results.parquet").equals(frame)
    assert pd.read_csv(folder / "results.csv")["cell"].tolist() == frame["cell"].tolist()
    before = page.read_bytes()
    write_report(folder)
    assert page.read_bytes() == before


def test_a_run_without_tasks_reports_its_language_models(tmp_path: Path) -> None:
    folder = fabricate(tmp_path / "run")
    plan = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps({**plan, "cells": [], "tasks": {}}))
    summary = summarise(load_results(folder))
    assert headline(summary) == "multifit (QRNN architecture, 6.02 M, from scratch) reaches 1.912 bits per byte."
    page = write_report(folder, summary).read_text(encoding="utf-8")
    assert "Language models" in page and "Macro" not in page


def test_one_method_at_one_size_and_nothing_done(tmp_path: Path) -> None:
    folder = fabricate(tmp_path / "run", methods=("tfidf",))
    plan = json.loads((folder / "plan.json").read_text())
    plan["cells"] = [cell for cell in plan["cells"] if cell["train_size"] == "full"]
    (folder / "plan.json").write_text(json.dumps(plan))
    alone = summarise(load_results(folder))
    assert re.match(r"tfidf reaches \.\d+ \[.*\] macro-F1 with all 11,426 labels of", headline(alone))
    assert "<figure>" in to_html(alone)
    for path in (folder / "cells").glob("*/*.json"):
        path.unlink()
    nothing = summarise(load_results(folder))
    assert headline(nothing).startswith("Nothing can be compared yet: 2 of 2 cells did not end ok")
    assert "<figure>" not in to_html(nothing)


def test_markdown_tables_are_even(summary: Summary) -> None:
    text = to_markdown(summary.results, summary)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) > 30
    widths = {}
    title = ""
    for line in text.splitlines():
        title = line if line.startswith("## ") else title
        if line.startswith("|"):
            widths.setdefault(title, set()).add(len(re.findall(r"(?<!\\)\|", line)))
    assert all(len(found) == 1 for found in widths.values())
    assert all(name in text for name in SKILL)
    assert escape("a|b <c> *d* vi/uit_vsfc _e_ [f](g)\nh") == ("a\\|b \\<c\\> \\*d\\* vi/uit_vsfc \\_e\\_ [f\\](g) h")


def test_elements_escape_all_but_markup() -> None:
    assert element("p", "<&", Html("<i>x</i>"), class_='a"b', title="") == '<p class="a&quot;b">&lt;&amp;<i>x</i></p>'
