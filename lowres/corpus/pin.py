"""Pinning a Wikipedia dump: its date, URLs and checksums, as the dumps site lists them, into a corpus card."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from lowres.cards import CardFile, CorpusCard, read_toml, write_card
from lowres.download import Patience, read_text
from lowres.errors import DataError
from lowres.faults import validated
from lowres.wikipedias import Edition

DUMPS = "https://dumps.wikimedia.org"
_STATEMENT = """\
The {name} Wikipedia as it stood on the day of the dump. Writers: volunteers; how many, of what age, from where,
whether it is their first language: unknown. Varieties and orthographies: unknown. Share of articles written by bots:
unknown. Share translated, or translated by machine: unknown. Text: Wikipedia contributors, CC BY-SA 4.0.
"""


@dataclass(frozen=True)
class Dump:
    """A dump that is complete: the multistream articles and their index."""

    date: str
    files: tuple[CardFile, ...]


@dataclass(frozen=True)
class Pinned:
    """A card that names a dump. new: whether it was written now."""

    path: Path
    name: str
    dump: Dump
    new: bool


def corpus_card(edition: Edition, name: str, date: str, files: list[dict[str, Any]]) -> str:
    """The TOML of a corpus card whose data statement says what is unknown."""
    card = {
        "card": "corpus",
        "name": name,
        "language": edition.iso,
        "script": edition.script,
        "licence": "CC BY-SA 4.0",
        "format": "mediawiki",
        "date": date,
        "statement": _STATEMENT.format(name=edition.name),
    }
    blocks = ("\n[[files]]\n" + tomli_w.dumps(file) for file in files)
    return tomli_w.dumps(card, multiline_strings=True) + "".join(blocks)


def pin(edition: Edition, name: str, base_url: str, patience: Patience) -> Pinned:
    """Writes the newest complete dump into `corpora/NAME.toml`, or into the placeholders of the card that stands there.

    Raises DataError where a card stands there that is pinned to something else: nobody's numbers move by themselves.
    """
    path = Path("corpora") / f"{name}.toml"
    before = read_toml(path) if path.is_file() else None
    dump = newest_dump(edition, base_url, patience)
    files = [file.model_dump(exclude_none=True) for file in dump.files]
    if before is None:
        write_card(path, corpus_card(edition, name, dump.date, files))
        return Pinned(path, name, dump, new=True)
    if _has_placeholders(before):
        _fill_placeholders(path, edition, dump.date, files)
        return Pinned(path, name, dump, new=True)
    card = validated(CorpusCard, before, str(path))
    if card.date == dump.date and [file.url for file in card.files] == [file.url for file in dump.files]:
        return Pinned(path, name, dump, new=False)
    raise DataError(
        f"{path}: is pinned to {card.date}, the newest complete dump is of {dump.date}; remove the card to pin it "
        f"again, or keep both: lowres corpus pin {edition.wiki} --name {name}-{dump.date}"
    )


def newest_dump(edition: Edition, base_url: str, patience: Patience) -> Dump:
    """The newest dump whose articles and their index are done. Raises DataError where the site names none."""
    base = f"{base_url.rstrip('/')}/{edition.database}"
    listing = read_text(f"{base}/", patience)
    if listing is None:
        raise DataError(f"{base}/: there is no such folder; is --base-url the root of a copy of {DUMPS}?")
    dates = sorted(set(re.findall(r'href="(?:[^"]*/)?(\d{8})/?"', listing)), reverse=True)
    for date in dates:
        files = _files(edition.database, base, date, read_text(f"{base}/{date}/dumpstatus.json", patience))
        if files:
            return Dump(date, files)
    looked = f"of {', '.join(dates)} none is complete" if dates else "it lists no dates"
    raise DataError(f"{base}/: no dump to pin: {looked}; try again in a day, or name another copy with --base-url")


def _files(database: str, base: str, date: str, status: str | None) -> tuple[CardFile, ...]:
    """The articles and their index; nothing where they are not done, or not one file each.

    Large wikis are dumped in parts, which another job (...recombine) puts together: the names tell the whole ones.
    """
    wanted = {
        "all": f"{database}-{date}-pages-articles-multistream.xml.bz2",
        "index": f"{database}-{date}-pages-articles-multistream-index.txt.bz2",
    }
    done = _done_files(status)
    if not all(name in done for name in wanted.values()):
        return ()
    try:
        return tuple(
            CardFile(role=role, sha1=done[name]["sha1"], bytes=done[name]["size"], url=f"{base}/{date}/{name}")
            for role, name in wanted.items()
        )
    except (KeyError, TypeError, ValidationError):  # a file without size or checksum is not done, whatever its job says
        return ()


def _done_files(status: str | None) -> dict[str, Any]:
    """Name -> what dumpstatus.json says of it, of the multistream jobs that are done."""
    try:
        jobs = json.loads(status or "{}")["jobs"]
        return {
            name: said
            for job in ("articlesmultistreamdump", "articlesmultistreamdumprecombine")
            if jobs.get(job, {}).get("status") == "done"
            for name, said in jobs[job].get("files", {}).items()
        }
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError):  # being written, or of another form: not done
        return {}


def _has_placeholders(content: dict[str, Any]) -> bool:
    """Whether a card has no checksum yet."""
    digits = [str(file.get(kind, "")) for file in content.get("files", []) for kind in ("sha256", "sha1")]
    return not any(re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", text) for text in digits)


def _fill_placeholders(path: Path, edition: Edition, date: str, files: list[dict[str, Any]]) -> None:
    """Puts date and files into a card; all else, a user's own words too, stays as it stands."""
    import tomlkit

    content = tomlkit.parse(path.read_text(encoding="utf-8"))
    if content.get("card") != "corpus" or content.get("language") != edition.iso:
        raise DataError(f"{path}: is no corpus card in {edition.iso!r}; remove it, or pin to another card with --name")
    content["date"] = date
    blocks = tomlkit.aot()
    for file in files:
        blocks.append(tomlkit.item(file))
    content["files"] = blocks
    write_card(path, tomlkit.dumps(content))
