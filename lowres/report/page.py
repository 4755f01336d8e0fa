"""The page: one report.html that needs nothing else, beside results.parquet, results.csv and results.md."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from lowres.report import curves, materials, tables
from lowres.report.findings import findings, headline, missing_line
from lowres.report.markdown import to_markdown
from lowres.report.markup import STYLE, Html, element, joined
from lowres.report.results import Results, load_results
from lowres.report.summary import METHOD, Summary, summarise
from lowres.report.tables import Cell, Table

_SHOWN_FINDINGS = 6


def write_report(run_folder: Path, summary: Summary | None = None) -> Path:
    """Writes report.html, results.parquet, results.csv and results.md into the run's folder; returns the page's path.

    Every file is whole or as it was. summary: of this folder, where at hand. Raises DataError where the folder is not a
    run's or is damaged.
    """
    folder = Path(run_folder)
    summary = summary or summarise(load_results(folder))
    frame = summary.results.frame()
    _replace(folder / "results.parquet", lambda path: frame.to_parquet(path, index=False))
    _replace(folder / "results.csv", lambda path: frame.to_csv(path, index=False))
    _replace(folder / "results.md", lambda path: _write(path, to_markdown(summary.results, summary)))
    _replace(folder / "report.html", lambda path: _write(path, to_html(summary)))
    return folder / "report.html"


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _replace(path: Path, write: Callable[[Path], None]) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    write(partial)
    partial.replace(path)


def to_html(summary: Summary) -> str:
    """The page as text."""
    results = summary.results
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"{results.name}: lowres"),
        element("style", Html(style())),
    )
    body = element(
        "main",
        _opening(summary),
        [_task_section(summary, number, task) for number, task in enumerate(results.task_names)],
        _models_section(results),
        _materials_section(results),
        _failures_section(results),
        _making_section(summary),
    )
    return f"<!doctype html>\n{element('html', head, element('body', body), lang='en')}\n"


def style() -> str:
    """The style sheet with the curves' colours for light and dark."""
    light, dark = (
        "\n".join(f"    --series-{number}: {pair[mode]};" for number, pair in enumerate(curves.PALETTE))
        for mode in (0, 1)
    )
    return STYLE.replace("SERIES_LIGHT", light).replace("SERIES_DARK", dark)


def _opening(summary: Summary) -> Html:
    """Name, headline, findings, and what is missing."""
    results = summary.results
    others = [element("li", _unbroken(sentence)) for sentence in findings(summary)]
    more = others[_SHOWN_FINDINGS:]
    missing = missing_line(results)
    return joined(
        [
            element("h1", results.name),
            element("p", _unbroken(headline(summary)), class_="headline"),
            element("p", element("strong", "Incomplete. "), missing, class_="banner") if missing else "",
            element("ul", others[:_SHOWN_FINDINGS]) if others else "",
            element("details", element("summary", f"{len(more)} more"), element("ul", more)) if more else "",
        ]
    )


def _unbroken(sentence: str) -> str:
    """With a hyphen at which no line ends."""
    return sentence.replace("macro-F1", "macro\u2011F1")


def _task_section(summary: Summary, number: int, task: str) -> Html:
    """Curves, scores and differences of one task."""
    figures = []
    for metric in summary.metrics(task):
        figure = curves.draw(summary, task, metric)
        if figure is not None:
            drawn = curves.svg(figure, f"task{number}-{metric}", curves.describe(summary, task, metric))
            caption = f"{tables.METRIC_NAMES[metric]} on the test set of {task}"
            figures.append(element("figure", Html(drawn), element("figcaption", caption)))
    note = "Means over subsets and seeds with 95 % intervals." if figures else ""
    return joined(
        [
            element("h2", task),
            element("div", figures, class_="figures") if figures else "",
            element("p", note, class_="note") if note else "",
            [table_html(tables.score_table(summary, task, metric)) for metric in summary.metrics(task)],
            table_html(tables.difference_table(summary, task)),
            table_html(tables.prompt_table(summary.results, task)),
        ]
    )


