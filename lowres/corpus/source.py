"""The bytes of a raw file, decompressed as they are read, in bounded memory; and where a bz2 file may be cut."""

import bz2
import codecs
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from rapidgzip import IndexedBzip2File

from lowres.errors import DataError

CHUNK = 1 << 18
"""Bytes that are read at a time, and decompressed but for bz2."""
_BZ2_CHUNK = 1 << 21
"""Bytes decompressed at a time from bz2, whose blocks have 900 kB: work between two of them empties the cache."""
_GLANCE = 1 << 10
MAX_LINE = 1 << 26
"""Bytes of one line of JSON lines or plain text."""
_XZ_MEMORY = 1 << 28
_ZSTD_WINDOW = 1 << 27
_ZSTD, _ZSTD_SKIPPABLE = b"\x28\xb5\x2f\xfd", b"\x2a\x4d\x18"
_ZSTD_INPUT = 256
"""Bytes given to zstd at once: each four of them may become 128 KiB."""
_BZ2_END, _BZ2_TAIL = 0x177245385090, 11  # the end mark of a stream; bytes that hold it, checksum and padding
_HELD = 1 << 22
"""Compressed bytes of a run of streams that are held at once; a whole file is read as it is decoded."""
_FIRST_STREAM = 1 << 24
_STREAM_MARK = b"1AY&SY"
_DECLARED = re.compile(r"\A(<\?xml[^>]{0,100}?)\s+encoding=[\"'][^\"'>]{0,40}[\"']")
_PAGE_STARTS = (b"<page>", b"<page ", b"</mediawiki>")


class Truncated(DataError):
    """A file that ends before its end mark."""


class Source:
    """A raw file read from start to end, plain or compressed by bz2, gzip, xz or zstd (told by its first bytes).

    path: the file. size: its bytes on disk. start, stop: the bytes of it that are read, whole bz2 streams.
    position(): how far reading is, in bytes of the file. allow_truncated: a file that is cut short ends where it is
    cut, and `cut` says so.
    """

    def __init__(self, path: Path, start: int = 0, stop: int | None = None, allow_truncated: bool = False):
        self.path = path
        self.size = path.stat().st_size
        self._stop = self.size if stop is None else stop
        self._raw = path.open("rb")
        self._raw.seek(start)
        self._start = start
        self._allow_truncated = allow_truncated
        self.cut = False

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    def position(self) -> int:
        """Bytes of the file on disk read so far."""
        return min(self._raw.tell(), self._stop)

    def chunks(self, most: int = _BZ2_CHUNK) -> Iterator[bytes]:
        """The decompressed bytes in pieces of `most` bytes or less; UTF-16 comes as UTF-8.

        Raises Truncated where the compressed data is cut short, DataError where it is damaged.
        """
        try:
            chunks = _decompressed(self._raw, self._stop - self._start, most)
            first = next(chunks, b"")
            if codec := _utf16(first):
                yield from _as_utf8(first, chunks, codec)
            elif first:
                yield first
                yield from chunks
        except EOFError:
            if self._allow_truncated:
                self.cut = True
                return
            raise Truncated(
                f"{self.path}: the compressed data ends before its end mark: the file is truncated; fetch it again"
            ) from None
        except UnicodeDecodeError as fault:
            raise DataError(f"{self.path}: it begins as UTF-16 and then is not ({fault.reason})") from None
        except (OSError, lzma.LZMAError, zlib.error) as fault:
            raise DataError(f"{self.path}: the compressed data is damaged ({fault}); fetch it again") from None

    def lines(self) -> Iterator[bytes]:
        """The decompressed lines without their ends. Raises DataError as `chunks` does, and on a line over 64 MiB."""
        left = b""
        for block in cut_behind((b"\n",), self.chunks(), CHUNK, self.path):
            *lines, left = block.split(b"\n")
            yield from lines
        if left:
            yield left


