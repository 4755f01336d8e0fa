"""Scores of a classifier of label sets, over all labels of its task."""

from typing import Any

import numpy as np

from lowres.labels import labelling
from lowres.metrics.classification import Scores, calibration_error, macro_f1

_NONE_AT_ALL: Any = 0  # the F1 of a label, or a text, with neither gold nor predicted labels counts as 0 ...
_BOTH_EMPTY: Any = 1  # ... but a text that has no label and gets none is right
_LABELS = labelling("multi-label")


def label_set_scores(gold: np.ndarray, probabilities: np.ndarray) -> Scores:
    """All scores of one split. gold: (items, labels) of 0 and 1; probabilities: (items, labels); items at least 1.

    macro_f1: mean over labels, 0 for a label neither given nor predicted. micro_f1: of all decisions together.
    samples_f1, jaccard: means over texts, 1 where both sets are empty. subset_accuracy: texts whose whole set is right.
    hamming_loss: share of wrong decisions. log_loss (nats a decision, clipped at float32's epsilon), ece: of the
    decisions. confusion: (labels, 2, 2) counts, without and with the label, gold in rows.
    """
    from sklearn.metrics import (
        accuracy_score,
        f1_score,
        hamming_loss,
        jaccard_score,
        log_loss,
        multilabel_confusion_matrix,
    )

    predicted = _LABELS.decided(probabilities)
    picks, choices = _LABELS.picks(gold), _LABELS.choices(probabilities)
    least = np.finfo(np.float32).eps
    values = {
        "macro_f1": macro_f1(gold, predicted, gold.shape[1]),
        "micro_f1": float(f1_score(gold, predicted, average="micro", zero_division=_NONE_AT_ALL)),
        "samples_f1": float(f1_score(gold, predicted, average="samples", zero_division=_BOTH_EMPTY)),
        "jaccard": float(jaccard_score(gold, predicted, average="samples", zero_division=_BOTH_EMPTY)),
        "subset_accuracy": float(accuracy_score(gold, predicted)),
        "hamming_loss": float(hamming_loss(gold, predicted)),
        "log_loss": float(log_loss(picks, choices.clip(least, 1 - least), labels=[0, 1])),
        "ece": calibration_error(picks, choices),
    }
    confusion = multilabel_confusion_matrix(gold, predicted)
    hits = confusion[:, 1, 1]
    per_class = 2 * hits / np.maximum(2 * hits + confusion[:, 0, 1] + confusion[:, 1, 0], 1)
    return Scores(values, per_class, confusion)
