"""All Wikipedias: `wikipedias.tsv`, a row an edition.

iso: ISO 639-3; of a two-letter wiki code the code that ISO 639 gives it, so a macrolanguage where it gives one (zh:
zho), but no: nob and bh: bho, which those wikis are written in. A three-letter wiki code may be another language's in
ISO 639-3 (als: gsw, nrm: nrf). script: ISO 15924, of most of the text. endonym: what its speakers call it. `unknown`
where there is no single answer. Editions that are closed to writers are there too.
"""

import difflib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from lowres.cards import check_language
from lowres.errors import RecipeError

TABLE = Path(__file__).with_name("wikipedias.tsv")
Direction = Literal["ltr", "rtl", "unknown"]


@dataclass(frozen=True)
class Edition:
    """One Wikipedia. database: how its dumps are called, e.g. viwiki."""

    wiki: str
    database: str
    iso: str
    script: str
    direction: Direction
    endonym: str
    name: str

    @property
    def folder(self) -> str:
        """Of its cards, below `corpora/`."""
        return self.iso if self.wiki == "unknown" else self.wiki


@cache
def editions() -> tuple[Edition, ...]:
    """The whole table, by wiki code."""
    _, *rows = TABLE.read_text(encoding="utf-8").splitlines()
    return tuple(Edition(*row.split("\t")) for row in rows)  # type: ignore[arg-type]


def edition_of(wiki: str) -> Edition | None:
    """The edition of a wiki code; None where there is none."""
    return next((edition for edition in editions() if edition.wiki == wiki), None)


def editions_in(iso: str) -> list[Edition]:
    """The editions written in a language."""
    return [edition for edition in editions() if edition.iso == iso]


def find_edition(code: str) -> Edition | None:
    """The edition of a wiki code or an ISO 639-3 code; None for a language that has no Wikipedia.

    Raises RecipeError where the code is neither, or could mean more than one.
    """
    import pycountry

    named = edition_of(code)
    spoken = editions_in(code)
    if named is not None and named.iso == "unknown":
        raise RecipeError(
            f"{code}: {named.name} has no single ISO 639-3 code; write its cards by hand, with the code you mean"
        )
    if named is not None and named not in spoken:
        other = pycountry.languages.get(alpha_3=code) if len(code) == 3 else None
        if other is not None:
            raise RecipeError(
                f"{code}: the Wikipedia of that code is {named.name}, for which say {named.iso!r}; in ISO 639-3 "
                f"{code!r} is {other.name}, which has none of its own"
            )
    if named is not None:
        return named
    if len(spoken) > 1:
        each = ", ".join(f"{edition.wiki!r} ({edition.name})" for edition in spoken)
        raise RecipeError(f"{code}: {len(spoken)} Wikipedias are written in it: name one by its wiki code: {each}")
    if spoken:
        return spoken[0]
    try:
        check_language(code)
    except ValueError as error:
        near = difflib.get_close_matches(code, [edition.wiki for edition in editions() if len(edition.wiki) > 3], n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise RecipeError(f"{code}: no Wikipedia has that code{hint}, and {error}") from error
    return None
