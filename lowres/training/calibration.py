"""Temperature scaling of a classifier's probabilities (Guo et al. 2017), fitted on dev labels."""

import math

import numpy as np

from lowres.labels import Labelling, labelling

_BOUNDS = (0.1, 10.0)
_ONE_LABEL = labelling("classification")


def tempered(probabilities: np.ndarray, temperature: float, labels: Labelling = _ONE_LABEL) -> np.ndarray:
    """(items, labels) with the logarithms of each decision's options divided by `temperature`, made to sum to 1 again.

    What is decided stays: the most probable label, or which labels reach one half.
    """
    if temperature == 1:
        return probabilities
    return labels.chosen(_tempered(labels.choices(probabilities), temperature), probabilities.shape[1])


def _tempered(choices: np.ndarray, temperature: float) -> np.ndarray:
    """choices: (decisions, options), rows sum to 1."""
    logs = np.log(np.maximum(choices, np.finfo(np.float64).tiny)) / temperature
    grown = np.exp(logs - logs.max(axis=1, keepdims=True))
    return grown / grown.sum(axis=1, keepdims=True)


def fit_temperature(probabilities: np.ndarray, gold: np.ndarray, labels: Labelling = _ONE_LABEL) -> float:
    """The temperature, .1 to 10, with the least sum of -log p(gold) and log(temperature)^2 / 2; 1 without items.

    probabilities: (items, labels); gold: the items' targets. The second term is a standard normal prior on the
    temperature's logarithm: a few dev labels that are all right would drive it to 0, a hundred outweigh it.
    """
    from scipy.optimize import minimize_scalar

    if not len(gold):
        return 1.0
    choices, picks = labels.choices(probabilities), labels.picks(gold)
    rows = np.arange(len(picks))

    def cost(log_temperature: float) -> float:
        chosen = _tempered(choices, math.exp(log_temperature))[rows, picks]
        return float(-np.log(np.maximum(chosen, np.finfo(np.float64).tiny)).sum() + log_temperature**2 / 2)

    found = minimize_scalar(cost, bounds=tuple(map(math.log, _BOUNDS)), method="bounded", options={"xatol": 1e-6})
    return math.exp(float(found.x))  # type: ignore[attr-defined]
