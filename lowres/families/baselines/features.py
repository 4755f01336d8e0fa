"""Counts of word and character n-grams, and the vocabulary that a classifier keeps in its folder."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction.text import CountVectorizer

from lowres.families.baselines.spec import Features, Range

# A word is what stands between spaces and punctuation. \w would cut Khmer, Thai or Devanagari words at every vowel sign
# (category Mn), and scikit-learn's own pattern drops words of one character. Joiners (U+200C, U+200D) stay inside words.
WORD = r"[^\s!-/:-@\[-`{-~\u00a1\u00a7\u00ab\u00b6\u00b7\u00bb\u00bf\u2010-\u2027\u2030-\u205e\u3001-\u3003" + (
    r"\u060c\u061b\u061f\u0964\u0965\u104a\u104b\u17d4-\u17da\u200b]+"
)


@dataclass(frozen=True)
class Block:
    """N-grams of one kind. terms: the column of each n-gram is its place."""

    kind: str
    range: Range
    terms: tuple[str, ...]

    def counts(self, texts: Sequence[str]) -> sp.csr_matrix:
        """(texts, terms) counts, float64."""
        return _vectorizer(self.kind, self.range, vocabulary=self.terms).transform(texts).astype(np.float64).tocsr()


def learn_blocks(texts: Sequence[str], features: Features) -> tuple[Block, ...]:
    """The n-grams of `texts`, sorted, of the kinds that `features` asks for; a kind without any is left out."""
    blocks = []
    for kind, span in (("word", features.words), ("char", features.characters)):
        if span is None:
            continue
        vectorizer = _vectorizer(kind, span)
        analyse = vectorizer.build_analyzer()
        held: dict[str, int] = {}
        for text in texts:
            for term in set(analyse(text)):
                held[term] = held.get(term, 0) + 1
        if terms := tuple(sorted(term for term, n in held.items() if n >= features.min_count)):
            blocks.append(Block(kind, span, terms))
    return tuple(blocks)


def _vectorizer(kind: str, span: Range, vocabulary: Sequence[str] | None = None) -> CountVectorizer:
    return CountVectorizer(analyzer=kind, ngram_range=span, token_pattern=WORD, vocabulary=vocabulary)


def inverse_document_frequency(counts: sp.csr_matrix) -> np.ndarray:
    """ln((1 + texts) / (1 + texts with the term)) + 1, (terms,): scikit-learn's smoothed idf."""
    holding = np.bincount(counts.indices, minlength=counts.shape[1])
    return np.log((1 + counts.shape[0]) / (1 + holding)) + 1


def weighted(counts: sp.csr_matrix, idf: np.ndarray) -> sp.csr_matrix:
    """Counts times idf, rows of Euclidean length 1 (empty rows stay 0)."""
    scaled = (counts @ sp.diags_array(idf)).tocsr()
    length = np.sqrt(np.asarray(scaled.multiply(scaled).sum(axis=1)).ravel())
    return (sp.diags_array(1 / np.maximum(length, 1e-12)) @ scaled).tocsr()


def stacked(parts: Sequence[sp.csr_matrix], rows: int) -> sp.csr_matrix:
    """Blocks side by side; no block at all is a matrix without columns."""
    return sp.hstack(parts, format="csr") if parts else sp.csr_matrix((rows, 0))
