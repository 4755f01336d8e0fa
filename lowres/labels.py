"""What a text is labelled with: one label, or a set of them. One object for each kind owns what differs.

In every table a text's label is a string: the label itself, or the sorted set as canonical JSON (`["a","b"]`, `[]`).
Targets are what a classifier is trained on and what its decisions are compared with: (items,) int64 indices of labels,
or (items, labels) int64 of 0 and 1.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lowres.cards import TaskKind
from lowres.fingerprint import canonical_json

THRESHOLD = 0.5
"""A label is in the predicted set where its probability is this or more, and the set may be empty: the convention where
each label is a question of its own. The probabilities are kept for whoever wants another."""


class Labelling(Protocol):
    """What differs between one label a text and a set of labels a text."""

    @property
    def kind(self) -> TaskKind:
        """As task cards call it."""
        ...

    @property
    def sets(self) -> bool:
        """Whether a text has a set of labels."""
        ...

    def names(self, label: str) -> tuple[str, ...]:
        """The labels in a text's label."""
        ...

    def targets(self, labels: Iterable[str], order: Sequence[str]) -> np.ndarray:
        """Texts' labels as targets. Raises KeyError on a label that is not in `order`."""
        ...

    def spelled(self, targets: np.ndarray, order: Sequence[str]) -> list[str]:
        """The inverse of `targets`."""
        ...

    def members(self, targets: np.ndarray, labels: int) -> np.ndarray:
        """(items, labels) bool: which label each text has."""
        ...

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """(items, labels) scores of log odds -> probabilities."""
        ...

    def decided(self, probabilities: np.ndarray) -> np.ndarray:
        """(items, labels) probabilities -> the targets that are predicted."""
        ...

    def choices(self, probabilities: np.ndarray) -> np.ndarray:
        """The decisions behind `probabilities`, (decisions, options) float64, rows sum to 1; `chosen` turns it back."""
        ...

    def chosen(self, choices: np.ndarray, labels: int) -> np.ndarray:
        """(decisions, options) -> (items, labels) probabilities."""
        ...

    def picks(self, targets: np.ndarray) -> np.ndarray:
        """(decisions,) int64: the right option of each decision."""
        ...


@dataclass(frozen=True)
class OneLabel:
    """Each text has one label: softmax; the most probable label is predicted, the first of equals."""

    kind: TaskKind = "classification"
    sets: bool = False

    def names(self, label: str) -> tuple[str, ...]:
        """See Labelling."""
        return (label,)

    def targets(self, labels: Iterable[str], order: Sequence[str]) -> np.ndarray:
        """See Labelling."""
        place = {label: k for k, label in enumerate(order)}
        return np.asarray([place[label] for label in labels], dtype=np.int64)

    def spelled(self, targets: np.ndarray, order: Sequence[str]) -> list[str]:
        """See Labelling."""
        return [order[int(k)] for k in targets]

    def members(self, targets: np.ndarray, labels: int) -> np.ndarray:
        """See Labelling."""
        return targets[:, None] == np.arange(labels)

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """See Labelling."""
        grown = np.exp(scores - scores.max(axis=1, keepdims=True))
        return grown / grown.sum(axis=1, keepdims=True)

    def decided(self, probabilities: np.ndarray) -> np.ndarray:
        """See Labelling."""
        return probabilities.argmax(axis=1)

    def choices(self, probabilities: np.ndarray) -> np.ndarray:
        """One decision a text, an option a label."""
        return probabilities.astype(np.float64)

    def chosen(self, choices: np.ndarray, labels: int) -> np.ndarray:
        """See Labelling."""
        return choices

    def picks(self, targets: np.ndarray) -> np.ndarray:
        """See Labelling."""
        return targets


@dataclass(frozen=True)
class LabelSet:
    """Each text has a set of labels, perhaps none: a sigmoid a label; labels of THRESHOLD or more are predicted."""

    kind: TaskKind = "multi-label"
    sets: bool = True

    def names(self, label: str) -> tuple[str, ...]:
        """See Labelling."""
        return tuple(json.loads(label))

    def targets(self, labels: Iterable[str], order: Sequence[str]) -> np.ndarray:
        """See Labelling."""
        place = {label: k for k, label in enumerate(order)}
        sets = [[place[name] for name in self.names(label)] for label in labels]
        found = np.zeros((len(sets), len(order)), np.int64)
        for row, numbers in zip(found, sets, strict=True):
            row[numbers] = 1
        return found

    def spelled(self, targets: np.ndarray, order: Sequence[str]) -> list[str]:
        """See Labelling."""
        return [spelled_set(order[k] for k in np.flatnonzero(row).tolist()) for row in targets]

    def members(self, targets: np.ndarray, labels: int) -> np.ndarray:
        """See Labelling."""
        return targets.astype(bool)

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """See Labelling."""
        return 1 / (1 + np.exp(-scores.clip(-50, 50)))

    def decided(self, probabilities: np.ndarray) -> np.ndarray:
        """See Labelling."""
        return (probabilities >= THRESHOLD).astype(np.int64)

    def choices(self, probabilities: np.ndarray) -> np.ndarray:
        """A decision for each label of each text: without it, with it."""
        there = probabilities.astype(np.float64).ravel()
        return np.stack([1 - there, there], axis=1)

    def chosen(self, choices: np.ndarray, labels: int) -> np.ndarray:
        """See Labelling."""
        return choices[:, 1].reshape(-1, labels)

    def picks(self, targets: np.ndarray) -> np.ndarray:
        """See Labelling."""
        return targets.ravel()


_LABELLINGS: dict[TaskKind, Labelling] = {"classification": OneLabel(), "multi-label": LabelSet()}


def labelling(kind: TaskKind) -> Labelling:
    """What owns the differences of a kind."""
    return _LABELLINGS[kind]


def spelled_set(names: Iterable[str]) -> str:
    """A set of labels as the string that tables hold."""
    return canonical_json(sorted(set(names)))


def label_weights(targets: np.ndarray, labels: int, balance: float) -> np.ndarray:
    """(labels,) float64: a label's count to the power -balance; of the texts the mean is 1. targets: (texts,)."""
    counts = np.bincount(targets, minlength=labels).tolist()
    raw = np.array([max(count, 1) ** -balance for count in counts])
    return raw / (sum(raw[k] * count for k, count in enumerate(counts)) / len(targets))
