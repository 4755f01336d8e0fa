"""new and task add: commands that write recipes and cards into the working directory."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from lowres.cli.options import Set

_Kind = Literal["classification", "multi-label"]  # lowres.cards.TaskKind, which is slow to import for a line of help


def new(
    language: Annotated[
        str, typer.Argument(metavar="LANG", help="A Wikipedia's code (vi, zh-yue), or ISO 639-3 (vie, yue).")
    ],
    source: Annotated[str, typer.Option("--from", help="The recipe to start from.")] = "vi/compare",
    dump: Annotated[
        Path | None, typer.Option(help="A pages-articles dump on this machine; it is pinned by checksum.")
    ] = None,
    tasks: Annotated[list[str] | None, typer.Option("--task", help="A task card in that language; repeatable.")] = None,
    overrides: Set = None,
) -> None:
    """Write a recipe and cards for another language below the working directory."""
    from lowres.scaffold import new_language

    for path in new_language(language, source, dump, tasks or [], overrides or []):
        typer.echo(f"wrote {path}")


def task_add(
    file: Annotated[Path, typer.Argument(help="CSV, TSV, JSON lines or Parquet.")],
    text: Annotated[str, typer.Option(help="The column that holds the text.")],
    language: Annotated[str, typer.Option(help="ISO 639-3 code of the language; it is never guessed.")],
    label: Annotated[str | None, typer.Option(help="The column that holds the label, or the labels.")] = None,
    kind: Annotated[_Kind, typer.Option(help="One label a text, or several or none.")] = "classification",
    label_separator: Annotated[str | None, typer.Option(help="multi-label: between labels in one field.")] = None,
    label_column: Annotated[
        list[str] | None, typer.Option(help="multi-label: a column of 0 and 1, named like its label; repeatable.")
    ] = None,
    group: Annotated[str | None, typer.Option(help="A column whose equal values must not straddle splits.")] = None,
    name: Annotated[str | None, typer.Option(help="The task's name; the file's by default.")] = None,
    encoding: Annotated[str, typer.Option(help="The file's encoding.")] = "utf-8",
) -> None:
    """Make a task card of your own labelled file, and show its labels, splits and duplicates."""
    from lowres.tasks.add import add_task

    added = add_task(
        file,
        text=text,
        label=label,
        kind=kind,
        label_separator=label_separator,
        label_columns=label_column or (),
        group=group,
        language=language,
        name=name,
        encoding=encoding,
    )
    typer.echo(added.described())
