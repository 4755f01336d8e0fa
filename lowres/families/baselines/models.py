"""The classical classifiers: linear scores of n-gram features, and class frequencies."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from sklearn.linear_model import LogisticRegression

from lowres.artifacts import read_json, write_json
from lowres.cards import TaskKind
from lowres.families.baselines.features import (
    Block,
    Sparse,
    inverse_document_frequency,
    learn_blocks,
    stacked,
    weighted,
)
from lowres.families.baselines.spec import Features
from lowres.labels import label_weights, labelling

PUBLISHED_C = {"tfidf-lr": 10.0, "nb-svm": 1.0}
_ABSENT = -30.0  # the score of a class that the subset lacks: a probability of about 1e-13
_MAX_ITERATIONS = 5000
_TOLERANCE = 1e-5  # scikit-learn's 1e-4 stops early enough for the order of the texts to change predictions
_MOST_TEXTS_ROTATED = 1500
Link = Literal["softmax", "one-vs-rest", "sigmoids"]


@dataclass(frozen=True)
class Linear:
    """A linear classifier on n-grams.

    idf: (features,) or None for binary features. weights: (labels, features) float32. bias: (labels,) float32.
    link: softmax over the labels, one sigmoid a label scaled to sum to 1, or one sigmoid a label (sets of labels).
    """

    labels: tuple[str, ...]
    blocks: tuple[Block, ...]
    idf: np.ndarray | None
    weights: np.ndarray
    bias: np.ndarray
    link: Link

    @property
    def kind(self) -> TaskKind:
        """One label a text, or a set of them."""
        return "multi-label" if self.link == "sigmoids" else "classification"

    @property
    def parameters(self) -> int:
        """Trained numbers."""
        return self.weights.size + self.bias.size

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """(texts, labels) float32; where a text has one label, rows sum to 1."""
        scores = features_of(texts, self.blocks, self.idf) @ self.weights.astype(np.float64).T + self.bias
        return probabilities(scores, self.link).astype(np.float32)

    def save(self, folder: Path) -> None:
        """`model.json`, `vocabulary.json` and `weights.safetensors` in `folder`."""
        from safetensors.numpy import save_file

        write_json(folder / "model.json", {"kind": "linear", "labels": list(self.labels), "link": self.link})
        vocabulary = [{"kind": b.kind, "range": list(b.range), "terms": list(b.terms)} for b in self.blocks]
        write_json(folder / "vocabulary.json", vocabulary)
        arrays = {"weights": self.weights, "bias": self.bias}
        if self.idf is not None:
            arrays["idf"] = self.idf
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / "weights.safetensors")


@dataclass(frozen=True)
class Majority:
    """Frequencies of the labels in the subset (add-one), whatever the text. frequencies: (labels,) float32."""

    labels: tuple[str, ...]
    frequencies: np.ndarray
    kind: TaskKind = "classification"

    @property
    def parameters(self) -> int:
        """Counted numbers."""
        return self.frequencies.size

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """(texts, labels) float32, every row the same."""
        return np.tile(self.frequencies, (len(texts), 1))

    def save(self, folder: Path) -> None:
        """`model.json` in `folder`."""
        frequencies = [float(value) for value in self.frequencies]
        facts = {"kind": "majority", "labels": list(self.labels), "frequencies": frequencies, "task": self.kind}
        write_json(folder / "model.json", facts)


def load_model(folder: Path) -> Linear | Majority:
    """A classifier from its folder."""
    from safetensors.numpy import load_file

    facts = read_json(folder / "model.json")
    labels = tuple(facts["labels"])
    if facts["kind"] == "majority":
        frequencies = np.asarray(facts["frequencies"], dtype=np.float32)
        return Majority(labels, frequencies, facts.get("task", "classification"))
    arrays = load_file(folder / "weights.safetensors")
    blocks = tuple(
        Block(block["kind"], tuple(block["range"]), tuple(block["terms"]))
        for block in read_json(folder / "vocabulary.json")
    )
    return Linear(labels, blocks, arrays.get("idf"), arrays["weights"], arrays["bias"], facts["link"])


@dataclass(frozen=True)
class Prepared:
    """Training texts as features. idf: (features,), or None for binary features; matrix: (texts, features)."""

    blocks: tuple[Block, ...]
    idf: np.ndarray | None
    matrix: Sparse


def prepare(texts: Sequence[str], features: Features, binary: bool) -> Prepared:
    """Learns the n-grams of `texts` and their idf."""
    learnt = learn_blocks(texts, features)
    counts = [part.counts for part in learnt]
    idf = None if binary else np.concatenate([np.zeros(0), *map(inverse_document_frequency, counts)])
    return Prepared(tuple(part.block for part in learnt), idf, _matrix(counts, idf, len(texts)))


def features_of(texts: Sequence[str], blocks: Sequence[Block], idf: np.ndarray | None) -> Sparse:
    """(texts, features): tf-idf with each block of length 1, or 0 and 1 where idf is None."""
    return _matrix([block.counts(texts) for block in blocks], idf, len(texts))


def _matrix(counts: Sequence[Sparse], idf: np.ndarray | None, texts: int) -> Sparse:
    parts, start = [], 0
    for part in counts:
        end = start + part.shape[1]
        parts.append(part.sign() if idf is None else weighted(part, idf[start:end]))
        start = end
    return stacked(parts, texts)


def probabilities(scores: np.ndarray, link: Link) -> np.ndarray:
    """Scores (texts, labels) as probabilities."""
    if link == "softmax":
        return labelling("classification").probabilities(scores)
    each = labelling("multi-label").probabilities(scores)
    return each if link == "sigmoids" else each / each.sum(axis=1, keepdims=True)


def fit_majority(gold: np.ndarray, labels: Sequence[str], kind: TaskKind = "classification") -> Majority:
    """gold: the texts' targets. Of a set each label has a frequency of its own, among texts with and without it."""
    counts = labelling(kind).members(gold, len(labels)).sum(axis=0) + 1
    whole = len(gold) + 2 if labelling(kind).sets else counts.sum()
    return Majority(tuple(labels), (counts / whole).astype(np.float32), kind)


