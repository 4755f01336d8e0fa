"""The report as Markdown, for docs/results and for diffs."""

import re

from lowres.report import materials, tables
from lowres.report.findings import findings, headline, missing_line
from lowres.report.results import Results
from lowres.report.summary import Summary, summarise
from lowres.report.tables import Table

_SPECIAL = re.compile(r"([\\`*<>|&]|(?<!\w)_|_(?!\w)|\](?=[(\[:]))")  # "uit_vsfc" and "[.1, .2]" are safe as they stand


def to_markdown(results: Results, summary: Summary | None = None) -> str:
    """The whole report as Markdown with tables; ends in a line break. summary: of these results, where at hand."""
    summary = summary or summarise(results)
    parts = [f"# {escape(results.name)}", escape(headline(summary))]
    if others := findings(summary):
        parts.append("\n".join(f"- {escape(sentence)}" for sentence in others))
    if missing := missing_line(results):
        parts.append(f"**Incomplete:** {escape(missing)}")
    for task in results.task_names:
        parts += [markdown_table(tables.score_table(summary, task, metric)) for metric in summary.metrics(task)]
        parts.append(markdown_table(tables.difference_table(summary, task)))
        parts.append(markdown_table(tables.prompt_table(results, task)))
    for table in (tables.language_model_table(results), tables.cost_table(results), materials.task_table(results)):
        parts.append(markdown_table(table))
    parts += [markdown_table(materials.corpus_table(corpus)) for corpus in results.corpora]
    parts.append(markdown_table(tables.failure_table(results)))
    facts = materials.machine_facts(results)
    if facts:
        parts.append("## How it was made\n\n" + "\n".join(f"- {name}: {escape(value)}" for name, value in facts))
    lines = [
        f"- {escape(name)}: {escape(licence)}. {escape(text)}" for name, licence, text in materials.statements(results)
    ]
    if lines:
        parts.append("## Data and licences\n\n" + "\n".join(lines))
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown_table(table: Table) -> str:
    """One table with its title and notes; "" where it has no rows."""
    if not table.rows:
        return ""
    head = "| " + " | ".join(escape(column.name) for column in table.columns) + " |"
    rule = "|" + "|".join(" ---: " if column.numeric else " --- " for column in table.columns) + "|"
    rows = ["| " + " | ".join(escape(cell.joined) for cell in row) + " |" for row in table.rows]
    notes = "\n".join(escape(note) for note in table.notes)
    return f"## {escape(table.title)}\n\n" + "\n".join([head, rule, *rows]) + (f"\n\n{notes}" if notes else "")


def escape(text: str) -> str:
    """Text in one line in which Markdown and HTML see no markup."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
