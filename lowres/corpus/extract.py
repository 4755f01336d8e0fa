"""What is done to one block of a source, in whatever process: its pages are read, cleaned and written to a file.

A block's file holds all that the second pass asks for. It is renamed into place when it is whole, so a build that was
killed goes on behind its last finished block, and how many processes there were cannot be told from what they wrote.
"""

import hashlib
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from lowres.corpus.documents import read_jsonl, read_parquet, read_text
from lowres.corpus.dump import Export, Page
from lowres.corpus.filters import templates_of, title_suffix, told_by
from lowres.corpus.namespaces import MAIN, Namespaces
from lowres.corpus.near import PERMUTATIONS, Signatures
from lowres.corpus.source import Source, Truncated, page_begins
from lowres.corpus.wikitext import clean, plain_blocks
from lowres.errors import DataError
from lowres.text.normalise import Normalisation, normalise
from lowres.text.scripts import share_in_script
from lowres.text.shingles import places

_MAGIC = b"lowres block 2\0\0"
_SHINGLES = 7  # the place in a row of `Row.shingles`
_HEAD = struct.Struct("<16sQQQQQ?")


class Unaligned(DataError):
    """A run of bz2 streams that is not whole pages: the dump must be read as one stream."""


class SourceFile(BaseModel):
    """A file of the source. names, encoding: of a dump's head."""

    model_config = ConfigDict(frozen=True)

    path: Path
    size: int
    names: dict[int, str] = {}
    encoding: str = "utf-8"


class Extraction(BaseModel):
    """What is the same for all blocks of a build.

    files: what is read, in order. folder: where block files go. bits: of the shingle table; 0: none is wanted.
    script: whose share of each text's letters is wanted. signatures: whether near-duplicates are looked for.
    """

    model_config = ConfigDict(frozen=True)

    files: tuple[SourceFile, ...]
    folder: Path
    format: str
    text_field: str
    title_field: str
    documents: str = "blank-line"
    normalisation: Normalisation
    bits: int
    script: str | None = None
    signatures: bool = False
    allow_truncated: bool = False

    def block(self, number: int) -> Path:
        """Where the file of a block stands or will stand."""
        return self.folder / f"{number:06}.block"


@dataclass(frozen=True)
class Piece:
    """A block, or a part of one that holds a page too long to be held whole.

    data: decompressed bytes; None: what `start` and `stop` say, bytes of bz2 streams or row groups of Parquet.
    position: how far into all files it ends. file: which one it is from. line: number of its first line. begins, ends:
    whether its file does. cut: behind it the file was cut short. more: the block goes on with the next piece. last: no
    piece follows.
    """

    number: int
    data: bytes | None
    position: int
    file: int = 0
    start: int = 0
    stop: int = 0
    line: int = 1
    begins: bool = False
    ends: bool = False
    cut: bool = False
    more: bool = False
    last: bool = False


