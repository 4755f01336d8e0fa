"""Wikitext to plain text in time linear in the page, whatever the page holds.

Two walks over one list of marks: the first finds which marks belong together, the second writes the text. A mark that
is never closed costs at most its own paragraph: what follows the next blank line is read as if the mark were not there.
"""

import html
import re
from collections.abc import Iterable, Mapping

from lowres.corpus.flat import BEFORE_PUNCTUATION, SPACED_COMMA, without_flat_marks
from lowres.corpus.marks import (
    BARE,
    BLANK,
    BREAK,
    DROP,
    END_LINK,
    LINK,
    OPEN,
    TABLE,
    VERBATIM,
    Marks,
)
from lowres.corpus.namespaces import Namespaces
from lowres.corpus.templates import TEMPLATES, Arguments, Rule, rule_for

_TEMPLATE_NAME = re.compile(r"[^|{}<>\[\]]{0,200}+")
_SCHEME = re.compile(r"(?:https?|ftps?|irc|news|gopher)\Z", re.I)
_LANGUAGE = re.compile(r"(?:[a-z]{2,3}(?:-[a-z]{2,10}){0,2}|be-x-old|simple)\Z")
_PROJECTS = frozenset(
    "w wikipedia wikt wiktionary s wikisource b wikibooks n wikinews q wikiquote v wikiversity voy wikivoyage "
    "species wikispecies commons c m meta d wikidata mw incubator".split()
)
_MEDIA_FILE = re.compile(r"\.(?:jpe?g|png|gif|svg|tiff?|webp|webm|og[gvax]|pdf|djvu|mid|wav|mp3)\s*\Z", re.I)
_QUOTES = re.compile(r"'{2,}+")
_MAGIC_WORD = re.compile(r"__[^\W\d_]{3,40}+__")
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_EMPTY_BRACKETS = re.compile(r"\([\s,;:./–-]*+[)）]")
_EMPTY_WIDE_BRACKETS = re.compile(r"（[\s,;:./–-]*+[)）]")
_MENDED_BEFORE = BEFORE_PUNCTUATION | {" ", "\xa0", "'"}
_OPENING, _SEPARATORS = frozenset("(（"), frozenset(",;")
_FORMULA_TAG = re.compile(r"<(?:math|chem|ce)\b", re.I)
_QUOTES_AT_END = re.compile(r"(?<!')'{2,5}\Z")
_STRAY_SEPARATOR = re.compile(r"[ \xa0]*+[,;]\s*+")
_WORD = re.compile(r"\w")
_DEEPEST = 6
"""Inline templates inside inline templates that are still read; the text of deeper ones is left out."""


FORMULA = "FORMULA"
"""What stands for a formula where `math = "placeholder"`: one word, the same for all, so it is one token of any
vocabulary. wikiextractor numbers them (formula_1, formula_2), which makes words of no meaning."""


def clean(
    wikitext: str,
    namespaces: Namespaces,
    title: str = "",
    templates: Mapping[str, Rule] = TEMPLATES,
    formula: str = "",
) -> str:
    """The running text of a page: headings, paragraphs, list items and link labels, each block on a line of its own.

    Left out: references, comments, tables, files, categories, links to other languages, galleries, formulas, bare URLs,
    every template that `templates` has no rule for, and headings with nothing under them. Entities are decoded once.
    title: what `{{PAGENAME}}` stands for. formula: stands for each `<math>`, `<chem>`, `<ce>`.
    """
    if "\r" in wikitext:
        wikitext = wikitext.replace("\r\n", "\n")
    text = "\n" + without_flat_marks(wikitext)
    text = "".join(_Writer(Marks(text), namespaces.unseen, title, templates, formula).written())
    text = _without_quotes(text)
    if "__" in text:
        text = _MAGIC_WORD.sub("", text)
    text = decode_entities(text)
    return _blocks(_without_empty_brackets(text))


def decode_entities(text: str) -> str:
    """Character references decoded once: `&amp;nbsp;` becomes `&nbsp;`."""
    return _ENTITY.sub(lambda match: html.unescape(match.group()), text) if "&" in text else text


def plain_blocks(text: str) -> str:
    """Plain text with `== Heading ==` lines: the marks go, as do blank lines and headings with nothing under them."""
    return _joined_blocks(line.strip() for line in text.split("\n"))


def _without_quotes(text: str) -> str:
    """`text` without bold and italic marks."""
    first, *others = text.split("''")
    if "" in others[:-1]:  # four apostrophes or more
        return _QUOTES.sub(_apostrophes, text)
    return first + "".join([piece[1:] if piece[:1] == "'" else piece for piece in others])


def _without_empty_brackets(text: str) -> str:
    """`text` without brackets whose content was left out; a pattern that begins with one character is found fastest."""
    text = _EMPTY_BRACKETS.sub("", text)
    return _EMPTY_WIDE_BRACKETS.sub("", text) if "（" in text else text


