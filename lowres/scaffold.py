"""Starting another language: a recipe and cards made from an existing recipe, with honest unknowns."""

from pathlib import Path
from typing import Any

import tomli_w

from lowres.cards import find_file, read_toml, write_card
from lowres.corpus.pin import DUMPS, corpus_card
from lowres.errors import RecipeError
from lowres.fingerprint import file_sha256
from lowres.recipe import apply_override
from lowres.wikipedias import Edition, editions_in, find_edition


def new_language(code: str, source: str, dump: Path | None, tasks: list[str], overrides: list[str]) -> list[Path]:
    """Writes `corpora/WIKI/{language,wikipedia}.toml` and `recipes/LANG/NAME.toml`; returns their paths.

    code: of a Wikipedia, or ISO 639-3. LANG is the ISO code, or the wiki's where the language has several Wikipedias.
    The corpus card of a language whose dump is not at hand is left unpinned, and `lowres check` says so.
    Raises RecipeError where the language is unknown or a file stands already.
    """
    edition = find_edition(code) or _without_wikipedia(code, dump)
    short = edition.iso if len(editions_in(edition.iso)) < 2 else edition.wiki
    name = f"{edition.folder}/wikipedia"
    from_path = find_file("recipes", source)
    content = read_toml(from_path)
    content.update(name=f"{short}-{from_path.stem}", language=edition.iso, corpus=name, tasks=list(tasks))
    content["methods"] = {method: block for method, block in content["methods"].items() if not _needs_prompts(block)}
    if not tasks:
        content.pop("train_sizes", None)
    for override in overrides:
        apply_override(content, override)
    date, file = _dump_on_disk(dump) if dump else ("unknown", _dump_to_pin(edition))
    files = {
        Path("corpora") / edition.folder / "language.toml": _language_card(edition),
        Path("corpora") / f"{name}.toml": corpus_card(edition, name, date, [file]),
        Path("recipes") / short / f"{from_path.stem}.toml": _header(short, edition, from_path, tasks)
        + tomli_w.dumps(content),
    }
    for path in files:
        if path.exists():
            raise RecipeError(f"{path}: is there already; remove it, or edit it by hand")
    for path, text in files.items():
        write_card(path, text)
    return list(files)


def _needs_prompts(block: dict[str, Any]) -> bool:
    """Whether a method asks of task cards what a new one does not have: somebody who knows the language writes it."""
    return block.get("classifier", {}).get("arm") == "prompt"


def _without_wikipedia(iso: str, dump: Path | None) -> Edition:
    """Stands for an edition of a language that has none, whose dump is another wiki's."""
    import pycountry

    known = pycountry.languages.get(alpha_3=iso)
    assert known is not None  # find_edition looked it up
    if dump is None:
        raise RecipeError(
            f"{iso}: {known.name} has no Wikipedia that lowres knows of; name a dump of another wiki with --dump"
        )
    return Edition("unknown", "unknown", iso, "unknown", "unknown", "unknown", known.name)


_TEMPLATES = """
# Inline templates of this Wikipedia that keep their text, beside those that are known: docs/cards.md, Templates.
# [templates]
# first = ["a template that shows its first argument"]
"""


def _language_card(edition: Edition) -> str:
    keys = ("iso", "wiki", "name", "endonym", "script", "direction")
    return tomli_w.dumps({"card": "language", **{key: getattr(edition, key) for key in keys}}) + _TEMPLATES


def _header(short: str, edition: Edition, source: Path, tasks: list[str]) -> str:
    made = f"# lowres run recipes/{short}/{source.stem}.toml      made from {source.name} by `lowres new {short}`\n"
    add = f"# no task yet: lowres task add FILE --text COLUMN --label COLUMN --language {edition.iso}\n"
    return f"{made}{'' if tasks else add}\n"


def _dump_on_disk(dump: Path) -> tuple[str, dict[str, Any]]:
    """Its date, where its name tells, and its block of the card."""
    if not dump.is_file():
        raise RecipeError(f"--dump {dump}: no such file")
    digits = "".join(part for part in dump.name.split("-") if part.isdigit())
    file = {"path": str(dump.resolve()), "sha256": file_sha256(dump), "bytes": dump.stat().st_size}
    return digits if len(digits) == 8 else "unknown", {"role": "all", **file}


def _dump_to_pin(edition: Edition) -> dict[str, Any]:
    """The block of a card that is still to be pinned, and says how."""
    database = edition.database
    url = f"{DUMPS}/{database}/DATE/{database}-DATE-pages-articles-multistream.xml.bz2"
    return {"role": "all", "url": url, "sha256": f"unknown: lowres corpus pin {edition.wiki}", "bytes": 0}
