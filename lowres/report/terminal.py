"""The end of `lowres run`: scores, language models and cost as tables in the terminal."""

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from lowres.report import tables
from lowres.report.findings import headline, missing_line
from lowres.report.results import Results
from lowres.report.summary import Summary, summarise
from lowres.report.tables import Cell, Table

_STYLES = {"good": "green", "bad": "red", "warning": "yellow", "muted": "dim", "": ""}
_ONE_LINE_SIZES = 3
_MODEL_COLUMNS = ("Method", "Language model", "Bits per byte", "Unknown", "Bytes seen", "Time")
_COST_COLUMNS = ("Method", "Parameters", "Pretraining", "Peak memory")
_DIFFERENCE_COLUMNS = ("Labels", "Comparison", "Difference", "95 % interval", "Verdict")
_WIDE = 100
_LEFT_OUT_WHERE_NARROW = ("Unknown", "Bytes seen", "Parameters", "Peak memory")
_FAILURE_LINES = 8


def print_terminal(results: Results, console: Console, summary: Summary | None = None) -> None:
    """Prints the headline, macro-F1 and differences of every task, language models, cost, and a line on failures.

    Made for 100 columns or more; narrower, some columns are left out. summary: of these results.
    """
    summary = summary or summarise(results)
    console.print()
    console.print(Text(headline(summary), style="bold"))
    for task in results.task_names:
        stacked = len(results.train_sizes(task)) > _ONE_LINE_SIZES
        _print(console, tables.score_table(summary, task, "macro_f1"), stacked=stacked, details=True)
        _print(console, tables.difference_table(summary, task), _DIFFERENCE_COLUMNS, notes=False)
        _print(console, tables.prompt_table(results, task), notes=False)
    _print(console, tables.language_model_table(results), _MODEL_COLUMNS, notes=False)
    if results.cells:
        costs = tables.cost_table(results)
        cells = tuple(column.name for column in costs.columns if column.name.startswith("Cell"))
        _print(console, costs, (*_COST_COLUMNS[:3], *cells, *_COST_COLUMNS[3:]), notes=False)
    if missing := missing_line(results):
        console.print()
        console.print(Text(missing, style="yellow"))
        rows = tables.failure_table(results).rows
        for row in rows[:_FAILURE_LINES]:
            method, task, size, places, status, error = (cell.text for cell in row)
            line = f"  {method}, {task}, {size} labels, subset/seed {places}: {status}{': ' if error else ''}{error}"
            console.print(Text(line, style="yellow"), soft_wrap=True)
        if len(rows) > _FAILURE_LINES:
            console.print(Text(f"  and {len(rows) - _FAILURE_LINES} more in report.html", style="yellow"))


def _print(
    console: Console,
    table: Table,
    columns: tuple[str, ...] = (),
    *,
    stacked: bool = False,
    details: bool = False,
    notes: bool = True,
) -> None:
    """One table. columns: the names to show, all where empty; details: of numbers; stacked: under them."""
    if not table.rows:
        return
    wanted = [k for k, column in enumerate(table.columns) if not columns or column.name in columns]
    shown = [k for k in wanted if any(row[k].text != "-" for row in table.rows)]
    if console.width < _WIDE:
        shown = [k for k in shown if table.columns[k].name not in _LEFT_OUT_WHERE_NARROW]
    rich = RichTable(
        title=Text(table.title), box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False
    )
    for k in shown:
        column = table.columns[k]
        rich.add_column(
            Text(column.name), justify="right" if column.numeric else "left", no_wrap=k == 0, overflow="fold"
        )
    for row in table.rows:
        rich.add_row(*(_text(row[k], details and table.columns[k].numeric, stacked) for k in shown))
    console.print()
    console.print(rich)
    for note in table.notes if notes else ():
        console.print(Text(note, style="dim"))


def _text(cell: Cell, detail: bool, stacked: bool) -> Text:
    text = Text(cell.text, style=_STYLES[cell.tone])
    if detail and cell.detail:
        text.append("\n" if stacked else " ").append(cell.detail, style="dim")
    return text
