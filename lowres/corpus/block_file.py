"""What an extracted block leaves on disk: a table of its pages, a table of its candidates, and what they hold.

Candidates are the pages that may become documents. All that a later pass asks for is in the file, so of a candidate
the build itself holds some thirty bytes.
"""

import json
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

from lowres.corpus.near import PERMUTATIONS

PAGE = np.dtype([("reason", "u1"), ("id", "i8"), ("source_characters", "u4")])
"""A page of the source. reason: why it is no document, a place in `REASONS` from 1; 0: it is a candidate."""
CANDIDATE = np.dtype(
    [("page", "u4"), ("title_size", "u4"), ("size", "u4"), ("digest", "u8", (2,)), ("in_script", "f8")]
)
"""page: its row in the table of pages. title_size, size: UTF-8 bytes of title and text. digest: of the text.

in_script: the share of its letters that are of the script that was asked for.
"""
PARTITION_BITS = 23
"""log2 of the shingle places that are counted at a time; a place's upper bits say in which partition it is."""

_MAGIC = b"lowres block 3\0\0"
_SECTIONS = 8
_HEAD = struct.Struct(f"<16s{_SECTIONS}QQ?")
_PAGES, _CANDIDATES, _NOTES, _TEMPLATES, _TEXTS, _LENGTHS, _PLACES, _SIGNATURES = range(_SECTIONS)


def partitions(bits: int) -> int:
    """How many partitions a table of 2**bits shingle places has."""
    return 1 << max(0, bits - PARTITION_BITS)


@dataclass(frozen=True)
class Note:
    """What a page tells of disambiguation. row: in the table of pages. told, suffix: see `Disambiguation`."""

    row: int
    told: tuple[tuple[str, str | None], ...]
    suffix: str | None


