"""Starting another language: a recipe and cards made from an existing recipe, with honest unknowns."""

from pathlib import Path

import tomli_w

from lowres.cards import check_language, find_file, read_toml
from lowres.errors import RecipeError
from lowres.fingerprint import file_sha256
from lowres.recipe import apply_override

_LANGUAGE_CARD = """card = "language"
iso = "{iso}"
wiki = "{wiki}"
name = "{name}"
endonym = "unknown"
script = "unknown"
direction = "unknown"
"""

_CORPUS_CARD = """card = "corpus"
name = "{wiki}/wikipedia"
language = "{iso}"
script = "{script}"
licence = "CC BY-SA 4.0"
format = "mediawiki"
date = "{date}"
statement = \"\"\"
{name} Wikipedia. Variety: unknown. Share of articles written by bots: unknown. Makers: volunteers, otherwise unknown.
\"\"\"

[[files]]
role = "all"
{where}
"""


def new_language(iso: str, source: str, dump: Path | None, tasks: list[str], overrides: list[str]) -> list[Path]:
    """Writes `corpora/WIKI/{{language,wikipedia}}.toml` and `recipes/ISO/NAME.toml`; returns their paths.

    The corpus card of a language whose dump is not at hand is left unpinned, and `lowres check` says so.
    Raises RecipeError where the language is unknown or a file stands already.
    """
    import pycountry

    known = pycountry.languages.get(alpha_3=iso)
    try:
        check_language(iso)
    except ValueError as error:
        raise RecipeError(f"new {iso}: {error}") from error
    assert known is not None  # check_language looked it up
    wiki = getattr(known, "alpha_2", iso)
    from_path = find_file("recipes", source)
    content = read_toml(from_path)
    content.update(name=f"{iso}-{from_path.stem}", language=iso, corpus=f"{wiki}/wikipedia", tasks=list(tasks))
    if not tasks:
        content.pop("train_sizes", None)
    for override in overrides:
        apply_override(content, override)
    files = {
        Path("corpora") / wiki / "language.toml": _LANGUAGE_CARD.format(iso=iso, wiki=wiki, name=known.name),
        Path("corpora") / wiki / "wikipedia.toml": _corpus_card(iso, wiki, known.name, dump),
        Path("recipes") / iso / f"{from_path.stem}.toml": _header(iso, from_path, tasks) + tomli_w.dumps(content),
    }
    for path in files:
        if path.exists():
            raise RecipeError(f"{path}: is there already; remove it, or edit it by hand")
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(files)


def _header(iso: str, source: Path, tasks: list[str]) -> str:
    missing = "" if tasks else f"# no task yet: lowres task add FILE --text COLUMN --label COLUMN --language {iso}\n"
    return (
        f"# lowres run recipes/{iso}/{source.stem}.toml      made from {source.name} by `lowres new {iso}`\n{missing}\n"
    )


def _corpus_card(iso: str, wiki: str, name: str, dump: Path | None) -> str:
    if dump is None:
        url = f"https://dumps.wikimedia.org/{wiki}wiki/DATE/{wiki}wiki-DATE-pages-articles-multistream.xml.bz2"
        where = f'url = "{url}"\nsha256 = "unknown: of the dump you pin, in 64 digits"\nbytes = 0'
        return _CORPUS_CARD.format(wiki=wiki, iso=iso, script="unknown", date="unknown", name=name, where=where)
    if not dump.is_file():
        raise RecipeError(f"--dump {dump}: no such file")
    where = f'path = "{dump.resolve()}"\nsha256 = "{file_sha256(dump)}"\nbytes = {dump.stat().st_size}'
    digits = "".join(part for part in dump.name.split("-") if part.isdigit())
    date = digits if len(digits) == 8 else "unknown"
    return _CORPUS_CARD.format(wiki=wiki, iso=iso, script="unknown", date=date, name=name, where=where)