def cut_behind(marks: tuple[bytes, ...], chunks: Iterator[bytes], target: int, path: Path) -> Iterator[bytes]:
    """The chunks as blocks of about `target` bytes, cut behind one of `marks`; the last one may be empty.

    No marks: one block. Raises DataError where 64 MiB hold no mark.
    """
    pending = bytearray()
    for chunk in chunks:
        pending += chunk
        if len(pending) >= target:
            end = max((at + len(mark) for mark in marks if (at := pending.rfind(mark)) >= 0), default=0)
            if end:
                yield bytes(pending[:end])
                del pending[:end]
            elif len(pending) > MAX_LINE:
                what = "a line" if b"\n" in marks else "a document"
                raise DataError(f"{path}: {what} is longer than {MAX_LINE} bytes; cut it, or see `format`")
    yield bytes(pending)


def _decompressed(raw: IO[bytes], length: int, most: int) -> Iterator[bytes]:
    """The next `length` bytes of `raw`, decompressed as their first bytes say. Raises EOFError where they end early."""
    magic = raw.read(6)
    raw.seek(-len(magic), 1)
    if magic.startswith(b"\x1f\x8b"):
        unzipped = gzip.GzipFile(fileobj=raw)
        return iter(lambda: unzipped.read1(CHUNK), b"")
    if magic.startswith(b"BZh"):
        return _bz2_streams(raw, length, most)
    pieces = _pieces(raw, length)
    if magic.startswith(_ZSTD) or magic[1:4] == _ZSTD_SKIPPABLE:
        return _zstd_frames(pieces)
    if magic == b"\xfd7zXZ\x00":
        return _streams(pieces, lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY), b"\xfd7z")
    return pieces


def _pieces(raw: IO[bytes], length: int, most: int = CHUNK) -> Iterator[bytes]:
    while length > 0 and (piece := raw.read(min(most, length))):
        length -= len(piece)
        yield piece


def _bz2_streams(raw: IO[bytes], length: int, most: int) -> Iterator[bytes]:
    """Streams of bz2. rapidgzip decodes them 1.3 times as fast as the standard library.

    Where it finds a fault, the standard library starts anew: it gives what stands before the fault, and says which. Who
    asks for little has it from the standard library, for rapidgzip takes 30 ms to begin.
    """
    if most < CHUNK:
        yield from _streams(_pieces(raw, length, most), bz2.BZ2Decompressor, b"BZh", most)
        return
    start, given = raw.tell(), 0
    try:
        for data in _fast_bz2(raw, length, most):
            given += len(data)
            yield data
        return
    except (RuntimeError, ValueError):
        raw.seek(start)
    for data in _streams(_pieces(raw, length), bz2.BZ2Decompressor, b"BZh"):
        new, given = data[given:], max(0, given - len(data))
        if new:
            yield new


