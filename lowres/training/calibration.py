"""Temperature scaling of a classifier's probabilities (Guo et al. 2017), fitted on dev labels."""

import math

import numpy as np

_BOUNDS = (0.1, 10.0)


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """(items, labels) with logarithms divided by `temperature`, rows made to sum to 1 again; their order stays."""
    if temperature == 1:
        return probabilities
    logs = np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float64).tiny)) / temperature
    grown = np.exp(logs - logs.max(axis=1, keepdims=True))
    return grown / grown.sum(axis=1, keepdims=True)


def fit_temperature(probabilities: np.ndarray, gold: np.ndarray) -> float:
    """The temperature, .1 to 10, with the least sum of -log p(gold) and log(temperature)^2 / 2; 1 without items.

    probabilities: (items, labels); gold: (items,) indices. The second term is a standard normal prior on the
    temperature's logarithm: a few dev labels that are all right would drive it to 0, a hundred outweigh it.
    """
    from scipy.optimize import minimize_scalar

    if not len(gold):
        return 1.0
    rows = np.arange(len(gold))

    def cost(log_temperature: float) -> float:
        chosen = tempered(probabilities, math.exp(log_temperature))[rows, gold]
        return float(-np.log(np.maximum(chosen, np.finfo(np.float64).tiny)).sum() + log_temperature**2 / 2)

    found = minimize_scalar(cost, bounds=tuple(map(math.log, _BOUNDS)), method="bounded", options={"xatol": 1e-6})
    return math.exp(float(found.x))  # type: ignore[attr-defined]