def fit_tfidf_lr(
    train: Prepared,
    gold: np.ndarray,
    labels: Sequence[str],
    c: float,
    kind: TaskKind = "classification",
    balance: float = 0.0,
) -> Linear:
    """Logistic regression on tf-idf: multinomial, or of sets one label against the rest. gold: the texts' targets."""
    space = _Space.of(train.matrix)
    if labelling(kind).sets:
        pairs = [_against_rest(space, gold[:, k].astype(bool), c, balance) for k in range(len(labels))]
        weights, bias = np.stack([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])
        link: Link = "sigmoids"
    else:
        weights, bias = _logistic(space, gold, len(labels), c, balance)
        link = "softmax"
    return Linear(tuple(labels), train.blocks, train.idf, _single(weights), _single(bias), link)


def fit_nb_svm(
    train: Prepared,
    gold: np.ndarray,
    labels: Sequence[str],
    c: float,
    beta: float,
    kind: TaskKind = "classification",
    balance: float = 0.0,
) -> Linear:
    """NB-SVM, one label against the rest (Wang and Manning 2012, section 2.3), on 0/1 features.

    r = log((p / |p|) / (q / |q|)) with p, q the add-one counts of features in and out of the label; a linear model w
    is trained on r * x, and w' = (1 - beta) mean|w| + beta w. Logistic loss takes the place of the hinge, for the sake
    of probabilities.
    """
    features = train.matrix
    weights = np.zeros((len(labels), features.shape[1]))
    bias = np.full(len(labels), _ABSENT)
    for k, inside in enumerate(labelling(kind).members(gold, len(labels)).T):
        if not inside.any():
            continue
        p = 1 + np.asarray(features[inside].sum(axis=0)).ravel()
        q = 1 + np.asarray(features[~inside].sum(axis=0)).ravel()
        ratio = np.log(p / p.sum()) - np.log(q / q.sum())
        own, bias[k] = _against_rest(_Space.of(features.multiply(ratio).tocsr()), inside, c, balance)
        mean_size = np.abs(own).mean() if own.size else 0.0
        weights[k] = ratio * ((1 - beta) * mean_size + beta * own)
    link: Link = "sigmoids" if labelling(kind).sets else "one-vs-rest"
    return Linear(tuple(labels), train.blocks, None, _single(weights), _single(bias), link)


