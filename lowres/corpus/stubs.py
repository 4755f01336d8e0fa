"""Which pages a template made: more than half of their digit-masked word 5-grams stand in four or more pages.

A compiled kernel counts where there is one, without the interpreter's lock; else numpy.
"""

from collections.abc import Callable
from functools import cache

import numpy as np

from lowres.kernels.load import Missing, library

_COMMON = 4
_PAGES_A_STEP = 255 - _COMMON  # so many more than four fit into a byte
_SIGNATURES = {"shingles_count": "ppi", "shingles_common": "ppppi"}


class ShingleCounts:
    """In how many pages each digit-masked word 5-gram stands, counted to four and no further.

    A table of 2**bits one-byte counters indexed by a hash. Two 5-grams that share a counter count as one: with as many
    counters as 5-grams, two in a hundred rare ones pass for common, far from the half that makes a stub.
    """

    def __init__(self, bits: int):
        self._counts = np.zeros(1 << bits, dtype=np.uint8)

    def add(self, places: np.ndarray, lengths: np.ndarray) -> None:
        """Counts the 5-grams of several pages, end to end. lengths: (pages,) how many each has, each of them once."""
        ends = np.cumsum(lengths)
        for first in range(0, len(lengths), _PAGES_A_STEP):
            last = min(first + _PAGES_A_STEP, len(lengths)) - 1
            step = places[ends[first] - lengths[first] : ends[last]]
            np.add.at(self._counts, step, np.uint8(1))
            self._counts[step[self._counts.take(step) > _COMMON]] = _COMMON

    def common(self, places: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """(pages,) int64: how many 5-grams of each page stand in four or more pages."""
        found = np.concatenate([[0], np.cumsum(self._counts.take(places) >= _COMMON)])
        ends = np.cumsum(lengths)
        return found[ends] - found[ends - lengths]


class CompiledCounts:
    """ShingleCounts by the compiled kernels, in half the memory; other threads go on meanwhile."""

    def __init__(self, bits: int, functions: dict[str, Callable[..., None]]):
        self._bits = bits
        self._counts = np.zeros(1 << (bits - 1), dtype=np.uint8)
        self._functions = functions

    def add(self, places: np.ndarray, lengths: np.ndarray) -> None:
        """As ShingleCounts."""
        places = self._checked(places, lengths)
        self._functions["shingles_count"](self._counts.ctypes.data, places.ctypes.data, len(places))

    def common(self, places: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """As ShingleCounts."""
        places, lengths = self._checked(places, lengths), np.ascontiguousarray(lengths, dtype=np.int64)
        common = np.empty(len(lengths), dtype=np.int64)
        pointers = (array.ctypes.data for array in (self._counts, places, lengths, common))
        self._functions["shingles_common"](*pointers, len(lengths))
        return common

    def _checked(self, places: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """`places` as the kernels read them. Raises IndexError before memory that is not the table's is touched."""
        if len(places) != lengths.sum() or (len(places) and int(places.max()) >> self._bits):
            raise IndexError("shingle places beyond the table, or not as many as their pages have")
        return np.ascontiguousarray(places, dtype=np.uint32)


@cache
def kernels() -> dict[str, Callable[..., None]] | None:
    """The kernels by name; None where they are not built."""
    found = library()
    return None if isinstance(found, Missing) else found.functions(_SIGNATURES)


def shingle_counts(bits: int) -> ShingleCounts | CompiledCounts:
    """A table of 2**bits counters: compiled where the kernels are built. Both count the same."""
    functions = kernels()
    return CompiledCounts(bits, functions) if functions else ShingleCounts(bits)


def helping(threads: int) -> int:
    """How many of so many threads count faster than one: numpy's counting holds the interpreter's lock."""
    return threads if kernels() else 1


def table_bits(source_bytes: int) -> int:
    """log2 of the counters for a raw file of so many bytes: two a byte, from 2**20 to 2**28."""
    return min(28, max(20, (2 * source_bytes).bit_length()))
