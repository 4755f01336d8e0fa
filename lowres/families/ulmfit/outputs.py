"""What stands behind a classifier's scores: loss and probabilities, for one label a text and for sets of labels.

Imports torch and no fastai. The scores are log odds: of the labels among each other, or of each label by itself.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lowres.cards import TaskKind
from lowres.families.ulmfit.spec import ClassifierSettings
from lowres.labels import THRESHOLD, label_weights


class LabelCrossEntropy(nn.CrossEntropyLoss):
    """The loss of a classifier; what fastai's get_preds makes of its scores beside it."""

    def activation(self, scores: Tensor) -> Tensor:
        """(texts, labels) probabilities."""
        return scores.softmax(-1)

    def decodes(self, probabilities: Tensor) -> Tensor:
        """The most probable label of each text."""
        return probabilities.argmax(-1)


class LabelSetCrossEntropy(nn.BCEWithLogitsLoss):
    """-log p of a text's set of labels, mean over texts: the sum over labels of the cross-entropy of each.

    A sum, where BCEWithLogitsLoss takes a mean: so it is in nats a text, as LabelCrossEntropy is, and the penalties on
    activations weigh beside it what they weigh there. weight: (labels,), of a label that is there (pos_weight).
    label_smoothing: targets are 1 - label_smoothing / 2 and label_smoothing / 2.
    """

    def __init__(self, weight: Tensor, label_smoothing: float):
        super().__init__(pos_weight=weight)
        self.label_smoothing = label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """input: (texts, labels) scores; target: as many of 0 and 1."""
        smoothed = target.float() * (1 - self.label_smoothing) + self.label_smoothing / 2
        return super().forward(input, smoothed) * target.shape[-1]

    def activation(self, scores: Tensor) -> Tensor:
        """(texts, labels) probabilities."""
        return scores.sigmoid()

    def decodes(self, probabilities: Tensor) -> Tensor:
        """(texts, labels) of 0 and 1: which labels are predicted."""
        return (probabilities >= THRESHOLD).long()


@dataclass(frozen=True)
class Output:
    """One kind's loss, given training targets, how many labels there are and the settings; its probabilities; the name
    of the ONNX operator that makes them of scores, over the last axis.
    """

    loss: Callable[[np.ndarray, int, ClassifierSettings], nn.Module]
    probabilities: Callable[[Tensor], Tensor]
    operator: str


def _one_label_loss(targets: np.ndarray, labels: int, settings: ClassifierSettings) -> nn.Module:
    """Labels weigh their count to the power -balance; mean 1 over the training texts. targets: (texts,)."""
    weight = torch.tensor(label_weights(targets, labels, settings.balance), dtype=torch.float32)
    return LabelCrossEntropy(weight=weight, label_smoothing=settings.label_smoothing)


def _label_set_loss(targets: np.ndarray, labels: int, settings: ClassifierSettings) -> nn.Module:
    """A label that is there weighs (texts without / texts with it) to the power balance. targets: (texts, labels)."""
    there = targets.sum(axis=0)
    weight = (np.maximum(len(targets) - there, 1) / np.maximum(there, 1)) ** settings.balance
    return LabelSetCrossEntropy(torch.tensor(weight, dtype=torch.float32), settings.label_smoothing)


_OUTPUTS: dict[TaskKind, Output] = {
    "classification": Output(_one_label_loss, lambda scores: scores.double().softmax(1), "Softmax"),
    "multi-label": Output(_label_set_loss, lambda scores: scores.double().sigmoid(), "Sigmoid"),
}


def output(kind: TaskKind) -> Output:
    """What a kind's scores are for."""
    return _OUTPUTS[kind]
