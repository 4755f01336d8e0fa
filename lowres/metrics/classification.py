"""Scores of a classifier, over all labels of its task."""

from dataclasses import dataclass
from typing import Any

import numpy as np

_NONE_AT_ALL: Any = 0  # the F1 of a label neither given nor predicted; scikit-learn's inferred type is str


@dataclass(frozen=True)
class Scores:
    """What one set of predictions scores.

    values: macro_f1, accuracy, weighted_f1, mcc, log_loss (nats), ece. per_class_f1: (labels,), 0 where a label is
    neither given nor predicted. confusion: (labels, labels) counts, gold in rows, predicted in columns.
    """

    values: dict[str, float]
    per_class_f1: np.ndarray
    confusion: np.ndarray


def macro_f1(gold: np.ndarray, predicted: np.ndarray, labels: int) -> float:
    """Mean F1 over all `labels` classes. gold, predicted: (items,) label indices, or (items, labels) of 0 and 1."""
    from sklearn.metrics import f1_score

    return float(f1_score(gold, predicted, labels=np.arange(labels), average="macro", zero_division=_NONE_AT_ALL))


def classification_scores(gold: np.ndarray, probabilities: np.ndarray) -> Scores:
    """All scores of one split. gold: (items,) label indices; probabilities: (items, labels), items at least 1.

    The prediction is the most probable label, the first of equals. log_loss clips probabilities at float32's epsilon.
    mcc is 0 where it is undefined.
    """
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss, matthews_corrcoef

    names = np.arange(probabilities.shape[1])
    predicted = probabilities.argmax(axis=1)
    several = len(np.union1d(gold, predicted)) > 1
    clipped = np.clip(probabilities.astype(np.float64), np.finfo(np.float32).eps, 1)
    values = {
        "macro_f1": macro_f1(gold, predicted, len(names)),
        "accuracy": float(accuracy_score(gold, predicted)),
        "weighted_f1": float(f1_score(gold, predicted, labels=names, average="weighted", zero_division=_NONE_AT_ALL)),
        "mcc": float(matthews_corrcoef(gold, predicted)) if several else 0.0,
        "log_loss": float(log_loss(gold, clipped / clipped.sum(axis=1, keepdims=True), labels=names)),
        "ece": calibration_error(gold, probabilities),
    }
    confusion = confusion_matrix(gold, predicted, labels=names)
    per_class = 2 * np.diag(confusion) / np.maximum(confusion.sum(axis=0) + confusion.sum(axis=1), 1)
    return Scores(values, per_class, confusion)


def calibration_error(gold: np.ndarray, probabilities: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error (Guo et al. 2017): how far accuracy is from the stated probability, on average.

    gold: (items,) indices; probabilities: (items, labels). Items fall into bins of equal width by their largest
    probability; the differences of the bins' mean probability and accuracy are weighed by their items. 0 to 1.
    """
    sure = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == gold
    place = np.clip(np.ceil(sure * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(place, right - sure, bins)
    return float(np.abs(gaps).sum() / len(gold))