def _apostrophes(match: re.Match[str]) -> str:
    """Bold and italic marks go; MediaWiki shows one of four apostrophes, and all over five."""
    length = match.end() - match.start()
    return "'" if length == 4 else "'" * max(0, length - 5)


def _blocks(text: str) -> str:
    """The lines of a written page without list marks, rules, stray table rows and lines that hold no word."""
    lines = (line.strip() for line in text.split("\n"))
    return _joined_blocks(line if line[0].isalnum() else _block(line) for line in lines if line)


def _block(line: str) -> str:
    if line[0] in "*#:;|-":
        if line[0] == "|":
            return ""
        line = line.lstrip("*#:; \t") if line[0] != "-" else line.lstrip("-") if line.startswith("----") else line
    return line if _WORD.search(line) else ""


def _joined_blocks(lines: Iterable[str]) -> str:
    """Lines that are not empty; a heading waits until text stands under it and is dropped where none does."""
    kept: list[str] = []
    waiting: list[tuple[int, str]] = []
    for line in lines:
        if not line:
            continue
        if line[0] == "=":
            level = len(line) - len(line.lstrip("="))
            if line[-1] == "=" and (heading := line.strip("= \t")):
                while waiting and waiting[-1][0] >= level:
                    waiting.pop()
                waiting.append((level, heading))
                continue
            line = line[level:] if level > 1 else line
        if waiting:
            kept += [heading for _, heading in waiting]
            waiting.clear()
        kept.append(line)
    return "\n".join(kept)


def _take_back(out: list[str], characters: str) -> None:
    """Takes `characters` off the end of what was written."""
    while out:
        out[-1] = out[-1].rstrip(characters)
        if out[-1]:
            return
        out.pop()


