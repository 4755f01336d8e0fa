"""Shingles: hashes of runs of words or characters, digits masked, the same in every process and on every machine."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise
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

_WHITE = re.compile(r"\s+")
_FACTORS = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93, 0xFF51AFD7ED558CCD]
    + [0xC4CEB9FE1A85EC53, 0x87C37B91114253D5, 0x4CF5AD432745937F, 0x52DCE729DA3ED7B7, 0x38495AB5A3F1C2E9],
    dtype=np.uint64,
)
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_BASE = 0xD1342543DE82EF95  # odd, so it has an inverse modulo 2**64
_BATCH = 1 << 16
"""Characters that are hashed at a time: what a core's cache holds as 64-bit numbers."""
_LOOKED_AT = 4000
_SPACE, _DIGIT = 1, 2


@cache
def _kinds() -> np.ndarray:
    """(0x110000,) uint8: which code points are white space, which are decimal digits (all below U+20000)."""
    kinds = np.zeros(0x110000, dtype=np.uint8)
    below = "".join(map(chr, range(0x20000)))
    for kind, pattern in ((_SPACE, r"\s"), (_DIGIT, r"\d")):
        kinds[[match.start() for match in re.finditer(pattern, below)]] = kind
    return kinds


@cache
def _powers(count: int) -> tuple[np.ndarray, np.ndarray]:
    """(count,) uint64 each: the powers of _BASE from 0 on, and their inverses, modulo 2**64."""
    several = [np.full(count, base, dtype=np.uint64) for base in (_BASE, pow(_BASE, -1, 2**64))]
    for each in several:
        each[0] = 1
        np.multiply.accumulate(each, out=each)
    return several[0], several[1]


def _masked(text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Code points with every run of digits as one `0`, their kinds, and the places in `text` of what was left out."""
    points = code_points(text)
    kinds = _kinds()[points]
    digits = kinds == _DIGIT
    if not digits.any():
        return points, kinds, np.zeros(0, dtype=np.int64)
    gone = np.zeros(len(points), dtype=bool)
    np.logical_and(digits[1:], digits[:-1], out=gone[1:])
    points = np.where(digits, np.uint32(ord("0")), points)
    return points[~gone], kinds[~gone], np.flatnonzero(gone)


def _hashes_of(texts: Sequence[str]) -> tuple[np.ndarray, list[int]]:
    """(n,) uint64: a hash of each word of all texts, digits masked; and where each text's begin and the last one's end.

    A word's hash is a polynomial of its code points: a difference of two sums over all texts up to its ends.
    """
    points, kinds, gone = _masked(f" {chr(10).join(texts)} ")
    spaces = kinds == _SPACE
    edges = np.flatnonzero(spaces[1:] != spaces[:-1]) + 1
    starts, ends = edges[0::2], edges[1::2]
    # two sizes of tables, not one for each length
    powers, inverses = _powers(_BATCH * 2 if len(points) <= _BATCH * 2 else 1 << len(points).bit_length())
    sums = points * powers[: len(points)]
    np.cumsum(sums, out=sums)
    hashes = (sums[ends - 1] - sums[starts - 1]) * inverses[starts]
    hashes ^= hashes >> np.uint64(32)
    hashes *= _MIX
    offsets = np.cumsum([1] + [len(text) + 1 for text in texts])
    return hashes, np.searchsorted(starts, offsets - np.searchsorted(gone, offsets)).tolist()


def _in_parts(text: str) -> Iterator[str]:
    """`text` in parts of some _BATCH characters, cut at white space."""
    start = 0
    while len(text) - start > _BATCH * 2:
        space = _WHITE.search(text, start + _BATCH)
        if not space:
            break
        yield text[start : space.start()]
        start = space.end()
    yield text[start:]


def runs(values: np.ndarray, length: int) -> np.ndarray:
    """(n,) uint64 -> (n - length + 1,) uint64: a hash of each run of `length`, its upper bits the best mixed."""
    count = max(0, len(values) - length + 1)
    total = np.zeros(count, dtype=np.uint64)
    for place in range(length):
        total += values[place : place + count] * _FACTORS[place]
    total ^= total >> np.uint64(29)
    return total * _MIX


def of_words(text: str, length: int = WORDS) -> np.ndarray:
    """(n,) uint64: the text's runs of `length` words, in their order; none where it has fewer words. 120 MB/s."""
    return runs(np.concatenate([_hashes_of([part])[0] for part in _in_parts(text)]), length)


def of_characters(text: str, length: int) -> np.ndarray:
    """(n,) uint64: the text's runs of `length` characters, white space left out; none where it has fewer."""
    points, kinds, _ = _masked("".join(text.split()))
    return runs(points.astype(np.uint64), length)


def of_script(text: str) -> np.ndarray:
    """(n,) uint64: runs of characters where more than half of the letters are of UNSPACED scripts, else of words.

    A text that is shorter than a run is one run, so only a text of white space alone has none.
    """
    length = unspaced_length(text)
    if length is None:
        found = of_words(text)
        return found if len(found) else of_words(text, max(1, min(WORDS, len(text.split()))))
    found = of_characters(text, length)
    return found if len(found) else of_characters(text, max(1, min(length, len("".join(text.split())))))


def places(texts: Sequence[str], bits: int) -> list[np.ndarray]:
    """For each text (n,) uint32, ascending, each once: the places of its runs of five words in a table of 2**bits.

    Several texts at once are faster than one by one; a text's places are the same whatever stands beside it.
    """
    found: list[np.ndarray] = []
    held: list[str] = []
    size = 0
    for text in texts:
        if size + len(text) > _BATCH and held:
            found += _places(*_hashes_of(held), bits)
            held, size = [], 0
        if len(text) > _BATCH:
            found.append(_distinct(of_words(text), bits))
            continue
        held.append(text)
        size += len(text)
    return found + (_places(*_hashes_of(held), bits) if held else [])


def _places(hashes: np.ndarray, offsets: list[int], bits: int) -> list[np.ndarray]:
    every = runs(hashes, WORDS)
    return [_distinct(every[start : max(start, stop - WORDS + 1)], bits) for start, stop in pairwise(offsets)]


def _distinct(shingles: np.ndarray, bits: int) -> np.ndarray:
    places = (shingles >> np.uint64(64 - bits)).astype(np.uint32)
    # 32-bit numbers sort three times as fast as np.unique finds 64-bit ones
    places.sort()
    new = np.ones(len(places), dtype=bool)
    np.not_equal(places[1:], places[:-1], out=new[1:])
    return places[new]


def unspaced_length(text: str) -> int | None:
    """Characters in a shingle of the text's main unspaced script; None where most letters are of spaced scripts.

    The first 4,000 characters decide.
    """
    counts = script_counts(text[:_LOOKED_AT])
    unspaced = [script for script in counts if script in UNSPACED]
    if 2 * sum(counts[script] for script in unspaced) <= sum(counts.values()):
        return None
    return UNSPACED[unspaced[0]]
