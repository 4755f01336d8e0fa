"""Another language's vocabulary for a trained GPT-J: each new row as a mix of the old rows.

A mix is a sparse matrix (new ids, old ids) for wte, head and head bias alike. copy-mean: the row of the same string,
else the mean of the rows of its old pieces, else the mean row (Guillou 2020 goes from the first to the last). focus:
Dobler and de Melo 2023. wechsel: Minixhofer et al. 2022, from word vectors without n-grams.
"""

import gzip
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from lowres.errors import DataError
from lowres.tokenizers.base import HasSurfaces

NEIGHBOURS, TEMPERATURE = 10, 0.1
"""WECHSEL's."""
MULTIPLE = 128
"""The vocabulary is padded to a multiple of it, so that it can be split over devices."""
SPARE_BIAS = -1e4
"""Of the head's rows beyond the tokenizer: no probability."""
ROWS_AT_ONCE = 1024

Rows = Mapping[int, Mapping[int, float]]
"""New id -> old id -> weight, of those ids that are mixed."""


def padded_size(ids: int) -> int:
    """Rows for so many ids."""
    return -(-ids // MULTIPLE) * MULTIPLE


def overlap(new: HasSurfaces, old: HasSurfaces) -> dict[int, int]:
    """New id -> old id of those that stand for the same bytes (a space before a word counts), and of bos_id."""
    places: dict[bytes, int] = {}
    for place, surface in enumerate(old.surfaces):
        if surface is not None:
            places.setdefault(surface, place)
    found = {i: places[surface] for i, surface in enumerate(new.surfaces) if surface is not None and surface in places}
    return found | {new.bos_id: old.bos_id}


def copy_mean(new: HasSurfaces, old: HasSurfaces) -> dict[int, dict[int, float]]:
    """The same string's row, else the mean of the rows of its old pieces."""
    same = overlap(new, old)
    rows = {i: {place: 1.0} for i, place in same.items()}
    for i, surface in enumerate(new.surfaces):
        if i in rows or not surface:
            continue
        pieces = [piece for piece in old.cut(surface.decode("utf-8", "ignore")) if piece != old.unk_id]
        for piece in pieces:
            own = rows.setdefault(i, {})
            own[piece] = own.get(piece, 0.0) + 1 / len(pieces)
    return rows


def focus(same: Mapping[int, int], vectors: Mapping[int, np.ndarray]) -> dict[int, dict[int, float]]:
    """Overlapping rows copied; the others a sparsemax mix of these, by cosines of auxiliary vectors of the new pieces.

    same: new id -> old id; vectors: new id -> auxiliary vector.
    """
    rows = {i: {place: 1.0} for i, place in same.items()}
    anchors, others = [i for i in same if i in vectors], [i for i in vectors if i not in same]
    if not anchors:
        raise DataError("none of the vectors is of a piece that both vocabularies have; give vectors of the new pieces")
    known = _unit(np.stack([vectors[i] for i in anchors]))
    for start in range(0, len(others), ROWS_AT_ONCE):
        some = others[start : start + ROWS_AT_ONCE]
        for i, weights in zip(some, sparsemax(_unit(np.stack([vectors[i] for i in some])) @ known.T), strict=True):
            rows[i] = {same[anchors[k]]: float(weights[k]) for k in np.flatnonzero(weights)}
    return rows


def wechsel(new: Mapping[int, np.ndarray], old: Mapping[int, np.ndarray]) -> dict[int, dict[int, float]]:
    """Of each new piece the NEIGHBOURS nearest old ones, weighed by softmax(cosine / TEMPERATURE).

    new, old: id -> vector in one space.
    """
    if not old or not new:
        raise DataError("the vectors cut into none of the pieces; vectors are those of the old language, then the new")
    places, rows = list(old), {}
    known, ids = _unit(np.stack([old[i] for i in places])), list(new)
    k = min(NEIGHBOURS, len(places))
    for start in range(0, len(ids), ROWS_AT_ONCE):
        some = ids[start : start + ROWS_AT_ONCE]
        for i, row in zip(some, _unit(np.stack([new[i] for i in some])) @ known.T, strict=True):
            nearest = np.argpartition(-row, k - 1)[:k]
            weights = np.exp((row[nearest] - row[nearest].max()) / TEMPERATURE)
            rows[i] = {places[n]: float(w) for n, w in zip(nearest, weights / weights.sum(), strict=True)}
    return rows


def sparsemax(scores: np.ndarray) -> np.ndarray:
    """The nearest point of the simplex to each row (Martins and Astudillo 2016, algorithm 1). scores: (rows, n)."""
    ordered = -np.sort(-scores, axis=1)
    above = np.cumsum(ordered, axis=1) - 1
    counts = np.arange(1, scores.shape[1] + 1)
    support = (ordered * counts > above).sum(axis=1)[:, None]
    threshold = np.take_along_axis(above, support - 1, axis=1) / support
    return np.maximum(scores - threshold, 0)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


# --- rows ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mix:
    """How `size` new rows come from old ones. matrix: (ids, old rows). mixed: (ids,), which it says; the others are the
    mean of the `known` old rows, plus noise of their SD where `noise` is set (a seed), as FOCUS and WECHSEL have it.
    """

    matrix: Any
    mixed: np.ndarray
    known: np.ndarray
    size: int
    noise: int | None

    @classmethod
    def of(cls, rows: Rows, ids: int, old: HasSurfaces, old_rows: int, noise: int | None) -> "Mix":
        """ids: of the new tokenizer; old_rows: of the old matrices."""
        entries = [(i, place, weight) for i, own in rows.items() for place, weight in own.items()]
        i, place, weight = zip(*entries, strict=True) if entries else ((), (), ())
        matrix = csr_matrix((np.array(weight, np.float32), (i, place)), (ids, old_rows))
        known = np.array([k for k, surface in enumerate(old.surfaces) if surface is not None])
        return cls(matrix, np.isin(np.arange(ids), list(rows)), known, padded_size(ids), noise)

    def rows(self, old: np.ndarray, salt: int = 0) -> np.ndarray:
        """(size, ...) float32 from (old rows, ...); spare rows are 0."""
        flat = old.reshape(len(old), -1).astype(np.float32)
        new = np.zeros((self.size, flat.shape[1]), np.float32)
        ids = len(self.mixed)
        new[:ids] = self.matrix @ flat
        empty = np.flatnonzero(~self.mixed)
        new[empty] = flat[self.known].mean(axis=0)
        if self.noise is not None:
            drawn = np.random.default_rng([self.noise, salt]).standard_normal((len(empty), flat.shape[1]), np.float32)
            new[empty] += drawn * flat[self.known].std(axis=0)
        return new.reshape(self.size, *old.shape[1:])

    def bias(self, old: np.ndarray) -> np.ndarray:
        """(size,) of (old rows,), without noise; SPARE_BIAS in spare rows."""
        new = Mix(self.matrix, self.mixed, self.known, self.size, None).rows(old)
        new[len(self.mixed) :] = SPARE_BIAS
        return new


# --- vectors ---------------------------------------------------------------------------------------------------------


def read_vectors(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """(word, (dims,) float32) of each line of a file in the text format of word2vec and fastText, or gzip of it.

    A first line of two whole numbers says how many there are and their dims. Raises DataError with the line's number.
    """
    dims = 0
    opened = gzip.open(path, "rt", encoding="utf-8", newline="\n") if path.suffix == ".gz" else None
    with opened or path.open(encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, 1):
            parts = line.rstrip("\n ").split(" ")
            if number == 1 and len(parts) == 2 and all(part.isdigit() for part in parts):
                dims = int(parts[1])
                continue
            dims = dims or len(parts) - 1
            word = " ".join(parts[: len(parts) - dims])
            try:
                vector = np.array(parts[len(parts) - dims :], np.float32)
            except ValueError:
                vector = np.full(1, np.nan)
            if not word or len(vector) != dims or not dims or not np.isfinite(vector).all():
                raise DataError(f"{path}: line {number} is not a word and {dims} numbers, as in word2vec's text format")
            yield word, vector


def piece_vectors(path: Path, new: HasSurfaces) -> dict[int, np.ndarray]:
    """Id -> vector, of a file with a line for each piece, its space written as U+2581 (FOCUS)."""
    ids = {
        surface.decode("utf-8", "ignore").replace(" ", "\u2581"): i for i, surface in enumerate(new.surfaces) if surface
    }
    return {ids[piece]: vector for piece, vector in read_vectors(path) if piece in ids}


def word_vectors(path: Path, tokenizer: HasSurfaces) -> dict[int, np.ndarray]:
    """Id -> mean vector of the words that its piece stands in, each weighed by 1 / rank in the file (WECHSEL).

    The files go from frequent words to rare ones and say no counts; 1 / rank stands for them (Zipf).
    """
    sums: dict[int, np.ndarray] = {}
    weights: dict[int, float] = {}
    for rank, (word, vector) in enumerate(read_vectors(path), 1):
        for i in set(tokenizer.cut(f" {word}")) - {tokenizer.unk_id}:
            sums[i] = sums.get(i, 0.0) + vector / rank
            weights[i] = weights.get(i, 0.0) + 1 / rank
    return {i: sums[i] / weights[i] for i in sums}
