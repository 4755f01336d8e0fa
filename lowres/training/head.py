"""A logistic head on fixed features, whatever framework made them: standardised, C chosen on dev."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from lowres.artifacts import read_json, write_json

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
    ready = (features - mean) * scale
    heads, trials = [], []
    for c in sorted(grid) if len(dev_gold) else [_DEFAULT_C]:
        weights, bias = _logistic(ready, gold, labels, c)
        head = LogisticHead(mean, scale, weights.astype(np.float32), bias.astype(np.float32), c)
        heads.append(head)
        if len(dev_gold):
            f1, loss = dev_scores(head.predict_proba(dev_features), dev_gold)
            trials.append((c, f1, loss))
    best = max(range(len(heads)), key=lambda k: (trials[k][1], -trials[k][2], -k)) if trials else 0
    chosen = heads[best]
    return LogisticHead(chosen.mean, chosen.scale, chosen.weights, chosen.bias, chosen.c, tuple(trials))


def dev_scores(probabilities: np.ndarray, gold: np.ndarray) -> tuple[float, float]:
    """(macro-F1 over the labels that occur in gold or prediction, mean -log p of the gold labels)."""
    from sklearn.metrics import f1_score

    f1 = float(f1_score(gold, probabilities.argmax(axis=1), average="macro", zero_division=0.0))
    return f1, float(-np.log(np.maximum(probabilities[np.arange(len(gold)), gold], 1e-12)).mean())


def softmax(scores: np.ndarray) -> np.ndarray:
    """Over the last axis, float32."""
    grown = np.exp((scores - scores.max(axis=-1, keepdims=True)).astype(np.float64))
    return (grown / grown.sum(axis=-1, keepdims=True)).astype(np.float32)


def _logistic(features: np.ndarray, gold: np.ndarray, labels: int, c: float) -> tuple[Any, Any]:
    """Softmax weights (n, labels) and bias (labels,) of an L2-penalised logistic regression.

    A label that `gold` lacks scores far below the others; with one label alone there is nothing to train.
    """
    from sklearn.linear_model import LogisticRegression

    weights, bias = np.zeros((features.shape[1], labels)), np.full(labels, _ABSENT)
    present = np.unique(gold)
    if len(present) == 1:
        bias[present] = 0.0
        return weights, bias
    model = LogisticRegression(C=c, max_iter=_MAX_ITERATIONS).fit(features.astype(np.float64), gold)
    if len(present) == 2:  # one row for the second label; half of it on each side is the same softmax
        weights[:, present] = np.hstack([-model.coef_.T, model.coef_.T]) / 2
        bias[present] = np.r_[-model.intercept_, model.intercept_] / 2
    else:
        weights[:, present], bias[present] = model.coef_.T, model.intercept_
    return weights, bias
