"""Marks that hold no other: comments, references and links of running text alone, taken off a page by search.

They are most of a page's marks (of Vietnamese Wikipedia's links 19 of 20, of its references 99 of 100), and what is
left for `Marks` to pair is a quarter. Whatever is less simple, or never closed, is left to it.
"""

import re

from lowres.corpus.marks import BLANK_LINE

# Every repeat is possessive and ends at a character that cannot follow in a flat mark, so no page is read twice.
_REFERENCE = r"<ref\b(?:[^<>/]++|/(?!>))*+(?:/>|>[^<]*+</ref\s*+>)"
_REFERENCES = re.compile(rf"{_REFERENCE}(?:{_REFERENCE})*+")  # begins with letters, which `re` searches fast
# A target with ':' may be a file or a category, one with '#' shows less than it says, a label with '=' would name an
# argument of a template around it, and a target that ends in a space shows none.
_LINK = re.compile(r"\[\[(?:[^\[\]{}<>|\n:]++\|(?=[^|\]]))?+([^\[\]{}<>|\n:# =][^\[\]{}<>|\n:#=]*+)(?<! )\]\]")
_SHOWN = re.compile(r"(<nowiki>[^<]*+</nowiki>)")
BEFORE_PUNCTUATION = frozenset(".,;:!?)]।॥،؛؟۔。，、；：）")
"""What no space stands before once that which stood between is left out."""
SPACED_COMMA = re.compile(r"[ \xa0]++(?=,|\.(?:\s|\Z))")
"""Before the comma or full stop that follows what is left out. (French has spaces before other marks.)"""


def without_flat_marks(text: str) -> str:
    """`text` with flat links shown as their text, and without comments and flat references."""
    if "<!--" in text:
        text = _without_comments(text)
    if "<nowiki" not in text:
        return _flattened(text)
    pieces = _SHOWN.split(text)  # marks in them are shown
    pieces[::2] = [piece if "<nowiki>" in piece else _flattened(piece) for piece in pieces[::2]]
    return "".join(pieces)


def _flattened(text: str) -> str:
    if "<ref" in text:
        text = _without_references(text)
    # With one group, split gives text and label in turn, all in C.
    return "".join(_LINK.split(text))


def _without_references(text: str) -> str:
    pieces = _REFERENCES.split(text)
    for place in range(len(pieces) - 1):
        if pieces[place][-1:] != " ":
            continue
        if pieces[place + 1][:1] == " " and (spaced := SPACED_COMMA.match(pieces[place + 1])):
            pieces[place + 1] = pieces[place + 1][spaced.end() :]
        if pieces[place + 1][:1] in BEFORE_PUNCTUATION:
            pieces[place] = pieces[place][:-1]
    return "".join(pieces)


def _without_comments(text: str) -> str:
    """`text` without `<!-- -->`; a comment that fills a line takes its line break along, as in MediaWiki.

    A comment that is never closed ends at the next blank line.
    """
    kept: list[str] = []
    position = 0
    while (start := text.find("<!--", position)) >= 0:
        kept.append(text[position:start])
        end = text.find("-->", start + 4)
        if end < 0:
            kept.append(_without_open_comments(text[start:]))
            return "".join(kept)
        position = end + 3
        if text[start - 1 : start] in ("", "\n") and text[position : position + 1] == "\n":
            position += 1
    kept.append(text[position:])
    return "".join(kept)


def _without_open_comments(text: str) -> str:
    """`text`, in which no comment is closed, without each comment's paragraph from the mark on."""
    kept: list[str] = []
    position = 0
    while (start := text.find("<!--", position)) >= 0:
        kept.append(text[position:start])
        blank = BLANK_LINE.search(text, start)
        if not blank:
            return "".join(kept)
        position = blank.start()
    kept.append(text[position:])
    return "".join(kept)
