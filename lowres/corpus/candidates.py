"""What a build knows of its candidates, the pages that may become documents; their texts stay in the blocks' files."""

import os
from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from threading import Lock

import numpy as np

from lowres.corpus.block_file import PARTITION_BITS, BlockFile, partitions
from lowres.corpus.stubs import helping, shingle_counts

_TYPES = {"ids": "q", "sizes": "I", "title_sizes": "I", "block": "I", "number": "I", "at": "q", "fitting": "b"}


class Candidates:
    """What is known of each candidate, in the order of the source: 35 bytes, and 16 more while the source is read.

    (n,) each, once all is read: ids; sizes, bytes of text; title_sizes; block, which it is in; number, in its block;
    at, where in the block's file its title begins; fitting, whether its letters are of the script that was asked for;
    repeated, whether its text is that of an earlier one; disambiguation, whether it is such a page.
    """

    ids: np.ndarray
    sizes: np.ndarray
    title_sizes: np.ndarray
    block: np.ndarray
    number: np.ndarray
    at: np.ndarray
    fitting: np.ndarray
    repeated: np.ndarray
    disambiguation: np.ndarray

    def __init__(self) -> None:
        self.blocks: list[BlockFile] = []
        self.pages_read = 0
        self.characters_read = 0
        self._gathered = {name: array(kind) for name, kind in _TYPES.items()}
        self._digests = array("Q")

    def __len__(self) -> int:
        return len(self._gathered["ids"])

    def add(self, block: BlockFile, ids: np.ndarray, left_out: np.ndarray, least_in_script: float) -> None:
        """The candidates of the next block. ids: of its pages. left_out: (pages,) bool, those that are none by now."""
        self.blocks.append(block)
        candidates = block.candidates()
        lengths = candidates["title_size"].astype(np.int64) + candidates["size"]
        here = np.flatnonzero(~left_out[candidates["page"]])
        found = {
            "ids": ids[candidates["page"]],
            "sizes": candidates["size"],
            "title_sizes": candidates["title_size"],
            "block": np.full(len(candidates), len(self.blocks) - 1),
            "number": np.arange(len(candidates)),
            "at": block.texts_at() + np.cumsum(lengths) - lengths,
            "fitting": candidates["in_script"] >= least_in_script,
        }
        for name, kind in _TYPES.items():
            self._gathered[name].frombytes(found[name][here].astype(kind).tobytes())
        self._digests.frombytes(candidates["digest"][here].tobytes())

    def close(self, marking: frozenset[str]) -> None:
        """Says that no block follows. marking: the templates that make a page one of disambiguation."""
        for name, kind in _TYPES.items():
            setattr(self, name, np.frombuffer(self._gathered[name], dtype=kind))
        self.repeated = _repeated(np.frombuffer(self._digests, dtype=np.uint64).reshape(-1, 2))
        self._digests = array("Q")
        self.disambiguation = np.zeros(len(self), dtype=bool)
        for block, start, stop in self._by_block():
            used = block.templates()
            marked = [not marking.isdisjoint(used[number]) for number in self.number[start:stop]]
            self.disambiguation[start:stop] = marked

    def stubs(self, counted: np.ndarray, bits: int, threads: int) -> np.ndarray:
        """(n,) bool: which are template-made (see `lowres.corpus.stubs`). counted: (n,) bool, of whom 5-grams count.

        The table of 2**bits counters is gone through in partitions, each thread with one of its own.
        """
        total, common = np.zeros(len(self), dtype=np.int64), np.zeros(len(self), dtype=np.int64)
        adding = Lock()

        def count(partition: int) -> None:
            counts = shingle_counts(min(bits, PARTITION_BITS))
            for block, start, stop in self._by_block():
                counts.add(*self._places(block, partition, start, stop, counted))
            for block, start, stop in self._by_block():
                places, lengths = self._places(block, partition, start, stop, counted)
                found = counts.common(places, lengths)
                with adding:
                    total[start:stop] += lengths
                    common[start:stop] += found

        with ThreadPoolExecutor(helping(threads)) as pool:
            for done in [pool.submit(count, partition) for partition in range(partitions(bits))]:
                done.result()
        return 2 * common > total

    def _places(
        self, block: BlockFile, partition: int, start: int, stop: int, counted: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Places of the candidates start..stop-1 of a block, end to end, and how many of each count."""
        places, lengths = block.places(partition)
        wanted = np.zeros(len(lengths), dtype=bool)
        wanted[self.number[start:stop]] = counted[start:stop]
        if not wanted.all():
            places = places[np.repeat(wanted, lengths)]
        return places, np.where(wanted, lengths, 0)[self.number[start:stop]]

    def _by_block(self) -> Iterator[tuple[BlockFile, int, int]]:
        """Each block that has candidates, and which candidates they are."""
        edges = np.searchsorted(self.block, np.arange(len(self.blocks) + 1))
        for block, (start, stop) in zip(self.blocks, pairwise(edges), strict=True):
            if start < stop:
                yield block, int(start), int(stop)

    def signatures(self, kept: np.ndarray) -> Iterator[np.ndarray]:
        """The signatures of the candidates at `kept`, which ascends, block by block: (m, 128) uint32."""
        for block, start, stop in self._by_block():
            first, last = np.searchsorted(kept, [start, stop])
            if first < last:
                yield block.signatures()[self.number[kept[first:last]]]

    def titles_and_texts(self, places: np.ndarray) -> list[tuple[bytes, bytes]]:
        """Those of the candidates at `places`, in that order, as UTF-8. Each block's file is opened once."""
        found: list[tuple[bytes, bytes]] = [(b"", b"")] * len(places)
        order = np.lexsort((self.at[places], self.block[places]))
        held, file = -1, -1
        try:
            for index in order.tolist():
                place = places[index]
                if self.block[place] != held:
                    if file >= 0:
                        os.close(file)
                    held = self.block[place]
                    file = os.open(self.blocks[held].path, os.O_RDONLY)
                title = int(self.title_sizes[place])
                data = os.pread(file, title + int(self.sizes[place]), int(self.at[place]))
                found[index] = data[:title], data[title:]
        finally:
            if file >= 0:
                os.close(file)
        return found

    def texts(self, places: np.ndarray) -> list[str]:
        """The texts of the candidates at `places`."""
        return [text.decode() for _, text in self.titles_and_texts(places)]


def _repeated(digests: np.ndarray) -> np.ndarray:
    """(n,) bool: which of the (n, 2) digests stands before as well."""
    first, second = digests.T
    order = np.lexsort((second, first))  # stable: the earliest of equal ones comes first
    same = (first[order[1:]] == first[order[:-1]]) & (second[order[1:]] == second[order[:-1]])
    repeated = np.zeros(len(order), dtype=bool)
    repeated[order[1:][same]] = True
    return repeated
