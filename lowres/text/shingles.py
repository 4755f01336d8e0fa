"""Shingles: hashes of runs of words or characters, digits masked, the same in every process and on every machine."""

import re
import zlib
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from lowres.text.scripts import code_points, script_counts

WORDS = 5
"""Words in a shingle."""
UNSPACED: Mapping[str, int] = MappingProxyType(
    {"Hani": 5, "Hira": 5, "Kana": 5, "Bopo": 5}
    | {script: 10 for script in ("Bali", "Java", "Khmr", "Lana", "Laoo", "Mymr", "Talu", "Thai", "Tibt")}
)
"""Scripts that put no space between words -> characters in a shingle: two or three words."""

_DIGITS = re.compile(r"\d+")
_SPACE = re.compile(r"\s+")
_FACTORS = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93, 0xFF51AFD7ED558CCD]
    + [0xC4CEB9FE1A85EC53, 0x87C37B91114253D5, 0x4CF5AD432745937F, 0x52DCE729DA3ED7B7, 0x38495AB5A3F1C2E9],
    dtype=np.uint64,
)
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_CACHED_WORDS = 1 << 18
_LOOKED_AT = 4000


class _WordHashes(dict[str, int]):
    """CRC-32 of words, remembered; the same in every process, unlike `hash`."""

    def __missing__(self, word: str) -> int:
        if len(self) >= _CACHED_WORDS:
            self.clear()
        value = self[word] = zlib.crc32(word.encode("utf-8", "surrogatepass"))
        return value


def runs(values: np.ndarray, length: int) -> np.ndarray:
    """(n,) uint64 -> (n - length + 1,) uint64: a hash of each run of `length`, its upper bits the best mixed."""
    count = max(0, len(values) - length + 1)
    total = np.zeros(count, dtype=np.uint64)
    for place in range(length):
        total += values[place : place + count] * _FACTORS[place]
    total ^= total >> np.uint64(29)
    return total * _MIX


class Shingles:
    """Shingles of texts, in their order, repeats included. Holds a cache of words, some 30 MB at most."""

    def __init__(self) -> None:
        self._hashes = _WordHashes()

    def words(self, text: str, length: int = WORDS) -> np.ndarray:
        """(n,) uint64: the text's runs of `length` words; none where it has fewer words."""
        words = _DIGITS.sub("0", text).split()
        if len(words) < length:
            return np.zeros(0, dtype=np.uint64)
        values = np.fromiter(map(self._hashes.__getitem__, words), dtype=np.uint64, count=len(words))
        return runs(values, length)

    def places(self, text: str, bits: int) -> np.ndarray:
        """(n,) uint32, ascending, each once: the places of the text's runs of five words in a table of 2**bits."""
        places = (self.words(text) >> np.uint64(64 - bits)).astype(np.uint32)
        # 32-bit numbers sort three times as fast as np.unique finds 64-bit ones
        places.sort()
        new = np.ones(len(places), dtype=bool)
        np.not_equal(places[1:], places[:-1], out=new[1:])
        return places[new]

    def characters(self, text: str, length: int) -> np.ndarray:
        """(n,) uint64: the text's runs of `length` characters, white space left out; none where it has fewer."""
        return runs(code_points(_SPACE.sub("", _DIGITS.sub("0", text))).astype(np.uint64), length)

    def of_script(self, text: str) -> np.ndarray:
        """(n,) uint64: runs of characters where more than half of the letters are of UNSPACED scripts, else of words.

        A text that is shorter than a run is one run, so only a text of white space alone has none.
        """
        length = unspaced_length(text)
        if length is None:
            found = self.words(text)
            return found if len(found) else self.words(text, max(1, min(WORDS, len(text.split()))))
        found = self.characters(text, length)
        return found if len(found) else self.characters(text, max(1, min(length, len("".join(text.split())))))


def unspaced_length(text: str) -> int | None:
    """Characters in a shingle of the text's main unspaced script; None where most letters are of spaced scripts.

    The first 4,000 characters decide.
    """
    counts = script_counts(text[:_LOOKED_AT])
    unspaced = [script for script in counts if script in UNSPACED]
    if 2 * sum(counts[script] for script in unspaced) <= sum(counts.values()):
        return None
    return UNSPACED[unspaced[0]]