def _single(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)


def _against_rest(space: "_Space", inside: np.ndarray, c: float, balance: float) -> tuple[np.ndarray, float]:
    """Weights (features,) and bias of the log odds of one label. inside: (texts,) bool."""
    weights, bias = _logistic(space, inside.astype(int), 2, c, balance)
    return weights[1] - weights[0], float(bias[1] - bias[0])


def _logistic(
    space: "_Space", gold: np.ndarray, labels: int, c: float, balance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Softmax weights (labels, features) and bias (labels,) of an L2-penalised logistic regression.

    A label weighs its count to the power -balance; the weights of the texts have mean 1, so that C means the same. A
    label that `gold` lacks scores far below the others; with one label alone there is nothing to train.
    """
    features = space.features
    weights, bias = np.zeros((labels, features.shape[1])), np.full(labels, _ABSENT)
    present = np.unique(gold)
    if len(present) == 1 or features.shape[1] == 0:
        counts = np.bincount(gold, minlength=labels)
        bias[present] = np.log(counts[present] / counts.sum())
        return weights, bias
    basis = space.basis
    weight = label_weights(gold, labels, balance)[gold] if balance else None
    model = LogisticRegression(C=c, max_iter=_MAX_ITERATIONS, tol=_TOLERANCE).fit(
        features if basis is None else basis.rows, gold, weight
    )
    trained = model.coef_ if basis is None else basis.back(model.coef_, features)
    if len(present) == 2:
        # one row for the second label; half of it on each side is the same softmax
        coefficients, offsets = np.vstack([-trained, trained]) / 2, np.r_[-model.intercept_, model.intercept_] / 2
    else:
        coefficients, offsets = trained, model.intercept_
    weights[present], bias[present] = coefficients, offsets
    return weights, bias


@dataclass(frozen=True)
class _RowSpace:
    """Coordinates of each text in the space that the texts span.

    rows: (texts, rank). turn: (texts, rank), such that features' turn has orthonormal columns.
    """

    rows: np.ndarray
    turn: np.ndarray

    def back(self, weights: np.ndarray, features: Sparse) -> np.ndarray:
        """Weights on `rows`, (labels, rank), as the weights on features that give the same scores."""
        return (features.T @ (self.turn @ weights.T)).T


@dataclass(frozen=True)
class _Space:
    """Texts as (texts, features), and as coordinates in the space that they span where that is the smaller."""

    features: Sparse
    basis: _RowSpace | None

    @classmethod
    def of(cls, features: Sparse) -> "_Space":
        """The space of some texts; of one fit or of many."""
        return cls(features, _row_space(features))


def _row_space(features: Sparse) -> _RowSpace | None:
    """A rotation for few texts with many features, or None for many texts.

    The optimum of an L2-penalised linear model lies in the space of its texts, and a rotation leaves it where it is
    (Hastie and Tibshirani 2004), so 100 texts with 100,000 features are fitted as a 100 x 100 problem.
    """
    texts = features.shape[0]
    if texts > _MOST_TEXTS_ROTATED or texts >= features.shape[1]:
        return None
    values, vectors = np.linalg.eigh((features @ features.T).toarray())
    kept = values > values.max() * texts * np.finfo(np.float64).eps
    if not kept.any():
        return None
    scale = np.sqrt(values[kept])
    return _RowSpace(vectors[:, kept] * scale, vectors[:, kept] / scale)
