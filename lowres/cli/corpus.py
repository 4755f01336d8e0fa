"""corpus build, show, diff, pin and train-segmenter: corpora by themselves, and what tells their words."""

import json
import shutil
from pathlib import Path
from typing import Annotated, Literal

import typer

from lowres.cli.options import Mirror, Offline, Set, StoreFolder
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
    overrides: Set = None,
    mirror: Mirror = None,
    offline: Offline = False,
    store: StoreFolder = None,
) -> None:
    """Build a corpus from a card, or straight from a dump, JSON lines, Parquet or text."""
    from rich.console import Console

    from lowres.api import interrupts, open_store
    from lowres.cli.live import Watcher
    from lowres.experiment.corpora import CorpusSettings, build_one, copy_corpus, request_corpus, told
    from lowres.fetch import Finder, all_mirrors
    from lowres.processor import cores
    from lowres.recipe import settings_of

    settings = settings_of(CorpusSettings, overrides or [])
    shelf = open_store(store)
    with Watcher(Console(stderr=True)) as watcher, interrupts() as stop:
        finder = Finder(shelf, all_mirrors(mirror), offline, watcher.fetched)
        request = request_corpus(source, language, finder, allow_truncated, settings)
        folder = build_one(request, shelf, workers or cores(), watcher, stop.is_set)
        if out is not None:
            copy_corpus(folder, out, request.card)
    for line in told(folder):
        typer.echo(line)
    typer.echo(f"corpus: {out or folder}")


_Corpus = "A card, the file or folder it was built from, a folder of `corpus build --out`, or an id's first digits."
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
def show(
    corpus: Annotated[str, typer.Argument(metavar="CARD_OR_FILE_OR_FOLDER", help=_Corpus)],
    samples: Annotated[int, typer.Option(min=0, help="Documents to show, drawn by a hash of their ids.")] = 3,
    split: Annotated[
        Literal["train", "valid", "test"] | None, typer.Option(help="Draw them from one split. Default: from all.")
    ] = None,
    as_json: Json = False,
    store: StoreFolder = None,
) -> None:
    """Print what a built corpus holds, what was left out of it and why, its source, its cost, and a few documents."""
    from lowres.api import open_store
    from lowres.cli.corpus_words import shown, shown_json
    from lowres.corpus.compare import samples as drawn
    from lowres.corpus.find import find_corpus

    found = find_corpus(corpus, lambda: open_store(store))
    few = drawn(found.corpus, samples, split)
    if as_json:
        typer.echo(json.dumps(shown_json(found, few), ensure_ascii=False))
        return
    for line in shown(found, few, shutil.get_terminal_size().columns):
        typer.echo(line)


@app.command()
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help=_Corpus)],
    b: Annotated[str, typer.Argument(metavar="B", help="Likewise.")],
    samples: Annotated[int, typer.Option(min=0, help="Documents of each kind to name, and texts to compare.")] = 3,
    as_json: Json = False,
    store: StoreFolder = None,
) -> None:
    """Compare two built corpora: documents, texts, splits, settings and what was left out. Exit code 0 either way."""
    from lowres.api import open_store
    from lowres.cli.corpus_words import different, different_json
    from lowres.corpus.compare import difference
    from lowres.corpus.find import find_corpus

    one, other = (find_corpus(name, lambda: open_store(store)) for name in (a, b))
    found = difference((one.corpus, one.manifest), (other.corpus, other.manifest), samples)
    if as_json:
        typer.echo(json.dumps(different_json(one, other, found), ensure_ascii=False))
        return
    for line in different(one, other, found, shutil.get_terminal_size().columns):
        typer.echo(line)


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


@app.command()
def train_segmenter(
    card: Annotated[str, typer.Argument(metavar="CARD", help="A treebank card: vi/ud_vtb.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting: steps=500. Repeatable.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where the segmenter is copied to.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the training.")] = 1,
    mirror: Mirror = None,
    offline: Offline = False,
    store: StoreFolder = None,
) -> None:
    """Train stanza's tokenizer on a treebank: it tells sentences and words. Stopped, it goes on where it was."""
    from rich.console import Console

    from lowres.api import interrupts, open_store
    from lowres.cli.live import Watcher
    from lowres.experiment.corpora import build_one
    from lowres.experiment.segmenters import copy_segmenter, request_segmenter, told
    from lowres.fetch import Finder, all_mirrors

    shelf = open_store(store)
    with Watcher(Console(stderr=True)) as watcher, interrupts() as stop:
        finder = Finder(shelf, all_mirrors(mirror), offline, watcher.fetched)
        request = request_segmenter(card, overrides or (), finder)
        folder = build_one(request, shelf, threads, watcher, stop.is_set)
        if out is not None:
            copy_segmenter(folder, out, request.card)
    for line in told(folder):
        typer.echo(line)
    typer.echo(f"segmenter: {out or folder}")
