"""Cutting a source into blocks, and having them extracted in order, here or by several processes.

Where a block ends depends on the source alone, never on how many processes there are or on what an earlier run left.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from queue import SimpleQueue

from lowres import __version__
from lowres.corpus.block_file import BlockFile
from lowres.corpus.documents import parquet_groups
from lowres.corpus.extract import Extraction, Extractor, Piece, Unaligned
from lowres.corpus.source import Source, Truncated, cut_behind, stream_starts
from lowres.errors import DataError

_PAGE_END = b"</page>"
_LONGEST_PIECE = 1 << 22
_MARKS = {"line": (b"\n",), "blank-line": (b"\n\n", b"\n\r\n"), "file": ()}
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_FAULTS = {kind.__name__: kind for kind in (DataError, Truncated, Unaligned, MemoryError)}
_SECONDS_TO_LEAVE = 5.0
_FEW = 3
_BLOCKS_A_WORKER = 4


@dataclass(frozen=True)
class Sizes:
    """Bytes of a block at least: compressed, of a run of bz2 streams; decompressed, of anything else."""

    streams: int = 1 << 18
    text: int = 1 << 20


SIZES = Sizes()


def cut(job: Extraction, whole: bool, sizes: Sizes = SIZES) -> Iterator[Piece]:
    """The pieces of all files in order; the last says so. whole: read as one stream, even if it looks like multistream.

    Raises DataError where the compressed data is cut short or damaged.
    """
    number = before = 0
    for place, file in enumerate(job.files):
        begins, held = True, None
        for piece in _pieces(job, file.path, whole, sizes):
            if held is not None:
                yield held
            held = replace(
                piece, number=number + piece.number, position=before + piece.position, file=place, begins=begins
            )
            begins = False
        if held is not None:
            yield replace(held, ends=True, last=place == len(job.files) - 1)
            number = held.number + 1
        before += file.size


def _pieces(job: Extraction, path: Path, whole: bool, sizes: Sizes) -> Iterator[Piece]:
    """The pieces of one file, at least one, numbered from 0."""
    if job.format == "mediawiki":
        streams = () if whole else stream_starts(path, sizes.streams)
        found = False
        for number, (start, stop) in enumerate(streams):
            found = True
            yield Piece(number, None, stop, start=start, stop=stop)
        if not found:
            yield from _page_pieces(path, sizes.text, job.allow_truncated)
    elif job.format == "parquet":
        yield from _row_groups(path, (job.text_field, job.title_field), sizes.text)
    else:
        marks = _MARKS[job.documents if job.format == "text" else "line"]
        yield from _line_pieces(path, marks, sizes.text, job.allow_truncated)


def _line_pieces(path: Path, marks: tuple[bytes, ...], target: int, allow_truncated: bool) -> Iterator[Piece]:
    with Source(path, allow_truncated=allow_truncated) as source:
        line = 1
        for number, data in enumerate(cut_behind(marks, source.chunks(), target, path)):
            if source.cut:  # what is behind the last mark is no whole document
                data = data[: max((data.rfind(mark) + len(mark) for mark in marks if mark in data), default=0)]
            yield Piece(number, data, source.position(), line=line, cut=source.cut)
            line += data.count(b"\n")


def _row_groups(path: Path, columns: tuple[str, str], target: int) -> Iterator[Piece]:
    groups = parquet_groups(path, columns)
    size, number, start, held = path.stat().st_size, 0, 0, 0
    for group, length in enumerate(groups):
        held += length
        if held >= target or group == len(groups) - 1:
            yield Piece(number, None, size * (group + 1) // len(groups), start=start, stop=group + 1)
            number, start, held = number + 1, group + 1, 0
    if not groups:
        yield Piece(0, None, size)


def _page_pieces(path: Path, target: int, allow_truncated: bool) -> Iterator[Piece]:
    """Blocks cut behind pages. A page over 4 MiB comes in several pieces, so that nobody holds it whole."""
    with Source(path, allow_truncated=allow_truncated) as source:
        number, pending = 0, bytearray()
        for chunk in source.chunks():
            pending += chunk
            if len(pending) < target:
                continue
            end = pending.rfind(_PAGE_END) + len(_PAGE_END)
            whole = end >= len(_PAGE_END)
            if not whole:
                end = len(pending) - len(_PAGE_END)
                if end < _LONGEST_PIECE:
                    continue
            yield Piece(number, bytes(pending[:end]), source.position(), more=not whole)
            del pending[:end]
            number += whole
        yield Piece(number, bytes(pending), source.size)


def extracted(job: Extraction, threads: int, whole: bool, sizes: Sizes = SIZES) -> Iterator[BlockFile]:
    """The finished blocks in order; those that an earlier run finished are not made again.

    Raises Unaligned where the dump must be read whole, DataError where the source is faulty.
    """
    _prepare(job, whole, sizes)
    number = 0
    while (block := BlockFile.read(job.block(number))) is not None:
        yield block
        number += 1
        if block.last:
            return
    pieces = (piece for piece in cut(job, whole, sizes) if piece.number >= number)
    for made in _made(job, pieces, threads, number):
        block = BlockFile.read(job.block(made))
        assert block is not None
        yield block


def _made(job: Extraction, pieces: Iterator[Piece], threads: int, number: int) -> Iterator[int]:
    """Extracts block `number` and those behind it. Yields their numbers as they are finished, in order.

    A few blocks are done sooner than other processes start.
    """
    first = list(islice(pieces, _FEW)) if threads > 1 else []
    pieces = chain(first, pieces)
    if len(first) == _FEW:
        yield from _Team(job, threads, number).run(pieces)
        return
    extractor = Extractor(job)
    for piece in pieces:
        extractor.take(piece)
        if not piece.more:
            yield piece.number


def _prepare(job: Extraction, whole: bool, sizes: Sizes) -> None:
    """An empty folder for block files, or the one that an earlier run of this very build left."""
    wanted = json.dumps([__version__, job.model_dump(mode="json", exclude={"folder"}), whole, asdict(sizes)])
    plan = job.folder / "plan.json"
    if not plan.is_file() or plan.read_text(encoding="utf-8") != wanted:
        shutil.rmtree(job.folder, ignore_errors=True)
        job.folder.mkdir(parents=True)
        plan.write_text(wanted, encoding="utf-8")


# --- several processes ------------------------------------------------------------------------------------------------


class _Worker:
    """A process that extracts blocks. It ends when its end of the pipe does, so none outlives this process."""

    def __init__(self, job: Extraction):
        self.pipe, theirs = Pipe()
        environment = {**os.environ, **dict.fromkeys(_THREADS, "1")}
        command = [sys.executable, "-m", "lowres.corpus.blocks", str(theirs.fileno())]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),), env=environment)
        theirs.close()
        self.pipe.send_bytes(job.model_dump_json().encode())

    def send(self, piece: Piece) -> None:
        head = {**asdict(replace(piece, data=None)), "data": piece.data is not None}
        with suppress(BrokenPipeError):  # it died: `received` says so
            self.pipe.send_bytes(json.dumps(head).encode())
            if piece.data is not None:
                self.pipe.send_bytes(piece.data)

    def received(self) -> int | BaseException:
        """The block that it finished, or what went wrong."""
        try:
            answer = json.loads(self.pipe.recv_bytes())
        except (EOFError, OSError):
            code = self.process.wait()
            if code == -9:
                return MemoryError("a corpus worker was killed; the machine may be out of memory")
            return RuntimeError(f"a corpus worker died (exit code {code})")
        if "errno" in answer:
            return OSError(answer["errno"], answer["error"])
        if "error" in answer:
            return _FAULTS.get(answer["kind"], RuntimeError)(answer["error"])
        return answer["number"]

    def close(self) -> None:
        self.pipe.close()
        try:
            self.process.wait(_SECONDS_TO_LEAVE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class _Team:
    """The process that cuts, which this is, and `count` - 1 others. Blocks come out in order, faults in their turn.

    Every other process has a block and the next ones, fewer towards the end; this one extracts only what they have no
    room for, so a source that is one stream is decompressed here as fast as it is wanted. turn: the number of the first
    block.
    """

    def __init__(self, job: Extraction, count: int, turn: int):
        self._turn = turn
        self._size = sum(file.size for file in job.files)
        self._here = Extractor(job)
        self._held_here: int | None = None
        self._workers = {worker.pipe: worker for worker in [_Worker(job) for _ in range(count - 1)]}
        self._busy: dict[Connection, list[int]] = {pipe: [] for pipe in self._workers}
        self._ended: dict[int, BaseException | None] = {}

    def run(self, pieces: Iterator[Piece]) -> Iterator[int]:
        """Yields the numbers of the blocks as they are finished, in order."""
        try:
            for piece in _until_fault(pieces, self._turn, self._ended):
                if any(self._ended.values()):
                    break
                self._hand_out(piece)
                self._collect(timeout=0)
                yield from self._in_turn()
            for numbers in self._busy.values():  # a block whose rest cannot be read is not waited for
                numbers[:] = [number for number in numbers if number not in self._ended]
            while any(self._busy.values()):
                self._collect(timeout=None)
                yield from self._in_turn()
            yield from self._in_turn()
        finally:
            for worker in self._workers.values():
                worker.close()

    def _hand_out(self, piece: Piece) -> None:
        """To whoever has the block's beginning, else to the worker with most room, else to this process."""
        pipe = next((pipe for pipe, numbers in self._busy.items() if piece.number in numbers), None)
        if pipe is None and self._held_here != piece.number:
            pipe = min(self._busy, key=lambda each: len(self._busy[each]))
            if len(self._busy[pipe]) < self._room(piece):
                self._busy[pipe].append(piece.number)
            else:
                pipe = None
        if pipe is not None:
            self._workers[pipe].send(piece)
            return
        self._held_here = piece.number
        try:
            self._here.take(piece)
        except (DataError, OSError, MemoryError) as fault:
            self._ended[piece.number] = fault
        if not piece.more:
            self._ended.setdefault(piece.number, None)

    def _room(self, piece: Piece) -> int:
        """How many blocks a worker may have: its share of what is left, so that all end at about the same time."""
        left = (self._size - piece.position) * (piece.number + 1) / max(piece.position, 1)
        return int(min(max(left / (len(self._workers) + 1), 1), _BLOCKS_A_WORKER))

    def _collect(self, timeout: float | None) -> None:
        """Takes what workers have finished, waiting for one that is busy if there is no timeout."""
        for pipe in wait([pipe for pipe, numbers in self._busy.items() if numbers], timeout):
            assert isinstance(pipe, Connection)
            answer = self._workers[pipe].received()
            self._ended[self._busy[pipe].pop(0)] = answer if isinstance(answer, BaseException) else None

    def _in_turn(self) -> Iterator[int]:
        while self._turn in self._ended:
            fault = self._ended.pop(self._turn)
            if fault is not None:
                raise fault
            yield self._turn
            self._turn += 1


