"""Building one corpus by itself: from a card, or straight from a file or a folder of files."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from lowres.artifacts import CORPUS_SPLITS, Manifest, Node, Spec
from lowres.cards import CorpusCard, check_language, read_card
from lowres.corpus.dataset_card import write_dataset_card
from lowres.corpus.find import files_at, library_cards
from lowres.corpus.source import Source
from lowres.corpus.spec import BUILD_CORPUS, CorpusSpec, Filters, Markup, Splits, template_additions
from lowres.errors import DataError, RecipeError, Stopped, StoreError
from lowres.experiment.drive import Observer
from lowres.experiment.jobs import Job
from lowres.experiment.local import LocalExecutor
from lowres.fetch import Finder
from lowres.fingerprint import file_sha256
from lowres.store import Store, disk_faults
from lowres.text.normalise import Normalisation

_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_TO_STOP = 20.0
_LOOKED_AT = 1 << 12


@dataclass(frozen=True)
class CorpusRequest:
    """A corpus to be built. files: raw files by sha256. name: for progress. card: the card's file, if known."""

    name: str
    node: Node
    files: dict[str, Path]
    card: Path | None = None


class CorpusSettings(Spec):
    """What `corpus build --set` sets: a part of a recipe, and named as there."""

    normalisation: Normalisation = Normalisation()
    markup: Markup = Markup()
    filters: Filters = Filters()
    splits: Splits = Splits()
    max_bytes: int | None = Field(default=None, ge=1)


def request_corpus(
    source: str,
    language: str | None,
    finder: Finder,
    allow_truncated: bool = False,
    settings: CorpusSettings | None = None,
) -> CorpusRequest:
    """What a card, a file or a folder of files asks for. language: ISO 639-3; a file needs one, a card has its own.

    Raises RecipeError where the language is missing, unknown or not the card's, DataError where files cannot be had.
    """
    settings = settings or CorpusSettings()
    if settings.filters.language.against:
        raise RecipeError("--set: filters.language.against needs other corpora built first; build by a recipe")
    path = Path(source)
    if path.suffix != ".toml" and path.exists():
        return _of_files(path, language, allow_truncated, settings)
    card, card_path = read_card(source, CorpusCard)
    if language is not None and language != card.language:
        raise RecipeError(f"--language {language}: {card_path} says {card.language!r}; leave the option out")
    files = {file.pinned: finder.find(card, card_path, file) for file in card.texts}
    spec = CorpusSpec.of(card, allow_truncated=allow_truncated, **dict(settings))
    return CorpusRequest(card.name, Node(BUILD_CORPUS, spec), files, card_path)


def _of_files(path: Path, language: str | None, allow_truncated: bool, settings: CorpusSettings) -> CorpusRequest:
    if language is None:
        raise RecipeError(f"{path}: a file does not say its language; add --language and its ISO 639-3 code")
    try:
        check_language(language)
    except ValueError as fault:
        raise RecipeError(f"--language {fault}") from None
    paths = files_at(path)
    if not paths:
        raise DataError(f"{path}: the folder holds no files; name a file or a folder of files")
    form = _format(paths[0])
    hashes = [file_sha256(found) for found in paths]
    spec = CorpusSpec(
        source_sha256=hashes[0],
        more_sha256=tuple(hashes[1:]),
        format=form,
        language=language,
        documents="file" if path.is_dir() and form == "text" else "blank-line",
        allow_truncated=allow_truncated,
        templates=template_additions(language, form),
        **dict(settings),
    )
    card = next((card_path for card, card_path in library_cards(tuple(hashes)) if card.language == language), None)
    return CorpusRequest(path.name, Node(BUILD_CORPUS, spec), dict(zip(hashes, paths, strict=True)), card)


