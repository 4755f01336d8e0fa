"""How clean and how complete an extracted text is, measured without a line of any extractor's own code."""

import math
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

MARKS = ("{{", "}}", "[[", "]]", "{|", "|}", "<ref", "</", "''", "==", "|")
NGRAM = 4

Texts = Mapping[str, str]
"""Page id -> text."""


def left_over(texts: Texts) -> dict[str, float]:
    """Mark of wikitext -> how often it stands in the texts, per 1,000 characters. Occurrences do not overlap."""
    characters = sum(map(len, texts.values()))
    counts = {mark: sum(text.count(mark) for text in texts.values()) for mark in MARKS}
    return {mark: 1000 * count / characters if characters else 0.0 for mark, count in counts.items()}


def bars_of_text(wikitext: str) -> int:
    """How many `|` a page shows as text, such as a danda typed so: those outside templates, links, tables and tags."""
    text = "\n" + wikitext
    outer = sorted((start - 2, stop + 2) for _, start, stop, around in _pairs(text) if not around)
    kept, position = [], 0
    for start, stop in outer:
        kept.append(text[position:start])
        position = max(position, stop)
    plain = _TOKEN.sub("", "".join([*kept, text[position:]]))
    return sum(line.count("|") for line in plain.splitlines() if not line.lstrip().startswith(("|", "!")))


def bars_of_markup(texts: Texts, bars: Mapping[str, int]) -> float:
    """`|` per 1,000 characters without those that the pages show as text. bars: page id -> `bars_of_text`."""
    characters = sum(map(len, texts.values()))
    left = sum(max(0, text.count("|") - bars.get(page, 0)) for page, text in texts.items())
    return 1000 * left / characters if characters else 0.0


class _Words(dict[int, int]):
    """Code point -> itself for letters, marks and digits, else a space. `\\w` would cut words of Devanagari."""

    def __missing__(self, point: int) -> int:
        value = self[point] = point if unicodedata.category(chr(point))[0] in "LMN" else 32
        return value


_WORDS = _Words()


def ngrams(text: str) -> set[tuple[str, ...]]:
    """The runs of four words of a text, punctuation left out, each once."""
    words = unicodedata.normalize("NFC", text).translate(_WORDS).split()
    return set(zip(*(words[start:] for start in range(NGRAM)), strict=False))


@dataclass(frozen=True)
class Reference:
    """Which 4-grams of a page a tool is asked for: those that so many other tools keep, and so many in list items."""

    others: int
    in_lists: int


def recalls(
    outputs: Mapping[str, Texts],
    references: Mapping[str, Reference],
    lists: Mapping[str, set[tuple[str, ...]]],
) -> dict[str, dict[str, tuple[float, int]]]:
    """Tool -> reference -> (share of the reference's 4-grams that the tool keeps of the same page, how many there are).

    lists: page id -> 4-grams of its list items, which some tools leave out. nan where nothing is asked for.
    """
    wanted: Counter[tuple[str, str]] = Counter()
    found: Counter[tuple[str, str]] = Counter()
    for page in sorted({page for texts in outputs.values() for page in texts}):
        kept = {tool: ngrams(texts.get(page, "")) for tool, texts in outputs.items()}
        counts = Counter(ngram for own in kept.values() for ngram in own)
        listed = lists.get(page, set())
        for tool, own in kept.items():
            for name, asked in references.items():
                for ngram, count in counts.items():
                    is_kept = ngram in own
                    if count - is_kept >= (asked.in_lists if ngram in listed else asked.others) > 0:
                        wanted[tool, name] += 1
                        found[tool, name] += is_kept
    return {
        tool: {name: (found[tool, name] / (wanted[tool, name] or math.nan), wanted[tool, name]) for name in references}
        for tool in outputs
    }


# --- inline templates -------------------------------------------------------------------------------------------------

_NUMBERS = frozenset(("convert", "cvt", "chuyển đổi", "đổi"))
_SECOND = frozenset(("lang", "ngôn ngữ", "transl", "transliteration"))
_FIRST = frozenset(
    ("nowrap", "nobr", "nobreak", "không xuống dòng", "small", "nhỏ", "big", "abbr", "smallcaps", "nobold", "nihongo")
)
_PREFIXES = ("lang-", "vol-", "ngôn ngữ-")
"""Latgalian has `vol-`."""

_TOKEN = re.compile(
    r"<!--.*?(?:-->|\Z)"
    r"|<(?:ref|gallery|math|references)\b[^<>]*/>"
    r"|<(ref|gallery|math|chem|nowiki|pre|source|syntaxhighlight|timeline|references|table|imagemap)\b[^<>]*>.*?</\1\s*>"
    r"|\{\{|\}\}|\[\[|\]\]|\n[ \t:*#;]*\{\||\n[ \t]*\|\}(?!\})",
    re.S | re.I,
)
_KINDS = {"{{": "{{", "}}": "{{", "[[": "[[", "]]": "[["}


@dataclass(frozen=True)
class Inline:
    """An inline template in running text. kind: convert, lang or nowrap; start, stop: its text within the page."""

    kind: str
    start: int
    stop: int


def inline_templates(wikitext: str) -> list[Inline]:
    """The inline templates outside tables, references, file and category links, and other templates, in order."""
    text = "\n" + wikitext
    found: list[Inline] = []
    for mark, start, stop, around in _pairs(text):
        if mark == "{{" and not any(_hides(text, *each) for each in around):
            found += _read(text, start, stop)
    return [Inline(each.kind, each.start - 1, each.stop - 1) for each in found]


