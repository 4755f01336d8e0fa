"""Pages out of a block of an export: by search where they are laid out as MediaWiki lays them out, else by expat.

Search takes a page alone where it would find in it what expat finds, so both give the same pages and the same faults.
It takes from .4 of expat's time, where pages are short, to as long where they are long.
"""

import re
from pathlib import Path

import numpy as np

from lowres.corpus.dump import MAX_PAGE, Export, Page

_END = b"</page>"
_HELD = 1 << 23
"""Bytes of an unfinished page that are held before expat takes over, which holds none."""
_ENTITY = re.compile("&(lt;|gt;|quot;|amp;|#039;|)")
_CHARACTERS = {"lt;": "<", "gt;": ">", "quot;": '"', "amp;": "&", "#039;": "'"}
"""The entities that MediaWiki writes."""
_GAP = r"[ \n\t]*+"


def _element(name: str, content: str = "[^<]*+") -> str:
    return f"<{name}>{content}</{name}>{_GAP}"


def _maybe(*choices: str) -> str:
    return f"(?:{'|'.join(choices)})?+"


_LAYOUT = re.compile(
    _GAP
    + f"<page>{_GAP}"
    + _element("title", "([^<]*+)")
    + _element("ns", "(-?[0-9]{1,9})")
    + _element("id", "([0-9]{1,18})")
    + _maybe(rf'<redirect title="([^"<\n\t]*+)" />{_GAP}')
    + _maybe(_element("restrictions"))
    + f"<revision>{_GAP}"
    + _element("id")
    + _maybe(_element("parentid"))
    + _maybe(_element("timestamp"))
    + _maybe(
        f"<contributor>{_GAP}{_element('username')}{_element('id')}</contributor>{_GAP}",
        f"<contributor>{_GAP}{_element('ip')}</contributor>{_GAP}",
        f'<contributor deleted="deleted" />{_GAP}',
    )
    + _maybe(f"<minor ?/>{_GAP}")
    + _maybe(_element("comment"), f'<comment deleted="deleted" />{_GAP}')
    + _maybe(_element("origin"))
    + _maybe(_element("model"))
    + _maybe(_element("format"))
    + r'<text(?: bytes="[0-9]*+")?+(?: sha1="[0-9a-z]*+")?+(?: xml:space="preserve")?+(?: deleted="deleted")?+(?: ?/>|>'
    + r"([^<]*+)</text>)"
    + _GAP
    + _maybe(_element("sha1"), "<sha1 ?/>" + _GAP)
    + f"</revision>{_GAP}</page>"
)
"""A page at one revision in the order of export schemas 0.8 to 0.11, in linear time: nothing is gone back on."""


class PageReader:
    """As `Export` for what follows an export's head: the pages of bytes cut between two of them.

    path: for errors. encoding: as the XML declaration says; None: the whole file, its head with it.
    """

    def __init__(self, path: Path, encoding: str | None):
        self._path = path
        self._encoding = encoding
        self._left, self._last = b"", 0
        self._export = None if encoding and encoding.lower() == "utf-8" else Export(path, encoding)

    def feed(self, data: bytes) -> list[Page]:
        """Pages that end in the next bytes. Raises DataError as `Export.feed` does."""
        if self._export:
            return self._export.feed(data)
        held = self._left + data
        end = held.rfind(_END) + len(_END)
        pages, taken = _laid_out(held[:end]) if end >= len(_END) else ([], 0)
        self._left, self._last = held[taken:], pages[-1].id if pages else self._last
        if taken < end >= len(_END) or len(self._left) > _HELD:
            pages += self._by_expat()
        return pages

    def end_block(self) -> list[Page]:
        """Pages that had ended without its being known. What follows is another block of the same dump."""
        return self._by_expat() if self._left.strip() else []

    def close(self) -> None:
        """Says that the document ends here. Raises Truncated where it may not."""
        self._by_expat()
        assert self._export
        self._export.close()

    def drop(self) -> None:
        """Lets go of the parser, as `Export.drop` does."""
        if self._export:
            self._export.drop()

    @property
    def open_page(self) -> bool:
        """Whether the bytes up to the end of a block end inside a page."""
        return self._export is not None and self._export.open_page

    @property
    def open_id(self) -> int:
        """The id of the page inside which they end; 0 where it is not known."""
        return self._export.open_id if self._export else 0

    def _by_expat(self) -> list[Page]:
        """Gives expat what is held, and from now on all that comes."""
        self._export = self._export or Export(self._path, self._encoding, self._last)
        left, self._left = self._left, b""
        return self._export.feed(left)


def _laid_out(data: bytes) -> tuple[list[Page], int]:
    """The pages that `data` begins with, as long as search can take them, and how many bytes they are."""
    if not _of_xml(data):
        return [], 0
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return [], 0
    pages, at = [], 0
    while at < len(text) and (match := _LAYOUT.match(text, at)):
        page = _page(match)
        if page is None:
            break
        pages.append(page)
        at = match.end()
    return pages, len(data) if at == len(text) else len(text[:at].encode())


def _of_xml(data: bytes) -> bool:
    """Whether `data`, if it is UTF-8, has characters of XML alone, and none that expat would change."""
    if b"\xef" in data and (b"\xef\xbf\xbe" in data or b"\xef\xbf\xbf" in data):  # U+FFFE and U+FFFF
        return False
    numbers = np.frombuffer(data, dtype=np.uint8)
    line_ends, tabs = np.count_nonzero(numbers == 10), np.count_nonzero(numbers == 9)
    return np.count_nonzero(numbers < 32) == line_ends + tabs


def _page(match: re.Match[str]) -> Page | None:
    """The page, or None where character data holds what is not allowed, or an entity that MediaWiki does not write."""
    title, ns, number, redirect, text = match.groups()
    page = match.group()
    start, stop = (place - match.start() for place in match.span(5))
    envelope = page if text is None else page[:start] + page[stop:]
    try:
        found = _decoded(text or "")
        _decoded(envelope)
    except KeyError:
        return None
    if (text and ">" in text and "]]>" in text) or "]]>" in envelope:
        return None
    too_long = len(found) > MAX_PAGE
    return Page(
        id=int(number),
        ns=int(ns),
        title=_decoded(title),
        redirect=None if redirect is None else _decoded(redirect),
        text="" if too_long else found,
        too_long=too_long,
    )


def _decoded(text: str) -> str:
    """`text` with its entities decoded, once. Raises KeyError on one that is not in _CHARACTERS."""
    if "&" not in text:
        return text
    parts = _ENTITY.split(text)
    parts[1::2] = map(_CHARACTERS.__getitem__, parts[1::2])
    return "".join(parts)
