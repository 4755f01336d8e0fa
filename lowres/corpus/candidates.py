"""What a build knows of its candidates, the pages that may become documents; their texts stay in the blocks' files."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from lowres.corpus.extract import BlockFile, Row
from lowres.corpus.filters import ShingleCounts

_OPEN_BLOCKS = 8


@dataclass(frozen=True)
class Start:
    """Where what a block holds of a row begins: which of its texts, at what byte of them, which shingle place."""

    number: int = 0
    offset: int = 0
    place: int = 0

    def behind(self, row: Row) -> "Start":
        """Where the next row's begins."""
        return Start(self.number + (not row.reason), self.offset + row.title_size + row.size, self.place + row.shingles)


def _integers() -> array:
    return array("q")


@dataclass
class Candidates:
    """What is known of each candidate, by its place in the source: ids, sizes in bytes, where its text is.

    block: which block it is in. numbers, offsets, starts: its `Start` there. shingles: how many of its places count.
    in_script: see `Row`. disambiguation: whether it is such a page, once all is read.
    """

    ids: array = field(default_factory=_integers)
    sizes: array = field(default_factory=_integers)
    title_sizes: array = field(default_factory=_integers)
    block: array = field(default_factory=_integers)
    numbers: array = field(default_factory=_integers)
    offsets: array = field(default_factory=_integers)
    starts: array = field(default_factory=_integers)
    shingles: array = field(default_factory=_integers)
    in_script: array = field(default_factory=lambda: array("d"))
    blocks: list[BlockFile] = field(default_factory=list)
    disambiguation: list[bool] = field(default_factory=list)
    counts: ShingleCounts | None = None
    pages_read: int = 0
    text_bytes_read: int = 0

    def add(self, row: Row, start: Start, shingles: int) -> None:
        """A candidate of the last block."""
        self.ids.append(row.id)
        self.sizes.append(row.size)
        self.title_sizes.append(row.title_size)
        self.block.append(len(self.blocks) - 1)
        self.numbers.append(start.number)
        self.offsets.append(start.offset)
        self.starts.append(start.place)
        self.shingles.append(shingles)
        self.in_script.append(row.in_script)

    def places(self) -> Iterator[np.ndarray]:
        """The shingle places of each candidate in order."""
        held, places = -1, np.zeros(0, dtype=np.uint32)
        for block, start, count in zip(self.block, self.starts, self.shingles, strict=True):
            if block != held:
                held, places = block, self.blocks[block].places()
            yield places[start : start + count]

    def signatures(self, kept: np.ndarray) -> Iterator[np.ndarray]:
        """The signature of each of the candidates at `kept`, which ascends: (128,) uint32."""
        held, signatures = -1, np.zeros((0, 0), dtype=np.uint32)
        for candidate in kept:
            if self.block[candidate] != held:
                held = self.block[candidate]
                signatures = self.blocks[held].signatures()
            yield signatures[self.numbers[candidate]]


class Texts:
    """Titles and texts of candidates out of their blocks' files; the last few blocks are held."""

    def __init__(self, found: Candidates):
        self._found = found
        self._held: dict[int, bytes] = {}

    def title_and_text(self, candidate: int) -> tuple[str, str]:
        """Those of the candidate at a place."""
        found, number = self._found, self._found.block[candidate]
        texts = self._held.pop(number, None)
        if texts is None:
            texts = found.blocks[number].texts()
            if len(self._held) >= _OPEN_BLOCKS:
                del self._held[next(iter(self._held))]
        self._held[number] = texts
        begin = found.offsets[candidate]
        middle = begin + found.title_sizes[candidate]
        return texts[begin:middle].decode(), texts[middle : middle + found.sizes[candidate]].decode()
