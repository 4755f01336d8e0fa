"""Counts of word and character n-grams, and the vocabulary that a classifier keeps in its folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction.text import CountVectorizer

from lowres.families.baselines.spec import Features, Range

# A word is what stands between spaces and punctuation. \w would cut Khmer, Thai or Devanagari words at every vowel
# sign (category Mn), and scikit-learn's own pattern drops words of one character. Joiners stay inside words.
WORD = r"[^\s!-/:-@\[-`{-~\u00a1\u00a7\u00ab\u00b6\u00b7\u00bb\u00bf\u2010-\u2027\u2030-\u205e\u3001-\u3003" + (
    r"\u060c\u061b\u061f\u0964\u0965\u104a\u104b\u17d4-\u17da\u200b]+"
)
Kind = Literal["word", "char_wb"]
Sparse = Any  # scipy.sparse.csr_matrix; scipy ships no types and what is inferred from its code is wrong


@dataclass(frozen=True)
class Block:
    """N-grams of one kind (scikit-learn's name for it). terms: the column of each n-gram is its place."""

    kind: Kind
    range: Range
    terms: tuple[str, ...]

    def counts(self, texts: Sequence[str]) -> Sparse:
        """(texts, terms) counts, float64."""
        return _vectorizer(self.kind, self.range, vocabulary=self.terms).transform(texts).astype(np.float64).tocsr()


@dataclass(frozen=True)
class Counted:
    """N-grams of one kind and how often they stand in the texts they were learnt from, (texts, terms)."""

    block: Block
    counts: Sparse


def learn_blocks(texts: Sequence[str], features: Features) -> list[Counted]:
    """The n-grams of `texts`, sorted, of the kinds that `features` asks for; a kind without any is left out."""
    learnt = []
    spans: tuple[tuple[Kind, Range | None], ...] = (("word", features.words), ("char_wb", features.characters))
    for kind, span in spans:
        if span is None:
            continue
        vectorizer = _vectorizer(kind, span)
        try:
            counts: Sparse = vectorizer.fit_transform(texts)
        except ValueError:  # scikit-learn's word for texts without any n-gram
            continue
        enough = np.flatnonzero(np.bincount(counts.indices, minlength=counts.shape[1]) >= features.min_count)
        if len(enough):
            terms = tuple(vectorizer.get_feature_names_out()[enough].tolist())
            learnt.append(Counted(Block(kind, span, terms), counts[:, enough].astype(np.float64).tocsr()))
    return learnt


def _vectorizer(kind: Kind, span: Range, vocabulary: Sequence[str] | None = None) -> CountVectorizer:
    pattern: Any = WORD if kind == "word" else None
    return CountVectorizer(analyzer=kind, ngram_range=span, token_pattern=pattern, vocabulary=vocabulary)


def inverse_document_frequency(counts: Sparse) -> np.ndarray:
    """ln((1 + texts) / (1 + texts with the term)) + 1, (terms,): scikit-learn's smoothed idf."""
    holding = np.bincount(counts.indices, minlength=counts.shape[1])
    return np.log((1 + counts.shape[0]) / (1 + holding)) + 1


def weighted(counts: Sparse, idf: np.ndarray) -> Sparse:
    """(1 + ln count) times idf, rows of Euclidean length 1 (empty rows stay 0)."""
    counts = counts.copy()
    counts.data = 1 + np.log(counts.data)
    scaled = counts.multiply(idf).tocsr()
    length = np.sqrt(np.asarray(scaled.multiply(scaled).sum(axis=1)).ravel())
    return scaled.multiply(1 / np.maximum(length, 1e-12)[:, None]).tocsr()


def stacked(parts: Sequence[Sparse], rows: int) -> Sparse:
    """Blocks side by side; no block at all is a matrix without columns."""
    return sp.hstack(parts, format="csr") if parts else sp.csr_matrix((rows, 0))
