"""fetch: bytes from elsewhere."""

from typing import Annotated

import typer

from lowres.cli.options import Mirror, Offline, StoreFolder
from lowres.errors import Stopped


def fetch(
    name: Annotated[str, typer.Argument(metavar="CARD", help="A card's path, or its name: vi/uit_vsfc_sentiment.")],
    write: Annotated[
        bool, typer.Option("--write", help="Fill in the sha256 of files whose card has none yet.")
    ] = False,
    store: StoreFolder = None,
    mirror: Mirror = None,
    offline: Offline = False,
) -> None:
    """Find a card's files, download what is not at hand, check it. Broken off, it goes on where it was."""
    from rich.console import Console

    from lowres import api
    from lowres.cards import fill_in, read_data_card
    from lowres.cli.live import Downloads
    from lowres.download import Patience
    from lowres.fetch import Finder, all_mirrors
    from lowres.fingerprint import file_sha256

    card, path = read_data_card(name)
    opened = api.open_store(store)
    try:
        with Downloads(Console(stderr=True, highlight=False)) as downloads:
            patience = Patience(on_wait=downloads.said)
            finder = Finder(opened, all_mirrors(mirror), offline, downloads.moved, patience)
            places = [finder.find(card, path, file) for file in card.files]
    except KeyboardInterrupt:
        raise Stopped(f"stopped; what was downloaded is kept, `lowres fetch {name}` goes on") from None
    for file, place in zip(card.files, places, strict=True):
        typer.echo(f"{card.name} ({file.role}): {place}")
    if all(file.sha256 for file in card.files):
        return
    checksums = [file.sha256 or file_sha256(place) for file, place in zip(card.files, places, strict=True)]
    for file, sha256 in zip(card.files, checksums, strict=True):
        typer.echo(f"{card.name} ({file.role}): sha256 = {sha256}")
    if write:
        fill_in(path, checksums)
        typer.echo(f"wrote {path}")
    else:
        typer.echo(f"not in the card yet: lowres fetch {name} --write")