class _Writer:
    """The walk over a page's marks that writes its text."""

    def __init__(self, marks: Marks, unseen: frozenset[str], title: str, templates: Mapping[str, Rule], formula: str):
        self.marks = marks
        self.text, self.kinds, self.mates = marks.text, marks.kinds, marks.mates
        self.starts, self.ends = marks.starts, marks.ends
        self.unseen = unseen
        self.title = title
        self.templates = templates
        self.formula = formula

    def written(self) -> list[str]:
        """The pieces of the page's text, with list and heading marks still on them."""
        return self._write(0, len(self.kinds), 0, len(self.text), 0)

    def _write(self, index: int, stop: int, position: int, end: int, depth: int) -> list[str]:
        """Pieces of text[position:end], whose marks are index..stop-1. depth: inline templates around it."""
        text, kinds, starts, ends, mates = self.text, self.kinds, self.starts, self.ends, self.mates
        out: list[str] = []
        while index < stop:
            start = starts[index]
            if start < position:
                index += 1
                continue
            if start > position:
                out.append(text[position:start])
            kind = kinds[index]
            if kind == OPEN or kind == TABLE:
                index, position = self._write_template(index, depth, out)
            elif kind == LINK:
                index, position = self._write_link(index, out)
            elif mates[index] < 0:
                position = self._write_mark(index, out)
            else:
                position = ends[index]
            index += 1
        if position < end:
            out.append(text[position:end])
        return out

    def _write_mark(self, index: int, out: list[str]) -> int:
        """Writes what a mark without a mate stands for. Returns where the text goes on."""
        text, kind, start, end = self.text, self.kinds[index], self.starts[index], self.ends[index]
        if kind == BREAK or kind == BLANK:
            out.append("\n")
        elif kind == VERBATIM:
            out.append(text[text.index(">", start) + 1 : text.rindex("<", start, end)])
        elif kind == BARE:
            return self._skip_url(start, end, out)
        elif kind == END_LINK and end - start == 1:
            out.append("]")
        elif kind == DROP and self.formula and _FORMULA_TAG.match(text, start) and text[end - 2] != "/":
            out.append(self.formula)
        elif kind == DROP:
            return self._mended(out, end)
        return end

    def _mended(self, out: list[str], position: int) -> int:
        """Mends the text around something that was left out before `position`; returns where the text goes on.

        Spaces go where punctuation follows. At the edge of brackets a comma that has nothing to separate goes too:
        `(x; y)` without x is `(y)`.
        """
        text = self.text
        follows = text[position : position + 1]
        if not out or follows == "" or follows not in _MENDED_BEFORE:
            return position
        if follows == "'":
            return self._without_empty_italics(out, position)
        if spaced := SPACED_COMMA.match(text, position):
            position = spaced.end()
            follows = text[position]
        if follows in BEFORE_PUNCTUATION:
            _take_back(out, " \xa0")
        if out and out[-1][-1:] in _OPENING and (stray := _STRAY_SEPARATOR.match(text, position)):
            return stray.end()
        if out and follows in ")）" and out[-1][-1:] in _SEPARATORS:
            _take_back(out, ",; \xa0")
        return position

    def _without_empty_italics(self, out: list[str], position: int) -> int:
        """`''{{x}}''` without x is nothing: four apostrophes in a row would be read as a bold one."""
        closing = _QUOTES.match(self.text, position)
        opening = _QUOTES_AT_END.search(out[-1][-6:])
        if not closing or not opening or closing.group() != opening.group():
            return position
        out[-1] = out[-1][: -len(opening.group())]
        return self._mended(out, closing.end())

    def _skip_url(self, start: int, end: int, out: list[str]) -> int:
        """Drops a bare URL with the scheme before it; punctuation at its end belongs to the sentence."""
        scheme = _SCHEME.search(out[-1][-7:]) if out else None
        if not scheme:
            out.append("://")
            return start + 3
        out[-1] = out[-1][: -len(scheme.group())]
        return start + len(self.text[start:end].rstrip(".,;:!?)"))

    def _write_link(self, index: int, out: list[str]) -> tuple[int, int]:
        """Writes what an internal link shows, or nothing. Returns the mark and the position where the walk goes on."""
        text, starts, mate = self.text, self.starts, self.mates[index]
        begin = self.ends[index]
        first = starts[index + 1] if index + 1 < len(starts) else len(text)
        pipe = text.find("|", begin, first)
        target = text[begin : first if pipe < 0 else pipe]
        if pipe < 0 and mate > index + 1 and self.mates[index + 1] > index:
            # The target holds a template: the label begins after the bar that follows it.
            after = self.mates[index + 1]
            pipe = text.find("|", self.ends[after], starts[after + 1])
        shown = self._shown_target(target)
        if mate < 0:
            if shown is None:
                return index, self.marks.blank_after(begin)
            return index, pipe + 1 if pipe >= 0 and "\n" not in target else begin
        label_is_empty = pipe >= 0 and pipe + 1 == starts[mate]
        if shown is None or (pipe < 0 and mate == index + 1) or label_is_empty:
            out.append(shown or "")
            return mate, self.ends[mate]
        return index, pipe + 1 if pipe >= 0 else begin

    def _shown_target(self, target: str) -> str | None:
        """What a link without a label shows of its target; None where the link shows nothing even with a label."""
        target = target.strip()
        visible = target.startswith(":")
        target = target.lstrip(":")
        prefix, colon, rest = target.partition(":")
        if colon:
            prefix = prefix.strip().replace("_", " ")
            key = prefix.lower()
            if key in self.unseen or _MEDIA_FILE.search(rest):
                return "" if visible else None
            if _LANGUAGE.match(prefix):
                return rest.strip() if visible else None
            if key in _PROJECTS:
                target = rest.lstrip(":")
        page, _, section = target.partition("#")
        return page.strip() or section.strip()

    def _write_template(self, index: int, depth: int, out: list[str]) -> tuple[int, int]:
        """Writes the text of an inline template, nothing for any other or for a table. Returns as `_write_link`."""
        mate = self.mates[index]
        if mate < 0:
            return index, self.marks.blank_after(self.ends[index])
        if self.kinds[index] == OPEN and depth < _DEEPEST:
            found = _TEMPLATE_NAME.match(self.text, self.ends[index])
            head, colon, _ = (found.group() if found else "").partition(":")
            name = head.strip().lower().replace("_", " ")
            rule = rule_for(name, self.templates)
            if rule is not None:
                pieces = self._arguments(index, depth, after_colon=len(head) + 1 if colon else None)
                positional = tuple(value for key, value in pieces if not key)
                shown = rule(Arguments(name, positional, {key: value for key, value in pieces if key}, self.title))
                if shown:
                    out.append(shown)
                    return mate, self.ends[mate]
        return mate, self._mended(out, self.ends[mate])

    def _arguments(self, index: int, depth: int, after_colon: int | None) -> list[tuple[str, str]]:
        """The template's arguments as (name or '', text), in order; of `{{formatnum:5}}` what follows the colon."""
        text, starts, ends, mates, close = self.text, self.starts, self.ends, self.mates, self.mates[index]
        position = ends[index] + after_colon if after_colon is not None else -1
        begin, mark, at = position, index + 1, ends[index]
        found: list[tuple[str, str]] = []
        first = index + 1
        while True:
            edge = starts[mark]
            bar = text.find("|", at, edge)
            if bar >= 0 or mark == close:
                stop = bar if bar >= 0 else edge
                if begin >= 0:
                    found.append(self._argument(first, mark, begin, stop, depth))
                if bar < 0:
                    return found
                begin = at = bar + 1
                first = mark
            else:
                mate = mates[mark]
                mark = (mate if mate > mark else mark) + 1
                at = max(at, ends[mark - 1])

    def _argument(self, first: int, last: int, begin: int, stop: int, depth: int) -> tuple[str, str]:
        edge = self.starts[first] if first < last else stop
        name, equals, _ = self.text[begin:edge].partition("=")
        if not equals:
            name = ""
        start = begin + len(name) + 1 if equals else begin
        return name.strip(), "".join(self._write(first, last, start, stop, depth + 1))
