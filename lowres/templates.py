"""The `[templates]` table: which inline templates of a Wikipedia keep their text, and how it is made.

Tables for several languages are shipped with the package (`lowres/corpus/templates/*.toml`); a language card adds to
them in the same form. The rules themselves are in `lowres.corpus.templates`.
"""

from typing import Any, Literal

from pydantic import field_validator, model_validator

from lowres.fingerprint import Spec, added_later

Names = tuple[str, ...]


class Numbers(Spec):
    """How a wiki writes numbers: what `{{formatnum:1234.5}}` shows."""

    decimal: str = "."
    thousands: str = ""
    """Between groups of digits; none: digits are not grouped."""
    grouping: Literal["threes", "indian"] = "threes"
    """"indian": three digits, then twos: 12,34,567."""
    digits: str = ""
    """The ten digits from zero on; none: ASCII."""

    @field_validator("digits")
    @classmethod
    def _digits_are_ten(cls, value: str) -> str:
        if len(value) not in (0, 10):
            raise ValueError(f"it has {len(value)} characters; ten are needed, from zero to nine")
        return value


class Dates(Spec):
    """How a wiki writes dates. In the patterns stand {day}, {month} and {year}; in those of `as_of` {date}."""

    months: Names = ()
    """Twelve names; none: months are numbers."""
    full: str = "{year}-{month:02}-{day:02}"
    day_first: str = ""
    """Where a template has `df=yes`; none: as `full`."""
    month: str = "{year}-{month:02}"
    """Month and year alone."""
    as_of: str = "{date}"
    as_of_year: str = "{date}"
    """A year alone."""

    @field_validator("months")
    @classmethod
    def _months_are_twelve(cls, value: Names) -> Names:
        if len(value) not in (0, 12):
            raise ValueError(f"it has {len(value)} names; twelve are needed, from January on")
        return value

    @model_validator(mode="after")
    def _patterns_are_whole(self) -> "Dates":
        parts = {"year": 1, "month": self.months[0] if self.months else 1, "day": 1}
        wanted = {"full": parts, "day_first": parts, "month": parts, "as_of": {"date": ""}, "as_of_year": {"date": ""}}
        for name, known in wanted.items():
            try:
                getattr(self, name).format(**known)
            except (LookupError, ValueError):
                fields = ", ".join(f"{{{field}}}" for field in known)
                raise ValueError(f"{name} is {getattr(self, name)!r}; what may stand in it is {fields}") from None
        return self


def _rule() -> Any:
    return added_later((), neutral=())


class TemplateTable(Spec):
    """Rule -> names of templates. A name ending in `*` stands for all that begin so up to a hyphen or slash: `lang-*`.

    A name in a later table (any language, the language, its card) replaces what an earlier one says of it.
    """

    first: Names = _rule()
    """The first argument."""
    second: Names = _rule()
    """The second."""
    last: Names = _rule()
    """The last without a name."""
    joined: Names = _rule()
    """All arguments without a name, one behind the other."""
    hyphenated: Names = _rule()
    """... with hyphens in between."""
    lists: Names = _rule()
    """... each on a line of its own."""
    quotation: Names = _rule()
    """The first argument, or `text` or `quote`, as a paragraph."""
    number: Names = _rule()
    """A number in the language's own way, as `formatnum`."""
    convert: Names = _rule()
    """Number or range, and unit, without the conversion."""
    value: Names = _rule()
    """Number, power of ten and unit."""
    power: Names = _rule()
    """Times ten to the power of the first argument."""
    fraction: Names = _rule()
    """1/2."""
    date: Names = _rule()
    """Year, month, day."""
    as_of: Names = _rule()
    """Likewise, with the words of `dates.as_of`."""
    ipa: Names = _rule()
    """A transcription; in brackets where it brings none."""
    ipa_parts: Names = _rule()
    """A transcription in pieces, between slashes."""
    nihongo: Names = _rule()
    """Text (Japanese, transliteration)."""
    han: Names = _rule()
    """Chinese characters, traditional ones before simplified."""
    interlanguage: Names = _rule()
    """A link that names a page of another wiki: its label, else the page's local name."""
    music: Names = _rule()
    """Accidentals: ♭, ♯, ♮."""
    harvard: Names = _rule()
    """Authors (year)."""
    title: Names = _rule()
    """The page's title."""
    drop: Names = _rule()
    """Nothing, whatever an earlier table says."""
    shows: dict[str, str] = added_later({}, neutral={})
    """Name -> what it shows: {1}, {2} and {name} are arguments. Where all of them are empty, nothing is shown."""
    units: dict[str, str] = added_later({}, neutral={})
    """Code of a unit in `convert` -> how it is written."""
    numbers: Numbers | None = added_later(None, neutral=None)
    dates: Dates | None = added_later(None, neutral=None)

    @model_validator(mode="before")
    @classmethod
    def _names_are_as_in_the_text(cls, content: Any) -> Any:
        """Names in lower case with spaces, in order, so that two ways to write a table are one."""
        if not isinstance(content, dict):
            return content
        plain = dict(content)
        for rule, names in content.items():
            if rule in RULES and isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
                plain[rule] = tuple(sorted({plain_name(name) for name in names}))
            elif rule == "shows" and isinstance(names, dict):
                plain[rule] = {plain_name(str(name)): shown for name, shown in names.items()}
        return plain

    @model_validator(mode="after")
    def _a_name_has_one_rule(self) -> "TemplateTable":
        found: dict[str, str] = {}
        for rule in (*RULES, "shows"):
            for name in getattr(self, rule):
                if name in found:
                    raise ValueError(f"{name!r} stands under {found[name]} and under {rule}; one rule is enough")
                found[name] = rule
        return self

    def names(self) -> dict[str, tuple[str, str]]:
        """Name of a template -> (its rule, what it shows where the rule is "shows")."""
        found = {name: (rule, "") for rule in RULES for name in getattr(self, rule)}
        return found | {name: ("shows", shown) for name, shown in self.shows.items()}


def plain_name(name: str) -> str:
    """A template's name as tables hold it: in lower case, spaces for underscores."""
    return " ".join(name.lower().replace("_", " ").split())


RULES = tuple(name for name, info in TemplateTable.model_fields.items() if info.annotation == Names)