def _models_section(results: Results) -> Html:
    """Language models, where there are any, and cost."""
    return joined(
        [
            table_html(tables.language_model_table(results), heading="h2"),
            table_html(tables.cost_table(results), heading="h2") if results.cells else "",
        ]
    )


def _materials_section(results: Results) -> Html:
    """Tasks, corpora, licences and data statements."""
    statements = [
        element("li", element("strong", name), ": ", licence, ". ", text)
        for name, licence, text in materials.statements(results)
    ]
    labels = [
        element(
            "details", element("summary", f"Labels of {task.name}"), table_html(materials.label_table(task), heading="")
        )
        for task in results.tasks
    ]
    return joined(
        [
            table_html(materials.task_table(results), heading="h2"),
            labels,
            [table_html(materials.corpus_table(corpus), heading="h2") for corpus in results.corpora],
            joined([element("h2", "Data and licences"), element("ul", statements)]) if statements else "",
        ]
    )


def _failures_section(results: Results) -> Html:
    return table_html(tables.failure_table(results), heading="h2")


def _making_section(summary: Summary) -> Html:
    """How the numbers were made: intervals, machine, recipe."""
    results = summary.results
    facts = [joined([element("dt", name), element("dd", value)]) for name, value in materials.machine_facts(results)]
    recipe = element("details", element("summary", "The recipe"), element("pre", element("code", results.recipe)))
    how = (
        METHOD
        + " The best baseline and the leading methods are chosen by these same test scores. A method with a cell "
        "missing at some train size has no mean and no difference there."
    )
    if results.left_out:
        how += f" {results.left_out} cells of an earlier recipe in this folder are left out."
    return joined(
        [
            element("h2", "How it was made"),
            element("p", how) if results.task_names else "",
            element("dl", facts) if facts else "",
            recipe if results.recipe else "",
        ]
    )


def table_html(table: Table, heading: str = "h3") -> Html:
    """A table with its title and notes, or nothing where it has no rows. heading: the title's element, "" for none."""
    if not table.rows:
        return Html("")
    ends = [end for row in table.rows for cell in row if cell.span for end in (cell.span.low, cell.span.high)]
    reach = max([abs(end) for end in ends], default=0.0)
    head = element(
        "tr", [element("th", c.name, class_="number" if c.numeric else "", scope="col") for c in table.columns]
    )
    rows = [
        element("tr", [_cell_html(cell, table.columns[k].numeric, reach) for k, cell in enumerate(row)])
        for row in table.rows
    ]
    return joined(
        [
            element(heading, table.title) if heading else "",
            element("div", element("table", element("thead", head), element("tbody", rows)), class_="scroll"),
            [element("p", note, class_="note") for note in table.notes],
        ]
    )


def _cell_html(cell: Cell, numeric: bool, reach: float) -> Html:
    text: Sequence[str] = [element("span", cell.text, class_=cell.tone) if cell.tone else cell.text]
    detail = element("span", cell.detail, class_="detail") if cell.detail else ""
    drawn = _span_svg(cell, reach) if cell.span and reach else ""
    return element("td", text, detail, drawn, class_="number" if numeric else "words")


def _span_svg(cell: Cell, reach: float) -> Html:
    """An interval as a bar about zero, on the scale of its table."""
    span = cell.span
    if span is None:
        return Html("")
    low, value, high = (f"{100 + 94 * end / reach:.1f}" for end in (span.low, span.mean, span.high))
    clear = span.low > 0 or span.high < 0
    colour = "var(--soft)" if not clear else "var(--good)" if span.low > 0 else "var(--bad)"
    parts = (
        f'<line x1="100" x2="100" y1="0" y2="14" stroke="var(--soft)" stroke-width="1"/>'
        f'<line x1="{low}" x2="{high}" y1="7" y2="7" stroke="{colour}" stroke-width="2.5"/>'
        f'<circle cx="{value}" cy="7" r="3.5" fill="{colour}"/>'
    )
    return Html(f'<svg class="span" viewBox="0 0 200 14" aria-hidden="true">{parts}</svg>')
