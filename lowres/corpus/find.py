"""Which corpus is meant by a name: a folder, a card, a raw file, or the first digits of an id."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from lowres.artifacts import Corpus, Manifest, Node
from lowres.cards import CorpusCard, names_of, read_card
from lowres.corpus.spec import BUILD_CORPUS, CorpusSpec
from lowres.errors import DataError, RecipeError
from lowres.fingerprint import file_sha256
from lowres.store import Store

CARD_COPY = "card.toml"
"""The card that a copied corpus was built from, beside its tables."""

_ID = re.compile(r"[0-9a-f]{4,64}")


@dataclass(frozen=True)
class FoundCorpus:
    """A corpus that stands. name: as the user gave it. card: what says where it comes from; None: nobody does."""

    name: str
    corpus: Corpus
    manifest: Manifest
    card: CorpusCard | None


def find_corpus(name: str, open_store: Callable[[], Store]) -> FoundCorpus:
    """A corpus by its folder, the card or raw file it was built from, or four or more digits of its id.

    Raises DataError where no such corpus stands, or several do; RecipeError where the name is no file, card or id.
    """
    path = Path(name)
    if (path / "manifest.json").is_file():
        return _at(name, path)
    if path.suffix != ".toml" and path.exists():
        return _only(name, _of_files(path, open_store()), f"no corpus of it stands; `lowres corpus build {name}`")
    if _ID.fullmatch(name) and name not in names_of("corpora"):
        return _only(name, _of_id(name, open_store()), "no artifact's id begins so")
    card, _ = read_card(name, CorpusCard)
    store, sources = open_store(), tuple(file.pinned for file in card.texts)
    default = Node(BUILD_CORPUS, CorpusSpec.of(card)).id
    if store.has(default):
        return _at(name, store.path(default))
    others = [folder.name[:12] for folder in _of_sources(sources, store)]
    hint = f"; with other settings there is {', '.join(others)}" if others else ""
    raise DataError(
        f"{name}: no corpus of it with the default settings stands in {store.root}; "
        f"`lowres corpus build {name}` builds it{hint}"
    )


def _at(name: str, folder: Path) -> FoundCorpus:
    manifest = _manifest(folder)
    if manifest.stage != BUILD_CORPUS.name:
        raise DataError(f"{name}: it is an artifact of {manifest.stage}, and a corpus is needed here")
    try:
        CorpusSpec.model_validate(manifest.spec)
    except ValidationError:
        raise DataError(
            f"{name}: it was built by lowres {manifest.lowres}, whose settings this lowres does not know"
        ) from None
    return FoundCorpus(name, Corpus(folder), manifest, _card_of(folder, manifest))


def _manifest(folder: Path) -> Manifest:
    try:
        return Manifest.read(folder)
    except (ValidationError, UnicodeDecodeError):
        raise DataError(f"{folder}: its manifest.json is damaged; build the corpus again") from None


def _only(name: str, folders: list[Path], otherwise: str) -> FoundCorpus:
    if not folders:
        raise DataError(f"{name}: {otherwise}")
    if len(folders) > 1:
        raise DataError(f"{name}: it may be {', '.join(f.name[:12] for f in folders)}; name one of these ids")
    return _at(name, folders[0])


def _of_id(digits: str, store: Store) -> list[Path]:
    found = (store.root / "artifacts" / digits[:2]).glob(f"{digits}*/manifest.json")
    return sorted(path.parent for path in found)


def _of_files(path: Path, store: Store) -> list[Path]:
    """The corpora in a store that were built from a raw file, or from the files of a folder."""
    paths = files_at(path)
    return _of_sources(tuple(map(file_sha256, paths)), store) if paths else []


def files_at(path: Path) -> list[Path]:
    """The file, or the files of the folder in the order in which a corpus is built from them."""
    return [path] if path.is_file() else sorted(found for found in path.rglob("*") if found.is_file())


def _of_sources(sources: tuple[str, ...], store: Store) -> list[Path]:
    found = (path.parent for path in (store.root / "artifacts").glob("*/*/manifest.json"))
    return sorted(folder for folder in found if raw_files(_manifest(folder)) == sources)


def raw_files(manifest: Manifest) -> tuple[str, ...]:
    """SHA-256 of the raw files that a corpus was built from; empty for another artifact."""
    if manifest.stage != BUILD_CORPUS.name:
        return ()
    return (manifest.spec["source_sha256"], *manifest.spec.get("more_sha256", ()))


def _card_of(folder: Path, manifest: Manifest) -> CorpusCard | None:
    """The card beside a copied corpus, else the first in the library with the same raw files."""
    if (folder / CARD_COPY).is_file():
        return read_card(str(folder / CARD_COPY), CorpusCard)[0]
    return next((card for card, _ in library_cards(raw_files(manifest))), None)


def library_cards(sources: tuple[str, ...]) -> Iterator[tuple[CorpusCard, Path]]:
    """Corpus cards in the library, with their files, that are read from just these raw files."""
    for path in names_of("corpora").values():
        try:
            card, _ = read_card(str(path), CorpusCard)
        except RecipeError:  # a card of another kind, or a faulty one that nobody asked for
            continue
        if tuple(file.sha256 for file in card.texts) == sources:
            yield card, path
