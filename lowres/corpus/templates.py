"""Inline templates whose text belongs to the sentence: `{{lang|fr|bonjour}}` -> `bonjour`.

Everything else in double braces (infoboxes, citations, maintenance notes, navigation) is left out of the text. A rule
is a function of the template's arguments; a caller adds its own by passing a larger mapping to `wikitext.clean`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Arguments:
    """What stands in a template, already cleaned. positional: in order, without the name; title: of the page."""

    name: str
    positional: tuple[str, ...]
    named: Mapping[str, str]
    title: str = ""

    def get(self, position: int) -> str:
        """The positional argument (from 1), given by place or as `1=...`; '' where it is missing."""
        if len(self.positional) >= position:
            return self.positional[position - 1].strip()
        return self.named.get(str(position), "").strip()


Rule = Callable[[Arguments], str]

_UNITS = MappingProxyType(
    {
        "km2": "km²", "sqkm": "km²", "m2": "m²", "sqm": "m²", "cm2": "cm²", "mi2": "sq mi", "sqmi": "sq mi",
        "m3": "m³", "km3": "km³", "cm3": "cm³", "cuft": "cu ft", "sqft": "sq ft", "C": "°C", "F": "°F", "mph": "mph",
        "kph": "km/h", "lbs": "lb", "nmi": "nmi", "m/s2": "m/s²", "/km2": "/km²", "PD/sqkm": "/km²",
    }
)  # fmt: skip
_JOINERS = MappingProxyType(
    {
        "-": "-",
        "–": "–",
        "to": "–",
        "to(-)": "–",
        "x": "×",
        "by": "×",
        "*": "×",
        "+/-": "±",
        "±": "±",
        "and": ",",
        "or": "/",
    }
)


def _first(arguments: Arguments) -> str:
    return arguments.get(1)


def _second(arguments: Arguments) -> str:
    return arguments.get(2)


def _literal(text: str) -> Rule:
    return lambda arguments: text


def _joined(separator: str) -> Rule:
    return lambda arguments: separator.join(part.strip() for part in arguments.positional if part.strip())


def _convert(arguments: Arguments) -> str:
    """`{{convert|5|km|mi}}` -> `5 km`; `{{convert|3|x|4|m}}` -> `3 × 4 m`. The conversion itself is left out."""
    parts = [part.strip() for part in arguments.positional]
    words = parts[:1]
    rest = parts[1:]
    while len(rest) >= 2 and rest[0] in _JOINERS:
        words += [_JOINERS[rest[0]], rest[1]]
        rest = rest[2:]
    unit = rest[0] if rest else ""
    return " ".join([*words, _UNITS.get(unit, unit)]).strip()


def _value(arguments: Arguments) -> str:
    """`{{val|5.3|u=km}}` -> `5.3 km`."""
    return f"{arguments.get(1)} {arguments.named.get('u', arguments.named.get('ul', ''))}".strip()


def _fraction(arguments: Arguments) -> str:
    """`{{frac|1|2}}` -> `1/2`; `{{frac|3|1|2}}` -> `3 1/2`."""
    parts = [part.strip() for part in arguments.positional]
    return " ".join(filter(None, [" ".join(parts[:-2]), "/".join(parts[-2:])]))


def _nihongo(arguments: Arguments) -> str:
    """`{{nihongo|Tokyo|東京|Tōkyō}}` -> `Tokyo (東京, Tōkyō)`."""
    more = ", ".join(filter(None, [arguments.get(2), arguments.get(3)]))
    return f"{arguments.get(1)} ({more})" if more and arguments.get(1) else arguments.get(1) or more


def _quotation(arguments: Arguments) -> str:
    text = arguments.get(1) or arguments.named.get("text", "") or arguments.named.get("quote", "")
    return f"\n{text.strip()}\n"


def _list(arguments: Arguments) -> str:
    return "\n" + "\n".join(part.strip() for part in arguments.positional) + "\n"


def _han(arguments: Arguments) -> str:
    """`{{zh|t=...|s=...|p=...}}`: the characters, without transcriptions."""
    return next((arguments.named[key].strip() for key in ("t", "c", "s") if key in arguments.named), arguments.get(1))


_FIRST = """
nowrap, nobr, nobreak, nowraplinks, không xuống dòng, small, smaller, smalldiv, nhỏ, big, bigger, large, larger, lớn
nobold, noitalic, normal, italic, strong, em2, underline, u, s, strike, b, mono, code, var, smallcaps, sc, sm, sub, sup
abbr, tooltip, hover title, sic, not a typo, visible anchor, vanchor, linktext, autolink, angbr, keypress, key press, j
center, giữa, quote inline, lq, math text, unicode, rtl, polytonic, formatnum, circa, c., floruit, as of, tính đến, dts
flag, flagu, flagcountry, country, cờ, quốc kỳ, ध्वज, देशध्वज
ill, illm, ill-wd, interlanguage link, link-interwiki, iw2, liên kết đa ngôn ngữ
"""
_SECOND = "lang, langx, transl, transliteration, trl, ngôn ngữ, font color, color, colour"
_QUOTATIONS = "quote, cquote, blockquote, quotation, bquote, trích dẫn, trích, lời trích, rquote, poem, poemquote"
_LISTS = "unbulleted list, ubl, plainlist, flatlist, hlist, bulleted list, columns-list, collist, col-list"
_LITERALS = {
    "!": "", "=": "=", "·": " · ", "•": " • ", "'": "'", "-": " ", "–": " – ", "—": " — ", "snd": " – ", "spnd": " – ",
    "spaced ndash": " – ", "ndash": "–", "mdash": "—", "em dash": "—", "nbsp": " ", "space": " ", "spaces": " ",
    "thinsp": " ", "hair space": " ", "pipe": "|", "'s": "'s", "okina": "ʻ", "ʻ": "ʻ", "dot": " · ", "middot": " · ",
    "bull": " • ", "br": "\n", "clear": "\n", "both": "\n", "break": "\n", "zwj": "\u200d", "zwnj": "\u200c",
}  # fmt: skip


def _words(table: str) -> list[str]:
    return [name.strip() for line in table.splitlines() for name in line.split(",") if name.strip()]


def _table() -> dict[str, Rule]:
    rules: dict[str, Rule] = {name: _literal(text) for name, text in _LITERALS.items()}
    for names, rule in ((_FIRST, _first), (_SECOND, _second), (_QUOTATIONS, _quotation), (_LISTS, _list)):
        rules.update(dict.fromkeys(_words(names), rule))
    rules.update(dict.fromkeys(("convert", "cvt", "chuyển đổi", "đổi"), _convert))
    rules.update(dict.fromkeys(("frac", "fraction", "sfrac", "phân số"), _fraction))
    rules.update(dict.fromkeys(("nihongo", "nihongo2", "nihongo3"), _nihongo))
    rules.update(dict.fromkeys(("pagename", "fullpagename", "लेखनाव"), lambda arguments: arguments.title))
    rules.update({"val": _value, "chem": _joined(""), "chem2": _joined(""), "zh": _han, "e": _first})
    return rules


TEMPLATES: Mapping[str, Rule] = MappingProxyType(_table())
"""Name in lower case, with spaces for underscores -> rule."""

_PREFIXES = ("lang-", "vol-", "ngôn ngữ-")
"""`{{lang-fr|bonjour}}`, Latgalian `{{vol-lv|...}}`: one template for each language."""


def rule_for(name: str, templates: Mapping[str, Rule]) -> Rule | None:
    """The rule of a template, by its name in lower case, or None where its text is left out."""
    rule = templates.get(name)
    if rule is None and name.startswith(_PREFIXES):
        return _first
    return rule