class Extractor:
    """Turns pieces into block files, one block after the other."""

    def __init__(self, job: Extraction):
        self._job = job
        self._namespaces = Namespaces()
        self._signature_of = Signatures() if job.signatures else None
        self._export: Export | None = None
        self._rows: list[list[Any]] = []
        self._texts: list[bytes] = []
        self._unhashed: list[str] = []
        self._signatures: list[np.ndarray] = []

    def take(self, piece: Piece) -> None:
        """Reads a piece; with the last one of its block, the block's file is written."""
        try:
            for page in self._pages(piece):
                self._add(page)
            if piece.cut:
                self._rows.append(["truncated", 0, 0, []])
        except BaseException:
            self._forget()
            raise
        if not piece.more:
            self._write(piece)
            self._forget()

    def _forget(self) -> None:
        self._export = None
        self._rows, self._texts, self._unhashed, self._signatures = [], [], [], []

    def _pages(self, piece: Piece) -> Iterator[Page]:
        job, file = self._job, self._job.files[piece.file]
        if job.format == "mediawiki":
            return self._dump_pages(piece, file)
        if job.format == "parquet":
            groups = range(piece.start, piece.stop)
            return read_parquet(file.path, groups, job.text_field, job.title_field)
        if job.format == "text":
            return read_text(piece.data or b"", file.path, job.documents == "file", piece.line)
        return read_jsonl((piece.data or b"").split(b"\n"), file.path, job.text_field, job.title_field, piece.line)

    def _dump_pages(self, piece: Piece, file: SourceFile) -> Iterator[Page]:
        if self._export is None:
            self._namespaces = Namespaces(file.names)
            self._export = Export(file.path, None if piece.begins else file.encoding)
        export = self._export
        if piece.data is not None:
            yield from export.feed(piece.data)
        else:
            yield from self._stream_pages(piece, file, export)
        if piece.ends:
            try:
                export.close()
            except Truncated:
                if not self._job.allow_truncated:
                    raise
                self._rows.append(["truncated", export.open_id, 0, []])
        elif not piece.more and export.open_page:
            raise Unaligned(f"{file.path}: a bz2 stream ends within a page")

    def _stream_pages(self, piece: Piece, file: SourceFile, export: Export) -> Iterator[Page]:
        allow_truncated = self._job.allow_truncated and piece.ends
        with Source(file.path, piece.start, piece.stop, allow_truncated) as source:
            first = not piece.begins
            try:
                for chunk in source.chunks():
                    if first and not page_begins(chunk):
                        raise Unaligned(f"{file.path}: the bz2 stream at byte {piece.start} begins within a page")
                    first = False
                    yield from export.feed(chunk)
            except Truncated as fault:
                raise fault if piece.ends else Unaligned(str(fault)) from None

    def _add(self, page: Page) -> None:
        """A row for the page, and its text with all that is told from it where it may be a document."""
        is_dump = self._job.format == "mediawiki"
        told = told_by(page, self._namespaces) if is_dump else []
        head = [page.id, len(page.text.encode()), told]
        if page.ns != MAIN:
            self._rows.append(["other_namespace", *head])
            return
        if page.redirect is not None:
            self._rows.append(["redirect", *head])
            return
        text = clean(page.text, self._namespaces, page.title) if is_dump else plain_blocks(page.text)
        text = normalise(text, self._job.normalisation)
        suffix = title_suffix(page.title)
        if not text:
            self._rows.append(["too_long" if page.too_long else "empty", *head, suffix])
            return
        title, encoded = page.title.encode(), text.encode()
        digest = hashlib.blake2b(encoded, digest_size=16).hexdigest()
        templates = templates_of(page.text) if is_dump else []
        row = ["", *head, suffix, len(title), len(encoded), 0, digest, templates]
        if self._job.script:
            row.append(share_in_script(text, self._job.script))
        if self._job.bits:
            self._unhashed.append(text)
        if self._signature_of:
            self._signatures.append(self._signature_of(text))
        self._texts += [title, encoded]
        self._rows.append(row)

    def _write(self, piece: Piece) -> None:
        hashed = places(self._unhashed, self._job.bits)
        for row, each in zip((row for row in self._rows if not row[0]), hashed, strict=False):
            row[_SHINGLES] = len(each)
        rows = json.dumps(self._rows, ensure_ascii=False, separators=(",", ":")).encode()
        texts = b"".join(self._texts)
        every_place, signatures = (b"".join(map(np.ndarray.tobytes, each)) for each in (hashed, self._signatures))
        sizes = map(len, (rows, texts, every_place, signatures))
        final = self._job.block(piece.number)
        partial = final.with_suffix(".partial")
        with partial.open("wb") as file:
            file.write(_HEAD.pack(_MAGIC, *sizes, piece.position, piece.last))
            file.writelines((rows, texts, every_place, signatures))
        partial.rename(final)


@dataclass(frozen=True)
class Row:
    """A page as its block's file tells of it.

    reason: why it is no document; "": it may be one. told, suffix, templates: see `Disambiguation`. title_size, size:
    UTF-8 bytes of title and text. shingles: how many places it has. in_script: the share of its letters that are of the
    script that was asked for.
    """

    reason: str
    id: int
    source_bytes: int
    told: list[tuple[str, str | None]]
    suffix: str | None = None
    title_size: int = 0
    size: int = 0
    shingles: int = 0
    digest: str = ""
    templates: tuple[str, ...] = ()
    in_script: float = 1.0


@dataclass(frozen=True)
class BlockFile:
    """A finished block.

    texts_at, places_at, signatures_at: where in the file its texts, its shingle places and its signatures begin, in
    bytes. position: how far into the source it ends. last: no block follows.
    """

    path: Path
    texts_at: int
    places_at: int
    signatures_at: int
    position: int
    last: bool

    @classmethod
    def read(cls, path: Path) -> "BlockFile | None":
        """The block in a file; None where there is none, or it is not whole."""
        try:
            with path.open("rb") as file:
                head = file.read(_HEAD.size)
            size = path.stat().st_size
        except FileNotFoundError:
            return None
        if len(head) < _HEAD.size or not head.startswith(_MAGIC):
            return None
        _, rows, texts, places, signatures, position, last = _HEAD.unpack(head)
        texts_at = _HEAD.size + rows
        places_at = texts_at + texts
        signatures_at = places_at + places
        whole = size == signatures_at + signatures
        return cls(path, texts_at, places_at, signatures_at, position, last) if whole else None

    def rows(self) -> list[Row]:
        """Its pages in the source's order."""
        return [Row(*row) for row in json.loads(self._bytes(_HEAD.size, self.texts_at))]

    def texts(self) -> bytes:
        """Titles and texts of its candidates, end to end."""
        return self._bytes(self.texts_at, self.places_at)

    def places(self) -> np.ndarray:
        """The shingle places of all its candidates, end to end: (n,) uint32."""
        return np.frombuffer(self._bytes(self.places_at, self.signatures_at), dtype=np.uint32)

    def signatures(self) -> np.ndarray:
        """The signatures of its candidates, where they were wanted: (n, 128) uint32."""
        return np.frombuffer(self._bytes(self.signatures_at, None), dtype=np.uint32).reshape(-1, PERMUTATIONS)

    def _bytes(self, start: int, stop: int | None) -> bytes:
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(-1 if stop is None else stop - start)
