"""corpus build and corpus pin: a corpus by itself, from a card or straight from a file; a card of the newest dump."""

from pathlib import Path
from typing import Annotated

import typer

from lowres.cli.options import Mirror, Offline, StoreFolder
from lowres.errors import Stopped

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


@app.command()
def pin(
    language: Annotated[
        str, typer.Argument(metavar="LANG", help="A Wikipedia's code (vi, zh-yue), or ISO 639-3 (vie, yue).")
    ],
    name: Annotated[str | None, typer.Option(help="The card's name. Default: <wiki>/wikipedia.")] = None,
    base_url: Annotated[
        str, typer.Option("--base-url", help="The dumps site, or a copy of it.")
    ] = "https://dumps.wikimedia.org",
) -> None:
    """Write a corpus card for the newest complete dump of a Wikipedia: date, URLs, checksums. The dump itself stays."""
    from lowres.corpus.pin import pin as pin_dump
    from lowres.download import Patience
    from lowres.errors import RecipeError
    from lowres.wikipedias import find_edition

    edition = find_edition(language)
    if edition is None:
        raise RecipeError(f"{language}: it has no Wikipedia that lowres knows of")
    patience = Patience(on_wait=lambda line: typer.echo(line, err=True))
    try:
        pinned = pin_dump(edition, name or f"{edition.folder}/wikipedia", base_url, patience)
    except KeyboardInterrupt:
        raise Stopped("stopped; nothing was written") from None
    done = "wrote" if pinned.new else "is pinned to it already:"
    typer.echo(f"{done} {pinned.path}: {edition.name} Wikipedia of {pinned.dump.date}")
    for file in pinned.dump.files:
        typer.echo(f"  {file.role:6} {file.bytes:,} bytes  {file.url}")
    if pinned.new:
        typer.echo(
            f"next: lowres fetch {pinned.name} --write   (the site gives no sha256; this checks the sha1 and adds it)"
        )
