"""Near-duplicates: documents whose sets of shingles are alike, found by MinHash and locality-sensitive hashing.

Broder 1997; Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, chapter 3. A signature is the least hash of a
document's shingles under each of 128 permutations (datasketch's); two signatures agree in as large a share as the sets'
Jaccard similarity, give or take 0.035 at 0.8. Bands of a signature say which pairs are worth comparing.
"""

from collections.abc import Iterable, Iterator, Sequence
from mmap import ACCESS_READ, mmap
from typing import BinaryIO

import numpy as np

from lowres.text.shingles import of_script

PERMUTATIONS = 128
_SEED = 1
_RECALL = 0.99
_SHINGLES_A_STEP = 512  # times 128 permutations times 4 bytes: what a core's cache holds
_ROWS_A_STEP = 4096
_COMPARED_IN_FULL = 1000
_BUCKETS_A_MAPPING = 64


class Signatures:
    """text -> its MinHash signature, (128,) uint32: of the text alone, so any process may compute it."""

    def __init__(self) -> None:
        # Those of datasketch's MinHash(128, seed=1, scheme="affine32"): h -> a h + b modulo 2**32, a odd. To import
        # datasketch takes a second and 47 MB in every process; a test holds them equal.
        drawn = np.random.RandomState(_SEED)
        self._factors = drawn.randint(0, 1 << 31, PERMUTATIONS, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
        self._terms = drawn.randint(0, 1 << 32, PERMUTATIONS, dtype=np.uint32)
        self._permuted = np.empty((_SHINGLES_A_STEP, PERMUTATIONS), dtype=np.uint32)

    def __call__(self, text: str) -> np.ndarray:
        """The signature. Digits are masked; words or characters make a shingle according to the text's script."""
        return self.of_shingles(of_script(text))

    def of_shingles(self, shingles: np.ndarray) -> np.ndarray:
        """The signature of (n,) uint64 shingles.

        MinHash.update_batch hashes one item after another, 20 MB of Vietnamese a second against 53 here.
        """
        least = np.full(PERMUTATIONS, 2**32 - 1, dtype=np.uint32)
        hashes = (shingles >> np.uint64(32)).astype(np.uint32)[:, None]
        for start in range(0, len(hashes), _SHINGLES_A_STEP):
            step = hashes[start : start + _SHINGLES_A_STEP]
            permuted = np.multiply(step, self._factors, out=self._permuted[: len(step)])
            permuted += self._terms
            np.minimum(least, permuted.min(axis=0), out=least)
        return least


def bands(threshold: float) -> tuple[int, int]:
    """(bands, rows): as many rows a band as let 99 of 100 pairs of that very similarity share a band.

    Two documents of similarity s share a band of r rows, of b bands, with probability 1 - (1 - s**r)**b.
    """
    for rows in range(PERMUTATIONS, 0, -1):
        count = PERMUTATIONS // rows
        if 1 - (1 - threshold**rows) ** count >= _RECALL:
            return count, rows
    raise ValueError(f"threshold is {threshold}; no bands of {PERMUTATIONS} rows find pairs so far apart")


def near_duplicate_groups(
    signatures: Iterable[np.ndarray], ids: Sequence[int] | np.ndarray, threshold: float, scratch: BinaryIO
) -> np.ndarray:
    """(n,) int64: the smallest id of each document's group; a document that is like no other is its own group.

    signatures: (m, 128) uint32, n in all, read once. ids: (n,), all different. threshold: least estimated Jaccard
    similarity of near-duplicates, in (0, 1]. scratch: an empty file open for writing and reading, 512 bytes a document.
    A group holds all that is linked by a chain of near-duplicates. The order of the documents plays no part. Memory:
    some 60 bytes a document and 20 MB of the file.
    """
    for signature in signatures:
        scratch.write(np.ascontiguousarray(signature, dtype=np.uint32).tobytes())
    scratch.flush()
    names = np.asarray(ids, dtype=np.int64)
    if len(names) < 2:
        return names.copy()
    count, rows = bands(threshold)
    needed = int(np.ceil(threshold * PERMUTATIONS - 1e-9))
    labels = np.arange(len(names))
    for band in range(count):
        columns = slice(band * rows, (band + 1) * rows)
        keys = np.concatenate([_band_keys(chunk[:, columns]) for chunk in _chunks(scratch)])
        links: list[tuple[int, int]] = []
        for number, bucket in enumerate(_buckets(keys, names)):
            if number % _BUCKETS_A_MAPPING == 0:
                table = _mapped(scratch)
            links += _links(bucket, table, labels, needed)
        labels = _joined(labels, links)
    smallest = np.full(len(names), np.iinfo(np.int64).max)
    np.minimum.at(smallest, labels, names)
    return smallest[labels]


def _chunks(scratch: BinaryIO) -> Iterator[np.ndarray]:
    """The signatures from the first on, (m, 128) uint32 at a time."""
    scratch.seek(0)
    while chunk := scratch.read(_ROWS_A_STEP * PERMUTATIONS * 4):
        yield np.frombuffer(chunk, dtype=np.uint32).reshape(-1, PERMUTATIONS)


def _mapped(scratch: BinaryIO) -> np.ndarray:
    """All signatures, (n, 128) uint32, as they stand in the file: what is read of them counts as memory held."""
    return np.frombuffer(mmap(scratch.fileno(), 0, access=ACCESS_READ), dtype=np.uint32).reshape(-1, PERMUTATIONS)


def _band_keys(columns: np.ndarray) -> np.ndarray:
    """(n, rows) uint32 -> (n,) uint64: equal rows have equal keys; that others do has a chance of about n² / 2^64."""
    factors = np.random.default_rng(_SEED).integers(0, 2**64, columns.shape[1], dtype=np.uint64) | np.uint64(1)
    keys = np.zeros(len(columns), dtype=np.uint64)
    for column, factor in zip(columns.T, factors, strict=True):
        keys = (keys ^ column) * factor
        keys ^= keys >> np.uint64(32)
    return keys


def _buckets(keys: np.ndarray, names: np.ndarray) -> Iterator[np.ndarray]:
    """Places of the documents with equal keys, two or more, in order of id."""
    order = np.argsort(keys, kind="stable")
    edges = np.flatnonzero(np.diff(keys[order])) + 1
    starts, ends = np.concatenate([[0], edges]), np.concatenate([edges, [len(keys)]])
    several = ends - starts > 1
    for start, end in zip(starts[several], ends[several], strict=True):
        bucket = order[start:end]
        yield bucket[np.argsort(names[bucket])]


def _links(bucket: np.ndarray, table: np.ndarray, labels: np.ndarray, needed: int) -> list[tuple[int, int]]:
    """Pairs of places whose signatures agree in `needed` values or more, as many as tie their groups together.

    Every pair of a bucket is looked at, but for pairs that are in one group already. In a bucket of over 1,000
    documents one document speaks for those that are like it, 1,000 times at most.
    """
    groups = labels[bucket]
    links: list[tuple[int, int]] = []
    compared = 0
    spoken_for = np.zeros(len(bucket), dtype=bool)
    for place in range(len(bucket)):
        others = np.flatnonzero(groups != groups[place])
        if not len(others) or compared == _COMPARED_IN_FULL:
            break
        others = others[others > place]
        if spoken_for[place] or not len(others):
            continue
        compared += 1
        alike = others[_agreeing(table, bucket[place], bucket[others]) >= needed]
        links += [(int(bucket[place]), int(bucket[other])) for other in alike]
        if len(bucket) > _COMPARED_IN_FULL:
            spoken_for[alike] = True
        groups[np.isin(groups, groups[alike])] = groups[place]
    return links


def _agreeing(table: np.ndarray, one: int, others: np.ndarray) -> np.ndarray:
    """(n,) in how many values each of the other signatures is that of the one."""
    signature = np.asarray(table[one])
    steps = [others[start : start + _ROWS_A_STEP] for start in range(0, len(others), _ROWS_A_STEP)]
    return np.concatenate([np.count_nonzero(table[step] == signature, axis=1) for step in steps])


def _joined(labels: np.ndarray, links: list[tuple[int, int]]) -> np.ndarray:
    """(n,) labels of groups, those that a link ties together made one.

    scipy's connected_components takes 20 MB to import, which is all held while the tables are written.
    """
    if not links:
        return labels
    ends = labels[np.array(links)]
    least = np.arange(len(labels))  # the least label that each is known to be tied to
    while True:
        found = least.copy()
        np.minimum.at(found, ends.ravel(), np.repeat(least[ends].min(axis=1), 2))
        found = found[found]
        if np.array_equal(found, least):
            return least[labels]
        least = found