def _until_fault(pieces: Iterator[Piece], number: int, ended: dict[int, BaseException | None]) -> Iterator[Piece]:
    """The pieces from block `number` on; a fault in cutting them is noted as that of the block that would have come."""
    try:
        for piece in pieces:
            yield piece
            number = piece.number if piece.more else piece.number + 1
    except DataError as fault:
        ended[number] = fault


def _serve(pipe: Connection) -> None:
    """A worker's life: pieces come in, the number of each finished block goes out."""
    extractor = Extractor(Extraction.model_validate_json(pipe.recv_bytes()))
    pieces: SimpleQueue[Piece | None] = SimpleQueue()
    threading.Thread(target=_listen, args=(pipe, pieces), daemon=True).start()
    failed: dict[str, object] | None = None
    while (piece := pieces.get()) is not None:
        try:
            if failed is None:
                extractor.take(piece)
        except OSError as fault:
            failed = {"errno": fault.errno or 0, "error": fault.strerror or str(fault)}
        except Exception as fault:  # noqa: BLE001 - told to the parent, which raises it
            failed = {"kind": type(fault).__name__, "error": str(fault) or type(fault).__name__}
        if not piece.more:
            pipe.send_bytes(json.dumps(failed or {"number": piece.number}).encode())
            failed = None


def _listen(pipe: Connection, pieces: "SimpleQueue[Piece | None]") -> None:
    """Takes the next piece while one is worked at; None at the end."""
    with suppress(EOFError, OSError):
        while True:
            head = json.loads(pipe.recv_bytes())
            head["data"] = pipe.recv_bytes() if head["data"] else None
            pieces.put(Piece(**head))
    pieces.put(None)


def main(arguments: list[str]) -> None:
    """Entry of a worker's process. Ctrl-C reaches the process that gave the work, which closes the pipe."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(EOFError, BrokenPipeError):
        _serve(Connection(int(arguments[0])))


if __name__ == "__main__":
    from lowres.corpus.blocks import main as imported_main

    imported_main(sys.argv[1:])