def _pairs(text: str) -> Iterator[tuple[str, int, int, list[tuple[str, int]]]]:
    """(mark, start and stop of what stands inside, what is open around it) of each template, link and table."""
    stack: list[tuple[str, int]] = []
    for match in _TOKEN.finditer(text):
        token = match.group()
        mark = _KINDS.get(token) or ("{|" if token.endswith(("{|", "|}")) else "")
        if not mark:
            continue
        if token in ("{{", "[[") or token.endswith("{|"):
            stack.append((mark, match.end()))
            continue
        opener = next((at for at in reversed(range(len(stack))) if stack[at][0] == mark), None)
        if opener is not None:
            start = stack[opener][1]
            del stack[opener:]
            yield mark, start, match.start(), stack


_LIST_ITEM = re.compile(r"^[*#]+(.*)", re.M)
_LINK_TARGET = re.compile(r"\[\[[^\[\]|]*\|")


def list_ngrams(wikitext: str) -> set[tuple[str, ...]]:
    """The 4-grams of list items outside tables, templates and references."""
    text = "\n" + wikitext
    kept, position = [], 0
    outer = [(start - 2, stop + 2) for mark, start, stop, around in _pairs(text) if mark != "[[" and not around]
    for start, stop in sorted(outer):
        kept.append(text[position:start])
        position = stop
    plain = _LINK_TARGET.sub("", _TOKEN.sub(_only_links, "".join([*kept, text[position:]])))
    return {ngram for line in _LIST_ITEM.findall(plain) for ngram in ngrams(line)}


def _only_links(match: re.Match[str]) -> str:
    return match.group() if match.group() in ("[[", "]]") else ""


def _hides(text: str, mark: str, start: int) -> bool:
    """Whether what stands inside this mark is no running text: a template, a table, or a link such as `[[File:`."""
    return mark != "[[" or ":" in text[start : start + 60].split("|")[0].split("]")[0]


def _read(text: str, start: int, stop: int) -> list[Inline]:
    """The template between its braces as an Inline, if it is one that shows text."""
    (_, name_stop), *arguments = _arguments(text, start, stop)
    name = text[start:name_stop].strip().lower().replace("_", " ")
    if name in _NUMBERS:
        kind, wanted = "convert", 1
    elif name in _SECOND:
        kind, wanted = "lang", 2
        if name.startswith("transl"):  # {{transl|ar|ALA|Allāh}}: the scheme may stand in between
            wanted = max(2, sum("=" not in text[begin:end] for begin, end in arguments))
    elif name.startswith(_PREFIXES):
        kind, wanted = "lang", 1
    elif name in _FIRST:
        kind, wanted = "nowrap", 1
    else:
        return []
    place = 0
    for begin, end in arguments:
        key, equals, value = text[begin:end].partition("=")
        if equals and re.fullmatch(r"\s*[\w-]+\s*", key):
            shown = key.strip() == str(wanted)
            begin = end - len(value)
        else:
            place += 1
            shown = place == wanted
        if shown:
            return [Inline(kind, begin, end)] if text[begin:end].strip() else []
    return []


def _arguments(text: str, start: int, stop: int) -> list[tuple[int, int]]:
    """(start, stop) of the parts of text[start:stop] between bars that stand in no inner template or link."""
    parts, depth, begin = [], 0, start
    for match in re.compile(r"\{\{|\}\}|\[\[|\]\]|\|").finditer(text, start, stop):
        if match.group() == "|":
            if depth == 0:
                parts.append((begin, match.start()))
                begin = match.end()
        else:
            depth += 1 if match.group() in ("{{", "[[") else -1
    return [*parts, (begin, stop)]


def plant(wikitext: str, first: int) -> tuple[str, dict[str, str]]:
    """The page with the text of each inline template replaced by a word of its own, and word -> kind of template.

    first: how many words other pages have used. A number stands for a number, so that `convert` can read it. Whether
    the word is in a tool's output says whether the tool keeps such a text, wherever the text may stand otherwise.
    """
    words: dict[str, str] = {}
    pieces, position = [], 0
    for inline in inline_templates(wikitext):
        word = _word(first + len(words), inline.kind == "convert")
        words[word] = inline.kind
        pieces += [wikitext[position : inline.start], word]
        position = inline.stop
    return "".join([*pieces, wikitext[position:]]), words


def _word(number: int, is_number: bool) -> str:
    if is_number:
        return str(918_270_001 + 7 * number)
    letters = ""
    for _ in range(5):
        number, place = divmod(number, 26)
        letters += string.ascii_lowercase[place]
    return f"Zqxj{letters}"


def kept_share(texts: Texts, planted: Mapping[str, Mapping[str, str]]) -> dict[str, tuple[int, int]]:
    """Kind of template, and "all" -> (planted words that stand in the output of their page, planted words).

    planted: page id -> `plant`'s words. Thousands separators are looked through.
    """
    kept: Counter[str] = Counter()
    wanted: Counter[str] = Counter()
    for page, words in planted.items():
        text = texts.get(page, "")
        plain = re.sub(r"(?<=\d)[.,\s](?=\d)", "", text)
        for word, kind in words.items():
            is_kept = word in (plain if kind == "convert" else text)
            for key in (kind, "all"):
                wanted[key] += 1
                kept[key] += is_kept
    return {key: (kept[key], wanted[key]) for key in wanted}