@dataclass(frozen=True)
class BlockFile:
    """A finished block. position: how far into the source it ends. last: no block follows.

    edges: where in the file its sections begin and end, in bytes.
    """

    path: Path
    edges: tuple[int, ...]
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
        _, *sizes, position, last = _HEAD.unpack(head)
        edges = tuple(accumulate(sizes, initial=_HEAD.size))
        return cls(path, edges, position, last) if size == edges[-1] else None

    def pages(self) -> np.ndarray:
        """(pages,) PAGE, in the source's order."""
        return np.frombuffer(self._section(_PAGES), dtype=PAGE)

    def candidates(self) -> np.ndarray:
        """(candidates,) CANDIDATE, in the source's order."""
        return np.frombuffer(self._section(_CANDIDATES), dtype=CANDIDATE)

    def notes(self) -> list[Note]:
        """What its pages tell of disambiguation, in their order."""
        return [
            Note(row, tuple((name, target) for name, target in told), suffix)
            for row, told, suffix in json.loads(self._section(_NOTES))
        ]

    def templates(self) -> list[list[str]]:
        """The templates that each candidate uses."""
        return [line.split("|") if line else [] for line in self._section(_TEMPLATES).decode().split("\n")[:-1]]

    def texts_at(self) -> int:
        """Where in the file the titles and texts of its candidates begin; they stand end to end."""
        return self.edges[_TEXTS]

    def texts(self) -> bytes:
        """Titles and texts of its candidates, end to end."""
        return self._section(_TEXTS)

    def places(self, partition: int) -> tuple[np.ndarray, np.ndarray]:
        """The shingle places that lie in a partition, candidate by candidate, each ascending; and how many each has.

        (n,) uint32, counted from the partition's beginning, and (candidates,) int64.
        """
        file = os.open(self.path, os.O_RDONLY)  # read by several passes for each partition: a file object costs more
        try:
            start = self.edges[_LENGTHS]
            lengths = np.frombuffer(os.pread(file, self.edges[_LENGTHS + 1] - start, start), dtype=np.uint32)
            candidates = (self.edges[_CANDIDATES + 1] - self.edges[_CANDIDATES]) // CANDIDATE.itemsize
            wide = lengths.reshape(candidates, -1) if candidates else np.zeros((0, partition + 1), dtype=np.uint32)
            before = 4 * int(wide[:, :partition].sum(dtype=np.int64))
            here = wide[:, partition].astype(np.int64)
            raw = os.pread(file, 4 * int(here.sum()), self.edges[_PLACES] + before)
        finally:
            os.close(file)
        return np.frombuffer(raw, dtype=np.uint32), here

    def signatures(self) -> np.ndarray:
        """The signatures of its candidates, where they were wanted: (candidates, 128) uint32."""
        return np.frombuffer(self._section(_SIGNATURES), dtype=np.uint32).reshape(-1, PERMUTATIONS)

    def _section(self, number: int) -> bytes:
        return self._bytes(self.edges[number], self.edges[number + 1])

    def _bytes(self, start: int, stop: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(stop - start)


class BlockWriter:
    """Gathers what is told of a block's pages, one after the other. bits: of the shingle table; 0: there is none."""

    def __init__(self, bits: int):
        self._bits = bits
        self._pages: list[tuple[int, int, int]] = []
        self._candidates: list[tuple[int, int, int, tuple[int, int], float]] = []
        self._notes: list[tuple[int, Sequence[tuple[str, str | None]], str | None]] = []
        self._templates: list[str] = []
        self._texts: list[bytes] = []
        self._places: list[np.ndarray] = []
        self._signatures: list[np.ndarray] = []

    def page(self, reason: int, page_id: int, source_characters: int) -> None:
        """A page of the source; see PAGE."""
        self._pages.append((reason, page_id, source_characters))

    def note(self, told: Sequence[tuple[str, str | None]], suffix: str | None) -> None:
        """What the last page tells of disambiguation; see `Note`."""
        if told or suffix is not None:
            self._notes.append((len(self._pages) - 1, told, suffix))

    def candidate(self, title: bytes, text: bytes, digest: bytes, templates: Sequence[str], in_script: float) -> None:
        """The last page is one; see CANDIDATE. digest: 16 bytes."""
        halves = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
        self._candidates.append((len(self._pages) - 1, len(title), len(text), halves, in_script))
        self._templates.append("|".join(templates) + "\n")
        self._texts += [title, text]

    def places(self, places: list[np.ndarray]) -> None:
        """The shingle places of every candidate, (n,) uint32 each, ascending."""
        self._places = places

    def signature(self, signature: np.ndarray) -> None:
        """The last candidate's signature."""
        self._signatures.append(signature)

    def write(self, path: Path, position: int, last: bool) -> None:
        """The block's file, renamed into place when it is whole."""
        lengths, places = self._by_partition()
        sections = (
            np.array(self._pages, dtype=PAGE).tobytes(),
            np.array(self._candidates, dtype=CANDIDATE).tobytes(),
            json.dumps(self._notes, ensure_ascii=False, separators=(",", ":")).encode(),
            "".join(self._templates).encode(),
            b"".join(self._texts),
            lengths.astype(np.uint32).tobytes(),
            places.tobytes(),
            b"".join(map(np.ndarray.tobytes, self._signatures)),
        )
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            file.write(_HEAD.pack(_MAGIC, *map(len, sections), position, last))
            file.writelines(sections)
        partial.rename(path)

    def _by_partition(self) -> tuple[np.ndarray, np.ndarray]:
        """How many places each candidate has in each partition, and all places, partition by partition."""
        lengths = np.array(list(map(len, self._places)), dtype=np.int64)
        places = np.concatenate(self._places) if self._places else np.zeros(0, dtype=np.uint32)
        count = partitions(self._bits)
        if count == 1:
            return lengths.reshape(-1, 1), places
        upper = (places >> np.uint32(PARTITION_BITS)).astype(np.uint8)
        owners = np.repeat(np.arange(len(lengths)), lengths) * count + upper
        table = np.bincount(owners, minlength=len(lengths) * count).reshape(-1, count)
        # eight-bit numbers are sorted by counting, so this keeps the order within a partition and is quick
        return table, places[np.argsort(upper, kind="stable")] & np.uint32((1 << PARTITION_BITS) - 1)