def _fast_bz2(raw: IO[bytes], length: int, most: int) -> Iterator[bytes]:
    """Raises RuntimeError or ValueError where these are not whole streams alone, or cannot be had fast."""
    start = raw.tell()
    raw.seek(max(start, start + length - _BZ2_TAIL))
    if not _ends_a_stream(raw.read(min(length, _BZ2_TAIL))):
        raise ValueError
    raw.seek(start)
    if length > _HELD and start:
        raise ValueError
    held = io.BytesIO(raw.read(length) if length <= _HELD else b"")
    # held is closed too: rapidgzip 0.16 keeps what it was given
    with held, IndexedBzip2File(held if length <= _HELD else raw.name, parallelization=1) as decoder:
        while data := decoder.read(most):
            raw.seek(start + decoder.tell_compressed() // 8)  # which says how far reading is
            yield data
        if decoder.tell_compressed() < 8 * length:  # it passes over what it takes for garbage behind a stream
            raise ValueError


def _ends_a_stream(tail: bytes) -> bool:
    """Whether the end mark of a bz2 stream, a checksum and less than a byte of padding end `tail`."""
    bits = int.from_bytes(tail, "big")
    return any((bits >> 32 + padding) & (1 << 48) - 1 == _BZ2_END for padding in range(8))


def _streams(pieces: Iterator[bytes], new: Any, magic: bytes, most: int = CHUNK) -> Iterator[bytes]:
    """Streams of a compressor, one behind the other. What follows the last one must be zeros (padding)."""
    decompressor, left = new(), b""
    for piece in pieces:
        left += piece
        while left or not decompressor.needs_input:
            if decompressor.eof:
                if len(left) < len(magic) and magic.startswith(left):
                    break  # the next stream's first bytes: more of them come
                if not left.startswith(magic):
                    if left.strip(b"\0"):
                        raise OSError("what follows a stream is no stream")
                    left = b""
                    break
                decompressor = new()
            data = decompressor.decompress(left, most)
            left = decompressor.unused_data if decompressor.eof else b""
            if data:
                yield data
    if not decompressor.eof:
        raise EOFError
    if left:
        raise OSError("what follows a stream is no stream")


def _zstd_frames(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Frames of zstd, one behind the other."""
    from zstandard import ZstdDecompressor, ZstdError

    frames = ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    frame, held, within = frames.decompressobj(), bytearray(), False
    try:
        for piece in pieces:
            for at in range(0, len(piece), _ZSTD_INPUT):
                left = piece[at : at + _ZSTD_INPUT]
                while left:
                    held += frame.decompress(left)
                    within, left = not frame.eof, frame.unused_data
                    if frame.eof:
                        frame = frames.decompressobj()
                if len(held) >= CHUNK:
                    yield bytes(held)
                    held.clear()
    except ZstdError as fault:
        raise OSError(str(fault)) from None
    if held:
        yield bytes(held)
    if within:
        raise EOFError


def _as_utf8(first: bytes, others: Iterator[bytes], codec: str) -> Iterator[bytes]:
    """Chunks of UTF-16 transcoded; a mark of byte order goes, and what an XML declaration says of the encoding."""
    decoder = codecs.getincrementaldecoder(codec)()
    yield _DECLARED.sub(r"\1", decoder.decode(first).removeprefix("\ufeff")).encode()
    for chunk in others:
        yield decoder.decode(chunk).encode()
    decoder.decode(b"", True)


def _utf16(first: bytes) -> str | None:
    """The codec of text that begins with a byte-order mark, or with an ASCII character, in UTF-16."""
    if first.startswith(b"\xff\xfe") or (first[:1] in b"<{[" and first[1:2] == b"\0"):
        return "utf-16-le"
    if first.startswith(b"\xfe\xff") or (first[:1] == b"\0" and first[1:2] in b"<{["):
        return "utf-16-be"
    return None


# --- multistream ------------------------------------------------------------------------------------------------------


def stream_starts(path: Path, target: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of runs of whole bz2 streams of `target` bytes or more, the whole file in order.

    Nothing where the file is not a dump in Wikimedia's multistream layout: streams that begin with a page. The marks
    of streams are looked for in the file itself, so no index is needed; a mark is ten bytes that compressed data holds
    by chance once in 10**24.
    """
    with path.open("rb") as file:
        magic = file.read(4)
        if not magic.startswith(b"BZh"):
            return
        mark = magic + _STREAM_MARK
        second = _find(file, mark, 1, _FIRST_STREAM)
        if second is None or not begins_with_page(path, second):
            return
        start = 0
        while (stop := _find(file, mark, start + target)) is not None:
            yield start, stop
            start = stop
        yield start, path.stat().st_size


def _find(file: IO[bytes], mark: bytes, position: int, within: int | None = None) -> int | None:
    """Where `mark` next stands in `file`, from `position` on."""
    file.seek(position)
    held, end = b"", None if within is None else position + within
    while chunk := file.read(CHUNK):
        held += chunk
        if (at := held.find(mark)) >= 0:
            return position + at
        position += max(0, len(held) - len(mark) + 1)
        held = held[-len(mark) + 1 :]
        if end is not None and position > end:
            return None
    return None


def begins_with_page(path: Path, start: int) -> bool:
    """Whether the bz2 stream at `start` begins with a page, or with the end of the dump."""
    with Source(path, start) as source:
        try:
            return page_begins(next(source.chunks(_GLANCE), b""))
        except DataError:
            return False


def page_begins(data: bytes) -> bool:
    """Whether the first tag of `data` is a page's, or the last of a dump."""
    return data.lstrip().startswith(_PAGE_STARTS)
