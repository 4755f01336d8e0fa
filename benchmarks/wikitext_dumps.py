"""Dumps cut, planted and repeated for measuring; a dump's own file is never changed."""

import bz2
import html
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wikitext_quality import plant

_PAGES_A_STREAM = 100


@dataclass(frozen=True)
class Pages:
    """A dump's XML: what stands before the first page, and its pages one by one."""

    path: Path

    def head(self) -> bytes:
        return next(self._parts())

    def pages(self) -> Iterator[bytes]:
        """`<page>...</page>` as it stands."""
        parts = self._parts()
        next(parts)
        yield from parts

    def articles(self) -> Iterator[bytes]:
        """Those of namespace 0 that are no redirects."""
        for page in self.pages():
            if b"<ns>0</ns>" in page[:2000] and not re.search(rb"<redirect\b", page[:4000]):
                yield page

    def _parts(self) -> Iterator[bytes]:
        from lowres.corpus.source import Source

        pending, begun = bytearray(), False
        with Source(self.path) as source:
            for chunk in source.chunks():
                pending += chunk
                while (end := pending.find(b"</page>")) >= 0:
                    start = pending.index(b"<page>")
                    if not begun:
                        yield bytes(pending[:start])
                        begun = True
                    yield bytes(pending[start : end + 7])
                    del pending[: end + 7]

    def xml_bytes(self) -> int:
        from lowres.corpus.source import Source

        with Source(self.path) as source:
            return sum(map(len, source.chunks()))


_TEXT = re.compile(rb"(<text\b[^>]*>)(.*?)(</text>)", re.S)
_ID = re.compile(rb"<id>(\d+)</id>")


def write_articles(dump: Pages, out: Path, empty: bool = False) -> None:
    """The dump's articles as plain XML. empty: no page, for measuring what starting a tool costs."""
    with out.open("wb") as file:
        file.write(dump.head())
        for page in () if empty else dump.articles():
            file.write(b"  " + page + b"\n")
        file.write(b"</mediawiki>\n")


def wikitexts(dump: Pages) -> Iterator[tuple[str, str]]:
    """(page id, wikitext) of the articles."""
    for page in dump.articles():
        body, found = _TEXT.search(page), _ID.search(page)
        if body and found:
            yield found[1].decode(), html.unescape(body[2].decode())


def write_planted(dump: Pages, out: Path) -> dict[str, dict[str, str]]:
    """The articles that hold inline templates, with words planted in them. Returns page id -> words (see `plant`)."""
    planted: dict[str, dict[str, str]] = {}
    used = 0
    with out.open("wb") as file:
        file.write(dump.head())
        for page in dump.articles():
            body, found = _TEXT.search(page), _ID.search(page)
            if not body or not found:
                continue
            text, words = plant(html.unescape(body[2].decode()), used)
            if words:
                used += len(words)
                planted[found[1].decode()] = words
                escaped = html.escape(text).replace("&#x27;", "'").encode()
                file.write(b"  " + page[: body.start(2)] + escaped + page[body.end(2) :] + b"\n")
        file.write(b"</mediawiki>\n")
    return planted


def write_repeated(dump: Pages, least_bytes: int, out: Path, altered: bool = False) -> int:
    """The dump over and over, in Wikimedia's multistream layout, page ids shifted in each copy. Returns its XML bytes.

    Copies of an article are exact duplicates, so from the second on they are read, cleaned and hashed, and not written.
    altered: every copy has titles and words of its own, so that its articles are documents too.
    """
    head, foot = dump.head(), b"</mediawiki>\n"
    shift = 1 + max(int(found[1]) for page in dump.pages() if (found := _ID.search(page)))
    size, copy, stream = len(head) + len(foot), 0, list[bytes]()
    with out.open("wb") as file:
        file.write(bz2.compress(head))
        while size < least_bytes:
            change = _Change(copy) if altered and copy else None
            for page in dump.pages():
                added = copy * shift
                page = _ID.sub(lambda match: b"<id>%d</id>" % (int(match[1]) + added), page, count=1)  # noqa: B023
                page = change.of(page) if change else page
                stream.append(b"  " + page + b"\n")
                size += len(stream[-1])
                if len(stream) == _PAGES_A_STREAM:
                    file.write(bz2.compress(b"".join(stream)))
                    stream.clear()
            copy += 1
        if stream:
            file.write(bz2.compress(b"".join(stream)))
        file.write(bz2.compress(foot))
    return size


class _Change:
    """What makes a copy differ: another name in every title, other letters in the words between spaces.

    Words with a mark of markup beside them stay, and with them the markup.
    """

    def __init__(self, copy: int):
        self._copy = copy
        self._table = {before: after for edges in _LETTERS for before, after in self._shuffled(*edges).items()}

    def _shuffled(self, first: int, last: int) -> dict[int, int]:
        letters = [place for place in range(first, last) if chr(place).isalpha() and not chr(place).isupper()]
        return dict(zip(letters, random.Random(self._copy).sample(letters, len(letters)), strict=True))

    def of(self, page: bytes) -> bytes:
        """A page of the copy."""
        text = page.decode().replace("</title>", f" {self._copy}</title>", 1)
        return _WORD.sub(lambda match: match[0].translate(self._table), text).encode()


_LETTERS = ((0x61, 0x7B), (0xE0, 0x100), (0x1EA0, 0x1F00), (0x915, 0x93A))
"""Letters of Latin, of Latin with marks, of Vietnamese, and of Devanagari."""
_WORD = re.compile(r"(?<= )(?:\w*[^\W\x00-\x7f]\w*|[a-z]{4,})(?= )")
