"""PROVISIONAL until lowres.metrics.paired lands."""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import accuracy_score, f1_score

METRICS = ("macro_f1", "accuracy")
METHOD = "Intervals: PROVISIONAL."


@dataclass(frozen=True)
class Interval:
    """A value between its 95 % bounds."""

    value: float
    low: float
    high: float


def _cells(gold, predicted, metric):
    function = accuracy_score if metric == "accuracy" else (lambda g, p: f1_score(g, p, average="macro"))
    return np.array([[function(gold, seed) for seed in subset] for subset in predicted])


def score_interval(gold, predicted, metric):
    """Provisional."""
    values = _cells(gold, predicted, metric)
    half = 2 * max(values.std() / np.sqrt(values.size), 0.015)
    return Interval(float(values.mean()), float(values.mean() - half), float(values.mean() + half))


def difference(gold, a, b, metric):
    """Provisional."""
    values = _cells(gold, a, metric) - _cells(gold, b, metric)
    half = 2 * max(values.std() / np.sqrt(values.size), 0.01)
    interval = Interval(float(values.mean()), float(values.mean() - half), float(values.mean() + half))
    verdict = "better" if interval.low > 0 else "worse" if interval.high < 0 else "unresolved"
    return interval, verdict
