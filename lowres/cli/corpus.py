"""corpus build: a corpus by itself, from a card or straight from a file."""

from pathlib import Path
from typing import Annotated

import typer

from lowres.cli.options import Mirror, Offline, StoreFolder

app = typer.Typer(help="Corpora by themselves.", no_args_is_help=True)


@app.command()
def build(
    source: Annotated[str, typer.Argument(metavar="CARD_OR_FILE", help="A corpus card, a file, or a folder of files.")],
    language: Annotated[
        str | None, typer.Option(help="ISO 639-3 code of a file's language; it is never guessed. A card has its own.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where the Parquet tables and their manifest are copied to.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that read and clean; all cores.")] = None,
    allow_truncated: Annotated[
        bool, typer.Option("--allow-truncated", help="Take the whole pages of a file that is cut short.")
    ] = False,
    mirror: Mirror = None,
    offline: Offline = False,
    store: StoreFolder = None,
) -> None:
    """Build a corpus from a card, or straight from a dump, JSON lines, Parquet or text."""
    from rich.console import Console

    from lowres.api import interrupts, open_store
    from lowres.cli.live import Watcher
    from lowres.experiment.corpora import build_one, copy_corpus, request_corpus, told
    from lowres.experiment.local import cores
    from lowres.fetch import Finder, mirrors_of_environment

    shelf = open_store(store)
    with Watcher(Console(stderr=True)) as watcher, interrupts() as stop:
        finder = Finder(shelf, [*(mirror or ()), *mirrors_of_environment()], offline, watcher.fetched)
        request = request_corpus(source, language, finder, allow_truncated)
        folder = build_one(request, shelf, workers or cores(), watcher, stop.is_set)
        if out is not None:
            copy_corpus(folder, out)
    for line in told(folder):
        typer.echo(line)
    typer.echo(f"corpus: {out or folder}")
