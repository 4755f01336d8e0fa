"""A logistic head on fixed features, whatever framework made them: standardised, C chosen on dev."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from lowres.artifacts import read_json, write_json
from lowres.metrics.classification import macro_f1

GRID = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""C values tried; features are standardised, hundreds of them, so the useful ones are small."""
_DEFAULT_C = 0.01
_ABSENT = -30.0  # the score of a class that the labels lack: a probability of about 1e-13
_MAX_ITERATIONS = 2000
_LEAST_SD = 1e-6


@dataclass(frozen=True)
class LogisticHead:
    """Softmax over (features - mean) * scale @ weights + bias.

    mean, scale: (features,); weights: (features, labels); bias: (labels,); all float32. c: the inverse penalty it was
    trained with. trials: (C, dev macro-F1, dev log loss) of every value tried.
    """

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    c: float
    trials: tuple[tuple[float, float, float], ...] = ()

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        """(texts, features) -> (texts, labels) float32, rows sum to 1."""
        return softmax(((features - self.mean) * self.scale) @ self.weights + self.bias)

    def save(self, folder: Path) -> None:
        """`head.safetensors` and `head.json` in `folder`."""
        arrays = {"mean": self.mean, "scale": self.scale, "weights": self.weights, "bias": self.bias}
        save_file({name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()},
                  folder / "head.safetensors")  # fmt: skip
        write_json(folder / "head.json", {"c": self.c, "trials": [list(trial) for trial in self.trials]})

    @classmethod
    def load(cls, folder: Path) -> "LogisticHead":
        """The head in `folder`."""
        facts = read_json(folder / "head.json")
        trials = tuple((float(c), float(f1), float(loss)) for c, f1, loss in facts["trials"])
        return cls(**load_file(folder / "head.safetensors"), c=facts["c"], trials=trials)


def fit_head(
    features: np.ndarray,
    gold: np.ndarray,
    dev_features: np.ndarray,
    dev_gold: np.ndarray,
    labels: int,
    grid: Sequence[float] = GRID,
) -> LogisticHead:
    """Trains a head for each C and keeps the best by dev macro-F1, then by dev log loss, then the smallest C.

    features: (texts, n) float32; gold: (texts,) indices under `labels`. Without dev texts C is 0.01. Deterministic.
    """
    mean = features.mean(axis=0)
    sd = features.std(axis=0)
    scale = np.where(sd > _LEAST_SD, 1 / np.maximum(sd, _LEAST_SD), 0.0).astype(np.float32)
    ready = ((features - mean) * scale).astype(np.float64)
    heads, trials = [], []
    for c, weights, bias in _path(ready, gold, labels, sorted(grid) if len(dev_gold) else [_DEFAULT_C]):
        head = LogisticHead(mean, scale, weights.astype(np.float32), bias.astype(np.float32), c)
        heads.append(head)
        if len(dev_gold):
            trials.append((c, *dev_scores(head.predict_proba(dev_features), dev_gold)))
    best = max(range(len(heads)), key=lambda k: (trials[k][1], -trials[k][2], -k)) if trials else 0
    chosen = heads[best]
    return LogisticHead(chosen.mean, chosen.scale, chosen.weights, chosen.bias, chosen.c, tuple(trials))


def dev_scores(probabilities: np.ndarray, gold: np.ndarray) -> tuple[float, float]:
    """(macro-F1 over all labels, mean -log p of the gold labels). probabilities: (texts, labels); gold: (texts,)."""
    f1 = macro_f1(gold, probabilities.argmax(axis=1), probabilities.shape[1])
    return f1, float(-np.log(np.maximum(probabilities[np.arange(len(gold)), gold], 1e-12)).mean())


def softmax(scores: np.ndarray) -> np.ndarray:
    """Over the last axis, float32."""
    grown = np.exp((scores - scores.max(axis=-1, keepdims=True)).astype(np.float64))
    return (grown / grown.sum(axis=-1, keepdims=True)).astype(np.float32)


def _path(
    features: np.ndarray, gold: np.ndarray, labels: int, grid: Sequence[float]
) -> Iterator[tuple[float, np.ndarray, np.ndarray]]:
    """(C, weights (n, labels), bias (labels,)) of L2-penalised logistic regressions, each started from the last one.

    Starting there halves the time. A label that `gold` lacks scores far below the others; with one label alone there is
    nothing to train.
    """
    from sklearn.linear_model import LogisticRegression

    present = np.unique(gold)
    model = LogisticRegression(max_iter=_MAX_ITERATIONS, warm_start=True)
    for c in grid:
        weights, bias = np.zeros((features.shape[1], labels)), np.full(labels, _ABSENT)
        if len(present) == 1:
            bias[present] = 0.0
        else:
            model.set_params(C=c).fit(features, gold)
            coefficients, offsets = model.coef_.T, model.intercept_
            if len(present) == 2:  # one column for the second label; half of it on each side is the same softmax
                coefficients, offsets = np.hstack([-coefficients, coefficients]) / 2, np.r_[-offsets, offsets] / 2
            weights[:, present], bias[present] = coefficients, offsets
        yield c, weights, bias