def _format(path: Path) -> Literal["mediawiki", "jsonl", "parquet", "text"]:
    """mediawiki, jsonl, parquet or text, as the first bytes say; a name tells nothing."""
    with Source(path) as source:
        begun = next(source.chunks(_LOOKED_AT), b"")[:_LOOKED_AT].removeprefix(b"\xef\xbb\xbf").lstrip()
    if path.name.endswith(("index.txt", "index.txt.bz2")):
        raise DataError(f"{path}: it is the index of a dump; name the dump itself, no index is needed")
    if begun.startswith(b"PAR1"):
        return "parquet"
    return "mediawiki" if begun.startswith(b"<") else "jsonl" if begun.startswith(b"{") else "text"


def build_one(
    request: CorpusRequest, store: Store, workers: int, observer: Observer, stop_requested: Callable[[], bool]
) -> Path:
    """The folder of what is asked for, built unless it stands. Raises Stopped when asked to stop; its work is kept."""
    node = request.node
    if store.has(node.id):
        return store.path(node.id)
    executor = LocalExecutor(store.root, store.root / "logs", workers, "cpu", None, offline=True)
    job = Job.of(node, request.files, workers, "cpu")
    observer.started(node, f"{node.stage.name.replace('_', ' ')} · {request.name}")
    try:
        while not store.has(node.id):
            executor.start(job)
            _wait(executor, node, observer, stop_requested)
    finally:
        executor.close()
    return store.path(node.id)


def _wait(executor: LocalExecutor, node: Node, observer: Observer, stop_requested: Callable[[], bool]) -> None:
    """Until the job is over."""
    give_up_at: float | None = None
    while executor.running:
        if give_up_at is None and stop_requested():
            executor.stop_all()
            give_up_at = time.monotonic() + _SECONDS_TO_STOP
        for _, message in executor.events(_SECONDS_BETWEEN_LOOKS):
            if message["type"] == "progress":
                observer.progressed(node, message["done"], message["total"], message["unit"], message["note"])
            elif message["type"] == "failed":
                raise (StoreError if message.get("store") else DataError)(message["error"])
            elif message["type"] == "busy":
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        if give_up_at is not None and (not executor.running or time.monotonic() > give_up_at):
            raise Stopped("stopped; what was reached is kept, and the same command goes on from there")


def copy_corpus(folder: Path, out: Path, card: Path | None = None) -> None:
    """Copies a corpus, tables and manifest, to `out`, whole or not at all. Raises DataError where something else is.

    Beside them a README.md says, for people and for `datasets`, what it is; and the card it was built from, if known.
    """
    copied = copy_artifact(folder, out, lambda partial: write_dataset_card(partial, card))
    if not copied and not (out / "README.md").exists():  # copied by an earlier lowres
        write_dataset_card(out, card)


def copy_artifact(folder: Path, out: Path, add: Callable[[Path], None]) -> bool:
    """Copies an artifact to `out`, with what `add` writes beside it, whole or not at all. False: it is there already.

    Raises DataError where something else is.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        there = out / "manifest.json"
        if there.is_file() and there.read_bytes() == (folder / "manifest.json").read_bytes():
            return False
        raise DataError(f"--out {out}: something else is there; name a new folder, or remove it")
    partial = out.with_name(out.name + ".partial")
    with disk_faults(str(out)):
        shutil.rmtree(partial, ignore_errors=True)
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(folder, partial)
        add(partial)
        partial.replace(out)
    return True


def told(folder: Path) -> list[str]:
    """What a corpus holds and what was left out of it, in lines."""
    facts = Manifest.read(folder).facts
    documents, sizes = facts["documents"], facts["bytes"]
    parts = ", ".join(f"{split} {documents[split]:,}" for split in CORPUS_SPLITS)
    lines = [f"{sum(documents.values()):,} documents ({parts}), {sum(sizes.values()) / 1e6:,.1f} MB of text"]
    lines += [
        f"left out: {row['reason'].replace('_', ' ')}: {row['pages']:,}" for row in facts["funnel"] if row["pages"]
    ]
    return lines
