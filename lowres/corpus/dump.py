"""Pages out of a MediaWiki export (XML), one at a time, in bounded memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat

from lowres.corpus.namespaces import Namespaces
from lowres.corpus.source import Source, Truncated
from lowres.errors import DataError

_SCHEMAS = ("0.8", "0.9", "0.10", "0.11")
_BUFFER = 1 << 18
MAX_PAGE = 1 << 22
"""Characters of one page; MediaWiki's own limit is 2 MiB."""
_MAX_TAG = 1 << 23
_MAX_DEPTH = 32
_LARGEST = 2**63 - 1
_HEAD = 1 << 11
"""Bytes of a head that are read at a time, so that no more is decompressed."""
_ROOT = b'<mediawiki version="0.11">'


@dataclass(frozen=True)
class Page:
    """One page at its last revision in the file. redirect: the title it leads to, or None.

    too_long: its text has over 4 Mi characters and was not kept.
    """

    id: int
    ns: int
    title: str
    redirect: str | None
    text: str
    too_long: bool = False


class Export:
    """A parse of a MediaWiki export, or of a block cut from one between two pages.

    path: for errors. encoding: as the XML declaration says, for a block, which has none; None: the whole file.
    behind: the id of the page that the block follows on, where it is known: a line's number would be the block's own.
    names: siteinfo's namespaces. language: the root's xml:lang. seen_page: whether a page has begun.
    """

    def __init__(self, path: Path, encoding: str | None = None, behind: int = 0):
        self.path = path
        self._is_block, self._behind = encoding is not None, behind
        self.names: dict[int, str] = {}
        self.language = ""
        self.encoding = encoding or "utf-8"
        self.seen_page = False
        self._pages: list[Page] = []
        self._started = False
        self._fed = 0
        self._depth: list[str] = []
        self._text: list[str] = []
        self._length = 0
        self._wanted = False
        self._number = 0
        self._page: dict[str, str] = {}
        self._redirect: str | None = None
        self._too_long = False
        self._parser = self._new_parser(encoding)
        if encoding is not None:
            self._started = True
            self._parse(_ROOT, False)

    @property
    def open_page(self) -> bool:
        """Whether the parse stands inside a page."""
        return len(self._depth) > 1

    @property
    def open_id(self) -> int:
        """The id of the page inside which the parse stands; 0 where it is not known."""
        digits = self._page.get("id", "") if self.open_page else ""
        return int(digits) if digits.isdecimal() else 0

    def feed(self, data: bytes) -> list[Page]:
        """The pages that end in the next bytes. Raises DataError in one line where this is no MediaWiki export."""
        if not self._started and data:
            if not data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
                raise DataError(f"{self.path}: it does not begin with '<': this is no MediaWiki export (XML)")
            self._started = True
        self._parse(data, False)
        # a tag or a comment is read whole, so expat holds it all
        self._fed += len(data)
        if self._fed - self._parser.CurrentByteIndex > _MAX_TAG:
            raise DataError(f"{self.path}: a tag is longer than {_MAX_TAG} bytes: this is no MediaWiki export")
        pages, self._pages = self._pages, []
        self._behind = pages[-1].id if pages else self._behind
        return pages

    def close(self) -> None:
        """Says that the document ends here. Raises Truncated where it may not."""
        if not self._started:
            raise DataError(f"{self.path}: the file is empty; fetch it again")
        self._parse(b"", True)

    def drop(self) -> None:
        """Lets go of the parser, which holds this object: else both stay until cycles are looked for, 0.1 MB each."""
        del self._parser

    def _parse(self, data: bytes, last: bool) -> None:
        try:
            self._parser.Parse(data, last)
        except expat.ExpatError as fault:
            if last:
                raise Truncated(f"{self.path}: it is truncated; fetch it again") from None
            where = f"{self._place(fault.lineno)} ({expat.ErrorString(fault.code)})"
            raise DataError(f"{self.path}: malformed XML {where}; fetch it again") from None

    def _place(self, line: int) -> str:
        if not self._is_block:
            return f"at line {line}"
        if self.open_page and self._page.get("title"):
            return f"in page {self._page['title'][:200]!r}"
        behind = self._pages[-1].id if self._pages else self._behind
        return f"behind page {behind}" if behind else "in the first page of a block"

    def _new_parser(self, encoding: str | None) -> expat.XMLParserType:
        """An expat parser bound to this object. Declared entities (and so entity bombs) are refused with their DTD."""
        parser = expat.ParserCreate(encoding)
        parser.buffer_text = True
        parser.buffer_size = _BUFFER
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.StartDoctypeDeclHandler = self._doctype
        parser.XmlDeclHandler = self._declaration
        return parser

    def _declaration(self, version: str, encoding: str | None, standalone: int) -> None:
        self.encoding = encoding or self.encoding

    def _doctype(self, *_: object) -> None:
        raise DataError(f"{self.path}: it declares a document type; MediaWiki exports have none, so it is refused")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if not self._depth:
            self._check_root(name, attributes)
        self._depth.append(name)
        if len(self._depth) > _MAX_DEPTH:
            raise DataError(f"{self.path}: elements nest deeper than {_MAX_DEPTH}: this is no MediaWiki export")
        parent = self._depth[-2] if len(self._depth) > 1 else ""
        # The contributor has an <id> of its own: parents decide what is wanted.
        self._wanted = (
            (parent == "page" and name in ("title", "ns", "id"))
            or (parent == "revision" and name == "text")
            or name == "namespace"
        )
        if self._wanted:
            self._text, self._length = [], 0
        if name == "page":
            self._page, self._redirect, self._too_long, self.seen_page = {}, None, False, True
        elif name == "redirect":
            self._redirect = attributes.get("title", "")
        elif name == "namespace":
            self._number = self._whole(attributes.get("key", ""), "namespace key")

    def _check_root(self, name: str, attributes: dict[str, str]) -> None:
        if name != "mediawiki":
            raise DataError(f"{self.path}: its root element is <{name}>, not <mediawiki>: this is no MediaWiki export")
        version = attributes.get("version", "")
        if version not in _SCHEMAS:
            raise DataError(
                f"{self.path}: export schema {version or 'not given'}; lowres reads {', '.join(_SCHEMAS)}: "
                "take a newer dump"
            )
        self.language = attributes.get("xml:lang", "")

    def _characters(self, data: str) -> None:
        if self._wanted:
            self._length += len(data)
            if self._length > MAX_PAGE:
                self._text, self._too_long = [], True
                return
            self._text.append(data)

    def _end(self, name: str) -> None:
        self._depth.pop()
        if self._wanted:
            value = "".join(self._text)
            self._wanted = False
            if name == "namespace":
                self.names[self._number] = value
            else:
                self._page[name] = value
        if name == "page":
            self._pages.append(self._finished())

    def _finished(self) -> Page:
        page = self._page
        missing = [key for key in ("id", "ns", "title") if key not in page]
        if missing:
            raise DataError(f"{self.path}: page {page.get('title', '?')!r} has no <{missing[0]}>: not a whole export")
        return Page(
            id=self._whole(page["id"], "page id"),
            ns=self._whole(page["ns"], "namespace"),
            title=page["title"],
            redirect=self._redirect,
            text=page.get("text", ""),
            too_long=self._too_long,
        )

    def _whole(self, digits: str, what: str) -> int:
        try:
            number = int(digits)
        except ValueError:
            raise DataError(f"{self.path}: a {what} is {digits[:40]!r}, not a number") from None
        if abs(number) > _LARGEST:
            raise DataError(f"{self.path}: a {what} is {digits[:40]}, more than 64 bits hold")
        return number


class Dump:
    """The pages of a MediaWiki export, in the file's order.

    Raises DataError with one line where the file is truncated, malformed, or no MediaWiki export. After the first page
    `namespaces` is what siteinfo said.
    """

    def __init__(self, source: Source):
        self._source = source
        self._export = Export(source.path)

    @property
    def namespaces(self) -> Namespaces:
        """The namespaces read so far; complete from the first page on."""
        return Namespaces(self._export.names)

    def __iter__(self) -> Iterator[Page]:
        for chunk in self._source.chunks():
            yield from self._export.feed(chunk)
        self._export.close()


@dataclass(frozen=True)
class Head:
    """What stands before the first page. names: namespaces. language: the wiki's, as xml:lang says; may be ''."""

    names: dict[int, str]
    language: str
    encoding: str


def read_head(path: Path) -> Head:
    """The head of a MediaWiki export. Raises DataError as `Dump` does."""
    with Source(path) as source:
        export = Export(path)
        for chunk in source.chunks(_HEAD):
            export.feed(chunk)
            if export.seen_page:
                break
        else:
            export.close()
        return Head(export.names, export.language, export.encoding)
