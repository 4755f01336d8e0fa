"""Subword regularisation: other cuts of a text than the best one, so that a model meets its words in many pieces.

A unigram model draws a segmentation x with probability P(x)^alpha / sum of all P^alpha (Kudo 2018); BPE leaves a merge
out with probability alpha (BPE-dropout, Provilkov et al. 2020; as in SentencePiece, one that is left out is not tried
again until its neighbours change). SentencePiece draws from the same distributions, but its generator (0.2.3) gives
other draws in another process for the same seed, so a training that was killed would go on with other pieces. Here the
seed decides alone.
"""

import heapq
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lowres.tokenizers.rules import SPACE_SYMBOL

_UNKNOWN_PENALTY = 10.0  # SentencePiece's: under the rarest piece
_MOST_KEPT, _LONGEST_KEPT = 1 << 17, 40  # lattices, and characters of a word: some 100 MB at most
_Edges = list[list[tuple[float, int, int]]]
"""By end: (cumulative probability, start, id) of the pieces that end there."""


@dataclass(frozen=True)
class Vocabulary:
    """What a SentencePiece model cuts by. ids, scores: of the pieces that text is made of. No piece crosses a space.

    byte_ids: of the 256 byte pieces, in their order, where unknown characters are spelt in bytes; else empty.
    """

    ids: Mapping[str, int]
    scores: Mapping[str, float]
    unk_id: int
    byte_ids: Sequence[int] = ()

    @property
    def merges(self) -> bool:
        """Whether it is a BPE model: its scores are 0, -1, -2 ... in the order of ids; a unigram's are logarithms."""
        return list(self.scores.values()) == [-float(k) for k in range(len(self.scores))]

    def unknown(self, character: str) -> list[int]:
        """The ids of a character that has no piece."""
        return [self.byte_ids[byte] for byte in character.encode("utf-8")] if self.byte_ids else [self.unk_id]


class Sampler:
    """Draws segmentations of texts.

    alpha, in (0, 1]. Unigram: the smaller, the more random. BPE: the larger. parts(text): the stretches of plain text
    in it, with the ids of the marks between them.
    """

    def __init__(self, vocabulary: Vocabulary, alpha: float, parts: Callable[[str], Sequence[str | int]]):
        self.vocabulary, self.alpha, self._parts = vocabulary, alpha, parts
        self._cut = self._merged if vocabulary.merges else self._drawn
        self._longest = max(map(len, vocabulary.ids), default=1)
        self._least = min(vocabulary.scores.values(), default=0.0) - _UNKNOWN_PENALTY
        self._lattices: dict[str, _Edges] = {}

    def encode(self, texts: Sequence[str], *seed: int) -> list[list[int]]:
        """The ids of a segmentation of each text, without bos. Equal texts and seeds give equal ids, in any process."""
        draw = random.Random(" ".join(map(str, ("subwords", *seed)))).random
        return [self._encode(text, draw) for text in texts]

    def _encode(self, text: str, draw: Callable[[], float]) -> list[int]:
        unknown, found = self.vocabulary.unk_id, []
        for part in self._parts(text) if text else ():
            if isinstance(part, int):
                found.append(part)
                continue
            for number, word in enumerate(part.replace(" ", SPACE_SYMBOL).split(SPACE_SYMBOL)):
                for piece in self._cut(SPACE_SYMBOL + word if number else word, draw):
                    if piece != unknown or not found or found[-1] != unknown:  # SentencePiece joins unknown neighbours
                        found.append(piece)
        return found

    def _drawn(self, word: str, draw: Callable[[], float]) -> list[int]:
        """One path through a unigram model's lattice: forward filtering, backward sampling."""
        lattice = self._lattices.get(word)
        if lattice is None:
            lattice = self._lattice(word)
            if len(word) <= _LONGEST_KEPT and len(self._lattices) < _MOST_KEPT:
                self._lattices[word] = lattice
        path, end = [], len(word)
        while end:
            edges = lattice[end]
            chosen = edges[0]
            if len(edges) > 1:
                at = draw()
                chosen = next((edge for edge in edges if at < edge[0]), edges[-1])
            _, start, piece = chosen
            path.append((start, end, piece))
            end = start
        return [i for start, end, piece in reversed(path) for i in self._spelt(word[start:end], piece)]

    def _lattice(self, word: str) -> _Edges:
        """Of every end, the pieces that may end there, each with the probability that a path to there takes it."""
        ids, scores = self.vocabulary.ids, self.vocabulary.scores
        weights: list[list[tuple[float, int, int]]] = [[] for _ in range(len(word) + 1)]
        forward, lattice = [0.0], [[]]
        for end in range(len(word) + 1):
            if end:
                edges = weights[end]
                highest = max(weight for weight, _, _ in edges)
                total = math.fsum(math.exp(weight - highest) for weight, _, _ in edges)
                forward.append(highest + math.log(total))
                reached, kept = 0.0, []
                for weight, start, piece in edges:
                    reached += math.exp(weight - highest) / total
                    kept.append((reached, start, piece))
                lattice.append(kept)
            for length in range(1, min(self._longest, len(word) - end) + 1):
                piece = word[end : end + length]
                if piece in ids:
                    weights[end + length].append((forward[end] + self.alpha * scores[piece], end, ids[piece]))
                elif length == 1:
                    weights[end + 1].append((forward[end] + self.alpha * self._least, end, self.vocabulary.unk_id))
        return lattice

    def _merged(self, word: str, draw: Callable[[], float]) -> list[int]:
        """BPE, best merge first, some left out."""
        scores = self.vocabulary.scores
        symbols: list[str] = list(word)
        before, behind = list(range(-1, len(word) - 1)), [*range(1, len(word)), -1]
        queue: list[tuple[float, int, int, str]] = []

        def offer(left: int, right: int) -> None:
            if left >= 0 and right >= 0:
                piece = symbols[left] + symbols[right]
                if piece in scores:
                    heapq.heappush(queue, (-scores[piece], left, right, piece))

        for right in range(1, len(word)):
            offer(right - 1, right)
        while queue:
            _, left, right, piece = heapq.heappop(queue)
            stands = symbols[left] and symbols[right] and symbols[left] + symbols[right] == piece
            if not stands or draw() < self.alpha:
                continue
            symbols[left], symbols[right] = piece, ""
            behind[left] = behind[right]
            if behind[right] >= 0:
                before[behind[right]] = left
            offer(before[left], left)
            offer(left, behind[left])
        unknown, ids = self.vocabulary.unk_id, self.vocabulary.ids
        return [i for symbol in symbols if symbol for i in self._spelt(symbol, ids.get(symbol, unknown))]

    def _spelt(self, piece: str, found: int) -> list[int]:
        return [found] if found != self.vocabulary.unk_id else self.vocabulary.unknown(piece)
