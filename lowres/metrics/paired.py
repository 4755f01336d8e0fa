"""Intervals of a score, and of the paired difference of two methods, over subsets x seeds x test items.

Subset, seed and item are crossed: every subset meets every seed and every item, so they are resampled side by side and
never one inside the other (nesting them covers .76-.82 instead of .95 at three subsets). A bootstrap over three
subsets cannot know how subsets vary, so where subsets or seeds are several but few the interval is Student's t with
Satterthwaite's degrees of freedom on variance components; else it is the percentile interval of the crossed bootstrap.
Simulated coverage of the t interval (of the bootstrap), subsets x seeds x items: 3 x 3 x 200 .94 (.90-.96); 3 x 3 x
3000 .94-.96 (.81-.90); 10 x 3 x 3000 .90-.95 (.86-.89). With one subset or one seed its variance cannot be seen at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Metric = Literal["macro_f1", "micro_f1", "accuracy", "subset_accuracy"]
"""accuracy, subset_accuracy: items whose label, or whole set of labels, is right."""
Verdict = Literal["better", "worse", "equivalent", "unresolved"]
Method = Literal["t", "bootstrap"]

MANY = 10
"""Subsets and seeds of which there are several are many from here on: the bootstrap's percentiles are used."""
MARGIN = 0.01
"""Differences within this are of no practical weight."""
_CHUNK_NUMBERS = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A mean score and its interval. method: how the interval was made."""

    mean: float
    low: float
    high: float
    method: Method


@dataclass(frozen=True)
class Difference:
    """Score of A minus score of B: mean, interval, two-sided p of no difference, and the verdict on A.

    equivalent: the interval lies within the margin on both sides. better, worse: it does not, and leaves out 0.
    unresolved: anything else, so more subsets, seeds or test items are needed.
    """

    mean: float
    low: float
    high: float
    method: Method
    p_value: float
    margin: float
    verdict: Verdict


@dataclass(frozen=True)
class Resampling:
    """How intervals are made. confidence: of the interval; seed: of the resampling; method None: as the module says."""

    resamples: int = 2000
    confidence: float = 0.95
    seed: int = 0
    method: Method | None = None


def interval(
    predicted: np.ndarray,
    gold: np.ndarray,
    labels: int,
    *,
    metric: Metric = "macro_f1",
    groups: np.ndarray | None = None,
    resampling: Resampling = Resampling(),
) -> Interval:
    """Mean score of one method over its runs, with an interval.

    predicted: (subsets, seeds, items) label indices; gold: (items,); labels: how many labels the task has. Of sets of
    labels both have one more axis: (..., items, labels) of 0 and 1.
    groups: (items,) group of each item, resampled whole. Raises ValueError where shapes do not fit. A t interval of few
    subsets may reach beyond 0 and 1, where no score can lie: it is cut there, which costs no coverage.
    """
    estimate = _estimate([predicted], gold, labels, metric, groups, resampling)
    low, high = estimate.bounds(resampling.confidence)
    return Interval(estimate.mean, max(low, 0.0), min(high, 1.0), estimate.method)


def difference(
    a: np.ndarray,
    b: np.ndarray,
    gold: np.ndarray,
    labels: int,
    *,
    metric: Metric = "macro_f1",
    margin: float = MARGIN,
    groups: np.ndarray | None = None,
    resampling: Resampling = Resampling(),
) -> Difference:
    """Score of A minus score of B, paired on subset, seed and item.

    a, b: of the same subsets, seeds and items in the same order, of the shape that `predicted` has in `interval`, as is
    the rest. Raises ValueError where shapes do not fit.
    """
    estimate = _estimate([a, b], gold, labels, metric, groups, resampling)
    low, high = estimate.bounds(resampling.confidence)
    return Difference(estimate.mean, low, high, estimate.method, estimate.p_value(), margin, verdict(low, high, margin))


def verdict(low: float, high: float, margin: float = MARGIN) -> Verdict:
    """What an interval of a difference says; see Difference."""
    if -margin <= low and high <= margin:
        return "equivalent"
    if low > 0:
        return "better"
    return "worse" if high < 0 else "unresolved"


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given (Holm 1979): compare each with the level itself."""
    order = np.argsort(p_values, kind="stable")
    adjusted = np.zeros(len(p_values))
    highest = 0.0
    for place, k in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[k]))
        adjusted[k] = highest
    return adjusted.tolist()


# --- estimates -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Estimate:
    """The mean; draws: (resamples,) of the crossed bootstrap; error, freedom: standard error and degrees of freedom."""

    mean: float
    draws: np.ndarray
    error: float
    freedom: float
    method: Method

    def bounds(self, confidence: float) -> tuple[float, float]:
        from scipy.stats import t

        tail = (1 - confidence) / 2
        if self.method == "bootstrap":
            low, high = np.quantile(self.draws, [tail, 1 - tail])
        else:
            half = t.ppf(1 - tail, self.freedom) * self.error
            low, high = self.mean - half, self.mean + half
        return float(low), float(high)

    def p_value(self) -> float:
        """Two-sided, of a mean of 0."""
        from scipy.stats import t

        if self.method == "bootstrap":
            side = min((self.draws <= 0).sum(), (self.draws >= 0).sum())
            return float(min(1.0, 2 * (side + 1) / (len(self.draws) + 1)))
        if self.error == 0:
            return 1.0 if self.mean == 0 else 0.0
        return float(2 * t.sf(abs(self.mean) / self.error, self.freedom))


