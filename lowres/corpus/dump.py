"""Pages out of a MediaWiki export (XML) and documents out of JSON lines, one at a time, in bounded memory."""

import bz2
import gzip
import hashlib
import json
import lzma
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from xml.parsers import expat

from lowres.corpus.namespaces import Namespaces
from lowres.errors import DataError

_SCHEMAS = ("0.8", "0.9", "0.10", "0.11")
_CHUNK = 1 << 18
_MAX_PAGE = 1 << 26
"""Characters of one page or bytes of one line; MediaWiki's own limit for a page is 2 MiB."""
_MAX_DEPTH = 32


@dataclass(frozen=True)
class Page:
    """One page at its last revision in the file. redirect: the title it leads to, or None."""

    id: int
    ns: int
    title: str
    redirect: str | None
    text: str


class Source:
    """A raw file read from start to end, plain or compressed by bz2, gzip or xz (told by its first bytes).

    path: the file. size: its bytes on disk. position(): how many of them were read so far.
    """

    def __init__(self, path: Path):
        self.path = path
        self.size = path.stat().st_size
        self._raw = path.open("rb")
        self._file = _decompressed(self._raw)

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._raw.close()

    def position(self) -> int:
        """Bytes of the file on disk read so far."""
        return self._raw.tell()

    def chunks(self) -> Iterator[bytes]:
        """The decompressed bytes in pieces. Raises DataError where the compressed data is cut short or damaged."""
        try:
            while chunk := self._file.read(_CHUNK):
                yield chunk
        except EOFError:
            raise DataError(
                f"{self.path}: the compressed data ends before its end mark: the file is truncated; fetch it again"
            ) from None
        except (OSError, lzma.LZMAError, zlib.error) as fault:
            raise DataError(f"{self.path}: the compressed data is damaged ({fault}); fetch it again") from None

    def lines(self) -> Iterator[bytes]:
        """The decompressed lines without their ends. Raises DataError as `chunks` does, and on a line over 64 MiB."""
        pieces: list[bytes] = []
        length = 0
        for chunk in self.chunks():
            first, *others = chunk.split(b"\n")
            pieces.append(first)
            length += len(first)
            if others:
                yield b"".join(pieces)
                yield from others[:-1]
                pieces, length = [others[-1]], len(others[-1])
            if length > _MAX_PAGE:
                raise DataError(f"{self.path}: a line is longer than {_MAX_PAGE} bytes: this is not JSON lines")
        if length:
            yield b"".join(pieces)


def _decompressed(raw: IO[bytes]) -> IO[bytes] | gzip.GzipFile:
    """The file that `raw` holds, decompressed as its first bytes say."""
    magic = raw.read(6)
    raw.seek(0)
    if magic.startswith(b"BZh"):
        return bz2.BZ2File(raw)
    if magic.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=raw)
    if magic == b"\xfd7zXZ\x00":
        return lzma.LZMAFile(raw)
    return raw


class _Export:
    """Handlers of one XML parse: siteinfo's namespaces, then pages as they end."""

    def __init__(self, path: Path):
        self.path = path
        self.pages: list[Page] = []
        self.names: dict[int, str] = {}
        self.seen_page = False
        self._depth: list[str] = []
        self._text: list[str] = []
        self._length = 0
        self._wanted = False
        self._number = 0
        self._page: dict[str, str] = {}
        self._redirect: str | None = None

    def parser(self) -> expat.XMLParserType:
        """An expat parser bound to this object. Declared entities (and so entity bombs) are refused with their DTD."""
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.buffer_size = _CHUNK
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.StartDoctypeDeclHandler = self._doctype
        return parser

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
            self._page, self._redirect, self.seen_page = {}, None, True
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

    def _characters(self, data: str) -> None:
        if self._wanted:
            self._length += len(data)
            if self._length > _MAX_PAGE:
                raise DataError(f"{self.path}: a page is longer than {_MAX_PAGE} characters: this is no Wikipedia dump")
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
            self.pages.append(self._finished())

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
        )

    def _whole(self, digits: str, what: str) -> int:
        try:
            return int(digits)
        except ValueError:
            raise DataError(f"{self.path}: a {what} is {digits[:40]!r}, not a number") from None


class Dump:
    """The pages of a MediaWiki export, in the file's order.

    Raises DataError with one line where the file is truncated, malformed, or no MediaWiki export. After the first page
    `namespaces` is what siteinfo said.
    """

    def __init__(self, source: Source):
        self._source = source
        self._export = _Export(source.path)

    @property
    def namespaces(self) -> Namespaces:
        """The namespaces read so far; complete from the first page on."""
        return Namespaces(self._export.names)

    def __iter__(self) -> Iterator[Page]:
        export, path = self._export, self._source.path
        parser = export.parser()
        started = False
        for chunk in self._source.chunks():
            if not started and not chunk.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
                raise DataError(f"{path}: it does not begin with '<': this is no MediaWiki export (XML)")
            started = True
            self._parse(parser, chunk, False)
            pages, export.pages = export.pages, []
            yield from pages
        if not started:
            raise DataError(f"{path}: the file is empty; fetch it again")
        self._parse(parser, b"", True)
        yield from export.pages

    def _parse(self, parser: expat.XMLParserType, chunk: bytes, last: bool) -> None:
        try:
            parser.Parse(chunk, last)
        except expat.ExpatError as fault:
            said = expat.ErrorString(fault.code)
            cause = "it is truncated" if last else f"malformed XML at line {fault.lineno} ({said})"
            raise DataError(f"{self._source.path}: {cause}; fetch it again") from None


def document_id(title: str, text: str) -> int:
    """A 63-bit id for a document that has none: the first bits of SHA-256 over its title and text."""
    digest = hashlib.sha256(f"{title}\0{text}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def read_jsonl(source: Source, text_field: str, title_field: str) -> Iterator[Page]:
    """Documents of a JSON-lines file as pages of namespace 0; blank lines are passed over.

    Raises DataError, with the line's number, where a line is not a JSON object, has no `text_field`, or its text or
    title is not a string. A missing title is the empty string.
    """
    for number, line in enumerate(source.lines(), 1):
        if not line.strip():
            continue
        where = f"{source.path}: line {number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as fault:
            raise DataError(f"{where} is not JSON ({fault}); each line must hold one JSON object") from None
        if not isinstance(record, dict):
            raise DataError(f"{where} holds a {type(record).__name__}; each line must hold one JSON object")
        if text_field not in record:
            fields = ", ".join(sorted(record)) or "none"
            raise DataError(f"{where} has no field {text_field!r} (it has: {fields}); set text_field")
        text, title = record[text_field], record.get(title_field) or ""
        if not isinstance(text, str) or not isinstance(title, str):
            raise DataError(f"{where}: {text_field!r} and {title_field!r} must be strings")
        title, text = _encodable(title), _encodable(text)
        yield Page(document_id(title, text), 0, title, None, text)


def _encodable(text: str) -> str:
    """`text` with lone surrogates, which JSON can spell and UTF-8 cannot, as question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")
