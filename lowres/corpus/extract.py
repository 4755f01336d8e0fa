"""What is done to one block of a source, in whatever process: its pages are read, cleaned and written to a file.

A block's file holds all that later passes ask for. It is renamed into place when it is whole, so a build that was
killed goes on behind its last finished block, and how many processes there were cannot be told from what they wrote.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from lowres.corpus.block_file import BlockWriter
from lowres.corpus.documents import read_jsonl, read_parquet, read_text
from lowres.corpus.dump import Page
from lowres.corpus.filters import REASONS, templates_of, title_suffix, told_by
from lowres.corpus.namespaces import MAIN, Namespaces
from lowres.corpus.near import Signatures
from lowres.corpus.pages import PageReader
from lowres.corpus.source import CHUNK, Source, Truncated, page_begins
from lowres.corpus.templates import rules_for
from lowres.corpus.wikitext import clean, plain_blocks
from lowres.errors import DataError
from lowres.templates import TemplateTable
from lowres.text.normalise import Normalisation, normalise
from lowres.text.scripts import share_in_script
from lowres.text.shingles import places

_OPENINGS = ("{{", "[[", "<")
_MOST_OPENINGS = 1 << 18
"""Of a page that is cleaned: its marks take some 130 bytes each. A page of 2 MiB with so many holds little else."""
_REASONS = {reason: place for place, reason in enumerate(REASONS, 1)}


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
    language, templates, formula: what inline templates (see `templates.rules_for`) and formulas become.
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
    language: str = "any"
    templates: TemplateTable = TemplateTable()
    formula: str = ""
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
        self._templates = rules_for(job.language, job.templates)
        self._signature_of = Signatures() if job.signatures else None
        self._reader: PageReader | None = None
        self._block = BlockWriter(job.bits)
        self._unhashed: list[str] = []

    def take(self, piece: Piece) -> None:
        """Reads a piece; with the last one of its block, the block's file is written."""
        try:
            for page in self._pages(piece):
                self._add(page)
            if piece.cut:
                self._leave_out("truncated", 0)
        except BaseException:
            self._forget()
            raise
        if not piece.more:
            self._block.places(places(self._unhashed, self._job.bits))
            self._block.write(self._job.block(piece.number), piece.position, piece.last)
            self._forget()

    def _forget(self) -> None:
        if self._reader:
            self._reader.drop()
        self._reader, self._block, self._unhashed = None, BlockWriter(self._job.bits), []

    def _leave_out(self, reason: str, page_id: int, source_characters: int = 0) -> None:
        self._block.page(_REASONS[reason], page_id, source_characters)

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
        if self._reader is None:
            self._namespaces = Namespaces(file.names)
            self._reader = PageReader(file.path, None if piece.begins else file.encoding)
        reader = self._reader
        if piece.data is not None:
            yield from _in_steps(reader, piece.data)
        else:
            yield from self._stream_pages(piece, file, reader)
        if not piece.more:
            yield from reader.end_block()
        if piece.ends:
            try:
                reader.close()
            except Truncated:
                if not self._job.allow_truncated:
                    raise
                self._leave_out("truncated", reader.open_id)
        elif not piece.more and reader.open_page:
            raise Unaligned(f"{file.path}: a bz2 stream ends within a page")

    def _stream_pages(self, piece: Piece, file: SourceFile, reader: PageReader) -> Iterator[Page]:
        allow_truncated = self._job.allow_truncated and piece.ends
        with Source(file.path, piece.start, piece.stop, allow_truncated) as source:
            first = not piece.begins
            try:
                for chunk in source.chunks():
                    if first and not page_begins(chunk):
                        raise Unaligned(f"{file.path}: the bz2 stream at byte {piece.start} begins within a page")
                    first = False
                    yield from _in_steps(reader, chunk)
            except Truncated as fault:
                raise fault if piece.ends else Unaligned(str(fault)) from None

    def _add(self, page: Page) -> None:
        """A row for the page, and its text with all that is told from it where it may be a document."""
        is_dump, block = self._job.format == "mediawiki", self._block
        told = told_by(page, self._namespaces) if is_dump else []
        size = len(page.text)
        if page.ns != MAIN or page.redirect is not None:
            self._leave_out("redirect" if page.ns == MAIN else "other_namespace", page.id, size)
            block.note(told, None)
            return
        text = self._cleaned(page) if not page.too_long else ""
        if not text:
            reason = "too_long" if page.too_long else "empty" if text is not None else "unreadable"
            self._leave_out(reason, page.id, size)
            block.note(told, title_suffix(page.title))
            return
        block.page(0, page.id, size)
        block.note(told, title_suffix(page.title))
        encoded = text.encode()
        digest = hashlib.blake2b(encoded, digest_size=16).digest()
        in_script = share_in_script(text, self._job.script) if self._job.script else 1.0
        templates = templates_of(page.text) if is_dump else []
        block.candidate(page.title.encode(), encoded, digest, templates, in_script)
        if self._job.bits:
            self._unhashed.append(text)
        if self._signature_of:
            block.signature(self._signature_of(text))

    def _cleaned(self, page: Page) -> str | None:
        """The page's text, normalised; None where it cannot be cleaned, so that one odd page stops no build."""
        if self._job.format != "mediawiki":
            return normalise(plain_blocks(page.text), self._job.normalisation)
        if len(page.text) > _MOST_OPENINGS and sum(map(page.text.count, _OPENINGS)) > _MOST_OPENINGS:
            return None
        try:
            text = clean(page.text, self._namespaces, page.title, self._templates, self._job.formula)
            return normalise(text, self._job.normalisation)
        except MemoryError:  # of the machine, not of the page: the build must not depend on it
            raise
        except Exception:  # noqa: BLE001 - counted as `unreadable`, with the page's id
            return None


def _in_steps(reader: PageReader, data: bytes) -> Iterator[Page]:
    """The pages that end in `data`, never all of them held at once."""
    for start in range(0, len(data), CHUNK):
        yield from reader.feed(data[start : start + CHUNK])