def _estimate(
    methods: Sequence[np.ndarray],
    gold: np.ndarray,
    labels: int,
    metric: Metric,
    groups: np.ndarray | None,
    resampling: Resampling,
) -> _Estimate:
    """The mean of one method, or of the first minus the second, and what its intervals need."""
    shape = methods[0].shape
    fits = len(shape) in (3, 4) and shape[3:] in ((), (labels,)) and gold.shape == shape[2:] and 0 not in shape
    if not fits or any(method.shape != shape for method in methods):
        shapes = ", ".join(str(method.shape) for method in methods)
        raise ValueError(f"predictions of shape {shapes} for gold of {gold.shape}; they are (subsets, seeds, items)")
    subsets, seeds, items = shape[:3]
    rng = np.random.default_rng(resampling.seed)
    members = np.arange(items) if groups is None else np.unique(groups, return_inverse=True)[1]
    units = int(members.max()) + 1
    observed = _scores(methods, gold, labels, metric, np.ones((1, items), np.float32))[0]
    drawn = np.empty((resampling.resamples, subsets, seeds))
    step = max(1, _CHUNK_NUMBERS // items)
    for start in range(0, resampling.resamples, step):
        count = min(step, resampling.resamples - start)
        weights = _multiplicities(rng, count, units).astype(np.float32)[:, members]
        drawn[start : start + count] = _scores(methods, gold, labels, metric, weights)
    by_subset = _multiplicities(rng, resampling.resamples, subsets) / subsets
    by_seed = _multiplicities(rng, resampling.resamples, seeds) / seeds
    draws = np.einsum("bsr,bs,br->b", drawn, by_subset, by_seed)
    error, freedom = _error(observed, drawn.mean(axis=(1, 2)).var(ddof=1), units)
    return _Estimate(float(observed.mean()), draws, error, freedom, resampling.method or _method(subsets, seeds))


def _multiplicities(rng: np.random.Generator, resamples: int, units: int) -> np.ndarray:
    """(resamples, units): how often each unit stands in each resample of as many units, with replacement."""
    drawn = rng.integers(units, size=(resamples, units)) + units * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * units).reshape(resamples, units)


def _method(subsets: int, seeds: int) -> Method:
    few = any(1 < levels < MANY for levels in (subsets, seeds))
    return "t" if few else "bootstrap"


def _error(table: np.ndarray, item_variance: float, units: int) -> tuple[float, float]:
    """Standard error of the mean of `table` (subsets, seeds), and Satterthwaite's degrees of freedom.

    The mean's variance is that of subsets and seeds crossed, (MS_subset + MS_seed - MS_rest) / (subsets x seeds), where
    a negative component counts as 0, plus that of the items, from their bootstrap.
    """
    subsets, seeds = table.shape
    rows, columns, mean = table.mean(axis=1), table.mean(axis=0), table.mean()
    rest = table - rows[:, None] - columns[None, :] + mean
    freedoms = np.array([subsets - 1, seeds - 1, (subsets - 1) * (seeds - 1)])
    sums = np.array([seeds * ((rows - mean) ** 2).sum(), subsets * ((columns - mean) ** 2).sum(), (rest**2).sum()])
    squares = sums / np.maximum(freedoms, 1)
    if freedoms[2] > 0:
        subset_part = max(squares[0], squares[2])
        seed_part = max(squares[1] - squares[2], 0.0)
    else:
        subset_part, seed_part = squares[0], squares[1]
    parts = np.array([subset_part, seed_part]) / (subsets * seeds)
    terms = [(parts[0], freedoms[0]), (parts[1], freedoms[1]), (item_variance, units - 1)]
    variance = sum(part for part, _ in terms)
    spread = sum(part**2 / freedom for part, freedom in terms if freedom > 0 and part > 0)
    return float(np.sqrt(variance)), float(variance**2 / spread) if spread > 0 else 1.0


def _scores(
    methods: Sequence[np.ndarray], gold: np.ndarray, labels: int, metric: Metric, weights: np.ndarray
) -> np.ndarray:
    """(resamples, subsets, seeds): the score of every run under item weights (resamples, items); of two, A minus B.

    One matrix product a method counts true positives and predictions of every label in every run; float32 holds counts
    exactly up to 2^24.
    """
    subsets, seeds, items = methods[0].shape[:3]
    of_gold = _members(gold, labels, 1)
    scores = []
    gold_counts = weights @ of_gold.astype(np.float32)
    for method in methods:
        of_run = _members(method.reshape(subsets * seeds, *gold.shape).swapaxes(0, 1), labels, 2)
        if metric in ("accuracy", "subset_accuracy"):
            right = (of_run == of_gold[:, None, :]).all(axis=2).astype(np.float32)
            values = (weights @ right).astype(np.float64) / weights.sum(axis=1, keepdims=True)
        else:
            hits = (of_run & of_gold[:, None, :]).reshape(items, -1).astype(np.float32)
            true = (weights @ hits).reshape(len(weights), -1, labels).astype(np.float64)
            said = (weights @ of_run.reshape(items, -1).astype(np.float32)).reshape(len(weights), -1, labels)
            given = said + gold_counts[:, None, :]
            if metric == "micro_f1":
                true, given = true.sum(axis=2, keepdims=True), given.sum(axis=2, keepdims=True, dtype=np.float64)
            values = (2 * true / np.maximum(given, 1)).mean(axis=2)
        scores.append(values.reshape(len(weights), subsets, seeds))
    return scores[0] if len(scores) == 1 else scores[0] - scores[1]


def _members(targets: np.ndarray, labels: int, axes: int) -> np.ndarray:
    """(..., labels) bool: which labels the targets name. targets: `axes` axes of indices, or one more of 0 and 1."""
    return targets.astype(bool) if targets.ndim > axes else targets[..., None] == np.arange(labels)
